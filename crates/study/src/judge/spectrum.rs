//! Claims (4) and (5): lambda_1 and kappa' of FC+BN are smaller.
//!
//! Effects are factors of ten, log10 FC/FC+BN, so that a half and a double weigh
//! the same. Each claim is judged at the end, in the mean over all trained epochs
//! and at the worst of them, before training, at the same training loss, and
//! against FC with its features centred and standardised, and for FC+BN with batch
//! norm folded away, which both leave to batch norm only what is not a matter of units.

use kappa_run::Verdict;

use super::{NUMBERS, Number, Pair, RunRecord, each, mean, powers_of_ten};
use crate::claims::verdict;

/// The variant without batch norm's units: the same function, batch norm folded away.
pub(super) const FOLDED: &str = "folded";

/// FC+BN with the statistics `variant` against FC.
pub(super) fn eigenvalues(pairs: &[Pair], variant: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (claim, name, number) in NUMBERS {
        let what = match variant {
            FOLDED => format!("{name} of FC+BN (folded) is smaller"),
            _ => format!("{name} of FC+BN ({variant} statistics) is smaller"),
        };
        // The paper has no statistics but those of inference.
        let other = variant != "running";
        let mut judge = |end: &str, control: bool, effects: Vec<f64>| {
            let judged = verdict(claim, format!("{what} {end}"), "powers of ten", effects);
            verdicts.extend(judged.map(|verdict| Verdict { control, ..verdict }));
        };
        let at_the_end = |of: &'static str| {
            each(pairs, move |pair| trained_ratios(pair, of, variant, number)?.last().copied())
        };
        // One trained epoch is the end, and nothing besides.
        let several =
            |pair: &Pair| trained_ratios(pair, "plain", variant, number).filter(|ratios| ratios.len() > 1);
        judge("at the end", other, at_the_end("plain"));
        judge("over the epochs", other, each(pairs, |pair| mean(&several(pair)?)));
        judge("at every epoch", other, each(pairs, |pair| several(pair)?.into_iter().min_by(f64::total_cmp)));
        // The running statistics start as those of no normalisation at all, and so as FC.
        if other && variant != FOLDED {
            judge("before training", true, each(pairs, |pair| before_training(pair, variant, number)));
        } else {
            judge("at the same training loss", true, each(pairs, |pair| at_same_loss(pair, variant, number)));
        }
        // Folded, its features are activations as FC's are: there are no units to take out.
        if variant == FOLDED {
            continue;
        }
        judge("than FC's with centred features, at the end", true, at_the_end("centred"));
        judge("than FC's with standardised features, at the end", true, at_the_end("standardised"));
    }
    verdicts
}

/// log10 of FC's `number` over FC+BN's, for every trained epoch.
fn trained_ratios(pair: &Pair, of: &str, variant: &str, number: Number) -> Option<Vec<f64>> {
    let (fc, bn) = (pair.fc.spectra_of(of), pair.bn.spectra_of(variant));
    let trained = fc.zip(bn).filter(|(fc, _)| fc.epoch > 0);
    trained.map(|(fc, bn)| powers_of_ten(number(fc)?, number(bn)?)).collect()
}

fn before_training(pair: &Pair, variant: &str, number: Number) -> Option<f64> {
    let (fc, bn) = (pair.fc.spectra_of("plain").next()?, pair.bn.spectra_of(variant).next()?);
    if fc.epoch == 0 && bn.epoch == 0 { powers_of_ten(number(fc)?, number(bn)?) } else { None }
}

/// The ratio where both training losses are first down to the lowest that both reach.
fn at_same_loss(pair: &Pair, variant: &str, number: Number) -> Option<f64> {
    let lowest = |run: &RunRecord| run.metrics.iter().map(|row| row.train_loss).min_by(f64::total_cmp);
    let loss = lowest(&pair.fc)?.max(lowest(&pair.bn)?);
    let fc = logarithm_at_loss(&pair.fc, "plain", loss, number)?;
    let bn = logarithm_at_loss(&pair.bn, variant, loss, number)?;
    Some(fc - bn)
}

/// log10 of `number` where the training loss first comes down to `loss`, on a
/// straight line between the two epochs. Needs the spectra of both.
fn logarithm_at_loss(run: &RunRecord, variant: &str, loss: f64, number: Number) -> Option<f64> {
    let logarithm = |epoch: usize| {
        let row = run.spectra_of(variant).find(|row| row.epoch == epoch)?;
        powers_of_ten(number(row)?, 1.0)
    };
    let after = run.metrics.iter().position(|row| row.train_loss <= loss)?;
    let here = run.metrics.get(after)?;
    let Some(before) = after.checked_sub(1).and_then(|before| run.metrics.get(before)) else {
        return logarithm(here.epoch);
    };
    let way = (before.train_loss - loss) / (before.train_loss - here.train_loss);
    Some((1.0 - way) * logarithm(before.epoch)? + way * logarithm(here.epoch)?)
}
