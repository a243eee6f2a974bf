//! Claims (4) and (5): lambda_1 and kappa' of an arm are smaller than the reference's.
//!
//! Effects are factors of ten, log10 reference/arm, so that a half and a double weigh
//! the same. Each claim is judged at the end, in the mean over all trained epochs
//! and at the worst of them, before training, at the same training loss, and
//! against the reference with its features centred and standardised, and for an arm that can be
//! folded with batch norm folded away, which both leave only what is not a matter of units.

use kappa_run::{Comparison, Quantity, Variant, Verdict, When};

use super::{Pair, QUANTITIES, RunRecord, mean, powers_of_ten};
use crate::claims::verdict;

/// `variant` of the arm against the reference.
pub(super) fn eigenvalues(pair: Pair<'_>, variant: Variant) -> Vec<Verdict> {
    let Some(counterpart) = pair.counterpart(variant) else { return Vec::new() };
    let mut verdicts = Vec::new();
    for (claim, quantity) in QUANTITIES {
        let what = match variant {
            Variant::Plain => format!("{quantity} of {} is smaller", pair.arm.name),
            Variant::Folded => format!("{quantity} of {} (folded) is smaller", pair.arm.name),
            _ => format!("{quantity} of {} ({variant} statistics) is smaller", pair.arm.name),
        };
        // The paper has no statistics but those of inference.
        let other = !variant.is_as_it_is();
        let mut judge = |reference: Variant, when: When, control: bool, effects: Vec<f64>| {
            let what = match reference {
                Variant::Centred | Variant::Standardised => {
                    format!("{what} than {}'s with {reference} features, {when}", pair.reference.name)
                }
                _ => format!("{what} {when}"),
            };
            let judged = verdict(claim, pair.arm.name, what, "powers of ten", effects);
            let spectral = Some(Comparison { quantity, variant, reference, when });
            verdicts.extend(judged.map(|verdict| Verdict { control, spectral, ..verdict }));
        };
        let ratios = |of: Variant| {
            move |reference: &RunRecord, arm: &RunRecord| {
                trained_ratios(reference, of, arm, variant, quantity)
            }
        };
        let at_the_end = |of: Variant| {
            let ratios = ratios(of);
            pair.each(move |reference, arm| ratios(reference, arm)?.last().copied())
        };
        // One trained epoch is the end, and nothing besides.
        let several = |reference: &RunRecord, arm: &RunRecord| {
            ratios(counterpart)(reference, arm).filter(|ratios| ratios.len() > 1)
        };
        let mean_over = pair.each(|reference, arm| mean(&several(reference, arm)?));
        let worst = pair.each(|reference, arm| several(reference, arm)?.into_iter().min_by(f64::total_cmp));
        judge(counterpart, When::AtTheEnd, other, at_the_end(counterpart));
        judge(counterpart, When::OverTheEpochs, other, mean_over);
        judge(counterpart, When::AtEveryEpoch, other, worst);
        // The running statistics, and so what is folded by them, start as those of no normalisation.
        if !matches!(variant, Variant::Running | Variant::Folded) {
            let before =
                pair.each(|reference, arm| before_training(reference, counterpart, arm, variant, quantity));
            judge(counterpart, When::BeforeTraining, true, before);
        }
        if variant.is_as_it_is() || variant == Variant::Folded {
            let same_loss =
                pair.each(|reference, arm| at_same_loss(reference, counterpart, arm, variant, quantity));
            judge(counterpart, When::AtTheSameLoss, true, same_loss);
        }
        // Folded, its features are activations as the reference's are: there are no units to take out.
        if variant != Variant::Folded {
            for control in [Variant::Centred, Variant::Standardised] {
                judge(control, When::AtTheEnd, true, at_the_end(control));
            }
        }
    }
    verdicts
}

/// log10 of `of` of the reference over `variant` of the arm, for every trained epoch.
fn trained_ratios(
    reference: &RunRecord,
    of: Variant,
    arm: &RunRecord,
    variant: Variant,
    quantity: Quantity,
) -> Option<Vec<f64>> {
    let rows = reference.spectra_of(of).zip(arm.spectra_of(variant));
    let trained = rows.filter(|(reference, _)| reference.epoch > 0);
    trained
        .map(|(reference, arm)| powers_of_ten(reference.number(quantity)?, arm.number(quantity)?))
        .collect()
}

fn before_training(
    reference: &RunRecord,
    of: Variant,
    arm: &RunRecord,
    variant: Variant,
    quantity: Quantity,
) -> Option<f64> {
    let (reference, arm) = (reference.spectra_of(of).next()?, arm.spectra_of(variant).next()?);
    if reference.epoch == 0 && arm.epoch == 0 {
        powers_of_ten(reference.number(quantity)?, arm.number(quantity)?)
    } else {
        None
    }
}

/// The ratio where both training losses are first down to the lowest that both reach.
fn at_same_loss(
    reference: &RunRecord,
    of: Variant,
    arm: &RunRecord,
    variant: Variant,
    quantity: Quantity,
) -> Option<f64> {
    let lowest = |run: &RunRecord| run.metrics.iter().map(|row| row.train_loss).min_by(f64::total_cmp);
    let loss = lowest(reference)?.max(lowest(arm)?);
    Some(logarithm_at_loss(reference, of, loss, quantity)? - logarithm_at_loss(arm, variant, loss, quantity)?)
}

/// log10 of `quantity` where the training loss first comes down to `loss`, on a
/// straight line between the two epochs. Needs the spectra of both.
fn logarithm_at_loss(run: &RunRecord, variant: Variant, loss: f64, quantity: Quantity) -> Option<f64> {
    let logarithm = |epoch: usize| {
        let row = run.spectra_of(variant).find(|row| row.epoch == epoch)?;
        powers_of_ten(row.number(quantity)?, 1.0)
    };
    let after = run.metrics.iter().position(|row| row.train_loss <= loss)?;
    let here = run.metrics.get(after)?;
    let Some(before) = after.checked_sub(1).and_then(|before| run.metrics.get(before)) else {
        return logarithm(here.epoch);
    };
    let way = (before.train_loss - loss) / (before.train_loss - here.train_loss);
    Some((1.0 - way) * logarithm(before.epoch)? + way * logarithm(here.epoch)?)
}
