//! The operations on flex, burn's CPU backend.
//!
//! Work is cut into pieces whose size depends on the shapes alone and not on the number
//! of threads, and sums are added in a fixed order, so the bits are the same on any
//! number of threads. `loops` has what is compiled for the widest registers, `dense` the
//! products.

mod dense;
mod loops;

use burn::{
    backend::{
        Flex, TensorMetadata,
        ops::IntTensorOps,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Element, IntDType, TensorData},
};
use rayon::prelude::*;

use crate::{ByteScale, FusedOperations, clear_upper_halves, operations::AdamFactors};
use dense::Inputs;
use loops::{
    AdamStep, BatchNormGradient, BatchNormSums, Blend, ColumnSums, Multiples, Normalised, PieceSums,
    SquaredDeviations, SumOfSquares, run,
};

/// Rows that a thread takes at once where there is little to do with each.
const LIGHT_ROWS: usize = 1024;
/// Elements that a thread takes at once where there is little to do with each.
const ELEMENTS: usize = 128 << 10;

type Tensor = FloatTensor<Flex>;

impl FusedOperations for Flex {
    fn dense(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor {
        let ([samples, d], [_, units]) = (inputs.shape().dims(), weight.shape().dims());
        let [inputs, weight, bias] = [inputs, weight, bias].map(contiguous);
        let shape = [samples, units];
        if weight.dtype() == DType::F64 {
            let inputs = Inputs::Numbers(doubles(&inputs));
            return tensor(dense::forward(inputs, doubles(&weight), doubles(&bias), d), shape);
        }
        let inputs = Inputs::Numbers(numbers(&inputs));
        tensor(dense::forward(inputs, numbers(&weight), numbers(&bias), d), shape)
    }

    fn dense_gradients(inputs: Tensor, upstream: Tensor) -> (Tensor, Tensor) {
        let ([_, d], [_, units]) = (inputs.shape().dims(), upstream.shape().dims());
        let [inputs, upstream] = [inputs, upstream].map(contiguous);
        if upstream.dtype() == DType::F64 {
            let (weight, bias) =
                dense::gradients(Inputs::Numbers(doubles(&inputs)), doubles(&upstream), d, units);
            return (tensor(weight, [d, units]), tensor(bias, [units]));
        }
        let (weight, bias) =
            dense::gradients(Inputs::Numbers(numbers(&inputs)), numbers(&upstream), d, units);
        (tensor(weight, [d, units]), tensor(bias, [units]))
    }

    fn dense_of_bytes(bytes: IntTensor<Flex>, scale: ByteScale, weight: Tensor, bias: Tensor) -> Tensor {
        let ([samples, d], [_, units]) = (bytes.shape().dims(), weight.shape().dims());
        let [weight, bias] = [weight, bias].map(contiguous);
        let bytes = bytes_of(bytes);
        let (bytes, shape) = (bytes_in(&bytes), [samples, units]);
        if weight.dtype() == DType::F64 {
            let inputs = Inputs::Bytes(bytes, scale);
            return tensor(dense::forward(inputs, doubles(&weight), doubles(&bias), d), shape);
        }
        let inputs = Inputs::Bytes(bytes, scale);
        tensor(dense::forward(inputs, numbers(&weight), numbers(&bias), d), shape)
    }

    fn dense_of_bytes_gradients(
        bytes: IntTensor<Flex>,
        scale: ByteScale,
        upstream: Tensor,
    ) -> (Tensor, Tensor) {
        let ([_, d], [_, units]) = (bytes.shape().dims(), upstream.shape().dims());
        let (bytes, upstream) = (bytes_of(bytes), contiguous(upstream));
        if upstream.dtype() == DType::F64 {
            let inputs = Inputs::Bytes(bytes_in(&bytes), scale);
            let (weight, bias) = dense::gradients(inputs, doubles(&upstream), d, units);
            return (tensor(weight, [d, units]), tensor(bias, [units]));
        }
        let (weight, bias) =
            dense::gradients(Inputs::Bytes(bytes_in(&bytes), scale), numbers(&upstream), d, units);
        (tensor(weight, [d, units]), tensor(bias, [units]))
    }

    fn numbers_of_bytes(bytes: IntTensor<Flex>, scale: ByteScale, dtype: DType) -> Tensor {
        let [samples, d] = bytes.shape().dims();
        let bytes = bytes_of(bytes);
        if dtype == DType::F64 {
            return tensor(dense::scaled::<f64>(bytes_in(&bytes), scale), [samples, d]);
        }
        tensor(dense::scaled::<f32>(bytes_in(&bytes), scale), [samples, d])
    }

    fn dense_of_piece(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor {
        let ([samples, d], [_, units]) = (inputs.shape().dims(), weight.shape().dims());
        let [inputs, weight, bias] = [inputs, weight, bias].map(contiguous);
        let shape = [samples, units];
        if weight.dtype() == DType::F64 {
            return tensor(dense::of_piece(doubles(&inputs), doubles(&weight), doubles(&bias), d), shape);
        }
        tensor(dense::of_piece(numbers(&inputs), numbers(&weight), numbers(&bias), d), shape)
    }

    fn dense_gradients_of_piece(inputs: Tensor, upstream: Tensor) -> (Tensor, Tensor) {
        let ([_, d], [_, units]) = (inputs.shape().dims(), upstream.shape().dims());
        let [inputs, upstream] = [inputs, upstream].map(contiguous);
        if upstream.dtype() == DType::F64 {
            let (weight, bias) = dense::gradients_of_piece(doubles(&inputs), doubles(&upstream), d, units);
            return (tensor(weight, [d, units]), tensor(bias, [units]));
        }
        let (weight, bias) = dense::gradients_of_piece(numbers(&inputs), numbers(&upstream), d, units);
        (tensor(weight, [d, units]), tensor(bias, [units]))
    }

    fn sums_of_piece(x: Tensor, h: Tensor) -> Tensor {
        let [_, units] = x.shape().dims();
        let [x, h] = [x, h].map(contiguous);
        if x.dtype() == DType::F64 {
            return tensor(run(PieceSums { x: doubles(&x), h: doubles(&h), units }), [2, units]);
        }
        tensor(run(PieceSums { x: numbers(&x), h: numbers(&h), units }), [2, units])
    }

    fn blend_of_piece(x: Tensor, a: Tensor, y: Tensor, b: Tensor, c: Tensor) -> Tensor {
        let shape: [usize; 2] = x.shape().dims();
        let [x, a, y, b, c] = [x, a, y, b, c].map(contiguous);
        if x.dtype() == DType::F64 {
            let [x, a, y, b, c] = [&x, &a, &y, &b, &c].map(doubles);
            return tensor(run(Blend { x, a, y, b, c }), shape);
        }
        let [x, a, y, b, c] = [&x, &a, &y, &b, &c].map(numbers);
        tensor(run(Blend { x, a, y, b, c }), shape)
    }

    fn cross_entropy(logits: Tensor, targets: Tensor) -> Tensor {
        let [_, classes] = logits.shape().dims();
        let [logits, targets] = [logits, targets].map(contiguous);
        let (z, y) = (numbers(&logits), numbers(&targets));
        let samples = z.par_chunks(LIGHT_ROWS * classes).zip(y.par_chunks(LIGHT_ROWS * classes));
        let parts: Vec<f64> = samples
            .map(|(z, y)| {
                clear_upper_halves();
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
            clear_upper_halves();
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
        let parts: Vec<f32> =
            numbers(&weights).par_chunks(ELEMENTS).map(|part| run(SumOfSquares(part))).collect();
        tensor(vec![parts.into_iter().sum::<f32>()], [1])
    }

    fn squared_norm_gradient(weights: Tensor, upstream: Tensor) -> Tensor {
        let shape = weights.shape();
        let weights = contiguous(weights);
        let factor = 2.0 * numbers(&upstream)[0];
        let x = numbers(&weights);
        let mut gradient = vec![0.0; x.len()];
        gradient
            .par_chunks_mut(ELEMENTS)
            .zip(x.par_chunks(ELEMENTS))
            .for_each(|(y, x)| run(Multiples { factor, x, y }));
        Tensor::from_data(TensorData::new(gradient, shape))
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
        let mean = means(x, units, |x, sums| run(ColumnSums { x, sums }));
        let variance = means(x, units, |x, sums| run(SquaredDeviations { x, mean: &mean, sums }));
        // y = scale (x - mu) + beta
        let roots = variance.iter().map(|v| (f64::from(*v) + epsilon).sqrt() as f32);
        let scale: Vec<f32> = numbers(&gamma).iter().zip(roots).map(|(gamma, root)| gamma / root).collect();
        let beta = numbers(&beta);
        let mut outputs = vec![0.0; samples * units];
        let rows = x.par_chunks(LIGHT_ROWS * units);
        outputs
            .par_chunks_mut(LIGHT_ROWS * units)
            .zip(rows)
            .for_each(|(y, x)| run(Normalised { x, mean: &mean, scale: &scale, beta, y }));
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
            run(BatchNormSums { x, dy, mean, inverse: &inverse, of_gamma, of_beta });
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
            let (scale, offset, slope) = (&scale, &offset, &slope);
            run(BatchNormGradient { x, dy, mean, scale, offset, slope, dx });
        });
        let [of_gamma, of_beta] = [of_gamma, of_beta].map(|sums| tensor(sums.to_vec(), [units]));
        (tensor(gradient, [samples, units]), of_gamma, of_beta)
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
        let mut after = vec![0.0; theta.len()];
        let stepped = after.par_chunks_mut(ELEMENTS).zip(pieces.zip(moments));
        stepped.for_each(|(stepped, ((theta, gradient), (m, v)))| {
            run(AdamStep { theta, gradient, m, v, stepped, factors });
        });
        let tensor = |numbers| Tensor::from_data(TensorData::new(numbers, shape.clone()));
        (tensor(after), tensor(m), tensor(v))
    }
}

/// 1/n sum_n of what `add` adds of some rows to the sums: [n, m] -> \[m\]. Parts of the rows
/// are summed in f32, the parts in f64.
fn means(rows: &[f32], columns: usize, add: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let parts = rows.par_chunks(LIGHT_ROWS * columns).map(|rows| {
        let mut sums = vec![0.0; columns];
        add(rows, &mut sums);
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

/// sum_n dz_n: [n, m], row by row -> \[m\].
fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    run(ColumnSums { x: rows, sums: &mut sums });
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

/// Integers as bytes, which is what they are in images: contiguous.
fn bytes_of(integers: IntTensor<Flex>) -> IntTensor<Flex> {
    contiguous(if integers.dtype() == DType::U8 { integers } else { Flex::int_cast(integers, IntDType::U8) })
}

/// The bytes of what [`bytes_of`] gives.
#[allow(clippy::expect_used)]
fn bytes_in(tensor: &IntTensor<Flex>) -> &[u8] {
    tensor.as_slice().expect("a contiguous tensor of bytes")
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

/// The same of an f64 tensor.
#[allow(clippy::expect_used)]
fn doubles(tensor: &Tensor) -> &[f64] {
    tensor.as_slice().expect("a layer is of one precision, and the tensor is contiguous")
}

fn tensor<T: Element, const D: usize>(numbers: Vec<T>, shape: [usize; D]) -> Tensor {
    Tensor::from_data(TensorData::new(numbers, shape))
}
