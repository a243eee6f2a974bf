//! Leaving training samples out for real, and what was predicted of that.

use std::ops::Range;

use kappa_hessian::HessianError;
use kappa_posterior::{Point, Problem, Reach, losses};
use kappa_run::{CheckRecord, LeftOutRecord};

use super::training::Training;
use crate::{Observer, OtherSet, ProbeError, laplace::mean};

/// A training sample that is left out for real, and what was predicted of that.
pub(super) struct Picked {
    pub index: usize,
    pub of: Range<usize>,
    pub effects: Vec<f64>,
    pub first_order: Vec<f64>,
    pub lengths: Vec<f64>,
    pub spreads: Vec<f64>,
}

/// What leaving out does, for real.
pub(super) struct Truth<'a> {
    pub problem: &'a Problem,
    pub point: &'a Point,
    pub delta: f64,
    pub test: &'a OtherSet,
    pub training: &'a Training,
}

impl Truth<'_> {
    pub fn compare(
        &self,
        chosen: &[usize],
        picked: &[Picked],
        observer: &dyn Observer,
    ) -> Result<(LeftOutRecord, CheckRecord), ProbeError> {
        observer.stage("left out", Some(chosen.len()));
        let m = self.point.samples.features();
        let labels = self.test.labels.as_deref().unwrap_or_default();
        let before = losses(&self.test.features, labels, &self.point.weights);
        let reach = Reach { spread: self.training.spread };
        let (mut predictions, mut first_orders, mut truths) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bounds, mut shares, mut steps) = (Vec::new(), Vec::new(), 0);
        for &index in chosen {
            let without = self.problem.left_out(self.point, self.delta, index, &())?;
            if observer.advance(1).is_break() {
                return Err(HessianError::Stopped.into());
            }
            steps += without.steps;
            // What rounding and the last steps leave of the two optima, in deviations, moves no loss by more than as
            // many of its logits' spreads.
            let slack = SLACK * (1.0 + reach.spread);
            for picked in picked.iter().filter(|picked| picked.index == index) {
                let range = picked.of.start * m..picked.of.end * m;
                let own_labels = labels.get(picked.of.clone()).unwrap_or_default();
                let features = self.test.features.get(range).unwrap_or_default();
                let after = losses(features, own_labels, &without.weights);
                let before = before.get(picked.of.clone()).unwrap_or_default();
                let own = |values: &[f64]| values.get(index).copied().unwrap_or(f64::NAN);
                let (self_influence, leverage) =
                    (own(&self.training.self_influences), own(&self.training.leverages));
                let each = after.iter().zip(before).zip(&picked.effects).zip(&picked.first_order);
                let each = each.zip(picked.lengths.iter().zip(&picked.spreads));
                for ((((after, before), &prediction), &first_order), (&length, &spread)) in each {
                    let truth = after - before;
                    if let Some(bound) = reach.bound(self_influence, leverage, length, spread) {
                        shares.push((truth - prediction).abs() / (bound + slack));
                        bounds.push(bound);
                    }
                    predictions.push(prediction);
                    first_orders.push(first_order);
                    truths.push(truth);
                }
            }
        }
        let error = |found: &[f64]| found.iter().zip(&truths).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let worst_share = (!shares.is_empty()).then(|| shares.iter().copied().fold(0.0, f64::max));
        let check = CheckRecord {
            name: "left out".to_owned(),
            quantity: format!(
                "max |prediction - truth| / its bound, of the {} pairs that have one, of {}",
                shares.len(),
                truths.len()
            ),
            value: worst_share,
            bound: 1.0,
            passed: worst_share.is_none_or(|share| share <= 1.0),
        };
        bounds.sort_by(f64::total_cmp);
        let record = LeftOutRecord {
            samples: chosen.to_vec(),
            pairs: truths.len(),
            correlation: correlation(&predictions, &truths),
            largest_error: error(&predictions),
            largest_effect: truths.iter().map(|truth| truth.abs()).fold(0.0, f64::max),
            first_order_error: error(&first_orders),
            first_order_correlation: correlation(&first_orders, &truths),
            bounded: bounds.len(),
            worst_share,
            median_bound: bounds.get(bounds.len() / 2).copied(),
            steps,
        };
        Ok((record, check))
    }
}

/// Deviations that an optimum is known to, with some to spare: Newton's last step squares 1e-8.
const SLACK: f64 = 1e-9;

/// Pearson's, None of values that do not vary.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum =
        |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| of(a - mean_a, b - mean_b)).sum::<f64>();
    let (both, of_a, of_b) = (sum(&|a, b| a * b), sum(&|a, _| a * a), sum(&|_, b| b * b));
    let found = both / (of_a * of_b).sqrt();
    found.is_finite().then_some(found)
}
