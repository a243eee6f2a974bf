//! All spectra of one network at one epoch.
//!
//! FC is probed as it is and with its features centred, standardised and scaled to
//! unit mean square, which says how much of what batch norm does is centring, how
//! much scaling, and how much is left. FC+BN is probed by each of its statistics.

use burn::module::Module;
use kappa_hessian::{Accumulator, FeatureMap, Hessian};
use kappa_model::TwoLayerNet;
use kappa_run::SpectraRow;
use kappa_trainer::DeviceSplit;

use crate::{
    BatchNormStatistics, Precision, ProbeError, ProbeOptions,
    probe::{features_and_probabilities, probe},
};

/// Eigenvalues that a row names one by one.
const TOP: usize = 20;

/// A row, and all eigenvalues, largest first.
pub(crate) type RowAndEigenvalues = (SpectraRow, Vec<f64>);

/// The spectra of `network` after `epoch`.
///
/// # Errors
///
/// [`ProbeError`].
pub(crate) fn spectra(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    epoch: usize,
    precision: Precision,
    statistics: &[BatchNormStatistics],
) -> Result<Vec<RowAndEigenvalues>, ProbeError> {
    if network.shape().batch_norm.is_none() {
        return controls(network, split, epoch, precision);
    }
    statistics
        .iter()
        .map(|&statistics| {
            let options = ProbeOptions { precision, bias: false, keep_inputs: false, statistics };
            let found = probe(network, split, options, |_| {})?;
            row(&found.hessian, epoch, statistics.name(), precision)
        })
        .collect()
}

/// FC and its three controls, from one pass over the split.
fn controls(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    epoch: usize,
    precision: Precision,
) -> Result<Vec<RowAndEigenvalues>, ProbeError> {
    let network = network.valid();
    let shape = network.shape();
    let m = shape.hidden;
    let options =
        ProbeOptions { precision, bias: true, keep_inputs: false, statistics: BatchNormStatistics::Running };
    let mut sums = Accumulator::new(m + 1, shape.classes)?;
    let (mut mean, mut mean_square) = (vec![0.0; m], vec![0.0; m]);
    for chunk in split.chunks() {
        let (features, probabilities) = features_and_probabilities(&network, chunk.inputs, options)?;
        for (moment, powers) in
            [(&mut mean, features.clone()), (&mut mean_square, features.clone().powi_scalar(2))]
        {
            let sum = powers.sum_dim(0).try_into_data();
            let sum = sum.map_err(|error| ProbeError::Device(error.to_string()))?;
            for (moment, sum) in moment.iter_mut().zip(sum.iter::<f64>()) {
                *moment += sum / split.samples() as f64;
            }
        }
        sums.add(features, probabilities)?;
    }
    // A feature that is constant (or zero) after the shift has no scale; it is left as it is.
    let inverse_root = |square: f64| if square > 0.0 { square.sqrt().recip() } else { 1.0 };
    let variance = mean.iter().zip(&mean_square).map(|(mean, square)| square - mean * mean);
    let deviation_scale: Vec<f64> = variance.map(inverse_root).collect();
    let size_scale = mean_square.iter().map(|&square| inverse_root(square)).collect();
    let (zeros, ones) = (vec![0.0; m], vec![1.0; m]);
    [
        ("plain", zeros.clone(), ones.clone()),
        ("centred", mean.clone(), ones),
        ("standardised", mean, deviation_scale),
        ("unit_mean_square", zeros, size_scale),
    ]
    .into_iter()
    .map(|(variant, shift, scale)| {
        row(&sums.finish_mapped(&FeatureMap { shift, scale })?, epoch, variant, precision)
    })
    .collect()
}

fn row(
    hessian: &Hessian,
    epoch: usize,
    variant: &str,
    precision: Precision,
) -> Result<RowAndEigenvalues, ProbeError> {
    let spectrum = hessian.spectrum()?;
    let eigenvalues = spectrum.eigenvalues();
    let row = SpectraRow {
        epoch,
        variant: variant.to_owned(),
        top: eigenvalues.iter().take(TOP).copied().collect(),
        lambda_min: spectrum.lambda_min().unwrap_or(0.0),
        trace: hessian.trace(),
        size: eigenvalues.len(),
        rank: spectrum.rank(precision.epsilon()),
    };
    Ok((row, eigenvalues.to_vec()))
}
