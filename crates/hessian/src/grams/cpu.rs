//! The class pairs' Gram matrices as matrix products, for the CPU backends.
//!
//! Some rows i of all pairs' lower triangles are one product. With the features of
//! these rows scaled by each pair's weight, stacked side by side,
//!
//! ```text
//! S_ab[i, 0..=i] += (p_a p_b g_i)^T G[:, 0..=i]      [rows x pairs, n] [n, columns]
//! ```
//!
//! so that what meets every column is as tall as a fast product's kernel wants it, and
//! with few rows i at a time little is computed above the diagonal (nothing for ten
//! classes in f64, 1 % in f32). What is stacked stays in a core's cache.
//!
//! Samples are cut into parts, whatever the number of threads, and each part's sums are
//! added in order: the result has the same bits on any number of threads.

use std::ops::Range;

#[cfg(feature = "flex")]
use burn::backend::Flex;
#[cfg(any(feature = "ndarray", feature = "wgpu"))]
use burn::backend::read_sync;
use burn::{
    backend::{
        Backend, TensorMetadata,
        tensor::{Device, FloatTensor},
    },
    tensor::{DType, Element, TensorData},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul, traits::ComplexField};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::class_pairs;

/// Bytes of a sample's column in a stack, at the most unless one row is more: a panel of the
/// widest kernels, six registers of AVX-512.
const STACK_BYTES: usize = 384;
/// Bytes of a row of a stack: 256 samples in f64. With the chunk of features beside it, a
/// stack stays in a second-level cache.
const CHUNK_BYTES: usize = 2048;
/// Parts of the samples, at the most,
const PARTS: usize = 4;
/// samples of a part, at the least,
const PART_SAMPLES: usize = 1024;
/// and bytes of all parts' sums, at the most.
const PARTS_BYTES: usize = 64 << 20;

/// S_ab for a backend whose tensors are to be had as [`TensorData`].
#[cfg(any(feature = "ndarray", feature = "wgpu"))]
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
        DType::F64 => sums_of_data::<f64>(&features, &probabilities, range),
        _ => sums_of_data::<f32>(&features, &probabilities, range),
    };
    on_device::<B>(sums, &device)
}

/// A CPU backend's tensor is in the host's memory already; reading it cannot fail.
#[cfg(any(feature = "ndarray", feature = "wgpu"))]
#[allow(clippy::expect_used)]
fn on_host<B: Backend>(tensor: FloatTensor<B>) -> TensorData {
    read_sync(B::float_into_data(tensor)).expect("a tensor in the host's memory is readable")
}

#[cfg(any(feature = "ndarray", feature = "wgpu"))]
#[allow(clippy::expect_used)]
fn sums_of_data<T: Real>(
    features: &TensorData,
    probabilities: &TensorData,
    pairs: Range<usize>,
) -> TensorData {
    let ([samples, m], [_, classes]) = (features.shape().dims(), probabilities.shape().dims());
    let features = features.as_slice::<T>().expect("features of the type they say they are");
    let probabilities = probabilities.as_slice::<T>().expect("probabilities of the features' type");
    sums(features, probabilities, [samples, m, classes], pairs)
}

/// S_ab on flex, whose tensors are read where they lie.
#[cfg(feature = "flex")]
pub(super) fn class_pair_grams_of_flex(
    features: FloatTensor<Flex>,
    probabilities: FloatTensor<Flex>,
    first_pair: usize,
    pairs: usize,
) -> FloatTensor<Flex> {
    #[allow(clippy::expect_used)]
    fn sums_of_tensors<T: Real>(
        features: &FloatTensor<Flex>,
        probabilities: &FloatTensor<Flex>,
        pairs: Range<usize>,
    ) -> TensorData {
        let ([samples, m], [_, classes]) = (features.shape().dims(), probabilities.shape().dims());
        let features = features.as_slice::<T>().expect("contiguous, of the type they say they are");
        let probabilities = probabilities.as_slice::<T>().expect("contiguous, of the features' type");
        sums(features, probabilities, [samples, m, classes], pairs)
    }
    let device = features.device();
    let range = first_pair..first_pair + pairs;
    let (features, probabilities) = (features.to_contiguous(), probabilities.to_contiguous());
    let sums = match features.dtype() {
        DType::F64 => sums_of_tensors::<f64>(&features, &probabilities, range),
        _ => sums_of_tensors::<f32>(&features, &probabilities, range),
    };
    on_device::<Flex>(sums, &device)
}

