//! A last layer with its labels and weights: the convex problem that posteriors and influences are about.

use kappa_data::OtherSamples;
use kappa_hessian::{Hessian, Weights, largest_pairs};
use kappa_posterior::{Point, Posterior, Problem, best_delta, decrement};
use kappa_run::{FileChecksum, OptimumRecord, SpectrumSettings};

use crate::{Layer, Observer, ProbeError, memory};

/// Deviations of the posterior from its optimum up to which it is trusted: no logit, and nothing else that is linear
/// in the weights, is then off by more than a tenth of what the posterior says that it may be off by.
pub(crate) const OPTIMUM_BOUND: f64 = 0.1;
/// Rounds of choosing the prior's precision and going to its optimum.
const ROUNDS: usize = 100;
/// The precision of a prior over the largest curvature, beyond which the data say next to nothing.
const NARROWEST: f64 = 1e3;
/// The change of the precision, relative, below which it has settled.
const SETTLED: f64 = 1e-7;

/// A last layer, its labels, and the weights that make its logits.
#[derive(Debug)]
pub struct Classifier {
    pub(crate) settings: SpectrumSettings,
    pub(crate) problem: Problem,
    /// At the weights that were given.
    pub(crate) given: Point,
}

/// Samples that the layer was not fitted to.
#[derive(Debug, Clone)]
pub struct OtherSet {
    /// What it is called.
    pub name: String,
    /// [T, m], row by row; with the constant feature where the bias is among the weights.
    pub features: Vec<f64>,
    /// Their classes, where they are known.
    pub labels: Option<Vec<usize>>,
    /// Where they come from.
    pub files: Vec<FileChecksum>,
}

/// Where a classifier is looked at, and how far that is from the optimum.
pub(crate) struct Settled {
    pub point: Point,
    pub delta: f64,
    pub record: OptimumRecord,
    pub known: Known,
}

/// What is known of the Hessian at a point.
pub(crate) enum Known {
    /// All of it.
    Matrix(Hessian),
    /// Its leading eigenpairs: the matrix is not formed.
    Leading(Posterior),
}

impl Classifier {
    /// Of a layer, and the weights that make its logits.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Missing`] without labels, [`ProbeError::Shared`], [`ProbeError::Hessian`].
    pub fn new(layer: Layer, weights: Weights) -> Result<Self, ProbeError> {
        if layer.samples.processes() > 1 {
            return Err(ProbeError::Shared);
        }
        let labels = layer.labels.ok_or(ProbeError::Missing("labels"))?;
        Self::of(layer.settings, Problem::new(layer.samples, labels)?, weights)
    }

    pub(crate) fn of(
        settings: SpectrumSettings,
        problem: Problem,
        weights: Weights,
    ) -> Result<Self, ProbeError> {
        let given = problem.at(weights)?;
        Ok(Self { settings, problem, given })
    }

    /// What it is, and how its features were made.
    pub fn settings(&self) -> &SpectrumSettings {
        &self.settings
    }

    /// Classes K and features m, the constant one included.
    pub fn sizes(&self) -> [usize; 2] {
        [self.settings.classes, self.settings.features]
    }

    /// The weights at `delta`, or at the one that makes the marginal likelihood largest; at its optimum if `newton`.
    pub(crate) fn settled(
        &self,
        delta: Option<f64>,
        newton: bool,
        top: Option<usize>,
        observer: &dyn Observer,
    ) -> Result<Settled, ProbeError> {
        let [k, m] = self.sizes();
        match top {
            None => memory::check_dense(m, k)?,
            Some(count) => memory::check_leading(k * m, count)?,
        }
        observer.stage("Newton steps", None);
        let best = |point: &Point| -> Result<(f64, Option<Posterior>), ProbeError> {
            if top.is_some() {
                let posterior = leading(point, top, observer)?;
                let best = told(posterior.best_delta(), posterior.curvatures())?;
                return Ok((best, Some(posterior)));
            }
            let n = point.samples.count() as f64;
            let spectrum = point.hessian()?.eigenvalues()?;
            let curvatures: Vec<f64> =
                spectrum.eigenvalues().iter().map(|value| n * value.max(0.0)).collect();
            Ok((told(best_delta(&curvatures, None, point.square()), &curvatures)?, None))
        };
        let (mut point, mut known) = (self.given.clone(), None);
        let mut found = match delta {
            Some(delta) => delta,
            None => {
                let (best, posterior) = best(&point)?;
                known = posterior;
                best
            }
        };
        if newton {
            let mut chase = Chase::default();
            loop {
                point = match (top, known.take()) {
                    (None, _) => self.problem.optimum(point, found, observer)?,
                    (Some(_), known) => {
                        let known = known.map_or_else(|| leading(&point, top, observer), Ok)?;
                        self.problem.optimum_matrix_free(point, found, &known, observer)?
                    }
                };
                if delta.is_some() {
                    break;
                }
                let (best, posterior) = best(&point)?;
                known = posterior;
                match chase.next(found, best)? {
                    Some(next) => found = next,
                    None => break,
                }
            }
        }
        let (given, reached, known) = match top {
            None => {
                let hessian = self.given.hessian()?;
                let given = decrement(&hessian, &self.given, found)?;
                let hessian = if newton { point.hessian()? } else { hessian };
                let reached = if newton { decrement(&hessian, &point, found)? } else { given };
                (given, reached, Known::Matrix(hessian))
            }
            Some(_) => {
                let of_given = leading(&self.given, top, observer)?;
                let given = of_given.decrement(&self.given, found);
                let posterior = if newton { leading(&point, top, observer)? } else { of_given };
                (given, posterior.decrement(&point, found), Known::Leading(posterior))
            }
        };
        let pairs = point.weights.elements.iter().zip(&self.given.weights.elements);
        let moved = pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let length = self.given.square().sqrt();
        let record = OptimumRecord {
            given,
            short_of: 0.5 * given * given,
            steps: point.steps,
            reached,
            bound: OPTIMUM_BOUND,
            moved: if length > 0.0 { moved / length } else { moved },
            loss: point.loss,
            square: point.square(),
        };
        Ok(Settled { point, delta: found, record, known })
    }
}

