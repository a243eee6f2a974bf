//! What the explanations speak of, as their papers measure it.

use std::collections::BTreeMap;

use kappa_hessian::largest_pairs;
use kappa_model::{Layer, Network, Role, Statistics};
use kappa_probe::{NetworkHessian, ProbeError, samples};
use kappa_run::{Measure, Precision, Request};
use kappa_trainer::DeviceSplit;

use crate::{descent::Descent, preconditioner::LEADING};

/// Steps along the gradient, in learning rates (Santurkar et al. 2018, section 3.1: from 1/2 to 4 times).
const ALONG: [f64; 7] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0];

/// The spectrum of the last layer's H at a network: all eigenvalues, largest first, and the eigenvectors.
pub fn last_layer(network: &Network, split: &DeviceSplit) -> Result<kappa_hessian::Eigenpairs, ProbeError> {
    let request =
        Request { statistics: Statistics::Dataset, forward: Precision::F32, ..Request::new(Precision::F64) };
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
    let whole = largest_pairs(at, LEADING, &())?.eigenvalues;
    if let [first, .., last] = whole[..] {
        found.insert(Measure::Lambda1, first);
        found.insert(Measure::KappaPrime, first / last);
        found.insert(Measure::EdgeOfStability, first * descent.rate() / 2.0);
    }
    let square = square_of(gradient);
    for (measure, layer) in
        [(Measure::GradientShareOfOutput, Layer::Output), (Measure::GradientShareOfFirst, Layer::Hidden(0))]
    {
        let own = descent.range(layer, Role::Weight).and_then(|range| gradient.get(range));
        found.insert(measure, own.map_or(f64::NAN, square_of) / square);
    }
    found.extend(along(descent, at, gradient)?);
    found.extend(shift(descent, gradient)?);
    found.retain(|_, value| value.is_finite());
    Ok(found)
}

/// The range of the loss, the largest change of the gradient, and the largest change over the distance, along
/// the gradient.
fn along(
    descent: &Descent<'_>,
    at: &NetworkHessian,
    gradient: &[f64],
) -> Result<[(Measure, f64); 3], ProbeError> {
    let length = square_of(gradient).sqrt();
    let loss = at.loss()?;
    let (mut low, mut high, mut change, mut smoothness) = (loss, loss, 0.0_f64, 0.0_f64);
    for factor in ALONG {
        let step = factor * descent.rate();
        let there = descent.at(&descent.moved(&descent.network, gradient, -step))?;
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
fn shift(descent: &Descent<'_>, gradient: &[f64]) -> Result<Vec<(Measure, f64)>, ProbeError> {
    let hidden = descent.network.shape().hidden.len();
    let layers = (1..hidden).map(Layer::Hidden).chain([Layer::Output]);
    let (mut moved, mut turned, mut count) = (0.0, 0.0, 0.0);
    for layer in layers {
        let Some(range) = descent.range(layer, Role::Weight) else { continue };
        // All that stands before the layer's own parameters in the table: weights, biases, normalisations.
        let own = |parameter: &kappa_model::Parameter| parameter.layer == layer;
        let below = descent.parameters().iter().take_while(|parameter| !own(parameter));
        let below: usize = below.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let mut step = vec![0.0; gradient.len()];
        step.iter_mut().zip(gradient).take(below).for_each(|(step, g)| *step = *g);
        let after = descent.at(&descent.moved(&descent.network, &step, -descent.rate()))?.gradient()?;
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