fn on_device<B: Backend>(sums: TensorData, device: &Device<B>) -> FloatTensor<B> {
    B::float_from_data(sums, device)
}

/// What the elements are: f32 or f64.
pub(super) trait Real:
    Element + bytemuck::Pod + ComplexField + std::ops::Mul<Output = Self> + std::ops::AddAssign
{
    /// products = factor * weights, which are as many.
    fn multiples<S: Simd>(simd: S, factor: Self, weights: &[Self], products: &mut [Self]);
}

impl Real for f32 {
    #[inline(always)]
    fn multiples<S: Simd>(simd: S, factor: Self, weights: &[Self], products: &mut [Self]) {
        let factor = simd.splat_f32s(factor);
        let (weights, last_weights) = S::as_simd_f32s(weights);
        let (products, last_products) = S::as_mut_simd_f32s(products);
        for (product, &weight) in products.iter_mut().zip(weights) {
            *product = simd.mul_f32s(factor, weight);
        }
        let last = simd.mul_f32s(factor, simd.partial_load_f32s(last_weights));
        simd.partial_store_f32s(last_products, last);
    }
}

impl Real for f64 {
    #[inline(always)]
    fn multiples<S: Simd>(simd: S, factor: Self, weights: &[Self], products: &mut [Self]) {
        let factor = simd.splat_f64s(factor);
        let (weights, last_weights) = S::as_simd_f64s(weights);
        let (products, last_products) = S::as_mut_simd_f64s(products);
        for (product, &weight) in products.iter_mut().zip(weights) {
            *product = simd.mul_f64s(factor, weight);
        }
        let last = simd.mul_f64s(factor, simd.partial_load_f64s(last_weights));
        simd.partial_store_f64s(last_products, last);
    }
}

/// S_ab of features [N, m] and probabilities [N, K], row by row, as [pairs, m, m]. The
/// operation's caller, [`crate::Accumulator`], has checked shapes and types.
pub(super) fn sums<T: Real>(
    features: &[T],
    probabilities: &[T],
    [samples, m, classes]: [usize; 3],
    pairs: Range<usize>,
) -> TensorData {
    let pairs: Vec<_> = class_pairs(classes).skip(pairs.start).take(pairs.len()).collect();
    let height = STACK_BYTES / (pairs.len().max(1) * size_of::<T>());
    let blocks = Block::all(m, height.max(1));

    let bytes = pairs.len() * m * m * size_of::<T>();
    let parts = (samples / PART_SAMPLES).min(PARTS_BYTES / bytes.max(1)).clamp(1, PARTS);
    let part = samples.div_ceil(parts).max(1);
    // With fewer parts than threads, the blocks are shared out too.
    let groups = rayon::current_num_threads().div_ceil(parts).min(blocks.len());
    let tasks: Vec<_> = (0..groups).flat_map(|group| (0..parts).map(move |part| (group, part))).collect();
    let partial: Vec<Vec<Vec<T>>> = tasks
        .into_par_iter()
        .map(|(group, number)| {
            let rows = (number * part).min(samples)..((number + 1) * part).min(samples);
            let features = &features[rows.start * m..rows.end * m];
            let probabilities = &probabilities[rows.start * classes..rows.end * classes];
            let own: Vec<_> = of_group(&blocks, group, groups).collect();
            sums_of_blocks(features, m, probabilities, classes, &pairs, &own)
        })
        .collect();

    let mut sums = vec![T::zero_impl(); pairs.len() * m * m];
    for (group, parts) in partial.chunks(parts).enumerate() {
        for (position, block) in of_group(&blocks, group, groups).enumerate() {
            let mut total = vec![T::zero_impl(); block.elements(pairs.len())];
            for part in parts {
                total.iter_mut().zip(&part[position]).for_each(|(total, &part)| *total += part);
            }
            block.unstack(&total, m, &mut sums);
        }
    }
    TensorData::new(sums, [pairs.len(), m, m])
}

/// The blocks that one of several groups takes: dealt out there and back, since a block
/// costs as much as it has columns.
fn of_group(blocks: &[Block], group: usize, groups: usize) -> impl Iterator<Item = &Block> {
    let turn = move |number: usize| match (number / groups).is_multiple_of(2) {
        true => number % groups,
        false => groups - 1 - number % groups,
    };
    blocks.iter().enumerate().filter(move |&(number, _)| turn(number) == group).map(|(_, block)| block)
}

