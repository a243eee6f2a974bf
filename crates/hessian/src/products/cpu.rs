//! The sum on flex, whose tensors are read where they lie.
//!
//! Samples are cut into parts, whatever the number of threads, and each part's sums are added in
//! order, in f64: the result has the same bits on any number of threads.

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::{DType, Element, TensorData},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul, traits::ComplexField};
use rayon::prelude::*;

use crate::decomposition::PRODUCTS;

/// Bytes of what some samples' features and products take, about half of a second-level cache.
const PIECE_BYTES: usize = 512 << 10;
/// The same where all threads share each product.
const SHARED_PIECE_BYTES: usize = 32 << 20;
/// Parts of the samples, at the most,
const PARTS: usize = 16;
/// samples of a part, at the least,
const PART_SAMPLES: usize = 1024;
/// and bytes of all parts' sums, at the most.
const PARTS_BYTES: usize = 64 << 20;

/// A number that products are computed in.
trait Real:
    ComplexField
    + Element
    + bytemuck::Pod
    + PartialOrd
    + std::ops::Mul<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + Into<f64>
{
    const ONE: Self;
}

impl Real for f32 {
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ONE: Self = 1.0;
}

pub(super) fn curved_product(
    features: FloatTensor<Flex>,
    probabilities: FloatTensor<Flex>,
    directions: FloatTensor<Flex>,
) -> FloatTensor<Flex> {
    let [features, probabilities, directions] =
        [features, probabilities, directions].map(|tensor| tensor.to_contiguous());
    match features.dtype() {
        DType::F64 => of_type::<f64>(&features, &probabilities, &directions),
        _ => of_type::<f32>(&features, &probabilities, &directions),
    }
}

#[allow(clippy::expect_used)]
fn of_type<T: Real>(
    features: &FloatTensor<Flex>,
    probabilities: &FloatTensor<Flex>,
    directions: &FloatTensor<Flex>,
) -> FloatTensor<Flex> {
    let ([samples, m], [_, classes]) = (features.shape().dims(), probabilities.shape().dims());
    let [columns, _] = directions.shape().dims();
    let g = features.as_slice::<T>().expect("contiguous, of the type that it says it is");
    let p = probabilities.as_slice::<T>().expect("contiguous, of the features' type");
    let v = directions.as_slice::<T>().expect("contiguous, of the features' type");
    let v = MatRef::from_row_major_slice(v, columns, m);

    // Where sums are so large that few of them can be kept apart, products are shared out instead.
    let parts = (PARTS_BYTES / (columns * m * size_of::<T>())).min(samples / PART_SAMPLES).clamp(1, PARTS);
    let part = samples.div_ceil(parts).max(1);
    let (bytes, threads) = if parts > 1 { (PIECE_BYTES, Par::Seq) } else { (SHARED_PIECE_BYTES, PRODUCTS) };
    let piece = (bytes / ((m + columns) * size_of::<T>())).clamp(16, part.max(16));
    let sums: Vec<Vec<T>> = g
        .par_chunks(part * m)
        .zip(p.par_chunks(part * classes))
        .map(|(g, p)| {
            let mut sum = vec![T::zero_impl(); columns * m];
            let mut along = vec![T::zero_impl(); piece * columns];
            for (g, p) in g.chunks(piece * m).zip(p.chunks(piece * classes)) {
                let rows = p.len() / classes;
                let g = MatRef::from_row_major_slice(g, rows, m);
                let along = &mut along[..rows * columns];
                let u = MatMut::from_row_major_slice_mut(along, rows, columns);
                matmul(u, Accum::Replace, g, v.transpose(), T::ONE, threads);
                for (u, p) in along.chunks_exact_mut(columns).zip(p.chunks_exact(classes)) {
                    curve(u, p);
                }
                let w = MatRef::from_row_major_slice(along, rows, columns);
                let sum = MatMut::from_row_major_slice_mut(&mut sum, columns, m);
                matmul(sum, Accum::Add, w.transpose(), g, T::ONE, threads);
            }
            sum
        })
        .collect();
    let total = |index: usize| sums.iter().map(|sum| -> f64 { sum[index].into() }).sum::<f64>();
    let product: Vec<T> = (0..columns * m).map(|index| T::from_elem(total(index))).collect();
    FloatTensor::<Flex>::from_data(TensorData::new(product, [columns, m]))
}

/// u -> S u of each of some directions, for one sample: p (u - p . u), u of the likeliest class taken
/// off first. With one number p is p (1 - p) of one logit.
#[inline]
fn curve<T: Real>(u: &mut [T], p: &[T]) {
    if let &[weight] = p {
        u.iter_mut().for_each(|u| *u = weight * *u);
        return;
    }
    let likeliest = (1..p.len()).fold(0, |best, class| if p[class] > p[best] { class } else { best });
    for u in u.chunks_exact_mut(p.len()) {
        let shared = u[likeliest];
        let mut mean = T::zero_impl();
        for (u, &p) in u.iter_mut().zip(p) {
            *u -= shared;
            mean += p * *u;
        }
        for (u, &p) in u.iter_mut().zip(p) {
            *u = p * (*u - mean);
        }
    }
}
