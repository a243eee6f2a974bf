//! From a subject to its record: H, its spectrum, the evidence, and what else was
//! asked for.

use std::time::Instant;

use kappa_hessian::{
    Eigenpairs, Evidence, Hessian, HessianError, Samples, Spectrum, growing_subsets, overlap, share, verify,
};
use kappa_run::{
    AdamRecord, DirectionsRecord, EvidenceRecord, NullSpaceRecord, OverlapRecord, SPECTRUM_VERSION,
    SavedTensor, SpectrumRecord, SpectrumSummary, SpectrumTimings, SubsetRecord, write_spectrum,
};
use kappa_study::{ProbeError, check_record};

use super::{Settings, Subject, memory};
use crate::{error::CliError, output::say, progress::bar};

/// The leading eigenvectors that are spoken of.
const LEADING: usize = 10;

/// Measures `subject`, writes what came out, and returns it.
pub fn measure(subject: Subject, settings: &Settings) -> Result<SpectrumRecord, CliError> {
    let samples = &subject.samples;
    memory::check(samples.features(), samples.classes())?;
    let epsilon = samples.epsilon();
    let mut timings = SpectrumTimings { features: subject.seconds, ..SpectrumTimings::default() };
    let hessian = timed(&mut timings.sums, || samples.hessian())?;
    let (pairs, whole) =
        timed(&mut timings.eigenpairs, || Ok((hessian.eigenpairs(epsilon)?, hessian.spectrum()?)))?;
    let asked = &settings.asked;
    let evidence = match asked.verify {
        true => Some(timed(&mut timings.evidence, || verify(&hessian, &pairs, samples))?),
        false => None,
    };
    let start = Instant::now();
    let directions = match asked.directions {
        true => Some(directions(&subject, &hessian, &pairs).map_err(probe_error)?),
        false => None,
    };
    let subsets = subsets(&subject, &pairs.spectrum, settings)?;
    timings.rest = start.elapsed().as_secs_f64();
    timings.total = timings.features + timings.sums + timings.eigenpairs + timings.evidence + timings.rest;

    let record = SpectrumRecord {
        schema_version: SPECTRUM_VERSION,
        kappa_version: settings.machine.provenance.kappa_version.clone(),
        spectrum: summary(&hessian, &pairs, &whole, epsilon, subject.settings.l2),
        settings: subject.settings,
        evidence: evidence.map(evidence_record),
        directions,
        subsets,
        timings,
    };
    let tensors = tensors(&hessian, &pairs.spectrum, asked.save_matrix.then_some(samples))?;
    let plot = kappa_report::gap_plot(&record, pairs.spectrum.eigenvalues(), whole.eigenvalues())?;
    let subsets = kappa_report::subsets_plot(&record)?;
    write_spectrum(&subject.out, &record, &tensors, &plot, subsets.as_deref())?;
    if !settings.quiet {
        say(format_args!("{} -> {}", record.settings.network, subject.out.display()));
    }
    Ok(record)
}

fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> Result<T, HessianError>) -> Result<T, CliError> {
    let start = Instant::now();
    let result = work().map_err(probe_error);
    *seconds = start.elapsed().as_secs_f64();
    result
}

fn probe_error(error: HessianError) -> CliError {
    ProbeError::Hessian(error).into()
}

