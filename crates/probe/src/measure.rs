//! From a last layer to its record: H, its spectrum, the evidence, and what else was asked for.

use std::time::Instant;

use kappa_fused::DeviceError;
use kappa_hessian::{
    Check, Eigenpairs, Evidence, Hessian, HessianError, Samples, Spectrum, Subset, growing_subsets, verify,
};
use kappa_run::{
    CheckRecord, CurvatureRecord, EvidenceRecord, MatrixFreeRecord, NullSpaceRecord, SPECTRUM_VERSION,
    SavedTensor, SpectrumRecord, SpectrumSettings, SpectrumSummary, SpectrumTimings, SubsetRecord,
};

use crate::{
    Layer, NetworkPoint, Observer, ProbeError, curvature, directions::directions, matrix_free::matrix_free,
    memory,
};

/// The leading eigenvectors that are spoken of.
pub(crate) const LEADING: usize = 10;

/// What was measured: in short, as it stands on disk, and the arrays beside it.
#[derive(Debug, Clone)]
pub enum Measured {
    /// The whole spectrum.
    Spectrum(Box<WholeSpectrum>),
    /// What needs no matrix.
    MatrixFree(Box<MatrixFreeRecord>),
    /// Both ends of the spectrum of other parameters than a last layer's weights.
    Curvature(Box<CurvatureRecord>),
}

/// The whole spectrum of a last layer's Hessian.
#[derive(Debug, Clone)]
pub struct WholeSpectrum {
    /// In short.
    pub record: SpectrumRecord,
    /// The matrix.
    pub hessian: Hessian,
    /// All eigenvalues and eigenvectors.
    pub pairs: Eigenpairs,
    /// The eigenvalues by the plain decomposition of the whole matrix, largest first.
    pub of_whole_matrix: Vec<f64>,
    /// What is saved: the eigenvalues, and matrix and samples if they were to be kept.
    pub tensors: Vec<SavedTensor>,
}

/// What is measured.
#[derive(Debug)]
pub enum Subject {
    /// A last layer.
    Layer(Box<Layer>),
    /// A network, with respect to any of its parameters.
    Network(Box<NetworkPoint>),
}

impl From<Layer> for Subject {
    fn from(layer: Layer) -> Self {
        Self::Layer(Box::new(layer))
    }
}

impl Subject {
    /// What it is, and what was asked.
    pub fn settings(&self) -> &SpectrumSettings {
        match self {
            Self::Layer(layer) => layer.settings(),
            Self::Network(point) => &point.settings,
        }
    }
}

