//! Claims (1) to (3): accuracy, and what it costs.

use kappa_run::{EpochMetrics, Verdict};

use super::{Pair, RunRecord, each};
use crate::claims::verdict;

/// (1) FC+BN is more accurate, on each split, at the end.
pub(super) fn accuracy(pairs: &[Pair]) -> Vec<Verdict> {
    type Split = fn(&EpochMetrics) -> f64;
    let splits: [(&str, Split); 3] = [
        ("train", |row| row.train_accuracy),
        ("validation", |row| row.validation_accuracy),
        ("test", |row| row.test_accuracy),
    ];
    splits
        .into_iter()
        .filter_map(|(name, split)| {
            let effects = each(pairs, |pair| Some(100.0 * (split(pair.bn.last()?) - split(pair.fc.last()?))));
            verdict(1, format!("FC+BN is more accurate on the {name} split"), "percentage points", effects)
        })
        .collect()
}

/// (2) FC+BN needs fewer epochs, and fewer seconds of training, to an accuracy.
/// Where only one network gets there, it wins by what the other had left to run
/// at the least; where neither does, there is nothing to compare.
pub(super) fn speed(pairs: &[Pair], accuracy: f64) -> Vec<Verdict> {
    type Cost = fn(&EpochMetrics) -> f64;
    let costs: [(&str, &str, Cost); 2] = [
        ("epochs", "epochs", |row| row.epoch as f64),
        ("seconds of training", "seconds", |row| row.training_seconds),
    ];
    costs
        .into_iter()
        .filter_map(|(name, unit, cost)| {
            let effects = each(pairs, |pair| {
                let reached = [&pair.fc, &pair.bn].map(|run| reaches(run, accuracy).map(cost));
                match reached {
                    [None, None] => None,
                    [fc, bn] => Some(fc.or(pair.fc.last().map(cost))? - bn.or(pair.bn.last().map(cost))?),
                }
            });
            let percent = (1e4 * accuracy).round() / 1e2;
            let what = format!("FC+BN needs fewer {name} to {percent} % on validation");
            verdict(2, what, unit, effects)
        })
        .collect()
}

/// The first epoch with a validation accuracy of at least `accuracy`.
fn reaches(run: &RunRecord, accuracy: f64) -> Option<&EpochMetrics> {
    run.metrics.iter().find(|row| row.validation_accuracy >= accuracy)
}

/// (3) An epoch of FC+BN takes longer.
pub(super) fn epoch_time(pairs: &[Pair]) -> Option<Verdict> {
    let effects =
        each(pairs, |pair| Some(100.0 * (seconds_an_epoch(&pair.bn)? / seconds_an_epoch(&pair.fc)? - 1.0)));
    verdict(3, "an epoch of FC+BN takes longer", "% of FC's", effects)
}

/// Seconds of training an epoch.
fn seconds_an_epoch(run: &RunRecord) -> Option<f64> {
    let last = run.last().filter(|last| last.epoch > 0)?;
    Some(last.training_seconds / last.epoch as f64)
}
