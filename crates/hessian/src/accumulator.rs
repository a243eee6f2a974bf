//! From features and probabilities, chunk by chunk, to the Hessian.

use burn::tensor::{DType, Tensor, TensorData};

use crate::{
    Hessian, HessianError,
    grams::{class_pair_grams, pairs},
    samples::Chunk,
};

/// Bytes of Gram matrices that one launch computes. An eighth of the smallest
/// binding that WebGPU promises, so that a GPU has room for several parts.
const LAUNCH_BYTES: usize = 16 << 20;
/// The binding that every WebGPU adapter has.
const BINDING_BYTES: usize = 128 << 20;

/// The sums S_ab over all samples so far, in f64 on the host.
#[derive(Debug, Clone)]
pub struct Accumulator {
    features: usize,
    classes: usize,
    samples: usize,
    /// For each class pair the lower triangle of its m x m block, row by row.
    sums: Vec<f64>,
}

impl Accumulator {
    /// Sums for `features` features (m) and `classes` classes (K).
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`] for m < 1 or K < 2, [`HessianError::TooLarge`]
    /// if the sums do not fit into memory.
    pub fn new(features: usize, classes: usize) -> Result<Self, HessianError> {
        if features == 0 || classes < 2 {
            return Err(HessianError::TooSmall { features, classes });
        }
        let length = features
            .checked_mul(features + 1)
            .map(|double| double / 2)
            .and_then(|triangle| triangle.checked_mul(pairs(classes)));
        let sums = length.and_then(zeros).ok_or_else(|| too_large(features, classes))?;
        Ok(Self { features, classes, samples: 0, sums })
    }

    /// Adds N samples: features [N, m] and probabilities [N, K], both f32 or
    /// both f64. They may be on any device, and in as many chunks as one likes.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`],
    /// [`HessianError::BlockTooLarge`], or [`HessianError::Device`] if the sums
    /// could not be computed or read back. Nothing is added then.
    pub fn add(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        let (m, k) = (self.features, self.classes);
        let chunk = Chunk { features, probabilities };
        let samples = self.check(&chunk)?;
        let Chunk { features, probabilities } = chunk;
        if samples == 0 {
            return Ok(());
        }
        // A GPU's kernel computes blocks of four by four: its parts are as large as if m were.
        let block_bytes = m.next_multiple_of(4).pow(2) * features.dtype().size();
        let pairs_a_launch = (LAUNCH_BYTES / block_bytes).max(1);
        let all_pairs = pairs(k);

        let mut grams = Vec::new();
        for first in (0..all_pairs).step_by(pairs_a_launch) {
            let count = pairs_a_launch.min(all_pairs - first);
            let sums = class_pair_grams(features.clone(), probabilities.clone(), first, count);
            grams.push(sums.try_into_data().map_err(|error| HessianError::Device(error.to_string()))?);
        }
        let triangles = self.sums.chunks_exact_mut(m * (m + 1) / 2);
        for (triangle, gram) in triangles.zip(grams.iter().flat_map(|data| blocks(data, m))) {
            let rows = gram.enumerate().flat_map(|(i, row)| row.take(i + 1));
            for (sum, addend) in triangle.iter_mut().zip(rows) {
                *sum += addend;
            }
        }
        self.samples += samples;
        Ok(())
    }

    fn check(&self, chunk: &Chunk) -> Result<usize, HessianError> {
        let (m, samples) = (self.features, chunk.check(self.features, self.classes)?);
        let dtype = chunk.features.dtype();
        let bytes = m * m * dtype.size();
        if dtype == DType::F32 && bytes > BINDING_BYTES {
            return Err(HessianError::BlockTooLarge { features: m, megabytes: bytes >> 20 });
        }
        Ok(samples)
    }

    /// The mean over the samples as a matrix [K m, K m].
    ///
    /// # Errors
    ///
    /// [`HessianError::NoSamples`], [`HessianError::NotFinite`] or
    /// [`HessianError::TooLarge`].
    pub fn finish(&self) -> Result<Hessian, HessianError> {
        if self.samples == 0 {
            return Err(HessianError::NoSamples);
        }
        Hessian::from_pair_sums(self.features, self.classes, self.samples, &self.sums)
    }
}

