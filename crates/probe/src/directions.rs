//! What lies in the space of the ten leading eigenvectors.

use std::collections::BTreeMap;

use kappa_hessian::{Eigenpairs, Hessian, HessianError, overlap, share};
use kappa_run::{AdamRecord, DirectionsRecord, OverlapRecord};
use kappa_trainer::OutputLayer;

use crate::{Layer, measure::LEADING};

/// The gradient's and the update's share in it, the Kronecker factorisation's distance, what
/// Adam sees, and what other epochs have in common with it.
pub(crate) fn directions(
    layer: &Layer,
    hessian: &Hessian,
    pairs: &Eigenpairs,
) -> Result<DirectionsRecord, HessianError> {
    let samples = &layer.samples;
    let leading = pairs.leading(LEADING);
    let with_bias = layer.settings.request.bias;
    let (mut loss, mut accuracy, mut gradient) = (None, None, None);
    if let Some(labels) = &layer.labels {
        loss = Some(layer.loss.map_or_else(|| samples.loss(labels), Ok)?).filter(|loss| loss.is_finite());
        accuracy = Some(samples.accuracy(labels)?);
        gradient = Some(samples.gradient(labels)?);
    }
    let parameters = |layer: OutputLayer| if with_bias { layer.with_bias() } else { layer.weight };
    let update = layer.adam.as_ref().map(|(state, adam)| parameters(state.last_update(adam)));
    let adam = match &layer.adam {
        Some((state, adam)) => {
            let spectrum = hessian.preconditioned_spectrum(&parameters(state.preconditioner(adam)))?;
            Some(AdamRecord {
                top: spectrum.eigenvalues().iter().take(LEADING).copied().collect(),
                kappa_prime: spectrum.kappa_prime(0.0),
                stability_threshold: adam.stability_threshold(),
            })
        }
        None => None,
    };
    let overlaps = layer.others.iter().map(|(epoch, others)| {
        let other = others.hessian()?.eigenpairs()?;
        Ok(OverlapRecord { epoch: *epoch, overlap: overlap(other.leading(LEADING), leading) })
    });
    let overlaps = overlaps.collect::<Result<_, HessianError>>()?;
    let kronecker = samples.kronecker(hessian, leading)?;
    let share_of = |vector: &Option<Vec<f64>>| vector.as_ref().and_then(|vector| share(leading, vector));
    Ok(DirectionsRecord {
        loss,
        accuracy,
        most_frequent: layer.labels.as_deref().map(most_frequent),
        gradient: gradient.as_ref().map(|g| g.iter().map(|x| x * x).sum::<f64>().sqrt()),
        gradient_share: share_of(&gradient),
        update_share: share_of(&update),
        weights_share: share_of(&layer.weights),
        kronecker_error: kronecker.relative_error,
        kronecker_overlap: kronecker.overlap,
        kronecker_lambda_1: kronecker.lambda_1,
        adam,
        overlaps,
    })
}

/// The share of the most frequent label.
fn most_frequent(labels: &[usize]) -> f64 {
    let mut counts = BTreeMap::<usize, usize>::new();
    labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
    counts.into_values().max().unwrap_or(0) as f64 / labels.len().max(1) as f64
}
