//! What a Hessian is made of, step by step, on the CPU: `cargo bench -p kappa-hessian`.
//!
//! `just bench` compares whole pieces of work with other programs; here a change of one
//! step is seen. Inputs are random, of MNIST's shape.

#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use divan::{Bencher, black_box};
use kappa_hessian::{Accumulator, Hessian, Samples};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SAMPLES: usize = 60_000;
const FEATURES: usize = 100;
const CLASSES: usize = 10;

fn main() {
    divan::main();
}

/// Features as a ReLU leaves them, and probabilities of some doubt.
fn samples(dtype: DType) -> Samples {
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |columns: usize, range: std::ops::Range<f64>| {
        let numbers: Vec<f64> =
            (0..SAMPLES * columns).map(|_| generator.random_range(range.clone())).collect();
        Tensor::<2>::from_data(TensorData::new(numbers, [SAMPLES, columns]), (&Device::flex(), DType::F64))
    };
    let features = draw(FEATURES, -1.0..1.0).clamp_min(0.0);
    let probabilities = softmax(draw(CLASSES, -4.0..4.0), 1);
    let mut samples = Samples::new(FEATURES, CLASSES, dtype).unwrap();
    samples.push(features.cast(dtype), probabilities.cast(dtype)).unwrap();
    samples
}

fn hessian() -> Hessian {
    samples(DType::F32).hessian().unwrap()
}

#[divan::bench(args = [DType::F32, DType::F64], sample_count = 15, sample_size = 1)]
fn sums_over_samples(bencher: Bencher, dtype: DType) {
    let samples = samples(dtype);
    bencher.bench(|| {
        let mut sums = Accumulator::new(FEATURES, CLASSES).unwrap();
        for chunk in samples.chunks().map(Result::unwrap) {
            sums.add(chunk.features, chunk.probabilities).unwrap();
        }
        sums
    });
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn matrix_of_sums(bencher: Bencher) {
    let mut sums = Accumulator::new(FEATURES, CLASSES).unwrap();
    for chunk in samples(DType::F32).chunks().map(Result::unwrap) {
        sums.add(chunk.features, chunk.probabilities).unwrap();
    }
    bencher.bench(|| black_box(&sums).finish().unwrap());
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn eigenpairs(bencher: Bencher) {
    let hessian = hessian();
    bencher.bench(|| hessian.eigenpairs().unwrap());
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn eigenvalues(bencher: Bencher) {
    let hessian = hessian();
    bencher.bench(|| hessian.spectrum().unwrap());
}
