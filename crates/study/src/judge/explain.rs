//! What batch norm's effects on lambda_1 and kappa' are made of.

use kappa_run::{Estimate, Explanation};

use super::{NUMBERS, Number, Pair, each, mean, powers_of_ten};
use crate::claims::estimate;

/// For lambda_1 and kappa', before training, at the end and over the epochs.
pub(super) fn explanations(pairs: &[Pair], statistics: &str) -> Vec<Explanation> {
    type Summary = fn(&[(usize, f64)]) -> Option<f64>;
    let summaries: [(&str, Summary); 3] = [
        ("before training", |steps| steps.iter().find(|(epoch, _)| *epoch == 0).map(|(_, step)| *step)),
        ("at the end", |steps| steps.last().filter(|(epoch, _)| *epoch > 0).map(|(_, step)| *step)),
        ("over the epochs", |steps| {
            let trained: Vec<f64> =
                steps.iter().filter(|(epoch, _)| *epoch > 0).map(|(_, step)| *step).collect();
            if trained.len() > 1 { mean(&trained) } else { None }
        }),
    ];
    let mut explanations = Vec::new();
    for (_, quantity, number) in NUMBERS {
        for (when, summary) in summaries {
            let step = |from: &str, to: &str| -> Option<Estimate> {
                estimate(each(pairs, |pair| summary(&steps(pair, from, to, number)?)))
            };
            let parts = || {
                Some(Explanation {
                    quantity: quantity.to_owned(),
                    statistics: statistics.to_owned(),
                    when: when.to_owned(),
                    whole: step("plain", statistics)?,
                    centring: step("plain", "centred")?,
                    scaling: step("centred", "standardised")?,
                    rest: step("standardised", statistics)?,
                    scaling_alone: step("plain", "unit_mean_square")?,
                })
            };
            explanations.extend(parts());
        }
    }
    explanations
}

/// Epoch by epoch, log10 of `number` before a step over `number` after it. FC's
/// variants and FC+BN's statistics have different names, so that a name says whose it is.
fn steps(pair: &Pair, from: &str, to: &str, number: Number) -> Option<Vec<(usize, f64)>> {
    let rows = |variant: &str| -> Vec<_> {
        pair.fc.spectra_of(variant).chain(pair.bn.spectra_of(variant)).cloned().collect()
    };
    let (before, after) = (rows(from), rows(to));
    before
        .iter()
        .zip(&after)
        .map(|(before, after)| Some((before.epoch, powers_of_ten(number(before)?, number(after)?)?)))
        .collect()
}
