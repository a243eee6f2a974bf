//! Features and probabilities, kept to be gone through more than once.

use burn::tensor::{DType, Tensor};
use rayon::prelude::*;

use crate::{Accumulator, Hessian, HessianError};

/// Samples that a thread takes at once, at the least,
const TASK: usize = 1024;
/// and tasks that a chunk is cut into, at the most: so few that their results fit, so
/// many that all threads have some.
const TASKS: usize = 16;

/// Features [N, m] and probabilities [N, K] of N samples, in chunks on a device.
///
/// The sums need them once; evidence, the matrix-free product and all that is
/// asked about directions go through them again.
#[derive(Debug, Clone)]
pub struct Samples {
    features: usize,
    classes: usize,
    count: usize,
    dtype: DType,
    chunks: Vec<Chunk>,
}

/// Some of the samples.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// [n, m]
    pub features: Tensor<2>,
    /// [n, K]
    pub probabilities: Tensor<2>,
}

/// Samples in the host's memory, in f64, whatever they were computed in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostChunk {
    /// The number of samples before it.
    pub first: usize,
    pub rows: usize,
    /// [rows, m], row by row.
    pub features: Vec<f64>,
    /// [rows, K], row by row.
    pub probabilities: Vec<f64>,
}

impl Samples {
    /// No samples yet, of m `features` and K `classes`, whose elements are of type `dtype`.
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`] for m < 1 or K < 2.
    pub fn new(features: usize, classes: usize, dtype: DType) -> Result<Self, HessianError> {
        if features == 0 || classes < 2 {
            return Err(HessianError::TooSmall { features, classes });
        }
        Ok(Self { features, classes, count: 0, dtype, chunks: Vec::new() })
    }

    /// Adds samples: features [n, m] and probabilities [n, K].
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`].
    pub fn push(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        let chunk = Chunk { features, probabilities };
        self.count += chunk.check(self.features, self.classes)?;
        if chunk.features.dtype() != self.dtype {
            return Err(chunk.wrong_type());
        }
        self.chunks.push(chunk);
        Ok(())
    }

    /// The number of features m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples N.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The unit of the arithmetic that the samples are in: the distance from 1 to
    /// the next number.
    pub fn epsilon(&self) -> f64 {
        match self.dtype {
            DType::F64 => f64::EPSILON,
            _ => f32::EPSILON.into(),
        }
    }

    /// The exact Hessian of their mean loss.
    ///
    /// # Errors
    ///
    /// As [`Accumulator::add`] and [`Accumulator::finish`].
    pub fn hessian(&self) -> Result<Hessian, HessianError> {
        let mut sums = Accumulator::new(self.features, self.classes)?;
        for Chunk { features, probabilities } in self.chunks.iter().cloned() {
            sums.add(features, probabilities)?;
        }
        sums.finish()
    }

    /// tr H = mean_n (1 - |p_n|^2) |g_n|^2, without H.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`].
    pub fn trace(&self) -> Result<f64, HessianError> {
        let parts = self.on_host(|chunk| {
            let samples = chunk.features.chunks_exact(self.features);
            let samples = samples.zip(chunk.probabilities.chunks_exact(self.classes));
            samples.map(|(g, p)| uncertainty(p) * g.iter().map(|g| g * g).sum::<f64>()).sum::<f64>()
        })?;
        Ok(parts.into_iter().sum::<f64>() / self.count as f64)
    }

    /// Applies `sum` to all samples on the host, in f64, some at a time and on all
    /// threads; the results come in order.
    pub(crate) fn on_host<T: Send>(
        &self,
        sum: impl Fn(HostChunk) -> T + Sync,
    ) -> Result<Vec<T>, HessianError> {
        let (mut parts, mut before) = (Vec::new(), 0);
        for chunk in &self.chunks {
            let [samples, _] = chunk.features.dims();
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

impl Chunk {
    /// The number of samples, if they are of m features and K classes and of a type
    /// that is computed in.
    pub(crate) fn check(&self, m: usize, k: usize) -> Result<usize, HessianError> {
        let (features, probabilities) = (self.features.dims(), self.probabilities.dims());
        if features[0] != probabilities[0] || features[1] != m || probabilities[1] != k {
            return Err(HessianError::WrongShape { features, probabilities, m, k });
        }
        match (self.features.dtype(), self.probabilities.dtype()) {
            (DType::F32, DType::F32) | (DType::F64, DType::F64) => Ok(features[0]),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(&self) -> HessianError {
        HessianError::WrongType {
            features: self.features.dtype().name().to_owned(),
            probabilities: self.probabilities.dtype().name().to_owned(),
        }
    }
}

/// The class that a sample most likely is of.
pub(crate) fn likeliest(p: &[f64]) -> usize {
    (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0)
}

/// 1 - |p|^2 = tr S, in which 1 - p_c of the likeliest class c would lose all digits of
/// what is left besides it.
pub(crate) fn uncertainty(p: &[f64]) -> f64 {
    let c = likeliest(p);
    let others = || p.iter().enumerate().filter(|&(a, _)| a != c).map(|(_, p)| p);
    let rest: f64 = others().sum();
    rest * (1.0 + p[c]) - others().map(|p| p * p).sum::<f64>()
}

/// A tensor's elements, row by row, in f64.
pub(crate) fn doubles(tensor: Tensor<2>) -> Result<Vec<f64>, HessianError> {
    let data = tensor.try_into_data().map_err(|error| HessianError::Device(error.to_string()))?;
    // burn's own conversion goes element by element through a match.
    Ok(match data.as_slice::<f32>() {
        Ok(single) => single.iter().map(|&x| f64::from(x)).collect(),
        Err(_) => data.try_into_vec::<f64>().map_err(|error| HessianError::Device(error.to_string()))?,
    })
}
