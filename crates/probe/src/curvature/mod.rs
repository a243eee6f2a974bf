//! The Hessian of a network with respect to any of its parameters: both ends of its spectrum, and
//! what is read off them.
//!
//! ```text
//! mod        a network at a point -> CurvatureSummary, CurvatureRecord
//! evidence   what is checked of it
//! blocks     each tensor alone, and what lies between tensors
//! ```

mod blocks;
mod evidence;

pub(crate) use blocks::of_all_blocks;

use std::time::Instant;

use kappa_hessian::{
    DensityOptions, ExtremePairs, Scaled, SymmetricOperator, density, estimated_trace, faer::MatRef,
    largest_pairs, share, smallest_pairs_within,
};
use kappa_model::{Network, NetworkShape, Parameter};
use kappa_run::{
    AdamRecord, CURVATURE_VERSION, CurvatureEvidence, CurvatureRecord, CurvatureSummary, DensityRecord,
    EndRecord, Optimizer, Parameters, Request, SpectrumSettings, TensorSize, TraceRecord, kappa_prime,
};
use kappa_trainer::DeviceSplit;

use crate::{Curvature, NetworkHessian, Observer, ProbeError, measure::LEADING, memory, samples::network_in};

/// Smallest eigenvalues, and the residual over |H| that they are known to: just below zero eigenvalues
/// crowd (after training ten of them lie within a thousandth of lambda_1), and each further digit takes as
/// many products again.
const SMALLEST: usize = 1;
const OF_SMALLEST: f64 = 1e-4;
/// Random vectors for a trace.
const PROBES: usize = 8;

/// A network on a split, some of whose parameters are asked about.
#[derive(Debug)]
pub struct NetworkPoint {
    /// What it is, and what was asked.
    pub(crate) settings: SpectrumSettings,
    pub(crate) network: Network,
    pub(crate) split: DeviceSplit,
    /// What Adam divides a step of each parameter by, D, where that is known.
    pub(crate) preconditioner: Option<Vec<f64>>,
    /// How it was trained, where that is known.
    pub(crate) optimizer: Option<Optimizer>,
}

/// How much is checked of a network's Hessian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// All, in double precision where the device has it.
    Whole,
    /// What needs no other arithmetic than that of the request.
    Short,
}

/// The trained parameters of a network of `shape` that are asked about, in the order of its table.
///
/// # Errors
///
/// [`ProbeError::UnknownParameter`] for a name that is of none.
pub fn chosen(shape: &NetworkShape, parameters: &Parameters) -> Result<Vec<Parameter>, ProbeError> {
    let trained: Vec<Parameter> = shape.parameters().into_iter().filter(Parameter::is_trained).collect();
    let unknown = parameters.names().into_iter().flatten();
    let unknown = unknown.into_iter().find(|name| !trained.iter().any(|parameter| parameter.name == *name));
    if let Some(name) = unknown {
        let existing = trained.into_iter().map(|parameter| parameter.name).collect();
        return Err(ProbeError::UnknownParameter { name: name.to_owned(), existing });
    }
    Ok(trained.into_iter().filter(|parameter| parameters.contain(&parameter.name)).collect())
}

/// A network's Hessian at a point, and where else it is to be looked at.
struct Looked<'a> {
    network: Network,
    split: &'a DeviceSplit,
    request: Request,
    parameters: Vec<Parameter>,
    hessian: NetworkHessian,
}

impl<'a> Looked<'a> {
    fn new(network: &Network, split: &'a DeviceSplit, request: Request) -> Result<Self, ProbeError> {
        let shape = network.shape();
        let parameters = chosen(&shape, &request.parameters)?;
        memory::check_network(&shape, split.samples(), request.precision)?;
        let network = network_in(network, split, request.statistics, request.precision)?;
        let hessian =
            NetworkHessian::new(&network, split, parameters.clone(), request.statistics, Curvature::Hessian)?;
        Ok(Self { network, split, request, parameters, hessian })
    }

    /// The Hessian of another network, or with respect to other parameters, on the same split.
    fn of(&self, network: &Network, parameters: &[Parameter]) -> Result<NetworkHessian, ProbeError> {
        let statistics = self.request.statistics;
        NetworkHessian::new(network, self.split, parameters.to_vec(), statistics, Curvature::Hessian)
    }

    fn sizes(&self) -> Vec<TensorSize> {
        let size = |parameter: &Parameter| TensorSize {
            name: parameter.name.clone(),
            elements: parameter.shape.iter().product(),
        };
        self.parameters.iter().map(size).collect()
    }
}

