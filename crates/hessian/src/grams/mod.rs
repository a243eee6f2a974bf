//! The one operation that differs by backend: the weighted Gram matrices of the
//! class pairs.
//!
//! ```text
//! S_ab[i, j] = sum_n p_na p_nb g_ni g_nj          a < b,  j <= i
//! ```
//!
//! Pairs are numbered (0,1), (0,2), .., (0,K-1), (1,2), .., (K-2,K-1).

// NdArray is deprecated in favour of Flex; it is kept as a second, independent CPU backend.
#![allow(deprecated)]

mod cpu;
#[cfg(feature = "wgpu")]
mod gpu;
#[cfg(feature = "wgpu")]
mod launch;

#[cfg(feature = "wgpu")]
use burn::tensor::Shape;
use burn::{
    backend::{Backend, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};

/// The number of class pairs of K classes, K (K-1) / 2.
pub const fn pairs(classes: usize) -> usize {
    classes * classes.saturating_sub(1) / 2
}

/// All class pairs a < b in their order.
pub fn class_pairs(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |a| (a + 1..classes).map(move |b| (a, b)))
}

/// A backend that computes weighted Gram matrices.
#[backend_extension(
    Cube: cfg(feature = "wgpu"),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Fusion: cfg(feature = "wgpu")
)]
pub trait ClassPairGrams: Backend {
    /// S_ab for `pairs` pairs, starting with number `first_pair`.
    ///
    /// - `features`: [N, m]
    /// - `probabilities`: [N, K], of the same type
    /// - returns: [pairs, m, m]; what stands above the diagonals has no meaning.
    #[fusion(dtype = features, shape = Shape::new([*pairs, features[1], features[1]]))]
    fn class_pair_grams(
        features: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        first_pair: usize,
        pairs: usize,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl ClassPairGrams for burn::backend::Flex {
    fn class_pair_grams(
        features: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        first_pair: usize,
        pairs: usize,
    ) -> FloatTensor<Self> {
        cpu::class_pair_grams_of_flex(features, probabilities, first_pair, pairs)
    }
}

#[cfg(feature = "ndarray")]
impl ClassPairGrams for burn::backend::NdArray {
    fn class_pair_grams(
        features: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        first_pair: usize,
        pairs: usize,
    ) -> FloatTensor<Self> {
        cpu::class_pair_grams::<Self>(features, probabilities, first_pair, pairs)
    }
}

/// [`ClassPairGrams::class_pair_grams`] on tensors of whatever device they are on: features
/// [N, m] and probabilities [N, K] of one type, f32 or f64, with none of N, m and `pairs` zero.
///
/// ```
/// use kappa_hessian::{burn::tensor::{Device, Tensor}, grams::{class_pair_grams, class_pairs, pairs}};
///
/// let features = Tensor::<2>::from_floats([[2.0], [4.0]], &Device::flex());
/// let probabilities = Tensor::<2>::from_floats([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], &Device::flex());
/// let sums = class_pair_grams(features, probabilities, 0, pairs(3)).into_data().to_vec::<f32>().unwrap();
/// assert_eq!(class_pairs(3).zip(sums).collect::<Vec<_>>(), [((0, 1), 2.0), ((0, 2), 2.0), ((1, 2), 2.0)]);
/// ```
pub fn class_pair_grams(
    features: Tensor<2>,
    probabilities: Tensor<2>,
    first_pair: usize,
    pairs: usize,
) -> Tensor<3> {
    Tensor::from_dispatch(<burn::backend::Dispatch as ClassPairGrams>::class_pair_grams(
        features.into_dispatch(),
        probabilities.into_dispatch(),
        first_pair,
        pairs,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_and_listed_alike() {
        for classes in 0..12 {
            assert_eq!(class_pairs(classes).count(), pairs(classes));
        }
        assert_eq!(class_pairs(4).collect::<Vec<_>>(), [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
    }
}
