//! What an arm's effects on lambda_1 and kappa' are made of.

use kappa_run::{Estimate, Explanation, Quantity, SpectraRow, Variant, When};

use super::{Pair, QUANTITIES, mean, powers_of_ten};
use crate::claims::estimate;

/// For lambda_1 and kappa', before training, at the end and over the epochs; none where the
/// reference was not probed with its features centred and scaled.
pub(super) fn explanations(pair: Pair<'_>, statistics: Variant) -> Vec<Explanation> {
    type Summary = fn(&[(usize, f64)]) -> Option<f64>;
    let summaries: [(When, Summary); 3] = [
        (When::BeforeTraining, |steps| steps.iter().find(|(epoch, _)| *epoch == 0).map(|(_, step)| *step)),
        (When::AtTheEnd, |steps| steps.last().filter(|(epoch, _)| *epoch > 0).map(|(_, step)| *step)),
        (When::OverTheEpochs, |steps| {
            let trained: Vec<f64> =
                steps.iter().filter(|(epoch, _)| *epoch > 0).map(|(_, step)| *step).collect();
            if trained.len() > 1 { mean(&trained) } else { None }
        }),
    ];
    let mut explanations = Vec::new();
    for (_, quantity) in QUANTITIES {
        for (when, summary) in summaries {
            // From one variant of the reference to another, and to the arm.
            let within = |from: Variant, to: Variant| -> Option<Estimate> {
                estimate(pair.each(|reference, _| {
                    summary(&steps(reference.spectra_of(from), reference.spectra_of(to), quantity)?)
                }))
            };
            let to_the_arm = |from: Variant| -> Option<Estimate> {
                estimate(pair.each(|reference, arm| {
                    summary(&steps(reference.spectra_of(from), arm.spectra_of(statistics), quantity)?)
                }))
            };
            let parts = || {
                Some(Explanation {
                    quantity,
                    arm: pair.arm.name.to_owned(),
                    statistics,
                    when,
                    whole: to_the_arm(Variant::Plain)?,
                    centring: within(Variant::Plain, Variant::Centred)?,
                    scaling: within(Variant::Centred, Variant::Standardised)?,
                    rest: to_the_arm(Variant::Standardised)?,
                    scaling_alone: within(Variant::Plain, Variant::UnitMeanSquare)?,
                })
            };
            explanations.extend(parts());
        }
    }
    explanations
}

/// Epoch by epoch, log10 of `quantity` before a step over `quantity` after it.
fn steps<'a>(
    before: impl Iterator<Item = &'a SpectraRow>,
    after: impl Iterator<Item = &'a SpectraRow>,
    quantity: Quantity,
) -> Option<Vec<(usize, f64)>> {
    before
        .zip(after)
        .map(|(before, after)| {
            Some((before.epoch, powers_of_ten(before.number(quantity)?, after.number(quantity)?)?))
        })
        .collect()
}