fn summary(
    hessian: &Hessian,
    pairs: &Eigenpairs,
    whole: &Spectrum,
    epsilon: f64,
    l2: f64,
) -> SpectrumSummary {
    let (spectrum, classes) = (&pairs.spectrum, hessian.classes());
    let shift = 2.0 * l2; // the Hessian of l2 * sum W2^2 is 2 l2 I
    let with_l2 =
        |number: fn(&Spectrum, f64) -> Option<f64>| (l2 > 0.0).then(|| number(spectrum, shift)).flatten();
    let rank = spectrum.rank(epsilon);
    let lambda_1 = spectrum.lambda(1).unwrap_or(0.0);
    let values = spectrum.eigenvalues().iter().zip(whole.eigenvalues());
    let apart = values.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let null = &pairs.null_space;
    SpectrumSummary {
        size: hessian.size(),
        top: spectrum.eigenvalues().iter().take(LEADING).copied().collect(),
        kappa_prime: spectrum.kappa_prime(0.0),
        outlier_ratio: spectrum.ratio(1, classes - 1),
        outlier_gap: spectrum.ratio(classes - 1, classes),
        rank,
        rank_tolerance: spectrum.rank_tolerance(epsilon),
        kappa_of_rank: spectrum.ratio(1, rank),
        lambda_min: whole.lambda_min().unwrap_or(0.0),
        kappa: whole.kappa(0.0),
        kappa_with_l2: with_l2(Spectrum::kappa),
        kappa_prime_with_l2: with_l2(Spectrum::kappa_prime),
        trace: hessian.trace(),
        effective_rank: spectrum.effective_rank(),
        entropy_rank: spectrum.entropy_rank(),
        null_space: NullSpaceRecord {
            shift: null.shift,
            silent_features: null.silent_features,
            dependent_features: null.dependent_features,
            explained: null.explained(),
            numerical: null.numerical,
            against_whole_matrix: if lambda_1 > 0.0 { apart / lambda_1 } else { apart },
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

fn directions(
    subject: &Subject,
    hessian: &Hessian,
    pairs: &Eigenpairs,
) -> Result<DirectionsRecord, HessianError> {
    let samples = &subject.samples;
    let leading = pairs.leading(LEADING);
    let with_bias = subject.settings.bias;
    let (mut loss, mut gradient) = (None, None);
    if let Some(labels) = &subject.labels {
        loss = Some(subject.loss.map_or_else(|| samples.loss(labels), Ok)?).filter(|loss| loss.is_finite());
        gradient = Some(samples.gradient(labels)?);
    }
    let parameters =
        |layer: kappa_trainer::OutputLayer| if with_bias { layer.with_bias() } else { layer.weight };
    let update = subject.adam.as_ref().map(|(state, adam)| parameters(state.last_update(adam)));
    let adam = match &subject.adam {
        Some((state, adam)) => {
            let spectrum = hessian.preconditioned_spectrum(&parameters(state.preconditioner(adam)))?;
            let beta_1 = adam.beta_1;
            Some(AdamRecord {
                top: spectrum.eigenvalues().iter().take(LEADING).copied().collect(),
                kappa_prime: spectrum.kappa_prime(0.0),
                stability_threshold: 2.0 * (1.0 + beta_1) / ((1.0 - beta_1) * adam.learning_rate),
            })
        }
        None => None,
    };
    let overlaps = subject.others.iter().map(|(epoch, others)| {
        let other = others.hessian()?.eigenpairs(others.epsilon())?;
        Ok(OverlapRecord { epoch: *epoch, overlap: overlap(other.leading(LEADING), leading) })
    });
    let overlaps = overlaps.collect::<Result<_, HessianError>>()?;
    let kronecker = samples.kronecker(hessian, leading)?;
    let share_of = |vector: &Option<Vec<f64>>| vector.as_ref().and_then(|vector| share(leading, vector));
    Ok(DirectionsRecord {
        loss,
        gradient: gradient.as_ref().map(|g| g.iter().map(|x| x * x).sum::<f64>().sqrt()),
        gradient_share: share_of(&gradient),
        update_share: share_of(&update),
        weights_share: share_of(&subject.weights),
        kronecker_error: kronecker.relative_error,
        kronecker_overlap: kronecker.overlap,
        kronecker_lambda_1: kronecker.lambda_1,
        adam,
        overlaps,
    })
}

fn subsets(subject: &Subject, whole: &Spectrum, settings: &Settings) -> Result<Vec<SubsetRecord>, CliError> {
    let Some(repeats) = settings.asked.subsets else { return Ok(Vec::new()) };
    let bar = bar(repeats.get() * 6, "subsets", settings.quiet);
    let mut subsets = growing_subsets(&subject.samples, repeats.get(), settings.asked.seed, || bar.inc(1))
        .map_err(probe_error)?;
    bar.finish_and_clear();
    let samples = subject.samples.count();
    subsets.push(kappa_hessian::Subset { samples, spectra: vec![whole.clone()] });
    let record = |subset: kappa_hessian::Subset| {
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
) -> Result<Vec<SavedTensor>, CliError> {
    let size = hessian.size();
    let doubles = |name, values: &[f64], shape: Vec<usize>| SavedTensor {
        name,
        shape,
        width: size_of::<f64>(),
        bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let mut tensors = vec![doubles("eigenvalues", spectrum.eigenvalues(), vec![size])];
    if let Some(samples) = inputs {
        tensors.push(doubles("hessian", hessian.elements(), vec![size, size]));
        let (mut features, mut probabilities, mut width) = (Vec::new(), Vec::new(), 0);
        for chunk in samples.chunks() {
            for (tensor, bytes) in
                [(&chunk.features, &mut features), (&chunk.probabilities, &mut probabilities)]
            {
                let data =
                    tensor.clone().try_into_data().map_err(|error| ProbeError::Device(error.to_string()))?;
                width = data.dtype().size();
                bytes.extend_from_slice(data.as_bytes());
            }
        }
        let (count, m, k) = (samples.count(), samples.features(), samples.classes());
        tensors.extend([
            SavedTensor { name: "features", shape: vec![count, m], width, bytes: features },
            SavedTensor { name: "probabilities", shape: vec![count, k], width, bytes: probabilities },
        ]);
    }
    Ok(tensors)
}