/// Measures `subject`, as the request says by which it was seen.
///
/// # Errors
///
/// [`ProbeError::NoMemory`] or [`ProbeError::NoMemoryForDirections`] before anything is taken,
/// [`ProbeError::Hessian`]. A check that did not pass is no error, but stands in the record.
pub fn measure(
    subject: Subject,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<Measured, ProbeError> {
    match subject {
        Subject::Layer(layer) => measured_layer(*layer, kappa_version, observer),
        Subject::Network(point) => {
            Ok(Measured::Curvature(Box::new(curvature::record(*point, kappa_version, observer)?)))
        }
    }
}

fn measured_layer(
    layer: Layer,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<Measured, ProbeError> {
    if layer.settings.request.is_matrix_free() {
        return Ok(Measured::MatrixFree(Box::new(matrix_free(layer, kappa_version, observer)?)));
    }
    let (samples, request) = (&layer.samples, &layer.settings.request);
    memory::check_dense(samples.features(), samples.classes())?;
    let mut timings = SpectrumTimings { features: layer.seconds, ..SpectrumTimings::default() };
    let hessian = timed(&mut timings.sums, || samples.hessian())?;
    let (pairs, whole) = timed(&mut timings.eigenpairs, || Ok((hessian.eigenpairs()?, hessian.spectrum()?)))?;
    let evidence = match request.verify {
        true => Some(timed(&mut timings.evidence, || verify(&hessian, &pairs, samples))?),
        false => None,
    };
    let start = Instant::now();
    let directions = match request.directions {
        true => Some(directions(&layer, &hessian, &pairs)?),
        false => None,
    };
    let subsets = subsets(&layer, &pairs.spectrum, observer)?;
    timings.rest = start.elapsed().as_secs_f64();
    timings.total = timings.features + timings.sums + timings.eigenpairs + timings.evidence + timings.rest;
    let tensors = tensors(&hessian, &pairs.spectrum, request.keep_matrix.then_some(samples))?;
    let record = SpectrumRecord {
        schema_version: SPECTRUM_VERSION,
        kappa_version: kappa_version.to_owned(),
        spectrum: summary(&hessian, &pairs, &whole, layer.settings.l2),
        settings: layer.settings,
        evidence: evidence.map(evidence_record),
        directions,
        subsets,
        timings,
    };
    let of_whole_matrix = whole.eigenvalues().to_vec();
    Ok(Measured::Spectrum(Box::new(WholeSpectrum { record, hessian, pairs, of_whole_matrix, tensors })))
}

fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> Result<T, HessianError>) -> Result<T, HessianError> {
    let start = Instant::now();
    let result = work();
    *seconds = start.elapsed().as_secs_f64();
    result
}

fn summary(hessian: &Hessian, pairs: &Eigenpairs, whole: &Spectrum, l2: f64) -> SpectrumSummary {
    let spectrum = &pairs.spectrum;
    let lambda_1 = spectrum.lambda(1).unwrap_or(0.0);
    let values = spectrum.eigenvalues().iter().zip(whole.eigenvalues());
    let apart = values.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let null = &pairs.null_space;
    let of_matrix = OfMatrix {
        lambda_min: whole.lambda_min().unwrap_or(0.0),
        kappa: whole.kappa(0.0),
        trace: hessian.trace(),
        absent_classes: null.absent_classes,
        silent_features: null.silent_features,
        dependent_features: null.dependent_features,
        against_whole_matrix: if lambda_1 > 0.0 { apart / lambda_1 } else { apart },
    };
    summary_of(spectrum, [hessian.classes(), hessian.features()], l2, of_matrix)
}

/// What of a summary does not follow from the eigenvalues.
pub(crate) struct OfMatrix {
    pub lambda_min: f64,
    pub kappa: Option<f64>,
    pub trace: f64,
    pub absent_classes: usize,
    pub silent_features: usize,
    pub dependent_features: usize,
    pub against_whole_matrix: f64,
}

/// The summary of a spectrum of so many classes and features: what follows from it, and the rest.
pub(crate) fn summary_of(
    spectrum: &Spectrum,
    [classes, features]: [usize; 2],
    l2: f64,
    of_matrix: OfMatrix,
) -> SpectrumSummary {
    let shift = 2.0 * l2; // the Hessian of l2 * sum W^2 is 2 l2 I
    let with_l2 =
        |number: fn(&Spectrum, f64) -> Option<f64>| (l2 > 0.0).then(|| number(spectrum, shift)).flatten();
    let (size, rank, outliers) = (spectrum.eigenvalues().len(), spectrum.rank(), classes.saturating_sub(1));
    let OfMatrix { absent_classes, silent_features, dependent_features, .. } = of_matrix;
    // Of one logit no shift is ignored, and each feature is one eigenvalue.
    let (shift_zeros, contrasts) = match classes {
        1 => (0, 1),
        _ => (features, outliers.saturating_sub(absent_classes)),
    };
    let of_classes = shift_zeros.saturating_mul(absent_classes.saturating_add(1));
    let of_features = contrasts.saturating_mul(silent_features.saturating_add(dependent_features));
    let explained = of_classes.saturating_add(of_features);
    SpectrumSummary {
        size,
        top: spectrum.eigenvalues().iter().take(LEADING).copied().collect(),
        kappa_prime: spectrum.kappa_prime(0.0),
        outlier_ratio: spectrum.ratio(1, outliers),
        outlier_gap: spectrum.ratio(outliers, classes),
        rank,
        rank_tolerance: spectrum.rank_tolerance(),
        kappa_of_rank: spectrum.ratio(1, rank),
        lambda_min: of_matrix.lambda_min,
        kappa: of_matrix.kappa,
        kappa_with_l2: with_l2(Spectrum::kappa),
        kappa_prime_with_l2: with_l2(Spectrum::kappa_prime),
        trace: of_matrix.trace,
        effective_rank: spectrum.effective_rank(),
        entropy_rank: spectrum.entropy_rank(),
        null_space: NullSpaceRecord {
            shift: shift_zeros,
            absent_classes,
            silent_features,
            dependent_features,
            explained,
            numerical: (size - rank).saturating_sub(explained),
            against_whole_matrix: of_matrix.against_whole_matrix,
        },
    }
}

fn evidence_record(evidence: Evidence) -> EvidenceRecord {
    EvidenceRecord {
        passed: evidence.passed(),
        checks: evidence.checks.iter().map(check_record).collect(),
        rounding: evidence.rounding,
        known_digits_of_lambda_1: evidence.known.lambda_1,
        known_digits_of_lambda_10: evidence.known.lambda_10,
        known_digits_of_kappa_prime: evidence.known.kappa_prime,
        seconds: evidence.seconds,
    }
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

fn subsets(
    layer: &Layer,
    whole: &Spectrum,
    observer: &dyn Observer,
) -> Result<Vec<SubsetRecord>, HessianError> {
    let Some(repeats) = layer.settings.request.subsets else { return Ok(Vec::new()) };
    observer.stage("subsets", Some(repeats.get().saturating_mul(6)));
    let mut subsets = growing_subsets(&layer.samples, repeats.get(), layer.settings.request.seed, observer)?;
    subsets.push(Subset { samples: layer.samples.count(), spectra: vec![whole.clone()] });
    let record = |subset: Subset| {
        let all =
            |number: &dyn Fn(&Spectrum) -> Option<f64>| subset.spectra.iter().filter_map(number).collect();
        SubsetRecord {
            samples: subset.samples,
            lambda_1: all(&|spectrum| spectrum.lambda(1)),
            lambda_10: all(&|spectrum| spectrum.lambda(10)),
            kappa_prime: all(&|spectrum| spectrum.kappa_prime(0.0)),
        }
    };
    Ok(subsets.into_iter().map(record).collect())
}

/// The tensors of `spectrum.safetensors`; with `inputs` the matrix and what it was made of.
fn tensors(
    hessian: &Hessian,
    spectrum: &Spectrum,
    inputs: Option<&Samples>,
) -> Result<Vec<SavedTensor>, HessianError> {
    let size = hessian.size();
    let mut tensors = vec![SavedTensor::of_doubles("eigenvalues", vec![size], spectrum.eigenvalues())];
    let Some(samples) = inputs else { return Ok(tensors) };
    tensors.push(SavedTensor::of_doubles("hessian", vec![size, size], hessian.elements()));
    let (mut features, mut probabilities) = (Vec::new(), Vec::new());
    let single = samples.epsilon() > f64::EPSILON;
    for chunk in samples.chunks() {
        let chunk = chunk?;
        // Of one logit the last of its two columns, of class 1: that is how such probabilities are given.
        let [rows, columns] = chunk.probabilities.dims();
        let of_classes = chunk.probabilities.slice([0..rows, columns - samples.classes()..columns]);
        for (tensor, bytes) in [(chunk.features, &mut features), (of_classes, &mut probabilities)] {
            let data = tensor.try_into_data().map_err(DeviceError::new)?;
            bytes.extend_from_slice(data.as_bytes());
        }
    }
    for (name, columns, bytes) in
        [("features", samples.features(), features), ("probabilities", samples.classes(), probabilities)]
    {
        let shape = vec![samples.count(), columns];
        tensors.push(SavedTensor::of_bytes(name, shape, single, bytes));
    }
    Ok(tensors)
}
