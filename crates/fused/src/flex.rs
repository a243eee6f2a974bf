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

/// Rows of a product that a thread takes at once, at the least (a batch of 128 is two such
/// pieces), and the multiply-adds: fewer are done before another thread has woken.
const ROWS: usize = 64;
const MULTIPLY_ADDS: usize = 1 << 20;
/// Samples that are summed in one go for a weight's gradient.
const SAMPLES: usize = 4096;
/// Rows that a thread takes at once where there is little to do with each.
const LIGHT_ROWS: usize = 1024;
/// Rows of a weight's gradient that a thread takes at once: 784 inputs are four such pieces.
const INPUTS: usize = 196;
/// Elements that a thread takes at once where there is little to do with each.
const ELEMENTS: usize = 128 << 10;

type Tensor = FloatTensor<Flex>;

impl FusedOperations for Flex {
    fn dense(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor {
        let ([samples, d], [_, units]) = (inputs.shape().dims(), weight.shape().dims());
        let [inputs, weight, bias] = [inputs, weight, bias].map(contiguous);
        let (x, w, b) = (numbers(&inputs), numbers(&weight), numbers(&bias));
        let mut outputs = vec![0.0; samples * units];
        if samples * units > 0 && d > 0 {
            let w = MatRef::from_row_major_slice(w, d, units);
            let rows = ROWS.max(MULTIPLY_ADDS / (d * units));
            outputs.par_chunks_mut(rows * units).zip(x.par_chunks(rows * d)).for_each(|(z, x)| {
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
        let samples = z.par_chunks(LIGHT_ROWS * classes).zip(y.par_chunks(LIGHT_ROWS * classes));
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
        let length = LIGHT_ROWS * classes;
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

    fn squared_norm(weights: Tensor) -> Tensor {
        let weights = contiguous(weights);
        let parts: Vec<f32> = numbers(&weights)
            .par_chunks(ELEMENTS)
            .map(|part| pulp::Arch::new().dispatch(|| lanes(part, |x| x * x)))
            .collect();
        tensor(vec![parts.into_iter().sum()], [1])
    }

    fn squared_norm_gradient(weights: Tensor, upstream: Tensor) -> Tensor {
        let shape = weights.shape();
        let weights = contiguous(weights);
        let factor = 2.0 * numbers(&upstream)[0];
        let parts = numbers(&weights).par_chunks(ELEMENTS).map(|part| {
            pulp::Arch::new().dispatch(|| part.iter().map(|weight| factor * weight).collect::<Vec<f32>>())
        });
        Tensor::from_data(TensorData::new(joined(parts.collect()), shape))
    }

    fn normalise_batch(
        inputs: Tensor,
        gamma: Tensor,
        beta: Tensor,
        epsilon: f64,
    ) -> (Tensor, Tensor, Tensor) {
        let [samples, units] = inputs.shape().dims();
        let [inputs, gamma, beta] = [inputs, gamma, beta].map(contiguous);
        let x = numbers(&inputs);
        let mean = means(x, units, |x, sums| {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        });
        let variance = means(x, units, |x, sums| {
            for (sum, (x, mean)) in sums.iter_mut().zip(x.iter().zip(&mean)) {
                *sum += (x - mean) * (x - mean);
            }
        });
        // y = scale (x - mu) + beta
        let roots = variance.iter().map(|v| (f64::from(*v) + epsilon).sqrt() as f32);
        let scale: Vec<f32> = numbers(&gamma).iter().zip(roots).map(|(gamma, root)| gamma / root).collect();
        let beta = numbers(&beta);
        let mut outputs = vec![0.0; samples * units];
        outputs.par_chunks_mut(LIGHT_ROWS * units).zip(x.par_chunks(LIGHT_ROWS * units)).for_each(
            |(y, x)| {
                pulp::Arch::new().dispatch(|| {
                    for (y, x) in y.chunks_exact_mut(units).zip(x.chunks_exact(units)) {
                        let features = x.iter().zip(&mean).zip(scale.iter().zip(beta));
                        for (y, ((x, mean), (scale, beta))) in y.iter_mut().zip(features) {
                            *y = scale * (x - mean) + beta;
                        }
                    }
                });
            },
        );
        (tensor(outputs, [samples, units]), tensor(mean, [units]), tensor(variance, [units]))
    }

    fn normalise_batch_gradients(
        inputs: Tensor,
        gamma: Tensor,
        mean: Tensor,
        variance: Tensor,
        upstream: Tensor,
        epsilon: f64,
    ) -> (Tensor, Tensor, Tensor) {
        let [samples, units] = inputs.shape().dims();
        let [inputs, gamma, mean, upstream] = [inputs, gamma, mean, upstream].map(contiguous);
        let (x, gamma, mean, dy) = (numbers(&inputs), numbers(&gamma), numbers(&mean), numbers(&upstream));
        let variance = contiguous(variance);
        let inverse: Vec<f32> =
            numbers(&variance).iter().map(|v| (f64::from(*v) + epsilon).sqrt().recip() as f32).collect();
        let rows = || x.par_chunks(LIGHT_ROWS * units).zip(dy.par_chunks(LIGHT_ROWS * units));
        // sum_n h_n dL/dy_n and sum_n dL/dy_n, h = (x - mu) inverse
        let sums = total(rows().map(|(x, dy)| {
            let mut sums = vec![0.0; 2 * units];
            let (of_gamma, of_beta) = sums.split_at_mut(units);
            pulp::Arch::new().dispatch(|| {
                for (x, dy) in x.chunks_exact(units).zip(dy.chunks_exact(units)) {
                    let features = x.iter().zip(dy).zip(mean.iter().zip(&inverse));
                    let sums = of_gamma.iter_mut().zip(of_beta.iter_mut());
                    for ((of_gamma, of_beta), ((x, dy), (mean, inverse))) in sums.zip(features) {
                        *of_gamma += (x - mean) * inverse * dy;
                        *of_beta += dy;
                    }
                }
            });
            sums
        }));
        let (of_gamma, of_beta) = sums.split_at(units);
        // dL/dx_n = gamma inverse (dL/dy_n - (dL/dbeta + h_n dL/dgamma) / n)
        let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
        let share = 1.0 / samples as f32;
        let offset: Vec<f32> = of_beta.iter().map(|sum| sum * share).collect();
        let slope: Vec<f32> =
            of_gamma.iter().zip(&inverse).map(|(sum, inverse)| sum * share * inverse).collect();
        let mut gradient = vec![0.0; samples * units];
        gradient.par_chunks_mut(LIGHT_ROWS * units).zip(rows()).for_each(|(dx, (x, dy))| {
            pulp::Arch::new().dispatch(|| {
                let rows = x.chunks_exact(units).zip(dy.chunks_exact(units));
                for (dx, (x, dy)) in dx.chunks_exact_mut(units).zip(rows) {
                    let features = x.iter().zip(dy).zip(mean.iter().zip(&scale));
                    let affine = offset.iter().zip(&slope);
                    for ((dx, ((x, dy), (mean, scale))), (offset, slope)) in
                        dx.iter_mut().zip(features).zip(affine)
                    {
                        *dx = scale * (dy - offset - slope * (x - mean));
                    }
                }
            });
        });
        let [of_gamma, of_beta] = [of_gamma, of_beta].map(|sums| tensor(sums.to_vec(), [units]));
        (tensor(gradient, [samples, units]), of_gamma, of_beta)
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
        let [parameter, gradient] = [parameter, gradient].map(contiguous);
        let (theta, gradient) = (numbers(&parameter), numbers(&gradient));
        let [mut m, mut v] = [moment_1, moment_2].map(owned);
        let pieces = theta.par_chunks(ELEMENTS).zip(gradient.par_chunks(ELEMENTS));
        let moments = m.par_chunks_mut(ELEMENTS).zip(v.par_chunks_mut(ELEMENTS));
        let stepped = pieces.zip(moments).map(|((theta, gradient), (m, v))| {
            pulp::Arch::new().dispatch(|| {
                let AdamFactors { beta_1, beta_2, correction, epsilon, rate } = factors;
                let elements = theta.iter().zip(gradient).zip(m.iter_mut().zip(v));
                let stepped = elements.map(|((theta, &g), (m, v))| {
                    *m = *m * beta_1 + g * (1.0 - beta_1);
                    *v = *v * beta_2 + g * g * (1.0 - beta_2);
                    theta - *m * correction / (v.sqrt() + epsilon) * rate
                });
                stepped.collect::<Vec<f32>>()
            })
        });
        let theta = joined(stepped.collect());
        let tensor = |numbers| Tensor::from_data(TensorData::new(numbers, shape.clone()));
        (tensor(theta), tensor(m), tensor(v))
    }
}

/// The sum of f(x), in 16 sums side by side, so that it is as wide as registers are and its
/// order is the same whatever they are.
#[inline(always)]
fn lanes(numbers: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (groups, rest) = numbers.as_chunks::<16>();
    for group in groups {
        sums.iter_mut().zip(group).for_each(|(sum, &x)| *sum += f(x));
    }
    sums.into_iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// 1/n sum_n of what `add` adds of each row to the sums: [n, m] -> [m]. Parts of the rows
/// are summed in f32, the parts in f64.
fn means(rows: &[f32], columns: usize, add: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let parts = rows.par_chunks(LIGHT_ROWS * columns).map(|rows| {
        let mut sums = vec![0.0; columns];
        pulp::Arch::new().dispatch(|| {
            for row in rows.chunks_exact(columns) {
                add(row, &mut sums);
            }
        });
        sums
    });
    let count = rows.len() / columns;
    total(parts).into_iter().map(|sum| (f64::from(sum) / count as f64) as f32).collect()
}

/// The sum of lists of one length, in their order and in f64.
fn total(parts: impl IndexedParallelIterator<Item = Vec<f32>>) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = parts.collect();
    let length = parts.first().map_or(0, Vec::len);
    let sum = |i: usize| parts.iter().map(|part| f64::from(part[i])).sum::<f64>() as f32;
    (0..length).map(sum).collect()
}

/// Lists side by side; one alone stays where it is.
fn joined(mut parts: Vec<Vec<f32>>) -> Vec<f32> {
    if parts.len() == 1 { parts.remove(0) } else { parts.concat() }
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
