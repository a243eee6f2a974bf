//! All spectra of one network of a study at one epoch.
//!
//! A network without statistics is probed as it is and with its features centred, standardised
//! and scaled to unit mean square, which says how much of what batch norm does is centring, how
//! much scaling, and how much is left. One with statistics is probed by each of them, and
//! folded into the next layer, which says how much is a matter of units. The images go through
//! the first layer once, whatever is asked of what comes out.

use burn::{module::Module, tensor::Tensor};
use kappa_data::DataSet;
use kappa_hessian::{AccumulatorWithConstant, FeatureMap, Hessian, Spectrum, verify_values};
use kappa_model::{Network, Pass, Place, Statistics};
use kappa_run::{BatchSize, Influence, PlainValues, Precision, RunDir, SpectraRow, TrainingConfig, Variant};
use kappa_trainer::{DeviceSplit, Machine, TrainError, load_checkpoint, other_file, training_split};

use crate::{
    ProbeError,
    measure::check_record,
    samples::{FeatureOptions, features_and_probabilities, numbers, preactivations},
    statistics::{column_sums, prepared},
};

/// Eigenvalues that a row names one by one.
const TOP: usize = 20;
/// The share of lambda_1 from which on the spectrum is also taken without the sample.
const INFLUENTIAL: f64 = 0.05;

/// A spectrum of one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochSpectra {
    /// In short.
    pub row: SpectraRow,
    /// All eigenvalues, largest first.
    pub eigenvalues: Vec<f64>,
}

/// One network on one split after one epoch.
struct Epoch<'a> {
    network: &'a Network,
    /// W1 x + b1 of the whole split.
    preactivations: Vec<Tensor<2>>,
    split: &'a DeviceSplit,
    silent: usize,
    epoch: usize,
    precision: Precision,
    /// Whether all of H is decomposed too, of the network as it is.
    plain: bool,
}

/// By which statistics the networks of a study are probed that have any. A full batch is the
/// whole split, so that its statistics are the split's.
fn statistics(training: &TrainingConfig) -> Vec<Statistics> {
    let mut statistics = vec![Statistics::Running, Statistics::Dataset];
    if let BatchSize::Samples(size) = training.batch_size {
        statistics.push(Statistics::Batch(size));
    }
    statistics
}

/// The spectra of `network`, which must not record gradients, after `epoch` of a training; with
/// `plain`, of the network as it is, the end of a decomposition that knows nothing of H's structure.
///
/// # Errors
///
/// [`ProbeError`].
pub fn variants(
    network: &Network,
    split: &DeviceSplit,
    epoch: usize,
    precision: Precision,
    training: &TrainingConfig,
    plain: bool,
) -> Result<Vec<EpochSpectra>, ProbeError> {
    let statistics = statistics(training);
    let granularity = statistics.iter().map(|statistics| statistics.granularity()).max().unwrap_or(1);
    let preactivations: Vec<_> = preactivations(network, split, granularity).collect();
    let silent = silent(network, &preactivations)?;
    let probed = Epoch { network, preactivations, split, silent, epoch, precision, plain };
    if !network.shape().normalisation.has_statistics() {
        return probed.with_controls();
    }
    let mut spectra = Vec::new();
    for statistics in statistics {
        spectra.extend(probed.by(statistics)?);
    }
    Ok(spectra)
}

/// The same of `run` after `epoch`, `plain` as it was, from its checkpoint and the images of `set`.
///
/// # Errors
///
/// [`ProbeError`]: [`TrainError::OtherData`] if `set` is not what the run was trained on.
pub fn recompute(
    run: &RunDir,
    epoch: usize,
    precision: Precision,
    plain: bool,
    set: &DataSet,
    machine: &Machine,
) -> Result<Vec<EpochSpectra>, ProbeError> {
    let manifest = run.manifest()?;
    if let Some(file) = other_file(&manifest, set) {
        let (run, file) = (run.path().to_owned(), file.to_owned());
        return Err(TrainError::OtherData { run, file }.into());
    }
    let (_, checkpoint) = run.checkpoint(Some(epoch))?;
    let split = training_split(set, &manifest.config, &machine.device)?;
    let network = load_checkpoint(&checkpoint, &machine.device)?.valid();
    variants(&network, &split, epoch, precision, &manifest.config.training, plain)
}

