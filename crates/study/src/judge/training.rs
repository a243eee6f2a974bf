//! Claims (1) to (3): accuracy, and what it costs.

use kappa_run::{EpochMetrics, Verdict};

use super::{Pair, RunRecord};
use crate::claims::verdict;

/// (1) An arm is more accurate, on each split, at the end.
pub(super) fn accuracy(pair: Pair<'_>) -> Vec<Verdict> {
    type Split = fn(&EpochMetrics) -> f64;
    let splits: [(&str, Split); 3] = [
        ("train", |row| row.train_accuracy),
        ("validation", |row| row.validation_accuracy),
        ("test", |row| row.test_accuracy),
    ];
    splits
        .into_iter()
        .filter_map(|(name, split)| {
            let effects =
                pair.each(|reference, arm| Some(100.0 * (split(arm.last()?) - split(reference.last()?))));
            let what = format!("{} is more accurate on the {name} split", pair.arm.name);
            verdict(1, pair.arm.name, what, "percentage points", effects)
        })
        .collect()
}

/// (2) An arm needs fewer epochs, and fewer seconds of training, to an accuracy.
/// Where only one of both gets there, it wins by what the other had left to run
/// at the least; where neither does, there is nothing to compare.
pub(super) fn speed(pair: Pair<'_>, accuracy: f64) -> Vec<Verdict> {
    type Cost = fn(&EpochMetrics) -> f64;
    let costs: [(&str, &str, Cost); 2] = [
        ("epochs", "epochs", |row| row.epoch as f64),
        ("seconds of training", "seconds", |row| row.training_seconds),
    ];
    costs
        .into_iter()
        .filter_map(|(name, unit, cost)| {
            let effects = pair.each(|reference, arm| {
                match [reference, arm].map(|run| reaches(run, accuracy).map(cost)) {
                    [None, None] => None,
                    [at, arms] => Some(at.or(reference.last().map(cost))? - arms.or(arm.last().map(cost))?),
                }
            });
            let percent = (1e4 * accuracy).round() / 1e2;
            let what = format!("{} needs fewer {name} to {percent} % on validation", pair.arm.name);
            verdict(2, pair.arm.name, what, unit, effects)
        })
        .collect()
}

/// The first epoch with a validation accuracy of at least `accuracy`.
fn reaches(run: &RunRecord, accuracy: f64) -> Option<&EpochMetrics> {
    run.metrics.iter().find(|row| row.validation_accuracy >= accuracy)
}

/// (3) An epoch of an arm takes longer.
pub(super) fn epoch_time(pair: Pair<'_>) -> Option<Verdict> {
    let effects = pair
        .each(|reference, arm| Some(100.0 * (seconds_an_epoch(arm)? / seconds_an_epoch(reference)? - 1.0)));
    let what = format!("an epoch of {} takes longer", pair.arm.name);
    verdict(3, pair.arm.name, what, &format!("% of {}'s", pair.reference.name), effects)
}

/// Seconds of training an epoch.
fn seconds_an_epoch(run: &RunRecord) -> Option<f64> {
    let last = run.last().filter(|last| last.epoch > 0)?;
    Some(last.training_seconds / last.epoch as f64)
}
