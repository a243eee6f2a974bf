//! From features and probabilities on the device: H, or its ten largest eigenvalues
//! without it.

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_hessian::{HessianError, Samples};

use super::{
    WorkError, Works,
    timing::{Timing, timed},
};
use crate::{
    npy::{self, Matrix},
    protocol::{Digest, Inputs, Measured, Precision},
};

/// Bytes of a chunk's wider array, at the most: the binding that every WebGPU adapter has.
const CHUNK_BYTES: usize = 128 << 20;
/// The eigenvalues that the paper speaks of.
const LEADING: usize = 10;

impl Works {
    pub(super) fn hessian(&mut self, precision: Precision, inputs: Inputs) -> Result<Measured, WorkError> {
        let (hessian, timing) = self.of_samples(precision, inputs, Samples::hessian)?;
        Ok(timing.with(Digest::of_matrix(&hessian)))
    }

    pub(super) fn ten_largest(
        &mut self,
        precision: Precision,
        inputs: Inputs,
    ) -> Result<Measured, WorkError> {
        let (pairs, timing) =
            self.of_samples(precision, inputs, |samples| samples.leading_pairs(LEADING, &|| ()))?;
        Ok(timing.with(Digest::of_eigenvalues(&pairs.eigenvalues)))
    }

    fn of_samples<T>(
        &mut self,
        precision: Precision,
        inputs: Inputs,
        work: impl FnOnce(&Samples) -> Result<T, HessianError>,
    ) -> Result<(T, Timing), WorkError> {
        self.require(precision)?;
        let (folder, device) = (&self.inputs, &self.place.device);
        let load = || {
            let [features, probabilities] =
                ["G", "P"].map(|array| npy::read(&folder.join(inputs.file(array))));
            Ok(samples_of(&features?, &probabilities?, precision.dtype(), device)?)
        };
        self.kept.with((precision, inputs), load, |samples| timed(device, || Ok(work(samples)?)))
    }
}

/// Features [N, m] and probabilities [N, K] on `device`, of type `dtype`.
pub fn samples_of(
    features: &Matrix,
    probabilities: &Matrix,
    dtype: DType,
    device: &Device,
) -> Result<Samples, HessianError> {
    let mut samples = Samples::new(features.columns, probabilities.columns, dtype)?;
    let columns = features.columns.max(probabilities.columns);
    let rows = (CHUNK_BYTES / (columns * dtype.size())).max(1);
    let chunks = |matrix: &Matrix| {
        let chunks = matrix.elements.chunks(rows * matrix.columns);
        chunks.map(|chunk| tensor(chunk, matrix.columns, (device, dtype))).collect::<Vec<_>>()
    };
    for (features, probabilities) in chunks(features).into_iter().zip(chunks(probabilities)) {
        samples.push(features, probabilities)?;
    }
    Ok(samples)
}

/// Whole rows of a matrix, on a device and of a type.
fn tensor(rows: &[f64], columns: usize, place: (&Device, DType)) -> Tensor<2> {
    let data = TensorData::new(rows.to_vec(), [rows.len() / columns, columns]);
    Tensor::from_data(data.convert_dtype(place.1), place)
}
