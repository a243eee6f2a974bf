//! A last layer's arrays, and what kappa itself saves as safetensors.

use std::{fs, path::Path};

use burn::tensor::Device;
use kappa_data::{Elements, IGNORE_INDEX, LastLayer, LastLayerFiles, Matrix, Rows};
use kappa_run::{Interpretation, write_sealed};
use kappa_trainer::{import_checkpoint, load_adam_state};

use crate::choose;

/// `np.save` of [[0.5, 0.5], [0.25, 0.75]] in f32: features, logits, probabilities or weights.
fn matrix() -> Vec<u8> {
    npy("'<f4'", "(2, 2)", &[0.5f32, 0.5, 0.25, 0.75].map(f32::to_le_bytes).concat())
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

pub fn prepare(folder: &Path) {
    for name in ["features", "logits", "probabilities", "weights"] {
        fs::write(folder.join(name).with_extension("npy"), matrix()).unwrap();
    }
    let labels = npy("'<i8'", "(2,)", &[0i64, 1].map(i64::to_le_bytes).concat());
    fs::write(folder.join("labels.npy"), labels).unwrap();
}

/// What a layer may take of the memory, and so little that it is gone through in parts.
const BUDGET: u64 = 64 << 20;
const SMALL_BUDGET: u64 = 4 << 10;

/// The input is an archive of arrays.
pub fn check_npz(folder: &Path, input: &[u8]) {
    let path = folder.join("input.npz");
    fs::write(&path, input).unwrap();
    check_layer(&LastLayerFiles { features: path, ..LastLayerFiles::default() });
}

/// One of five files is the input, the others are as [`prepare`] has left them.
pub fn check_npy(folder: &Path, input: &[u8]) {
    const ROLES: [&str; 5] = ["features", "logits", "probabilities", "weights", "labels"];
    let Some((role, bytes)) = choose(&ROLES, input) else { return };
    let fuzzed = folder.join("input.npy");
    fs::write(&fuzzed, bytes).unwrap();
    let path = |name: &str| {
        if name == role { fuzzed.clone() } else { folder.join(name).with_extension("npy") }
    };
    let by_probabilities = role == "probabilities";
    check_layer(&LastLayerFiles {
        features: path("features"),
        logits: (!by_probabilities).then(|| path("logits")),
        probabilities: by_probabilities.then(|| path("probabilities")),
        weights: Some(path("weights")),
        labels: Some(path("labels")),
        // The logits that [`prepare`] has left are probabilities too.
        logits_are_meant: true,
        ignore_index: IGNORE_INDEX,
        share: None,
    });
}

/// The input is a last layer, a network, as its names say or renamed, or Adam's state, which is
/// read with a checksum only.
pub fn check_safetensors(folder: &Path, input: &[u8]) {
    let Some((kind, bytes)) = choose(&[0, 1, 2, 3], input) else { return };
    let path = folder.join("input.safetensors");
    fs::write(&path, bytes).unwrap();
    match kind {
        0 => check_layer(&LastLayerFiles { features: path, ..LastLayerFiles::default() }),
        1 | 3 => {
            let rename =
                if kind == 3 { vec!["a=hidden".to_owned(), "b=output".to_owned()] } else { Vec::new() };
            let interpretation = Interpretation { rename, ..Interpretation::default() };
            if let Ok((network, _)) = import_checkpoint(&path, &interpretation, &Device::flex()) {
                let shape = network.shape();
                assert!(shape.inputs > 0 && shape.features() > 0 && shape.classes > 0);
            }
        }
        _ if write_sealed(&path, bytes).is_err() => {}
        _ => {
            if let Ok(state) = load_adam_state(&path) {
                assert!(state.step > 0);
                let (first, second) = (&state.first_moment, &state.second_moment);
                assert_eq!((first.classes(), first.features()), (second.classes(), second.features()));
                assert!(second.weight.iter().chain(&second.bias).all(|&v| v.is_finite() && v >= 0.0));
            }
        }
    }
}

/// A layer that is read fits together and is finite; an error names a file.
fn check_layer(files: &LastLayerFiles) {
    let whole = LastLayer::from_files(files, BUDGET);
    // In parts it is the same layer.
    if let (Ok(whole), Ok(parts)) = (&whole, LastLayer::from_files(files, SMALL_BUDGET)) {
        assert_eq!((&whole.labels, &whole.files), (&parts.labels, &parts.files));
        for (whole, parts) in [(&whole.features, &parts.features), (whole.scores.rows(), parts.scores.rows())]
        {
            assert_eq!(bits(whole), bits(parts));
        }
    }
    match whole {
        Ok(layer) => {
            let (features, scores) = (&layer.features, layer.scores.rows());
            assert!(features.count() > 0 && features.columns() > 0 && scores.columns() > 0);
            assert_eq!(features.count(), scores.count());
            finite(&features.read(0..features.count()).unwrap(), f64::is_finite);
            finite(&scores.read(0..scores.count()).unwrap(), |score| score < f64::INFINITY);
            if let Some(weights) = &layer.weights {
                assert_eq!((weights.rows, weights.columns), (scores.columns(), features.columns()));
                finite(weights, f64::is_finite);
            }
            if let Some(labels) = &layer.labels {
                assert_eq!(labels.len(), scores.count());
                assert!(labels.iter().all(|&label| label < scores.columns().max(2)));
            }
        }
        Err(error) => {
            let error = error.to_string();
            assert!([".npy", ".safetensors", ".npz"].iter().any(|end| error.contains(end)), "{error}");
        }
    }
}

fn bits(rows: &Rows) -> Vec<u64> {
    match rows.read(0..rows.count()).unwrap().elements {
        Elements::F32(elements) => elements.iter().map(|x| x.to_bits().into()).collect(),
        Elements::F64(elements) => elements.iter().map(|x| x.to_bits()).collect(),
    }
}

fn finite(matrix: &Matrix, is_right: impl Fn(f64) -> bool) {
    let (length, right) = match &matrix.elements {
        Elements::F32(elements) => (elements.len(), elements.iter().all(|&x| is_right(x.into()))),
        Elements::F64(elements) => (elements.len(), elements.iter().all(|&x| is_right(x))),
    };
    assert!(length == matrix.rows * matrix.columns && right);
}