impl Epoch<'_> {
    /// By `statistics`, and folded where those are the running ones: both from sums with a
    /// constant feature, since one's features are an affine map of the other's.
    fn by(&self, statistics: Statistics) -> Result<Vec<EpochSpectra>, ProbeError> {
        let network = prepared(self.network.clone(), statistics, &self.preactivations, self.split);
        let m = network.shape().features();
        let mut sums = AccumulatorWithConstant::new(m, network.shape().classes)?;
        for chunk in &self.preactivations {
            let options = self.options(statistics);
            let (features, probabilities) = features_and_probabilities(&network, chunk.clone(), options)?;
            sums.add(features, probabilities)?;
        }
        let hessian = sums.finish_mapped(&FeatureMap { shift: vec![0.0; m], scale: vec![1.0; m] })?;
        let mut spectra = vec![self.spectra(&hessian, statistics.into())?];
        if statistics == Statistics::Running {
            self.add_plain(&mut spectra, &hessian)?;
        }
        self.add_influence(&mut spectra, &network, statistics, &hessian)?;
        if let Some(map) = folding(&network)?.filter(|_| statistics == Statistics::Running) {
            spectra.push(self.spectra(&sums.finish_mapped(&map)?, Variant::Folded)?);
        }
        Ok(spectra)
    }

    /// As it is, and its three controls, from one pass over the features.
    fn with_controls(&self) -> Result<Vec<EpochSpectra>, ProbeError> {
        let shape = self.network.shape();
        let m = shape.features();
        let statistics = Statistics::Running;
        let mut sums = AccumulatorWithConstant::new(m, shape.classes)?;
        let (mut mean, mut mean_square) = (vec![0.0; m], vec![0.0; m]);
        for chunk in &self.preactivations {
            let options = self.options(statistics);
            let (features, probabilities) = features_and_probabilities(self.network, chunk.clone(), options)?;
            for (moment, powers) in
                [(&mut mean, features.clone()), (&mut mean_square, features.clone().powi_scalar(2))]
            {
                for (moment, sum) in moment.iter_mut().zip(numbers(column_sums(powers))?) {
                    *moment += sum / self.split.samples() as f64;
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
        let plain = sums.finish_mapped(&FeatureMap { shift: zeros.clone(), scale: ones.clone() })?;
        let mut spectra = vec![self.spectra(&plain, Variant::Plain)?];
        self.add_plain(&mut spectra, &plain)?;
        self.add_influence(&mut spectra, self.network, statistics, &plain)?;
        for (variant, shift, scale) in [
            (Variant::Centred, mean.clone(), ones),
            (Variant::Standardised, mean, deviation_scale),
            (Variant::UnitMeanSquare, zeros, size_scale),
        ] {
            let hessian = sums.finish_mapped(&FeatureMap { shift, scale })?;
            spectra.push(self.spectra(&hessian, variant)?);
        }
        Ok(spectra)
    }

    fn options(&self, statistics: Statistics) -> FeatureOptions {
        FeatureOptions { precision: self.precision, bias: false, statistics }
    }

    fn spectra(&self, hessian: &Hessian, variant: Variant) -> Result<EpochSpectra, ProbeError> {
        let spectrum = hessian.eigenvalues()?;
        let row = SpectraRow {
            epoch: self.epoch,
            variant,
            top: top(&spectrum),
            lambda_min: spectrum.lambda_min().unwrap_or(0.0),
            trace: hessian.trace(),
            size: hessian.size(),
            rank: spectrum.rank(),
            plain: None,
            silent: self.silent,
            influence: None,
            checks: verify_values(hessian, &spectrum).iter().map(check_record).collect(),
        };
        Ok(EpochSpectra { row, eigenvalues: spectrum.eigenvalues().to_vec() })
    }

    /// Adds to the first of `spectra` what a decomposition of all of H says, if it is asked for.
    fn add_plain(&self, spectra: &mut [EpochSpectra], hessian: &Hessian) -> Result<(), ProbeError> {
        if let Some(first) = spectra.first_mut().filter(|_| self.plain) {
            let spectrum = hessian.spectrum()?;
            let (lambda_min, rank) = (spectrum.lambda_min().unwrap_or(0.0), spectrum.rank());
            first.row.plain = Some(PlainValues { lambda_min, rank });
        }
        Ok(())
    }

    /// Adds to the first of `spectra` the sample that carries the most of lambda_1, and the
    /// spectrum without it where it carries much. And the check that the samples' shares, which
    /// know the eigenvector and not the matrix, add up to lambda_1.
    fn add_influence(
        &self,
        spectra: &mut [EpochSpectra],
        network: &Network,
        statistics: Statistics,
        hessian: &Hessian,
    ) -> Result<(), ProbeError> {
        let Some(EpochSpectra { row, eigenvalues }) = spectra.first_mut() else { return Ok(()) };
        let direction = hessian.leading_direction(eigenvalues.first().copied().unwrap_or(0.0))?;
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
        if let Some(inputs) = its_inputs.filter(|_| most.share >= INFLUENTIAL && self.split.samples() > 1) {
            let [features, probabilities] = inputs;
            let rest = hessian.without(&numbers(features)?, &numbers(probabilities)?)?;
            most.top_without = Some(top(&rest.eigenvalues()?));
        }
        row.checks.push(check_record(&hessian.shares_check(direction.lambda(), whole)));
        row.influence = Some(most);
        Ok(())
    }
}

/// a = (g - o) / s of a network whose features are normalised, unless some s is zero and
/// forgets a.
fn folding(network: &Network) -> Result<Option<FeatureMap>, ProbeError> {
    let Some((scale, offset)) = network.feature_map() else { return Ok(None) };
    let (scale, shift) = (numbers(scale)?, numbers(offset)?);
    let invertible = scale.iter().all(|&scale| scale != 0.0);
    Ok(invertible.then(|| FeatureMap { shift, scale: scale.iter().map(|scale| scale.recip()).collect() }))
}

pub(crate) fn top(spectrum: &Spectrum) -> Vec<f64> {
    spectrum.eigenvalues().iter().take(TOP).copied().collect()
}

/// How many units of the last hidden layer fire on no sample: their activations, none of which is
/// negative, sum to zero.
fn silent(network: &Network, preactivations: &[Tensor<2>]) -> Result<usize, ProbeError> {
    let shape = network.shape();
    let last = shape.hidden.len().saturating_sub(1);
    let activations = |chunk: Tensor<2>| match shape.normalisation.place {
        Place::After => network.normalisation_inputs(chunk, last),
        Place::Before => network.features(chunk, Pass::Running),
    };
    let sums = preactivations.iter().map(|chunk| column_sums(activations(chunk.clone())));
    let sums = sums.reduce(|a, b| a + b).map(numbers).transpose()?.unwrap_or_default();
    Ok(sums.into_iter().filter(|&sum| sum == 0.0).count())
}
