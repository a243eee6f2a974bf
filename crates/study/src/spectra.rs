//! All spectra of one network at one epoch.
//!
//! FC is probed as it is and with its features centred, standardised and scaled to
//! unit mean square, which says how much of what batch norm does is centring, how
//! much scaling, and how much is left. FC+BN is probed by each of its statistics, and
//! with batch norm folded into the next layer, which says how much is a matter of units.
//! The images go through the first layer once, whatever is asked of what comes out.

use burn::tensor::{Tensor, activation::relu};
use kappa_hessian::{Accumulator, Check, FeatureMap, Hessian, Spectrum, verify_values};
use kappa_model::TwoLayerNet;
use kappa_run::{CheckRecord, Influence, SpectraRow, Variant};
use kappa_trainer::DeviceSplit;

use crate::{
    BatchNormStatistics, Precision, ProbeError, ProbeOptions,
    probe::{features_and_probabilities, preactivations},
    statistics::column_sums,
};

/// Eigenvalues that a row names one by one.
const TOP: usize = 20;
/// The share of lambda_1 from which on the spectrum is also taken without the sample.
const INFLUENTIAL: f64 = 0.05;

/// A row, and all eigenvalues, largest first.
pub(crate) type RowAndEigenvalues = (SpectraRow, Vec<f64>);

/// One network on one split after one epoch.
struct Subject<'a> {
    network: &'a TwoLayerNet,
    /// W1 x + b1 of the whole split.
    preactivations: Vec<Tensor<2>>,
    samples: usize,
    silent: usize,
    epoch: usize,
    precision: Precision,
}

/// The spectra of `network`, which must not record gradients, after `epoch`.
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
    let granularity = statistics.iter().map(|statistics| statistics.granularity()).max().unwrap_or(1);
    let preactivations: Vec<_> = preactivations(network, split, granularity).collect();
    let silent = silent(&preactivations)?;
    let samples = split.samples();
    let subject = Subject { network, preactivations, samples, silent, epoch, precision };
    if network.shape().batch_norm.is_none() {
        return subject.with_controls();
    }
    let mut rows = Vec::new();
    for &statistics in statistics {
        rows.extend(subject.by(statistics)?);
    }
    Ok(rows)
}

