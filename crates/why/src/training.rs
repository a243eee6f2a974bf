//! One descent, measured and kept.

use std::{collections::BTreeMap, ops::Range, time::Instant};

use kappa_data::DataSet;
use kappa_model::{Layer, Network, Role};
use kappa_run::{BatchSize, Change, End, Measured, Training, WHY_VERSION, WhyConfig, WhyDir};
use kappa_trainer::{DeviceSplit, Machine};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    WhyError, WhyObserver,
    descent::{Batches, Descent},
    measures::{last_layer, measures, shares},
    optimizer::Stepper,
    preconditioner::{LEADING, Preconditioner},
    variant::Variant,
};

/// The ChaCha stream of the noise; docs/decisions/randomness.md lists all streams.
const NOISE_STREAM: u64 = 900;
/// A loss so many times the first is not coming back.
const HOPELESS: f64 = 100.0;

/// What trainings are made with.
pub struct Workshop<'a> {
    pub why: &'a WhyConfig,
    pub directory: &'a WhyDir,
    /// What is trained on, and what trains; without them there is only what is there already.
    pub with: Option<(&'a DataSet, &'a Machine)>,
}

/// How a descent goes.
#[derive(Clone, Copy)]
pub struct Asked {
    pub seed: u64,
    pub rate: f64,
    /// Steps, at the most.
    pub steps: usize,
    /// The loss at which it ends.
    pub until: f64,
    /// Whether it is measured on the way.
    pub measured: bool,
}

