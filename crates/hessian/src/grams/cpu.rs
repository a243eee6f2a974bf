//! The class pairs' Gram matrices as matrix products, for the CPU backends.
//!
//! For a chunk of samples small enough to stay in a core's cache, the features
//! are scaled once per pair, W = diag(p_a p_b) G, and G^T W is added to S_ab;
//! faer computes the lower triangle alone. Pairs are shared out among threads,
//! so no two threads write to one sum and the result has the same bits on any
//! number of them.

use burn::{
    backend::{Backend, TensorMetadata, read_sync, tensor::FloatTensor},
    tensor::{DType, Element, TensorData},
};
use faer::{
    Accum, MatMut, MatRef, Par,
    linalg::matmul::triangular::{BlockStructure, matmul},
    traits::ComplexField,
};
use rayon::prelude::*;

use super::class_pairs;

/// Bytes of features that one chunk holds: with its scaled copy, half of a
/// second-level cache of 1 MiB.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) fn class_pair_grams<B: Backend>(
    features: FloatTensor<B>,
    probabilities: FloatTensor<B>,
    first_pair: usize,
    pairs: usize,
) -> FloatTensor<B> {
    let device = features.device();
    let range = first_pair..first_pair + pairs;
    let features = on_host::<B>(features);
    let probabilities = on_host::<B>(probabilities);
    let sums = match features.dtype() {
        DType::F64 => sums::<f64>(&features, &probabilities, range),
        _ => sums::<f32>(&features, &probabilities, range),
    };
    B::float_from_data(sums, &device)
}

/// A CPU backend's tensor is in the host's memory already; reading it cannot fail.
#[allow(clippy::expect_used)]
fn on_host<B: Backend>(tensor: FloatTensor<B>) -> TensorData {
    read_sync(B::float_into_data(tensor)).expect("a tensor in the host's memory is readable")
}

/// The operation's caller, [`crate::Accumulator`], has checked shapes and types.
#[allow(clippy::expect_used)]
fn sums<T>(features: &TensorData, probabilities: &TensorData, pairs: std::ops::Range<usize>) -> TensorData
where
    T: Element + ComplexField + std::ops::Mul<Output = T>,
{
    let [samples, m] = features.shape().dims();
    let [_, classes] = probabilities.shape().dims();
    let features = features.as_slice::<T>().expect("features of the type they say they are");
    let probabilities = probabilities.as_slice::<T>().expect("probabilities of the features' type");
    let chunk = (CHUNK_BYTES / (m * size_of::<T>())).clamp(1, samples.max(1));
    let selected: Vec<_> = class_pairs(classes).skip(pairs.start).take(pairs.len()).collect();

    let mut sums = vec![T::zero_impl(); selected.len() * m * m];
    sums.par_chunks_mut(m * m).zip(selected).for_each_init(
        || vec![T::zero_impl(); chunk * m],
        |scaled, (sum, (a, b))| {
            let mut sum = MatMut::from_row_major_slice_mut(sum, m, m);
            for (g, p) in features.chunks(chunk * m).zip(probabilities.chunks(chunk * classes)) {
                let scaled = &mut scaled[..g.len()];
                for ((scaled, g), p) in
                    scaled.chunks_exact_mut(m).zip(g.chunks_exact(m)).zip(p.chunks_exact(classes))
                {
                    let weight = p[a] * p[b]; // -(S_n)_ab, S_n = diag(p) - p p^T
                    for (scaled, &g) in scaled.iter_mut().zip(g) {
                        *scaled = weight * g;
                    }
                }
                let rows = g.len() / m;
                matmul(
                    sum.as_mut(),
                    BlockStructure::TriangularLower,
                    Accum::Add,
                    MatRef::from_row_major_slice(g, rows, m).transpose(),
                    BlockStructure::Rectangular,
                    MatRef::from_row_major_slice(scaled, rows, m),
                    BlockStructure::Rectangular,
                    T::one_impl(),
                    Par::Seq,
                );
            }
        },
    );
    TensorData::new(sums, [pairs.len(), m, m])
}
