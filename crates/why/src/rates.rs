//! Learning rates: the best one of a ladder, and the largest stable one.

use kappa_run::Training;

/// A variant's fastest training with a seed.
#[derive(Debug, Clone)]
pub struct Best {
    /// Steps to the last loss.
    pub steps: f64,
    pub training: Training,
}

use crate::{
    WhyError, WhyObserver,
    training::{Asked, Workshop, is_stable, steps_to},
    variant::Variant,
};

/// Octaves beyond the ladder's in which the largest stable rate is looked for.
const BEYOND: i32 = 6;

/// The fewest steps to the last loss that a rate of the ladder needs, and that rate: octaves around the matched
/// rate for as long as they are better, then half an octave on either side of the best.
pub fn best(
    workshop: &Workshop<'_>,
    variant: &Variant,
    matched: &Training,
    like: Option<&Training>,
    observer: &mut dyn WhyObserver,
) -> Result<Option<Best>, WhyError> {
    let why = workshop.why;
    let last = why.losses.last().copied().unwrap_or(f64::NAN);
    let rate = |halves: i32| why.rates.matched * 2f64.powf(f64::from(halves) / 2.0);
    let mut found =
        steps_to(&matched.losses, last).map(|steps| (0, Best { steps, training: matched.clone() }));
    let mut tried = vec![0];
    let mut try_out = |halves: i32, found: &mut Option<(i32, Best)>| -> Result<bool, WhyError> {
        if tried.contains(&halves) {
            return Ok(false);
        }
        tried.push(halves);
        // More steps than the best one needs tell nothing.
        let enough = found.as_ref().map(|(_, best)| best.steps.ceil() as usize);
        let steps = enough.unwrap_or(usize::MAX).min(why.steps.get());
        let asked = Asked { seed: matched.seed, rate: rate(halves), steps, until: last, measured: false };
        let name = variant.training_name(matched.seed, asked.rate);
        let training = workshop.training(&name, variant, asked, like, observer)?;
        let steps = steps_to(&training.losses, last);
        let least = found.as_ref().map_or(f64::INFINITY, |(_, best)| best.steps);
        let steps = steps.filter(|steps| *steps < least);
        if let Some(steps) = steps {
            *found = Some((halves, Best { steps, training }));
        }
        Ok(steps.is_some())
    };
    let octaves = why.rates.octaves as i32;
    for direction in [2, -2] {
        for octave in 1..=octaves {
            let better = try_out(direction * octave, &mut found)?;
            // Where no rate has got there yet, the next may.
            if !better && found.is_some() {
                break;
            }
        }
    }
    if let Some(halves) = found.as_ref().map(|(halves, _)| *halves) {
        try_out(halves + 1, &mut found)?;
        try_out(halves - 1, &mut found)?;
    }
    Ok(found.map(|(_, best)| best))
}

/// The largest rate at which the descent is stable, by bisection of the octave in which it stops to be.
pub fn largest_stable(
    workshop: &Workshop<'_>,
    variant: &Variant,
    seed: u64,
    like: Option<&Training>,
    observer: &mut dyn WhyObserver,
) -> Result<Option<f64>, WhyError> {
    let why = workshop.why;
    let steps = why.rates.stable_steps.get();
    let until = why.losses.last().copied().unwrap_or(f64::NAN);
    let rate = |octaves: f64| why.rates.matched * octaves.exp2();
    let mut stable = |octaves: f64| -> Result<bool, WhyError> {
        let asked = Asked { seed, rate: rate(octaves), steps, until, measured: false };
        let name = format!("{}_stable", variant.training_name(seed, asked.rate));
        Ok(is_stable(&workshop.training(&name, variant, asked, like, observer)?, steps))
    };
    let most = why.rates.octaves as i32 + BEYOND;
    let mut low = 0;
    while low > -most && !stable(low.into())? {
        low -= 1;
    }
    if low == -most {
        return Ok(None);
    }
    let mut high = low + 1;
    while high < most && stable(high.into())? {
        high += 1;
    }
    let (mut low, mut high) = (f64::from(high - 1), f64::from(high));
    for _ in 0..why.rates.halvings {
        let middle = (low + high) / 2.0;
        if stable(middle)? { low = middle } else { high = middle }
    }
    Ok(Some(rate(low)))
}
