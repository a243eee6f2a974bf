//! All trainings, in an order in which each finds what it needs, and what they say.

use std::{ops::ControlFlow, path::Path};

use kappa_data::DataSet;
use kappa_probe::ProbeError;
use kappa_run::{RunError, Training, WhyConfig, WhyDir, WhyFindings};
use kappa_trainer::{Machine, TrainError};

use crate::{
    findings::findings,
    rates::{Best, best, largest_stable},
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
    /// A derivative could not be read.
    #[error(transparent)]
    Hessian(#[from] kappa_hessian::HessianError),
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
pub struct Trained {
    pub variant: Variant,
    pub matched: Vec<Training>,
    pub best: Vec<Option<Best>>,
    pub stable: Vec<Option<f64>>,
}

impl Trained {
    /// Steps to `loss` at the matched rate, by seed.
    pub fn steps_at_matched(&self, loss: f64) -> Vec<Option<f64>> {
        self.matched.iter().map(|training| steps_to(&training.losses, loss)).collect()
    }

    /// Steps to the last loss at the best rate, by seed.
    pub fn steps_at_best(&self) -> Vec<Option<f64>> {
        self.best.iter().map(|best| best.as_ref().map(|best| best.steps)).collect()
    }
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
