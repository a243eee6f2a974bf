//! The operations on flex, burn's CPU backend.
//!
//! Work is cut into pieces whose size depends on the shapes alone and not on the number
//! of threads, and sums are added in a fixed order, so the bits are the same on any
//! number of threads. Loops go through pulp, which compiles them for AVX-512 and AVX2
//! beside the baseline and picks at run time.

use burn::{
    backend::{
        Flex, TensorMetadata,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, TensorData},
};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use crate::{FusedOperations, operations::AdamFactors};

/// Rows of a product that a thread takes at once. A batch of 128 is two such pieces.
const ROWS: usize = 64;
/// Samples that are summed in one go for a weight's gradient.
const SAMPLES: usize = 4096;
/// Rows of a weight's gradient that a thread takes at once: 784 inputs are four such pieces.
const INPUTS: usize = 196;
/// Elements that a thread takes at once where there is little to do with each.
const ELEMENTS: usize = 32 << 10;

type Tensor = FloatTensor<Flex>;

impl FusedOperations for Flex {
    fn dense(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor {
        let ([samples, d], [_, units]) = (inputs.shape().dims(), weight.shape().dims());
        let [inputs, weight, bias] = [inputs, weight, bias].map(contiguous);
        let (x, w, b) = (numbers(&inputs), numbers(&weight), numbers(&bias));
        let mut outputs = vec![0.0; samples * units];
        if samples * units > 0 && d > 0 {
            let w = MatRef::from_row_major_slice(w, d, units);
            outputs.par_chunks_mut(ROWS * units).zip(x.par_chunks(ROWS * d)).for_each(|(z, x)| {
                let rows = z.len() / units;
                z.chunks_exact_mut(units).for_each(|z| z.copy_from_slice(b));
                let x = MatRef::from_row_major_slice(x, rows, d);
                matmul(MatMut::from_row_major_slice_mut(z, rows, units), Accum::Add, x, w, 1.0, Par::Seq);
            });
        }
        tensor(outputs, [samples, units])
    }

    fn dense_gradients(inputs: Tensor, upstream: Tensor) -> (Tensor, Tensor) {
        let ([_, d], [_, units]) = (inputs.shape().dims(), upstream.shape().dims());
        let [inputs, upstream] = [inputs, upstream].map(contiguous);
        let (x, dz) = (numbers(&inputs), numbers(&upstream));
        let mut weight = vec![0.0; d * units];
        let mut bias = vec![0.0; units];
        for (part, (x, dz)) in x.chunks(SAMPLES * d).zip(dz.chunks(SAMPLES * units)).enumerate() {
            let rows = dz.len() / units;
            let x = MatRef::from_row_major_slice(x, rows, d);
            let dz_rows = MatRef::from_row_major_slice(dz, rows, units);
            let accum = if part == 0 { Accum::Replace } else { Accum::Add };
            weight.par_chunks_mut(INPUTS * units).enumerate().for_each(|(piece, weight)| {
                let inputs = weight.len() / units;
                let x = x.subcols(piece * INPUTS, inputs).transpose();
                matmul(
                    MatMut::from_row_major_slice_mut(weight, inputs, units),
                    accum,
                    x,
                    dz_rows,
                    1.0,
                    Par::Seq,
                );
            });
            let sums = column_sums(dz, units);
            bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias += sum);
        }
        (tensor(weight, [d, units]), tensor(bias, [units]))
    }

    fn cross_entropy(logits: Tensor, targets: Tensor) -> Tensor {
        let [_, classes] = logits.shape().dims();
        let [logits, targets] = [logits, targets].map(contiguous);
        let (z, y) = (numbers(&logits), numbers(&targets));
        let samples = z.par_chunks(ELEMENTS * classes).zip(y.par_chunks(ELEMENTS * classes));
        let parts: Vec<f64> = samples
            .map(|(z, y)| {
                let samples = z.chunks_exact(classes).zip(y.chunks_exact(classes));
                samples.map(|(z, y)| f64::from(cross_entropy_of_sample(z, y))).sum()
            })
            .collect();
        tensor(vec![parts.into_iter().sum::<f64>() as f32], [1])
    }

