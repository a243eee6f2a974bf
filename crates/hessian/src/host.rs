//! Samples in the host's memory, in f64.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::{DeviceError, HessianError, Samples};

/// Samples that a thread takes at once, at the least,
const TASK: usize = 1024;
/// and tasks that a chunk is cut into, at the most: so few that their results fit, so
/// many that all threads have some.
pub(crate) const TASKS: usize = 16;

/// Samples in the host's memory, in f64, whatever they were computed in.
#[derive(Debug, Clone, PartialEq)]
pub struct HostChunk {
    /// The number of samples before it.
    pub first: usize,
    /// The number of samples.
    pub rows: usize,
    /// [rows, m], row by row.
    pub features: Vec<f64>,
    /// [rows, K], row by row; of one logit [rows, 2], of class 0 and of class 1.
    pub probabilities: Vec<f64>,
}

impl Samples {
    /// The features of each chunk, in order, row by row, in f64.
    ///
    /// # Errors
    ///
    /// As [`Self::chunks`], and [`HessianError::Device`].
    pub fn features_of_chunks(&self) -> impl Iterator<Item = Result<Vec<f64>, HessianError>> {
        self.chunks().map(|chunk| doubles(chunk?.features))
    }

    /// The features of the sample `index` of this process's, in f64: \[m\].
    ///
    /// # Errors
    ///
    /// As [`Self::chunks`], [`HessianError::WrongCount`] if there are not so many, and [`HessianError::Device`].
    pub fn features_of(&self, index: usize) -> Result<Vec<f64>, HessianError> {
        let mut before = self.first();
        for chunk in self.chunks() {
            let chunk = chunk?;
            let own = before..before + chunk.rows();
            if own.contains(&index) {
                return doubles(chunk.features.slice(index - own.start..index - own.start + 1));
            }
            before = own.end;
        }
        Err(HessianError::WrongCount { found: before, promised: index + 1 })
    }

    /// Applies `sum` to all samples of this process on the host, in f64, some at a time and on all
    /// threads; the results come in order.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`], and as [`Self::chunks`].
    pub fn on_host<T: Send>(&self, sum: impl Fn(HostChunk) -> T + Sync) -> Result<Vec<T>, HessianError> {
        let (mut parts, mut before) = (Vec::new(), self.first());
        for chunk in self.chunks() {
            let chunk = chunk?;
            let samples = chunk.rows();
            let rows = samples.div_ceil(TASKS).max(TASK);
            let starts: Vec<usize> = (0..samples).step_by(rows).collect();
            let read = |start: usize| -> Result<T, HessianError> {
                let rows = start..(start + rows).min(samples);
                let part = |tensor: &Tensor<2>| doubles(tensor.clone().slice(rows.clone()));
                let features = part(&chunk.features)?;
                let probabilities = part(&chunk.probabilities)?;
                Ok(sum(HostChunk { first: before + start, rows: rows.len(), features, probabilities }))
            };
            parts.extend(starts.into_par_iter().map(read).collect::<Result<Vec<_>, _>>()?);
            before += samples;
        }
        Ok(parts)
    }
}

/// A tensor's elements, row by row, in f64.
pub(crate) fn doubles(tensor: Tensor<2>) -> Result<Vec<f64>, HessianError> {
    let data = tensor.try_into_data().map_err(DeviceError::new)?;
    // burn's own conversion goes element by element through a match.
    Ok(match data.as_slice::<f32>() {
        Ok(single) => single.iter().map(|&x| f64::from(x)).collect(),
        Err(_) => data.try_into_vec::<f64>().map_err(DeviceError::new)?,
    })
}