impl Workshop<'_> {
    /// The training of `variant` as it is asked for, `name` being the file's: what is there already, or made
    /// now. `like` has the ratios of another arm's leading eigenvalues.
    pub fn training(
        &self,
        name: &str,
        variant: &Variant,
        asked: Asked,
        like: Option<&Training>,
        observer: &mut dyn WhyObserver,
    ) -> Result<Training, WhyError> {
        if let Some(there) = self.directory.training(name)? {
            return Ok(there);
        }
        let Some(with) = self.with else { return Err(WhyError::Missing(name.to_owned())) };
        let training = self.descend(with, variant, asked, like, observer)?;
        self.directory.write_training(name, &training)?;
        observer.trained(name, &training);
        Ok(training)
    }

    fn descend(
        &self,
        (set, machine): (&DataSet, &Machine),
        variant: &Variant,
        asked: Asked,
        like: Option<&Training>,
        observer: &mut dyn WhyObserver,
    ) -> Result<Training, WhyError> {
        let (start, device) = (Instant::now(), &machine.device);
        let split = variant.images(set, device)?;
        let network = variant.network(set, &split, asked.seed, device)?;
        let stepper = Stepper::new(&variant.config.training.optimizer, asked.rate);
        let mut descent = Descent::new(network, &split, stepper);
        let mut batches = match variant.config.training.batch_size {
            BatchSize::Full => None,
            BatchSize::Samples(size) => Some(Batches::new(&split, size.get(), asked.seed)),
        };
        let mut changed = Changed::new(variant, &descent, like, asked.seed, self.why.renewed.get());
        // Whether another arm is to be made like it.
        let is_model = self.why.interventions.iter().any(|intervention| {
            intervention.change == Change::Stiffened && intervention.like.as_ref() == Some(&variant.name)
        });
        let (mut losses, mut taken, mut ratios) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut fall = Fall::default();
        let end = loop {
            if observer.go_on().is_break() {
                return Err(WhyError::Stopped);
            }
            let step = losses.len();
            let here = descent.at(&descent.network)?;
            let loss = here.loss()?;
            // No file has a number for it.
            if !loss.is_finite() {
                break End::Diverged;
            }
            losses.push(loss);
            let first = losses.first().copied().unwrap_or(loss);
            if loss > HOPELESS * first {
                break End::Diverged;
            }
            // At the end too, so that all losses lie between two that were measured.
            if asked.measured && (self.why.measured.contains(&step) || loss <= asked.until) {
                let gradient = here.gradient()?;
                let values = measures(&descent, &here, &gradient)?;
                taken.push(Measured { step, loss, values, shares: shares(&descent, &gradient) });
            }
            if asked.measured && is_model && step.is_multiple_of(self.why.renewed.get()) {
                ratios.insert(step, ratios_of(&descent.network, &split)?);
            }
            if loss <= asked.until {
                break End::Reached;
            }
            if step >= asked.steps {
                break End::Steps;
            }
            let own = match &mut batches {
                None => here.gradient()?,
                Some(batches) => descent.on(&batches.of_step(step), &descent.network)?.gradient()?,
            };
            let mut gradient = own.clone();
            changed.change(&descent, &mut gradient, step)?;
            let direction = descent.step(&gradient);
            fall.add(&descent, &own, &direction, loss);
        };
        let part =
            steps_to(&losses, asked.until).map(|steps| 1.0 + steps - losses.len().saturating_sub(1) as f64);
        Ok(Training {
            schema_version: WHY_VERSION,
            kappa_version: machine.provenance.kappa_version.clone(),
            variant: variant.name.clone(),
            seed: asked.seed,
            rate: asked.rate,
            losses,
            end,
            first_order: part.map(|part| fall.until(part)).unwrap_or_default(),
            measures: taken,
            ratios,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

/// The fall of ln L to first order, of each tensor: that of all steps but the last, and of the last.
#[derive(Default)]
struct Fall {
    before: BTreeMap<String, f64>,
    last: BTreeMap<String, f64>,
}

impl Fall {
    /// Adds rate d . g / L of a step that was just taken.
    fn add(&mut self, descent: &Descent<'_>, gradient: &[f64], direction: &[f64], loss: f64) {
        self.before = std::mem::take(self).until(1.0);
        let of = |(tensor, range): (&kappa_model::Parameter, Range<usize>)| {
            let pairs = gradient
                .get(range.clone())
                .into_iter()
                .flatten()
                .zip(direction.get(range).into_iter().flatten());
            let slope: f64 = pairs.map(|(g, d)| g * d).sum();
            (tensor.name.clone(), descent.stepper.rate() * slope / loss)
        };
        self.last = descent.tensors().map(of).collect();
    }

    /// The sum, with `part` of the last step.
    fn until(mut self, part: f64) -> BTreeMap<String, f64> {
        for (tensor, fall) in self.last {
            *self.before.entry(tensor).or_default() += part * fall;
        }
        self.before
    }
}

/// lambda_i / lambda_1 of the ten leading.
fn ratios_of(network: &Network, split: &DeviceSplit) -> Result<Vec<f64>, WhyError> {
    let pairs = last_layer(network, split)?;
    let values = pairs.spectrum.eigenvalues();
    let first = values.first().copied().unwrap_or(f64::NAN);
    Ok(values.iter().take(LEADING).map(|value| value / first).filter(|ratio| ratio.is_finite()).collect())
}

/// What an intervention does at each step.
struct Changed<'a> {
    change: Option<Change>,
    output: Option<Range<usize>>,
    like: Option<&'a Training>,
    renewed: usize,
    preconditioner: Option<Preconditioner>,
    generator: ChaCha8Rng,
}

impl<'a> Changed<'a> {
    fn new(
        variant: &Variant,
        descent: &Descent<'_>,
        like: Option<&'a Training>,
        seed: u64,
        renewed: usize,
    ) -> Self {
        let output = descent.range(Layer::Output, Role::Weight).filter(|_| variant.trains_output_weights());
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(NOISE_STREAM);
        Self { change: variant.change, output, like, renewed, preconditioner: None, generator }
    }

    /// Changes the gradient of a step.
    fn change(&mut self, descent: &Descent<'_>, gradient: &mut [f64], step: usize) -> Result<(), WhyError> {
        let Some(change) = self.change else { return Ok(()) };
        if change == Change::Noise {
            let draws = self.draws(&descent.network.shape().hidden);
            gradient.copy_from_slice(&noisy(descent, &draws)?);
            return Ok(());
        }
        let Some(own) = self.output.clone().and_then(|range| gradient.get_mut(range)) else { return Ok(()) };
        if change == Change::Held {
            own.fill(0.0);
            return Ok(());
        }
        let begins = matches!(change, Change::FoldedIntoNext | Change::FoldedIntoOwn);
        if !begins && step.is_multiple_of(self.renewed) {
            let pairs = last_layer(&descent.network, descent.split())?;
            // Of the other arm's last look, where it has ended before.
            let ratios = self.like.and_then(|like| like.ratios.range(..=step).next_back());
            let ratios = ratios.map(|(_, ratios)| ratios.clone()).unwrap_or_default();
            let values = pairs.spectrum.eigenvalues();
            let vectors = pairs.leading(values.len());
            self.preconditioner = Preconditioner::new(change, values, vectors, &ratios);
        }
        if let Some(preconditioner) = &self.preconditioner {
            preconditioner.apply(own);
        }
        Ok(())
    }

    /// A mean from -1/2 to 1/2 and a deviation from 1 to 5/4 for each unit, of this step (n_mu and n_sigma of
    /// the paper's algorithm).
    fn draws(&mut self, hidden: &[usize]) -> Vec<Vec<[f64; 2]>> {
        let mut draw = || [self.generator.random_range(-0.5..0.5), self.generator.random_range(1.0..1.25)];
        hidden.iter().map(|&units| (0..units).map(|_| draw()).collect()).collect()
    }
}

/// The gradient where each normalised unit's y is sigma y + mu, `draws` being mu and sigma of each: gamma and beta
/// are sigma gamma and sigma beta + mu for a moment, and gamma- = sigma gamma'-, beta- = sigma beta'-.
pub fn noisy(descent: &Descent<'_>, draws: &[Vec<[f64; 2]>]) -> Result<Vec<f64>, WhyError> {
    let values = descent.network.parameters::<f64>()?;
    let (mut noise, mut factors) = (Vec::new(), Vec::new());
    for (parameter, values) in values.iter().filter(|(parameter, _)| parameter.is_trained()) {
        let of_layer = match parameter.layer {
            Layer::Hidden(index) => draws.get(index),
            Layer::Output => None,
        };
        for (unit, value) in values.iter().enumerate() {
            let draw = of_layer.and_then(|draws| draws.get(unit)).copied().unwrap_or([0.0, 1.0]);
            let [mean, deviation] = draw;
            let (moved, factor) = match parameter.role {
                Role::Gain => ((deviation - 1.0) * value, deviation),
                Role::Shift => ((deviation - 1.0) * value + mean, deviation),
                _ => (0.0, 1.0),
            };
            noise.push(moved);
            factors.push(factor);
        }
    }
    let there = descent.at(&descent.moved(&descent.network, &noise, 1.0))?;
    Ok(there.gradient()?.into_iter().zip(factors).map(|(g, factor)| g * factor).collect())
}

/// What is told of a training by the loss at each step: after how many steps, whole and part, it is first at
/// `loss`, log-linearly between two.
pub fn steps_to(losses: &[f64], loss: f64) -> Option<f64> {
    let after = losses.iter().position(|&there| there <= loss)?;
    let Some(before) = after.checked_sub(1) else { return Some(0.0) };
    let [before_loss, after_loss] = [before, after].map(|step| losses.get(step).copied().unwrap_or(f64::NAN));
    let part = (before_loss / loss).ln() / (before_loss / after_loss).ln();
    Some(before as f64 + part)
}

/// Whether a descent is stable: finite, and below half of its start after `steps`. A network whose units have
/// all died sits just below its initial loss, and would pass for stable otherwise.
pub fn is_stable(training: &Training, steps: usize) -> bool {
    match (training.losses.first(), training.losses.get(steps)) {
        (Some(first), Some(last)) => *last < first / 2.0,
        // It came to the last loss before.
        (Some(_), None) => training.end == End::Reached,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_between_two_losses_by_their_logarithms() {
        let losses = [8.0, 4.0, 2.0, 2.5, 0.5];
        assert_eq!(steps_to(&losses, 9.0), Some(0.0));
        assert_eq!(steps_to(&losses, 4.0), Some(1.0));
        assert!((steps_to(&losses, 8f64.sqrt()).unwrap() - 1.5).abs() < 1e-12);
        assert!((steps_to(&losses, 1.0).unwrap() - (3.0 + 2.5f64.ln() / 5f64.ln())).abs() < 1e-12);
        assert_eq!(steps_to(&losses, 0.4), None);
        assert_eq!(steps_to(&[f64::NAN], 1.0), None);
    }

    #[test]
    fn a_network_that_stays_just_below_its_start_is_not_stable() {
        let training = |losses: &[f64], end| Training {
            schema_version: 1,
            kappa_version: String::new(),
            variant: String::new(),
            seed: 0,
            rate: 1.0,
            losses: losses.to_vec(),
            end,
            first_order: BTreeMap::new(),
            measures: Vec::new(),
            ratios: BTreeMap::new(),
            seconds: 0.0,
        };
        assert!(!is_stable(&training(&[2.4, 2.3, 2.3], End::Steps), 2));
        assert!(is_stable(&training(&[2.4, 3.0, 1.1], End::Steps), 2));
        assert!(is_stable(&training(&[2.4, 0.1], End::Reached), 2));
        assert!(!is_stable(&training(&[2.4, f64::INFINITY], End::Diverged), 2));
    }
}