    fn cross_entropy_gradient(logits: Tensor, targets: Tensor, upstream: Tensor) -> Tensor {
        let [samples, classes] = logits.shape().dims();
        let [logits, targets] = [logits, targets].map(contiguous);
        let (z, y) = (numbers(&logits), numbers(&targets));
        let upstream = numbers(&upstream)[0];
        let mut gradient = vec![0.0; samples * classes];
        let length = (ELEMENTS / 16) * classes;
        let parts = z.par_chunks(length).zip(y.par_chunks(length));
        gradient.par_chunks_mut(length).zip(parts).for_each(|(gradient, (z, y))| {
            let samples = z.chunks_exact(classes).zip(y.chunks_exact(classes));
            for (gradient, (z, y)) in gradient.chunks_exact_mut(classes).zip(samples) {
                let largest = largest(z);
                gradient.iter_mut().zip(z).for_each(|(p, z)| *p = (z - largest).exp());
                let factor = y.iter().sum::<f32>() / gradient.iter().sum::<f32>();
                gradient.iter_mut().zip(y).for_each(|(p, y)| *p = (*p * factor - y) * upstream);
            }
        });
        tensor(gradient, [samples, classes])
    }

    fn scaled(bytes: IntTensor<Flex>, factor: f32, offset: f32) -> Tensor {
        let shape = bytes.shape();
        let bytes = contiguous(bytes);
        let Some(pixels) = bytes.as_slice::<u8>() else {
            // Only devices without bytes have them in words, and flex has bytes.
            let scaled = bytes.into_data().iter::<f32>().map(|number| factor * number + offset).collect();
            return Tensor::from_data(TensorData::new::<f32, _>(scaled, shape));
        };
        let mut scaled = vec![0.0f32; pixels.len()];
        scaled.par_chunks_mut(ELEMENTS).zip(pixels.par_chunks(ELEMENTS)).for_each(|(scaled, pixels)| {
            pulp::Arch::new().dispatch(|| {
                for (scaled, &pixel) in scaled.iter_mut().zip(pixels) {
                    *scaled = factor * f32::from(pixel) + offset;
                }
            });
        });
        Tensor::from_data(TensorData::new(scaled, shape))
    }

    fn adam_step(
        parameter: Tensor,
        gradient: Tensor,
        moment_1: Tensor,
        moment_2: Tensor,
        factors: AdamFactors,
    ) -> (Tensor, Tensor, Tensor) {
        let shape = parameter.shape();
        let gradient = contiguous(gradient);
        let gradient = numbers(&gradient);
        let [mut theta, mut m, mut v] = [parameter, moment_1, moment_2].map(owned);
        let pieces = theta.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS));
        let moments = m.par_chunks_mut(ELEMENTS).zip(v.par_chunks_mut(ELEMENTS));
        pieces.zip(moments).for_each(|((theta, gradient), (m, v))| {
            pulp::Arch::new().dispatch(|| {
                let AdamFactors { beta_1, beta_2, correction, epsilon, rate } = factors;
                let elements = theta.iter_mut().zip(gradient).zip(m.iter_mut().zip(v));
                for ((theta, &g), (m, v)) in elements {
                    *m = *m * beta_1 + g * (1.0 - beta_1);
                    *v = *v * beta_2 + g * g * (1.0 - beta_2);
                    *theta -= *m * correction / (v.sqrt() + epsilon) * rate;
                }
            });
        });
        let tensor = |numbers| Tensor::from_data(TensorData::new(numbers, shape.clone()));
        (tensor(theta), tensor(m), tensor(v))
    }
}

/// sum_n dz_n: [n, m], row by row -> [m].
fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    pulp::Arch::new().dispatch(|| {
        for row in rows.chunks_exact(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        }
    });
    sums
}

/// - sum_k y_k log softmax(z)_k = sum_k y_k (max z + log sum_j exp(z_j - max z) - z_k).
fn cross_entropy_of_sample(z: &[f32], y: &[f32]) -> f32 {
    let largest = largest(z);
    let logarithm = z.iter().map(|z| (z - largest).exp()).sum::<f32>().ln();
    z.iter().zip(y).filter(|&(_, &y)| y != 0.0).map(|(z, y)| y * (logarithm - (z - largest))).sum()
}

fn largest(z: &[f32]) -> f32 {
    z.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The tensor with its elements side by side, wherever they begin: a view of some rows stays
/// a view.
fn contiguous(tensor: Tensor) -> Tensor {
    if tensor.layout().contiguous_offsets().is_some() { tensor } else { tensor.to_contiguous() }
}

/// A tensor's elements, row by row; copied only if somebody else has the tensor too.
#[allow(clippy::expect_used)]
fn owned(tensor: Tensor) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("networks are trained in f32")
}

/// A contiguous f32 tensor's elements, row by row.
#[allow(clippy::expect_used)]
fn numbers(tensor: &Tensor) -> &[f32] {
    debug_assert_eq!(tensor.dtype(), DType::F32);
    tensor.as_slice().expect("networks are trained in f32, and the tensor is contiguous")
}

fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor {
    Tensor::from_data(TensorData::new(numbers, shape))
}