/// The largest eigenpairs and the smallest one of `network`'s Hessian with respect to what `request` asks about, what is
/// read off them, and what was checked, if that was asked for. `observer` is told of each product.
///
/// # Errors
///
/// [`ProbeError::UnknownParameter`], [`ProbeError::NoMemoryForDirections`] and
/// [`ProbeError::NoMemoryForNetwork`] before anything is computed; [`ProbeError::Hessian`].
pub fn curvature(
    network: &Network,
    split: &DeviceSplit,
    request: &Request,
    proof: Proof,
    observer: &dyn Observer,
) -> Result<(CurvatureSummary, Option<CurvatureEvidence>), ProbeError> {
    let looked = Looked::new(network, split, request.clone())?;
    let measured = measured(&looked, observer)?;
    let evidence = evidence_if_asked(&looked, &measured, proof, observer)?;
    Ok((measured.summary, evidence))
}

/// What was measured, with the eigenvectors.
struct Pairs {
    summary: CurvatureSummary,
    largest: ExtremePairs,
    smallest: Option<ExtremePairs>,
}

fn evidence_if_asked(
    looked: &Looked<'_>,
    measured: &Pairs,
    proof: Proof,
    observer: &dyn Observer,
) -> Result<Option<CurvatureEvidence>, ProbeError> {
    if !looked.request.verify {
        return Ok(None);
    }
    observer.stage("evidence", None);
    evidence::evidence(looked, measured, proof, observer).map(Some)
}

fn measured(looked: &Looked<'_>, observer: &dyn Observer) -> Result<Pairs, ProbeError> {
    let hessian = &looked.hessian;
    let count = looked.request.top.map_or(LEADING, usize::from).min(hessian.size());
    memory::check_leading(hessian.size(), count)?;
    observer.stage("largest", None);
    let largest = largest_pairs(hessian, count, observer)?;
    observer.stage("smallest", None);
    let smallest = match hessian.is_semi_definite() {
        true => None,
        false => Some(smallest_pairs_within(hessian, SMALLEST, OF_SMALLEST, observer)?),
    };
    let trace = trace(looked, observer)?;
    observer.stage("Gauss-Newton", None);
    let gauss_newton = hessian.gauss_newton();
    let images = gauss_newton.product(largest.vectors.as_ref())?;
    let along = images.col_iter().zip(largest.vectors.col_iter());
    let along = along.map(|(image, vector)| dot(image.iter(), vector.iter())).collect();
    let gauss_newton_lambda_1 = match smallest {
        Some(_) => largest_pairs(&gauss_newton, 1, observer)?.eigenvalues.first().copied(),
        // It is the same matrix.
        None => largest.eigenvalues.first().copied(),
    };
    let gauss_newton_lambda_1 = gauss_newton_lambda_1.unwrap_or(0.0);
    let gradient = hessian.gradient()?;
    let tensors = looked.sizes();
    let summary = CurvatureSummary {
        shares: shares(largest.vectors.as_ref(), &tensors),
        tensors,
        kappa_prime: kappa_prime_of(&largest),
        negative: smallest.as_ref().map_or(0, |smallest| smallest.beyond_zero),
        trace,
        gauss_newton_along: along,
        gauss_newton_lambda_1,
        gradient: dot(gradient.iter(), gradient.iter()).sqrt(),
        gradient_share: share(largest.vectors.as_ref(), &gradient),
        largest: end(&largest),
        smallest: smallest.as_ref().map(end),
    };
    Ok(Pairs { summary, largest, smallest })
}

/// The trace in closed form where there is one, or by random vectors.
fn trace(looked: &Looked<'_>, observer: &dyn Observer) -> Result<TraceRecord, ProbeError> {
    if let Some(traces) = looked.hessian.traces()? {
        return Ok(TraceRecord { value: traces.iter().sum(), error: None });
    }
    observer.stage("trace", Some(PROBES));
    let (value, error) = estimated_trace(&looked.hessian, PROBES, looked.request.seed, observer)?;
    Ok(TraceRecord { value, error: error.is_finite().then_some(error) })
}

/// lambda_1 / lambda_10, where lambda_10 can be told from zero.
fn kappa_prime_of(pairs: &ExtremePairs) -> Option<f64> {
    let told = pairs.eigenvalues.get(9).is_some_and(|tenth| *tenth > pairs.residual_bound * pairs.scale);
    kappa_prime(&pairs.eigenvalues).filter(|_| told)
}

