//! The last layer of any network, from files.

use std::{ops::Range, path::PathBuf, time::Instant};

use burn::tensor::{Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, LastLayerFiles, Matrix, Scores};
use kappa_hessian::{Samples, with_constant_feature};
use kappa_run::SpectrumSettings;
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
    let mut labels = layer.labels;
    if let Some(labels) = &mut labels {
        labels.truncate(samples.count());
    }
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
            folding: None,
            precision: settings.precision.name().to_owned(),
            backend: settings.machine.backend.clone(),
            device: settings.machine.device_name.clone(),
            l2: arguments.layer.l2,
        },
        // With the bias among the parameters the weights are not all of them.
        weights: layer.weights.filter(|_| !settings.bias).map(|weights| match weights.elements {
            Elements::F32(elements) => elements.into_iter().map(f64::from).collect(),
            Elements::F64(elements) => elements,
        }),
        samples,
        labels,
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

fn slice(matrix: &Matrix, rows: Range<usize>) -> TensorData {
    let shape = [rows.len(), matrix.columns];
    let range = rows.start * matrix.columns..rows.end * matrix.columns;
    match &matrix.elements {
        Elements::F32(elements) => TensorData::new(elements[range].to_vec(), shape),
        Elements::F64(elements) => TensorData::new(elements[range].to_vec(), shape),
    }
}
