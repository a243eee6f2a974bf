//! The files that both sides compute from, by the name of what they hold: `mnist`, or the sizes
//! `N-m-K` of what is random.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_data::{Elements, LastLayer, LastLayerFiles, Rows};
use kappa_hessian::Samples;

use crate::error::BenchError;

/// The name of MNIST's.
pub const MNIST: &str = "mnist";

/// The file of an array of those inputs.
pub fn file(folder: &Path, array: &str, inputs: &str) -> PathBuf {
    folder.join(format!("{array}-{inputs}.npy"))
}

/// Features and probabilities, on `device` and of type `dtype`.
pub fn read_samples(
    folder: &Path,
    inputs: &str,
    dtype: DType,
    device: &Device,
) -> Result<Samples, BenchError> {
    let files = LastLayerFiles {
        features: file(folder, "G", inputs),
        probabilities: Some(file(folder, "P", inputs)),
        ..LastLayerFiles::default()
    };
    let layer = LastLayer::from_files(&files, u64::MAX)?;
    let tensor = |rows: &Rows| -> Result<_, BenchError> {
        let matrix = rows.read(0..rows.count())?;
        let shape = [matrix.rows, matrix.columns];
        let data = match matrix.elements {
            Elements::F32(elements) => TensorData::new(elements, shape),
            Elements::F64(elements) => TensorData::new(elements, shape),
        };
        Ok(Tensor::<2>::from_data(data.convert_dtype(dtype), (device, dtype)))
    };
    let scores = layer.scores.rows();
    let mut samples = Samples::new(layer.features.columns(), scores.columns(), dtype)?;
    samples.push(tensor(&layer.features)?, tensor(scores)?)?;
    Ok(samples)
}

/// A matrix of f64, row by row.
pub fn write_doubles(path: &Path, shape: [usize; 2], elements: &[f64]) -> Result<(), BenchError> {
    write(path, "<f8", &shape, bytemuck::cast_slice(elements))
}

/// An .npy file, format 1.0, of numbers that numpy calls `kind`, row by row.
pub fn write(path: &Path, kind: &str, shape: &[usize], numbers: &[u8]) -> Result<(), BenchError> {
    let lengths: String = shape.iter().map(|length| format!("{length},")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({lengths}), }}");
    // With the ten bytes before it and the end of its line it is a multiple of 64 bytes.
    let width = (header.len() + 11).next_multiple_of(64) - 11;
    header = format!("{header:width$}\n");
    let length = (header.len() as u16).to_le_bytes();
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), numbers].concat();
    fs::write(path, bytes).map_err(|source| BenchError::Write { path: path.to_owned(), source })
}