/// An affine map of the features, g'_i = scale_i (g_i - shift_i).
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMap {
    /// What is taken from each feature: [m].
    pub shift: Vec<f64>,
    /// What the difference is multiplied by: [m].
    pub scale: Vec<f64>,
}

impl Accumulator {
    /// The Hessian for mapped features and the same probabilities, from sums that
    /// were taken with a constant last feature ([`with_constant_feature`]). With
    /// S for one class pair, c for the constant's index and mu for the shift,
    ///
    /// ```text
    /// S'[i, j] = scale_i scale_j (S[i, j] - mu_i S[c, j] - mu_j S[i, c] + mu_i mu_j S[c, c])
    /// ```
    ///
    /// so that centring and scaling cost no second pass over the samples. The
    /// constant itself is left out: m features where m + 1 were added.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongMap`] if the map is not for m features, and as [`Self::finish`].
    pub fn finish_mapped(&self, map: &FeatureMap) -> Result<Hessian, HessianError> {
        let m = self.features - 1;
        if map.shift.len() != m || map.scale.len() != m || m == 0 {
            return Err(HessianError::WrongMap { found: [map.shift.len(), map.scale.len()], expected: m });
        }
        if self.samples == 0 {
            return Err(HessianError::NoSamples);
        }
        let mut sums = Vec::with_capacity(m * (m + 1) / 2 * pairs(self.classes));
        for triangle in self.sums.chunks_exact((m + 1) * (m + 2) / 2) {
            let at = |i: usize, j: usize| triangle[i * (i + 1) / 2 + j];
            for i in 0..m {
                for j in 0..=i {
                    let (mu_i, mu_j) = (map.shift[i], map.shift[j]);
                    let centred = at(i, j) - mu_i * at(m, j) - mu_j * at(m, i) + mu_i * mu_j * at(m, m);
                    sums.push(map.scale[i] * map.scale[j] * centred);
                }
            }
        }
        Hessian::from_pair_sums(m, self.classes, self.samples, &sums)
    }
}

/// Appends a feature that is 1 for every sample, so that the Hessian is with
/// respect to the bias too: [N, m] -> [N, m + 1].
pub fn with_constant_feature(features: Tensor<2>) -> Tensor<2> {
    let [samples, _] = features.dims();
    let ones = Tensor::ones([samples, 1], (&features.device(), features.dtype()));
    Tensor::cat(vec![features, ones], 1)
}

/// The m x m blocks of [pairs, m, m] as rows of f64.
fn blocks(
    data: &TensorData,
    m: usize,
) -> impl Iterator<Item = impl Iterator<Item = impl Iterator<Item = f64>>> {
    let width = data.dtype().size();
    data.as_bytes().chunks_exact(m * m * width).map(move |block| {
        block.chunks_exact(m * width).map(move |row| {
            row.chunks_exact(width).map(|element| match *element {
                [a, b, c, d] => f64::from(f32::from_ne_bytes([a, b, c, d])),
                [a, b, c, d, e, f, g, h] => f64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                _ => f64::NAN,
            })
        })
    })
}

/// `length` zeros, or nothing if there is no memory for them.
pub(crate) fn zeros(length: usize) -> Option<Vec<f64>> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(length).ok()?;
    zeros.resize(length, 0.0);
    Some(zeros)
}

pub(crate) fn too_large(features: usize, classes: usize) -> HessianError {
    let size = features.saturating_mul(classes);
    HessianError::TooLarge {
        features,
        classes,
        size,
        gigabytes: size as f64 * size as f64 * size_of::<f64>() as f64 / 1e9,
    }
}
