//! The last layer of any network, from files.

use std::{ops::Range, path::PathBuf, time::Instant};

use burn::tensor::{Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, LastLayerFiles, Matrix, Scores};
use kappa_hessian::{Samples, with_constant_feature};
use kappa_run::{CheckRecord, FileChecksum, SpectrumSettings};
use kappa_study::ProbeError;

use super::{Settings, Subject};
use crate::{args::HessianArguments, error::CliError};

/// Bytes that one chunk's wider array has, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// What the files of `arguments` hold.
pub fn subject(arguments: &HessianArguments, settings: &Settings) -> Result<Subject, CliError> {
    let files = LastLayerFiles {
        features: arguments.layer.features.clone().unwrap_or_default(),
        logits: arguments.layer.logits.clone(),
        probabilities: arguments.layer.probabilities.clone(),
        weights: arguments.layer.weights.clone(),
        labels: arguments.layer.labels.clone(),
    };
    let layer = LastLayer::from_files(&files)?;
    let start = Instant::now();
    let samples = samples(&layer, settings)?;
    let name = files.features.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out: PathBuf = match &arguments.out {
        Some(out) => out.clone(),
        None => arguments.root.join(format!("hessian-{name}")),
    };
    let labels = layer.labels.as_ref().map(|labels| labels[..samples.count()].to_vec());
    let loss = labels.as_ref().and_then(|labels| loss(&layer.scores, labels));
    Ok(Subject {
        settings: SpectrumSettings {
            source: files.features.display().to_string(),
            network: name,
            epoch: None,
            data: None,
            split: None,
            scaling: None,
            samples: samples.count(),
            features: samples.features(),
            classes: samples.classes(),
            bias: settings.bias,
            bn_statistics: None,
            files: layer
                .files
                .iter()
                .map(|file| FileChecksum { file: file.file.clone(), sha256: file.sha256.clone() })
                .collect(),
            input_checks: belonging(&layer).into_iter().filter(|_| settings.asked.verify).collect(),
            precision: settings.precision.name().to_owned(),
            backend: settings.machine.backend.clone(),
            device: settings.machine.device_name.clone(),
            l2: arguments.layer.l2,
        },
        // With the bias among the parameters the weights are not all of them.
        weights: layer.weights.as_ref().filter(|_| !settings.bias).map(doubles),
        samples,
        labels,
        loss,
        adam: None,
        others: Vec::new(),
        out,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn samples(layer: &LastLayer, settings: &Settings) -> Result<Samples, CliError> {
    let place = (&settings.machine.device, settings.precision.dtype());
    if !place.0.supports_dtype(place.1) {
        return Err(ProbeError::NoDoublePrecision.into());
    }
    let scores = layer.scores.matrix();
    let (m, k) = (layer.features.columns, scores.columns);
    let count = layer.features.rows.min(settings.limit.unwrap_or(usize::MAX));
    let rows = (CHUNK_BYTES / (m.max(k) * size_of::<f64>())).max(1);
    let failed = |error| CliError::from(ProbeError::Hessian(error));
    let mut samples = Samples::new(m + usize::from(settings.bias), k, place.1).map_err(failed)?;
    for start in (0..count).step_by(rows) {
        let rows = start..(start + rows).min(count);
        let tensor = |matrix: &Matrix| {
            let data = slice(matrix, rows.clone()).convert_dtype(place.1);
            Tensor::<2>::from_data(data, place)
        };
        let (features, scores) = (tensor(&layer.features), tensor(scores));
        let features = if settings.bias { with_constant_feature(features) } else { features };
        let probabilities = match layer.scores {
            Scores::Logits(_) => softmax(scores, 1),
            // In this precision's own rounding.
            Scores::Probabilities(_) => scores.clone() / scores.sum_dim(1),
        };
        samples.push(features, probabilities).map_err(failed)?;
    }
    Ok(samples)
}

/// Whether the logits are W g + b for the given weights and some b: what z_n - W g_n is
/// besides its mean over the samples, over the largest logit. The framework may have
/// computed in as little as bf16, 2^-8; rows that do not belong together are off by order
/// one.
fn belonging(layer: &LastLayer) -> Option<CheckRecord> {
    let (Scores::Logits(logits), Some(weights)) = (&layer.scores, &layer.weights) else { return None };
    let [g, w, z] = [&layer.features, weights, logits].map(doubles);
    let (m, k, count) = (layer.features.columns, logits.columns, logits.rows as f64);
    let rests = || {
        g.chunks_exact(m).zip(z.chunks_exact(k)).map(|(g, z)| {
            let made = |w: &[f64]| w.iter().zip(g).map(|(w, g)| w * g).sum::<f64>();
            z.iter().zip(w.chunks_exact(m)).map(|(z, w)| z - made(w)).collect::<Vec<f64>>()
        })
    };
    let mut offset = vec![0.0; k];
    for rest in rests() {
        offset.iter_mut().zip(rest).for_each(|(offset, rest)| *offset += rest / count);
    }
    let apart = |rest: Vec<f64>| rest.iter().zip(&offset).map(|(r, b)| (r - b).abs()).fold(0.0, f64::max);
    let largest = z.iter().map(|z| z.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let (value, bound) = (rests().map(apart).fold(0.0, f64::max) / largest, 2f64.powi(-8));
    Some(CheckRecord {
        name: "weights".to_owned(),
        quantity: "max |z_n - W g_n - b| / max |z|, b the mean of z_n - W g_n".to_owned(),
        value: Some(value),
        bound,
        passed: value <= bound,
    })
}

/// The mean of ln sum_a exp(z_a) - z_y.
fn loss(scores: &Scores, labels: &[usize]) -> Option<f64> {
    let Scores::Logits(logits) = scores else { return None };
    let z = doubles(logits);
    let terms = z.chunks_exact(logits.columns).zip(labels).map(|(z, &label)| {
        let largest = z.iter().fold(f64::NEG_INFINITY, |max, &z| max.max(z));
        largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln() - z[label]
    });
    Some(terms.sum::<f64>() / labels.len() as f64)
}

fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

fn slice(matrix: &Matrix, rows: Range<usize>) -> TensorData {
    let shape = [rows.len(), matrix.columns];
    let range = rows.start * matrix.columns..rows.end * matrix.columns;
    match &matrix.elements {
        Elements::F32(elements) => TensorData::new(elements[range].to_vec(), shape),
        Elements::F64(elements) => TensorData::new(elements[range].to_vec(), shape),
    }
}
