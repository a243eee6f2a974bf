//! The class pairs' Gram matrices as matrix products, for the CPU backends.
//!
//! Some rows i of all pairs' lower triangles are one product. With the features of
//! these rows scaled by each pair's weight, stacked side by side,
//!
//! ```text
//! S_ab[i, 0..=i] += (p_a p_b g_i)^T G[:, 0..=i]      [rows x pairs, n] [n, columns]
//! ```
//!
//! so that a few hundred rows meet every column: as tall as a fast product wants it,
//! and with few rows i at a time little is computed above the diagonal (3 %
//! for 100 features). What is stacked stays in a core's cache.
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
use rayon::prelude::*;

use super::class_pairs;

/// Rows of a stack, about: four times what the widest kernels hold in registers (48 in f64).
const STACK: usize = 192;
/// Samples of a stack: with the chunk of features beside it half of a second-level cache
/// of 1 MiB.
const CHUNK: usize = 256;
/// Parts of the samples, at the most,
const PARTS: usize = 4;
/// samples of a part, at the least,
const PART_SAMPLES: usize = 4 * CHUNK;
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
}
impl Real for f32 {}
impl Real for f64 {}

/// S_ab of features [N, m] and probabilities [N, K], row by row, as [pairs, m, m]. The
/// operation's caller, [`crate::Accumulator`], has checked shapes and types.
pub(super) fn sums<T: Real>(
    features: &[T],
    probabilities: &[T],
    [samples, m, classes]: [usize; 3],
    pairs: Range<usize>,
) -> TensorData {
    let pairs: Vec<_> = class_pairs(classes).skip(pairs.start).take(pairs.len()).collect();
    let blocks = Block::all(m, STACK.div_ceil(pairs.len().max(1)));

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

    /// The features of these rows times the pairs' weights [n, pairs]: [n, rows x pairs].
    fn stack<T: Real>(&self, features: &[T], m: usize, weights: &[T], pairs: usize, stacked: &mut [T]) {
        // pulp compiles the loop for the widest registers beside the baseline.
        pulp::Arch::new().dispatch(|| {
            let samples = features.chunks_exact(m).zip(weights.chunks_exact(pairs));
            for (stacked, (g, weights)) in stacked.chunks_exact_mut(self.rows.len() * pairs).zip(samples) {
                for (stacked, &g) in stacked.chunks_exact_mut(pairs).zip(&g[self.rows.clone()]) {
                    for (stacked, &weight) in stacked.iter_mut().zip(weights) {
                        *stacked = weight * g;
                    }
                }
            }
        });
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
    let mut stacked = vec![T::zero_impl(); CHUNK * height * pairs.len()];
    let mut weights = vec![T::zero_impl(); CHUNK * pairs.len()];
    let mut accum = Accum::Replace;
    for (g, p) in features.chunks(CHUNK * m).zip(probabilities.chunks(CHUNK * classes)) {
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
            block.stack(g, m, weights, pairs.len(), stacked);
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
