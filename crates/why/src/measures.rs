//! What the explanations speak of, as their papers measure it.

use std::collections::BTreeMap;

use kappa_hessian::{Scaled, SymmetricOperator, largest_pairs_within};
use kappa_model::{Layer, Network, Role, Statistics};
use kappa_probe::{NetworkHessian, ProbeError, precision_of, samples};
use kappa_run::{Measure, Precision, Request};
use kappa_trainer::DeviceSplit;

use crate::{descent::Descent, preconditioner::LEADING};

/// Residuals of the whole network's eigenpairs over lambda_1: eigenvalues are as much off at the most, and where
/// they lie apart by its square.
const RESIDUAL: f64 = 1e-4;
/// Steps along the gradient, in learning rates (Santurkar et al. 2018, section 3.1: from 1/2 to 4 times).
const ALONG: [f64; 7] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0];

/// The spectrum of the last layer's H at a network: all eigenvalues, largest first, and the eigenvectors, from sums
/// in the arithmetic that its device has.
pub fn last_layer(network: &Network, split: &DeviceSplit) -> Result<kappa_hessian::Eigenpairs, ProbeError> {
    let precision = precision_of(&network.output_parameters().0.device())?;
    let request =
        Request { statistics: Statistics::Dataset, forward: Precision::F32, ..Request::new(precision) };
    Ok(samples(network, split, &request, &())?.hessian()?.eigenpairs()?)
}

/// All measures of where `descent` is, `at` being the loss there and `gradient` its gradient.
pub fn measures(
    descent: &Descent<'_>,
    at: &NetworkHessian,
    gradient: &[f64],
) -> Result<BTreeMap<Measure, f64>, ProbeError> {
    let mut found = BTreeMap::new();
    let pairs = last_layer(&descent.network, descent.split())?;
    let lambda = |rank| pairs.spectrum.lambda(rank).unwrap_or(f64::NAN);
    found.insert(Measure::Lambda1OfOutput, lambda(1));
    found.insert(Measure::Lambda10OfOutput, lambda(LEADING));
    found.insert(Measure::KappaPrimeOfOutput, lambda(1) / lambda(LEADING));
    let (direction, after) = descent.stepper.after(gradient);
    let [first, last] = ends(at)?;
    found.insert(Measure::Lambda1, first);
    found.insert(Measure::Lambda10, last);
    found.insert(Measure::KappaPrime, first / last);
    let mut seen = first;
    if let Some(divisors) = after.divisors() {
        let scale = divisors.iter().map(|divisor| divisor.sqrt().recip()).collect();
        let [first, last] = ends(&Scaled::new(at, scale)?)?;
        found.insert(Measure::KappaPrimeSeen, first / last);
        seen = first;
    }
    found.insert(Measure::EdgeOfStability, seen / descent.stepper.threshold());
    let shares = shares(descent, gradient);
    for (measure, layer) in
        [(Measure::GradientShareOfOutput, Layer::Output), (Measure::GradientShareOfFirst, Layer::Hidden(0))]
    {
        let own = descent
            .tensors()
            .map(|(tensor, _)| tensor)
            .find(|row| (row.layer, row.role) == (layer, Role::Weight));
        let share = own.and_then(|own| shares.get(&own.name)).copied();
        found.insert(measure, share.unwrap_or(f64::NAN));
    }
    found.extend(along(descent, at, gradient, &direction)?);
    found.extend(shift(descent, gradient, &direction)?);
    found.retain(|_, value| value.is_finite());
    Ok(found)
}

/// The largest eigenvalue and the tenth.
fn ends(operator: &dyn SymmetricOperator) -> Result<[f64; 2], ProbeError> {
    let values = largest_pairs_within(operator, LEADING, RESIDUAL, &())?.eigenvalues;
    Ok(match values[..] {
        [first, .., last] => [first, last],
        _ => [f64::NAN; 2],
    })
}

/// The share of |g|^2 that each tensor has.
pub fn shares(descent: &Descent<'_>, gradient: &[f64]) -> BTreeMap<String, f64> {
    let square = square_of(gradient);
    let of = descent.tensors().map(|(tensor, range)| {
        let own = gradient.get(range).map_or(f64::NAN, square_of);
        (tensor.name.clone(), own / square)
    });
    of.filter(|(_, share)| share.is_finite()).collect()
}

/// The range of the loss, the largest change of the gradient, and the largest change over the distance, along
/// the direction of the step: the gradient, for descent.
fn along(
    descent: &Descent<'_>,
    at: &NetworkHessian,
    gradient: &[f64],
    direction: &[f64],
) -> Result<[(Measure, f64); 3], ProbeError> {
    let length = square_of(direction).sqrt();
    let loss = at.loss()?;
    let (mut low, mut high, mut change, mut smoothness) = (loss, loss, 0.0_f64, 0.0_f64);
    for factor in ALONG {
        let step = factor * descent.stepper.rate();
        let there = descent.at(&descent.moved(&descent.network, direction, -step))?;
        let loss = there.loss()?;
        (low, high) = (low.min(loss), high.max(loss));
        let apart = distance(&there.gradient()?, gradient);
        change = change.max(apart);
        smoothness = smoothness.max(apart / (step * length));
    }
    Ok([
        (Measure::LossRange, high - low),
        (Measure::GradientChange, change),
        (Measure::EffectiveSmoothness, smoothness),
    ])
}

/// How far the gradient of each layer's weights but the first's is moved by the step of the layers below it:
/// |G' - G| / |G|, and 1 - cos(G, G'), the means over the layers.
fn shift(
    descent: &Descent<'_>,
    gradient: &[f64],
    direction: &[f64],
) -> Result<Vec<(Measure, f64)>, ProbeError> {
    let hidden = descent.network.shape().hidden.len();
    let layers = (1..hidden).map(Layer::Hidden).chain([Layer::Output]);
    let (mut moved, mut turned, mut count) = (0.0, 0.0, 0.0);
    for layer in layers {
        let Some(range) = descent.range(layer, Role::Weight) else { continue };
        // All that stands before the layer's own parameters in the table: weights, biases, normalisations.
        let below =
            descent.tensors().find(|(tensor, _)| tensor.layer == layer).map_or(0, |(_, own)| own.start);
        let mut step = vec![0.0; gradient.len()];
        step.iter_mut().zip(direction).take(below).for_each(|(step, d)| *step = *d);
        let moved_there = descent.moved(&descent.network, &step, -descent.stepper.rate());
        let after = descent.at(&moved_there)?.gradient()?;
        let (Some(before), Some(after)) = (gradient.get(range.clone()), after.get(range)) else { continue };
        let lengths = [before, after].map(|g| square_of(g).sqrt());
        let dot: f64 = before.iter().zip(after).map(|(a, b)| a * b).sum();
        moved += distance(after, before) / lengths[0];
        turned += 1.0 - dot / (lengths[0] * lengths[1]);
        count += 1.0;
    }
    Ok(match count > 0.0 {
        true => vec![(Measure::CovariateShift, moved / count), (Measure::CovariateTurn, turned / count)],
        false => Vec::new(),
    })
}

fn square_of(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
