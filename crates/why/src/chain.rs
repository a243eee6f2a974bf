//! What an arm's speed is made of: the first arm's steps over its own, as a product.
//!
//! Of a descent that comes to the loss L_1 in S steps, D = ln(L_0 / L_1) is the way, and
//! A = sum over the steps of rate d . g / L what it were to first order (`Training::first_order`). S is then
//!
//! ```text
//! S = D / (rate . slope . realised) ,   slope = A / (rate S) ,   realised = D / A ,
//! ```
//!
//! so that S of one arm over S of another is the product of four ratios, exactly.

use std::collections::BTreeMap;

use kappa_run::{Chain, Factors, Training};

use crate::{experiment::Trained, training::steps_to};

/// What the speed of `arm` over that of `first`, to the loss `last`, is made of.
pub fn chain(first: &Trained, arm: &Trained, last: f64) -> Chain {
    let best = |of: &Trained| -> Option<Vec<Training>> {
        of.best.iter().map(|best| best.as_ref().map(|best| best.training.clone())).collect()
    };
    Chain {
        variant: arm.variant.name.clone(),
        matched: factors(&first.matched, &arm.matched, last),
        best: best(first).zip(best(arm)).and_then(|(first, arm)| factors(&first, &arm, last)),
    }
}

/// The parts of one descent.
struct Parts {
    steps: f64,
    rate: f64,
    /// By tensor.
    slopes: BTreeMap<String, f64>,
    slope: f64,
    realised: f64,
    distance: f64,
}

fn parts(training: &Training, last: f64) -> Option<Parts> {
    let steps = steps_to(&training.losses, last).filter(|steps| *steps > 0.0)?;
    let distance = (training.losses.first()? / last).ln();
    let first_order: f64 = training.first_order.values().sum();
    let a_step = training.rate * steps;
    let slopes = training.first_order.iter().map(|(name, part)| (name.clone(), part / a_step)).collect();
    let (slope, realised) = (first_order / a_step, distance / first_order);
    (first_order > 0.0).then_some(Parts { steps, rate: training.rate, slopes, slope, realised, distance })
}

/// Geometric means over the seeds; nothing if a training of them does not get there.
fn factors(first: &[Training], arm: &[Training], last: f64) -> Option<Factors> {
    let all = |of: &[Training]| of.iter().map(|training| parts(training, last)).collect::<Option<Vec<_>>>();
    let (first, arm) = (all(first)?, all(arm)?);
    let seeds = first.len().min(arm.len()) as f64;
    let mean = |ratio: &dyn Fn(&Parts, &Parts) -> f64| {
        let logs = first.iter().zip(&arm).map(|(first, arm)| ratio(first, arm).ln());
        (logs.sum::<f64>() / seeds).exp()
    };
    let slope = mean(&|first, arm| arm.slope / first.slope);
    // Each tensor's part of the slope, by its mean share over the seeds.
    let mut slopes = BTreeMap::new();
    for of in &arm {
        for (name, part) in &of.slopes {
            *slopes.entry(name.clone()).or_insert(0.0) += slope * part / of.slope / seeds;
        }
    }
    (seeds > 0.0).then(|| Factors {
        times: mean(&|first, arm| first.steps / arm.steps),
        rate: mean(&|first, arm| arm.rate / first.rate),
        slope,
        slopes,
        realised: mean(&|first, arm| arm.realised / first.realised),
        distance: mean(&|first, arm| first.distance / arm.distance),
    })
}

#[cfg(test)]
mod tests {
    use kappa_run::End;

    use super::*;

    /// Of one number theta at 1, L = theta^2 / 2 curved by `curvature`, descended from there.
    fn training(curvature: f64, rate: f64, last: f64) -> Training {
        let (mut theta, mut losses, mut first_order) = (1.0_f64, Vec::new(), 0.0);
        loop {
            let loss = curvature * theta * theta / 2.0;
            losses.push(loss);
            if loss <= last {
                break;
            }
            let gradient = curvature * theta;
            let part = steps_to(&[loss, curvature * (theta - rate * gradient).powi(2) / 2.0], last);
            first_order += part.unwrap_or(1.0) * rate * gradient * gradient / loss;
            theta -= rate * gradient;
        }
        Training {
            schema_version: 2,
            kappa_version: String::new(),
            variant: String::new(),
            seed: 0,
            rate,
            losses,
            end: End::Reached,
            first_order: [("theta".to_owned(), first_order)].into(),
            measures: Vec::new(),
            ratios: BTreeMap::new(),
            seconds: 0.0,
        }
    }

    #[test]
    fn the_factors_are_those_of_a_parabola_and_their_product_is_the_ratio_of_steps() {
        // L falls by (1 - rate c)^2 a step, and |g|^2 / L = 2 c.
        let (first, arm) = (training(1.0, 0.1, 1e-3), training(2.0, 0.2, 1e-3));
        let found = factors(std::slice::from_ref(&first), std::slice::from_ref(&arm), 1e-3).unwrap();
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-12, "{found}");
        near(found.rate, 2.0);
        near(found.slope, 2.0);
        near(found.slopes["theta"], 2.0);
        // -ln (1 - x)^2 / (2 x) at x = rate c: 0.1 and 0.4.
        let realised = |x: f64| -(1.0 - x).ln() / x;
        near(found.realised, realised(0.4) / realised(0.1));
        near(found.distance, 500f64.ln() / 1000f64.ln());
        near(found.times, found.rate * found.slope * found.realised * found.distance);
        near(found.times, (500f64.ln() / 0.9f64.ln()) / (1000f64.ln() / 0.6f64.ln()));
    }

    #[test]
    fn of_a_training_that_does_not_get_there_nothing_is_said() {
        let first = training(1.0, 0.1, 1e-3);
        let short = Training { losses: vec![1.0, 0.5], first_order: BTreeMap::new(), ..first.clone() };
        assert!(factors(&[first], &[short], 1e-3).is_none());
    }
}