/// Rows of the lower triangle of every pair, with the columns that they need.
#[derive(Debug)]
struct Block {
    rows: Range<usize>,
}

impl Block {
    /// All m rows, `height` at a time.
    fn all(m: usize, height: usize) -> Vec<Self> {
        (0..m).step_by(height).map(|start| Self { rows: start..(start + height).min(m) }).collect()
    }

    fn columns(&self) -> usize {
        self.rows.end
    }

    fn elements(&self, pairs: usize) -> usize {
        self.rows.len() * pairs * self.columns()
    }

    /// Puts a product [rows x pairs, columns], column by column, where it belongs in [pairs, m, m].
    fn unstack<T: Real>(&self, product: &[T], m: usize, sums: &mut [T]) {
        let pairs = sums.len() / (m * m);
        for (column, product) in product.chunks_exact(self.rows.len() * pairs).enumerate() {
            for (row, product) in self.rows.clone().zip(product.chunks_exact(pairs)) {
                for (pair, &element) in product.iter().enumerate() {
                    sums[(pair * m + row) * m + column] = element;
                }
            }
        }
    }
}

/// The features of a block's rows times the pairs' weights [n, pairs]: [n, rows x pairs].
///
/// A structure and no closure: what pulp compiles for the widest registers must be inlined
/// into it, and a closure of this size is not.
struct Stack<'a, T> {
    features: &'a [T],
    m: usize,
    rows: Range<usize>,
    weights: &'a [T],
    pairs: usize,
    stacked: &'a mut [T],
}

impl<T: Real> WithSimd for Stack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { features, m, rows, weights, pairs, stacked } = self;
        let samples = features.chunks_exact(m).zip(weights.chunks_exact(pairs));
        for (stacked, (g, weights)) in stacked.chunks_exact_mut(rows.len() * pairs).zip(samples) {
            for (stacked, &g) in stacked.chunks_exact_mut(pairs).zip(&g[rows.clone()]) {
                T::multiples(simd, g, weights, stacked);
            }
        }
    }
}

/// For each block its rows of S_ab for all pairs, [rows x pairs, columns], column by column.
fn sums_of_blocks<T: Real>(
    features: &[T],
    m: usize,
    probabilities: &[T],
    classes: usize,
    pairs: &[(usize, usize)],
    blocks: &[&Block],
) -> Vec<Vec<T>> {
    let mut sums: Vec<_> =
        blocks.iter().map(|block| vec![T::zero_impl(); block.elements(pairs.len())]).collect();
    let height = blocks.iter().map(|block| block.rows.len()).max().unwrap_or(0);
    let chunk = CHUNK_BYTES / size_of::<T>();
    let mut stacked = vec![T::zero_impl(); chunk * height * pairs.len()];
    let mut weights = vec![T::zero_impl(); chunk * pairs.len()];
    let mut accum = Accum::Replace;
    for (g, p) in features.chunks(chunk * m).zip(probabilities.chunks(chunk * classes)) {
        let rows = g.len() / m;
        let weights = &mut weights[..rows * pairs.len()];
        for (weights, p) in weights.chunks_exact_mut(pairs.len()).zip(p.chunks_exact(classes)) {
            for (weight, &(a, b)) in weights.iter_mut().zip(pairs) {
                *weight = p[a] * p[b]; // -(S_n)_ab, S_n = diag(p) - p p^T
            }
        }
        for (block, sums) in blocks.iter().zip(&mut sums) {
            let (height, columns) = (block.rows.len() * pairs.len(), block.columns());
            let stacked = &mut stacked[..rows * height];
            pulp::Arch::new().dispatch(Stack {
                features: g,
                m,
                rows: block.rows.clone(),
                weights,
                pairs: pairs.len(),
                stacked: &mut *stacked,
            });
            matmul(
                MatMut::from_column_major_slice_mut(sums, height, columns),
                accum,
                MatRef::from_row_major_slice(stacked, rows, height).transpose(),
                MatRef::from_row_major_slice(g, rows, m).subcols(0, columns),
                T::one_impl(),
                Par::Seq,
            );
        }
        accum = Accum::Add;
    }
    sums
}