fn end(pairs: &ExtremePairs) -> EndRecord {
    EndRecord {
        eigenvalues: pairs.eigenvalues.clone(),
        residuals: pairs.residuals.clone(),
        residual_bound: pairs.residual_bound,
        products: pairs.products,
    }
}

/// |v_t|^2 of each vector [n, k] in each tensor: [k][tensors].
fn shares(vectors: MatRef<'_, f64>, tensors: &[TensorSize]) -> Vec<Vec<f64>> {
    let of = |vector: kappa_hessian::faer::ColRef<'_, f64>| {
        let mut rest = vector.iter();
        let share = |tensor: &TensorSize| rest.by_ref().take(tensor.elements).map(|x| x * x).sum();
        tensors.iter().map(share).collect()
    };
    vectors.col_iter().map(of).collect()
}

fn dot<'a>(a: impl Iterator<Item = &'a f64>, b: impl Iterator<Item = &'a f64>) -> f64 {
    a.zip(b).map(|(a, b)| a * b).sum()
}

/// What the point's request asks for.
pub(crate) fn record(
    point: NetworkPoint,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<CurvatureRecord, ProbeError> {
    let start = Instant::now();
    let request = &point.settings.request;
    let looked = Looked::new(&point.network, &point.split, request.clone())?;
    let size = looked.hessian.size();
    if let Some(asked) = request.density {
        memory::check_density(size, asked.steps.get().min(size))?;
    }
    let measured = measured(&looked, observer)?;
    let blocks = match request.blocks {
        true => Some(blocks::blocks(&looked, &measured.summary, observer)?),
        false => None,
    };
    let adam = adam(&looked, &point, observer)?;
    let density = density_record(&looked, &measured.summary, observer)?;
    let evidence = evidence_if_asked(&looked, &measured, Proof::Whole, observer)?;
    Ok(CurvatureRecord {
        schema_version: CURVATURE_VERSION,
        kappa_version: kappa_version.to_owned(),
        curvature: measured.summary,
        evidence,
        blocks,
        adam,
        descent_threshold: point.optimizer.as_ref().map(descent_threshold),
        density,
        seconds: start.elapsed().as_secs_f64(),
        settings: point.settings,
    })
}

/// What H itself may be for plain descent at the learning rate of `optimizer`, with its momentum where it has
/// one.
fn descent_threshold(optimizer: &Optimizer) -> f64 {
    match optimizer {
        Optimizer::Descent(descent) => descent.stability_threshold(),
        Optimizer::Adam(adam) => 2.0 / adam.learning_rate,
    }
}

fn adam(
    looked: &Looked<'_>,
    point: &NetworkPoint,
    observer: &dyn Observer,
) -> Result<Option<AdamRecord>, ProbeError> {
    let adam = point.optimizer.as_ref().and_then(Optimizer::adam);
    let (Some(divisors), Some(adam)) = (&point.preconditioner, adam) else { return Ok(None) };
    observer.stage("what Adam sees", None);
    let scale = divisors.iter().map(|divisor| divisor.sqrt().recip()).collect();
    let seen = Scaled::new(&looked.hessian, scale)?;
    let pairs = largest_pairs(&seen, LEADING.min(seen.size()), observer)?;
    Ok(Some(AdamRecord {
        kappa_prime: kappa_prime_of(&pairs),
        top: pairs.eigenvalues,
        stability_threshold: adam.stability_threshold(),
    }))
}

fn density_record(
    looked: &Looked<'_>,
    _summary: &CurvatureSummary,
    observer: &dyn Observer,
) -> Result<Option<DensityRecord>, ProbeError> {
    let Some(asked) = looked.request.density else { return Ok(None) };
    let start = Instant::now();
    let (probes, seed) = (asked.probes.get(), looked.request.seed);
    let steps = asked.steps.get().min(looked.hessian.size());
    observer.stage("density", Some(probes.saturating_mul(steps)));
    let found = density(&looked.hessian, DensityOptions { probes, steps, seed }, observer)?;
    Ok(Some(DensityRecord {
        probes: found.probes,
        shift: found.known_zeros,
        trace: found.trace,
        trace_error: found.trace_error.is_finite().then_some(found.trace_error),
        trace_of_samples: None,
        products: found.products,
        seed,
        seconds: start.elapsed().as_secs_f64(),
    }))
}

#[cfg(test)]
mod tests;