impl Subject<'_> {
    /// FC+BN by `statistics`, and folded where those are the running ones: both from
    /// sums with a constant feature, since one's features are an affine map of the other's.
    fn by(&self, statistics: BatchNormStatistics) -> Result<Vec<RowAndEigenvalues>, ProbeError> {
        let network = statistics.prepare(self.network.clone(), &self.preactivations);
        let shape = network.shape();
        let mut sums = Accumulator::new(shape.hidden + 1, shape.classes)?;
        let options = ProbeOptions { bias: true, ..self.options(statistics) };
        for chunk in &self.preactivations {
            let (features, probabilities) = features_and_probabilities(&network, chunk.clone(), options)?;
            sums.add(features, probabilities)?;
        }
        let m = shape.hidden;
        let hessian = sums.finish_mapped(&FeatureMap { shift: vec![0.0; m], scale: vec![1.0; m] })?;
        let (mut row, spectrum) = self.row(&hessian, statistics.variant())?;
        let (influence, check) = self.influence(&network, statistics, &hessian, &spectrum)?;
        row.influence = Some(influence);
        row.checks.push(check);
        let mut rows = vec![(row, spectrum.eigenvalues().to_vec())];
        if let Some(map) = folding(&network)?.filter(|_| statistics == BatchNormStatistics::Running) {
            let (row, spectrum) = self.row(&sums.finish_mapped(&map)?, Variant::Folded)?;
            rows.push((row, spectrum.eigenvalues().to_vec()));
        }
        Ok(rows)
    }

    /// FC and its three controls, from one pass over the features.
    fn with_controls(&self) -> Result<Vec<RowAndEigenvalues>, ProbeError> {
        let shape = self.network.shape();
        let m = shape.hidden;
        let plain = self.options(BatchNormStatistics::Running);
        let mut sums = Accumulator::new(m + 1, shape.classes)?;
        let (mut mean, mut mean_square) = (vec![0.0; m], vec![0.0; m]);
        for chunk in &self.preactivations {
            let options = ProbeOptions { bias: true, ..plain };
            let (features, probabilities) = features_and_probabilities(self.network, chunk.clone(), options)?;
            // The constant feature's moments are the last and fall off.
            for (moment, powers) in
                [(&mut mean, features.clone()), (&mut mean_square, features.clone().powi_scalar(2))]
            {
                for (moment, sum) in moment.iter_mut().zip(numbers(column_sums(powers))?) {
                    *moment += sum / self.samples as f64;
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
        let maps = [
            (Variant::Plain, zeros.clone(), ones.clone()),
            (Variant::Centred, mean.clone(), ones),
            (Variant::Standardised, mean, deviation_scale),
            (Variant::UnitMeanSquare, zeros, size_scale),
        ];
        maps.into_iter()
            .map(|(variant, shift, scale)| {
                let hessian = sums.finish_mapped(&FeatureMap { shift, scale })?;
                let (mut row, spectrum) = self.row(&hessian, variant)?;
                if variant == Variant::Plain {
                    let (influence, check) =
                        self.influence(self.network, plain.statistics, &hessian, &spectrum)?;
                    row.influence = Some(influence);
                    row.checks.push(check);
                }
                Ok((row, spectrum.eigenvalues().to_vec()))
            })
            .collect()
    }

    fn options(&self, statistics: BatchNormStatistics) -> ProbeOptions {
        ProbeOptions { precision: self.precision, bias: false, statistics }
    }

    fn row(&self, hessian: &Hessian, variant: Variant) -> Result<(SpectraRow, Spectrum), ProbeError> {
        let spectrum = hessian.spectrum()?;
        let row = SpectraRow {
            epoch: self.epoch,
            variant,
            top: top(&spectrum),
            lambda_min: spectrum.lambda_min().unwrap_or(0.0),
            trace: hessian.trace(),
            size: hessian.size(),
            rank: spectrum.rank(self.precision.epsilon()),
            silent: self.silent,
            influence: None,
            checks: verify_values(hessian, &spectrum, self.precision.epsilon())
                .iter()
                .map(check_record)
                .collect(),
        };
        Ok((row, spectrum))
    }

    /// The sample that carries the most of lambda_1, and the spectrum without it
    /// where it carries much. And the check that the samples' shares, which know the
    /// eigenvector and not the matrix, add up to lambda_1.
    fn influence(
        &self,
        network: &TwoLayerNet,
        statistics: BatchNormStatistics,
        hessian: &Hessian,
        spectrum: &Spectrum,
    ) -> Result<(Influence, CheckRecord), ProbeError> {
        let direction = hessian.leading_direction(spectrum.lambda(1).unwrap_or(0.0))?;
        let options = self.options(statistics);
        let mut most = Influence { sample: 0, share: 0.0, top_without: None };
        let mut its_inputs = None;
        let (mut first, mut whole) = (0, 0.0);
        for chunk in &self.preactivations {
            let (features, probabilities) = features_and_probabilities(network, chunk.clone(), options)?;
            let shares = direction.shares(features.clone(), probabilities.clone())?;
            whole += shares.iter().sum::<f64>();
            let largest = shares.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((row, share)) = largest.filter(|&(_, share)| share > most.share) {
                (most.sample, most.share) = (first + row, share);
                its_inputs = Some([features, probabilities].map(|all| all.slice(row..row + 1)));
            }
            first += shares.len();
        }
        if let Some(inputs) = its_inputs.filter(|_| most.share >= INFLUENTIAL && self.samples > 1) {
            let [features, probabilities] = inputs;
            let rest = hessian.without(&numbers(features)?, &numbers(probabilities)?)?;
            most.top_without = Some(top(&rest.spectrum()?));
        }
        let check = check_record(&hessian.shares_check(direction.lambda(), whole, self.precision.epsilon()));
        Ok((most, check))
    }
}

/// a = (g - o) / s of a network that normalises, unless some s is zero and forgets a.
fn folding(network: &TwoLayerNet) -> Result<Option<FeatureMap>, ProbeError> {
    let Some((scale, offset)) = network.normalisation() else { return Ok(None) };
    let (scale, shift) = (numbers(scale.unsqueeze_dim(0))?, numbers(offset.unsqueeze_dim(0))?);
    let invertible = scale.iter().all(|&scale| scale != 0.0);
    Ok(invertible.then(|| FeatureMap { shift, scale: scale.iter().map(|scale| scale.recip()).collect() }))
}

/// A check, as it lies in a file.
pub fn check_record(check: &Check) -> CheckRecord {
    CheckRecord {
        name: check.name.to_owned(),
        quantity: check.quantity.to_owned(),
        value: check.value.is_finite().then_some(check.value),
        bound: check.bound,
        passed: check.passed(),
    }
}

fn top(spectrum: &Spectrum) -> Vec<f64> {
    spectrum.eigenvalues().iter().take(TOP).copied().collect()
}

/// How many hidden units fire on no sample: their activations, none of which is
/// negative, sum to zero.
fn silent(preactivations: &[Tensor<2>]) -> Result<usize, ProbeError> {
    let sums = preactivations.iter().map(|chunk| column_sums(relu(chunk.clone())));
    let sums = sums.reduce(|a, b| a + b).map(numbers).transpose()?.unwrap_or_default();
    Ok(sums.into_iter().filter(|&sum| sum == 0.0).count())
}

fn numbers(tensor: Tensor<2>) -> Result<Vec<f64>, ProbeError> {
    let data = tensor.try_into_data().map_err(|error| ProbeError::Device(error.to_string()))?;
    Ok(data.iter::<f64>().collect())
}
