//! All trainings, in an order in which each finds what it needs, and what they say.

use std::{ops::ControlFlow, path::Path};

use kappa_data::DataSet;
use kappa_probe::ProbeError;
use kappa_run::{
    Estimate, Measure, Moved, Ordering, RunError, Speeds, Tau, Training, WHY_VERSION, WhyConfig, WhyDir,
    WhyFindings,
};
use kappa_study::claims::estimate;
use kappa_trainer::{Machine, TrainError};

use crate::{
    answers::answers,
    rates::{best, largest_stable},
    tau::ordering,
    training::{Asked, Workshop, steps_to},
    variant::Variant,
};

/// It stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhyError {
    /// Its directory could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Images could not be prepared.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A derivative could not be computed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A device could not be read.
    #[error(transparent)]
    Device(#[from] kappa_fused::DeviceError),
    /// A training is not there.
    #[error("{0} is not trained yet")]
    Missing(String),
    /// The observer said so; what was trained is kept.
    #[error("stopped")]
    Stopped,
}

/// Is told how far it is.
pub trait WhyObserver {
    /// A stage begins, of so many arms and interventions.
    fn stage(&mut self, name: &'static str, variants: usize);
    /// A training was made.
    fn trained(&mut self, name: &str, training: &Training);
    /// Whether to go on: asked before every step.
    fn go_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What is left.
#[derive(Debug, Clone)]
pub struct WhyResult {
    /// Its directory.
    pub directory: WhyDir,
    /// What was found.
    pub findings: WhyFindings,
}

/// A variant with its trainings, a seed each.
struct Trained {
    variant: Variant,
    matched: Vec<Training>,
    best: Vec<Option<(f64, f64)>>,
    stable: Vec<Option<f64>>,
}

/// Trains what is not trained yet, and says what all of it says.
///
/// # Errors
///
/// [`WhyError`].
pub fn run_why(
    why: &WhyConfig,
    set: &DataSet,
    machine: &Machine,
    root: &Path,
    observer: &mut dyn WhyObserver,
) -> Result<WhyResult, WhyError> {
    let directory = WhyDir::create(root, why)?;
    let _lock = directory.lock()?;
    let version = machine.provenance.kappa_version.clone();
    let workshop = Workshop { why, directory: &directory, with: Some((set, machine)) };
    let findings = all(&workshop, &version, observer)?;
    directory.write_findings(&findings)?;
    Ok(WhyResult { directory, findings })
}

/// What the trainings in `directory` say, by the version that judged; nothing is trained.
///
/// # Errors
///
/// [`WhyError::Missing`] if a training is not there, and [`WhyError::Run`].
pub fn find_why(why: &WhyConfig, directory: &WhyDir, version: &str) -> Result<WhyFindings, WhyError> {
    all(&Workshop { why, directory, with: None }, version, &mut ())
}

impl WhyObserver for () {
    fn stage(&mut self, _name: &'static str, _variants: usize) {}

    fn trained(&mut self, _name: &str, _training: &Training) {}
}

fn all(
    workshop: &Workshop<'_>,
    version: &str,
    observer: &mut dyn WhyObserver,
) -> Result<WhyFindings, WhyError> {
    let why = workshop.why;
    let variants = Variant::all(why)?;
    let count = variants.len();
    let mut all: Vec<Trained> = Vec::with_capacity(count);
    observer.stage("at the matched rate", count);
    for variant in variants {
        let matched = matched(workshop, &variant, &all, observer)?;
        all.push(Trained { variant, matched, best: Vec::new(), stable: Vec::new() });
    }
    observer.stage("at the best rate", count);
    let bests = of_each(&all, |variant, matched, like| best(workshop, variant, matched, like, observer))?;
    observer.stage("at the largest stable rate", count);
    let stables = of_each(&all, |variant, matched, like| {
        largest_stable(workshop, variant, matched.seed, like, observer)
    })?;
    for ((of, best), stable) in all.iter_mut().zip(bests).zip(stables) {
        (of.best, of.stable) = (best, stable);
    }
    Ok(findings(why, &all, version))
}

/// What `find` says of each variant and seed, by its training at the matched rate and that of the arm that it is
/// like.
fn of_each<T>(
    all: &[Trained],
    mut find: impl FnMut(&Variant, &Training, Option<&Training>) -> Result<T, WhyError>,
) -> Result<Vec<Vec<T>>, WhyError> {
    let mut of_variant = |of: &Trained| {
        let seeds = of.matched.iter().enumerate();
        seeds.map(|(seed, matched)| find(&of.variant, matched, like(&of.variant, all, seed))).collect()
    };
    all.iter().map(&mut of_variant).collect()
}

/// The training of the arm that an intervention is like.
fn like<'a>(variant: &Variant, all: &'a [Trained], seed: usize) -> Option<&'a Training> {
    all.get(variant.like.as_ref()?.0)?.matched.get(seed)
}

fn matched(
    workshop: &Workshop<'_>,
    variant: &Variant,
    all: &[Trained],
    observer: &mut dyn WhyObserver,
) -> Result<Vec<Training>, WhyError> {
    let why = workshop.why;
    let until = why.losses.last().copied().unwrap_or(f64::NAN);
    let mut found = Vec::new();
    for index in 0..why.seeds.get() {
        let seed = variant.config.seed + index as u64;
        let (rate, steps) = (why.rates.matched, why.steps.get());
        // What is changed has no part in whether a measure orders the arms.
        let measured = variant.change.is_none();
        let asked = Asked { seed, rate, steps, until, measured };
        let name = variant.training_name(seed, rate);
        found.push(workshop.training(&name, variant, asked, like(variant, all, index), observer)?);
    }
    Ok(found)
}

fn findings(why: &WhyConfig, all: &[Trained], version: &str) -> WhyFindings {
    let (arms, interventions) = all.split_at(why.arms.len().min(all.len()));
    let last = why.losses.last().copied().unwrap_or(f64::NAN);
    let speeds = |of: &Trained| Speeds {
        variant: of.variant.name.clone(),
        matched: of
            .matched
            .iter()
            .map(|training| why.losses.iter().map(|&loss| steps_to(&training.losses, loss)).collect())
            .collect(),
        best: of.best.iter().map(|best| best.map(|(steps, _)| steps)).collect(),
        best_rate: of.best.iter().map(|best| best.map(|(_, rate)| rate)).collect(),
        stable_rate: of.stable.clone(),
    };
    let moved = |of: &Trained| {
        let arm = arms.get(of.variant.arm)?;
        let at_matched = |of: &Trained| -> Vec<Option<f64>> {
            of.matched.iter().map(|training| steps_to(&training.losses, last)).collect()
        };
        let at_best = |of: &Trained| -> Vec<Option<f64>> {
            of.best.iter().map(|best| best.map(|(steps, _)| steps)).collect()
        };
        Some(Moved {
            speeds: speeds(of),
            arm: arm.variant.name.clone(),
            change: of.variant.change?,
            matched: octaves(&at_matched(of), &at_matched(arm)),
            best: octaves(&at_best(of), &at_best(arm)),
        })
    };
    let orders = Measure::ALL.into_iter().filter_map(|measure| orders(why, arms, measure, last));
    let orders: Vec<Ordering> = orders.collect();
    let interventions: Vec<Moved> = interventions.iter().filter_map(moved).collect();
    WhyFindings {
        schema_version: WHY_VERSION,
        kappa_version: version.to_owned(),
        arms: arms.iter().map(speeds).collect(),
        answers: answers(&orders, &interventions),
        interventions,
        orders,
    }
}

/// log2 of steps over others, seed by seed, if all have got there.
fn octaves(of: &[Option<f64>], others: &[Option<f64>]) -> Option<Estimate> {
    let pairs = of.iter().zip(others).map(|(of, other)| Some(((*of)? / (*other)?).log2()));
    estimate(pairs.collect::<Option<Vec<f64>>>()?)
}

/// Whether `measure` orders the arms as their steps to the last loss do.
fn orders(why: &WhyConfig, arms: &[Trained], measure: Measure, last: f64) -> Option<Ordering> {
    let values = |of: &Trained, seed: usize| -> Vec<(usize, f64, f64)> {
        let measures = of.matched.get(seed).map(|training| training.measures.as_slice()).unwrap_or_default();
        let logs = measures.iter().filter_map(|at| {
            let value = at.values.get(&measure).copied().filter(|value| *value > 0.0)?;
            Some((at.step, at.loss.ln(), value.ln()))
        });
        logs.collect()
    };
    let seeds = why.seeds.get();
    // What all arms have with all seeds.
    let common =
        |at: &dyn Fn(&Trained, usize) -> bool| arms.iter().all(|arm| (0..seeds).all(|seed| at(arm, seed)));
    let at_step = |of: &Trained, seed: usize, step: usize| {
        values(of, seed).iter().find(|at| at.0 == step).map(|at| at.2)
    };
    let at_loss = |of: &Trained, seed: usize, loss: f64| between(&values(of, seed), loss.ln());
    let steps: Vec<usize> = why.measured.clone();
    let steps: Vec<usize> =
        steps.into_iter().filter(|&step| common(&|arm, seed| at_step(arm, seed, step).is_some())).collect();
    let losses: Vec<f64> = why
        .losses
        .iter()
        .copied()
        .filter(|&loss| common(&|arm, seed| at_loss(arm, seed, loss).is_some()))
        .collect();
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let by_steps = |arm: &Trained, seed: usize| {
        mean(steps.iter().filter_map(|&step| at_step(arm, seed, step)).collect())
    };
    let by_losses = |arm: &Trained, seed: usize| {
        mean(losses.iter().filter_map(|&loss| at_loss(arm, seed, loss)).collect())
    };
    let matched = |arm: &Trained, seed: usize| steps_to(&arm.matched.get(seed)?.losses, last);
    let at_best = |arm: &Trained, seed: usize| arm.best.get(seed)?.map(|(steps, _)| steps);
    let told =
        |x: &dyn Fn(&Trained, usize) -> f64, y: &dyn Fn(&Trained, usize) -> Option<f64>| -> Option<Tau> {
            // An arm that does not get there is slower than all that do; one that begins there has a logarithm too.
            let slow = why.steps.get() as f64 * 2.0;
            let of = |arm: &Trained| -> Vec<(f64, f64)> {
                (0..seeds).map(|seed| (x(arm, seed), y(arm, seed).unwrap_or(slow).max(0.1).ln())).collect()
            };
            ordering(&arms.iter().map(of).collect::<Vec<_>>(), Measure::ALL.len())
        };
    if steps.is_empty() || losses.is_empty() {
        return None;
    }
    let values = arms.iter().map(|arm| (0..seeds).map(|seed| by_losses(arm, seed).exp()).collect()).collect();
    Some(Ordering {
        measure,
        values,
        by_steps: told(&by_steps, &matched)?,
        by_losses: told(&by_losses, &matched)?,
        at_best: told(&by_losses, &at_best)?,
    })
}

/// What is measured where the loss is first so low, between two that were measured: the logarithm of a value by
/// that of the loss.
fn between(values: &[(usize, f64, f64)], loss: f64) -> Option<f64> {
    let after = values.iter().position(|at| at.1 <= loss)?;
    let (_, low, value) = *values.get(after)?;
    let Some((_, high, before)) = after.checked_sub(1).and_then(|before| values.get(before)) else {
        return Some(value);
    };
    let part = if high > &low { (high - loss) / (high - low) } else { 1.0 };
    Some(before + part * (value - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_at_a_loss_lies_between_those_around_it() {
        let values = [(0, 2.0, 10.0), (5, 1.0, 20.0), (9, -1.0, 40.0)];
        assert_eq!(between(&values, 3.0), Some(10.0));
        assert_eq!(between(&values, 1.5), Some(15.0));
        assert_eq!(between(&values, 0.0), Some(30.0));
        assert_eq!(between(&values, -2.0), None);
    }

    #[test]
    fn an_intervention_that_does_not_get_there_has_no_factor() {
        let estimate = octaves(&[Some(8.0), Some(2.0)], &[Some(4.0), Some(4.0)]).unwrap();
        assert_eq!(estimate.effects, [1.0, -1.0]);
        assert!(octaves(&[None, Some(2.0)], &[Some(4.0), Some(4.0)]).is_none());
    }
}