/// The best precision of the prior, if there is one: beyond all curvatures the data tell nothing of any weight, and the
/// marginal likelihood rises as the prior narrows on and on.
fn told(best: Option<f64>, curvatures: &[f64]) -> Result<f64, ProbeError> {
    let largest = curvatures.iter().copied().fold(0.0, f64::max);
    best.filter(|&best| best <= NARROWEST * largest).ok_or(ProbeError::NoBestDelta)
}

/// Looks for the precision that is best at its own optimum: where ln best(delta) - ln delta, a function of ln delta, is
/// zero, by secants.
#[derive(Default)]
struct Chase {
    rounds: usize,
    before: Option<(f64, f64)>,
}

impl Chase {
    /// The next precision after `delta`, at whose optimum `best` is the best one; none if they are one.
    fn next(&mut self, delta: f64, best: f64) -> Result<Option<f64>, ProbeError> {
        self.rounds += 1;
        let (at, apart) = (delta.ln(), (best / delta).ln());
        if apart.abs() <= SETTLED {
            return Ok(None);
        }
        if self.rounds >= ROUNDS {
            return Err(ProbeError::NotSettled(self.rounds));
        }
        let secant = self.before.map(|(x, y)| -apart * (at - x) / (apart - y));
        // Where two points say nothing the step is to the best one itself; and none goes farther than a power of e^3.
        let step = secant.filter(|step| step.is_finite() && step * apart > 0.0).unwrap_or(apart);
        self.before = Some((at, apart));
        Ok(Some((at + step.clamp(-3.0, 3.0)).exp()))
    }
}

/// The posterior of the leading eigenpairs at `point`.
fn leading(point: &Point, top: Option<usize>, observer: &dyn Observer) -> Result<Posterior, ProbeError> {
    let count = top.unwrap_or(usize::MAX).min(point.samples.size());
    let pairs = largest_pairs(&point.samples, count, observer)?;
    Ok(Posterior::leading(point, &pairs, point.samples.trace()?))
}

impl OtherSet {
    /// Of samples that were read; with `bias` each gets the constant feature.
    pub fn new(name: impl Into<String>, samples: OtherSamples, columns: usize, bias: bool) -> Self {
        let OtherSamples { features, labels, files } = samples;
        let features = match bias {
            false => features,
            true => {
                let rows = features.chunks_exact(columns);
                rows.flat_map(|row| row.iter().copied().chain([1.0])).collect()
            }
        };
        let checksum = |file: &kappa_data::FileDigest| FileChecksum {
            file: file.file.clone(),
            sha256: file.sha256.clone(),
        };
        Self { name: name.into(), features, labels, files: files.iter().map(checksum).collect() }
    }

    /// Of a network's last layer on other images: the same features, of a split or a set that it was not fitted to.
    /// Labels are those of its images, unless they mean something else.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Hessian`].
    pub fn of_layer(name: impl Into<String>, layer: &Layer, labelled: bool) -> Result<Self, ProbeError> {
        let features = layer.samples.on_host(|chunk| chunk.features)?.concat();
        let labels = layer.labels.clone().filter(|_| labelled);
        Ok(Self { name: name.into(), features, labels, files: layer.settings.data_files.clone() })
    }

    /// How many there are.
    pub(crate) fn count(&self, features: usize) -> usize {
        self.features.len() / features.max(1)
    }
}
