//! Samples, and references for their Hessian that share no code with the crate.
#![allow(dead_code)] // each test file uses its part

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_hessian::{Accumulator, Hessian, Samples as SampleSet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// N samples with m features and K logits each, from a seed.
pub struct Samples {
    pub n: usize,
    pub m: usize,
    pub k: usize,
    /// [N, m]
    pub features: Vec<f64>,
    /// [N, K]
    pub logits: Vec<f64>,
}

impl Samples {
    /// Features as after a ReLU, half of them zero, and logits of a network
    /// that is sure of some samples and not of others. All are f32 numbers, so
    /// that f32 and f64 computations start from the same.
    pub fn new(n: usize, m: usize, k: usize, seed: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |scale: f64| f64::from(((generator.random::<f64>() - 0.5) * scale) as f32);
        let features = (0..n * m).map(|_| draw(4.0).max(0.0)).collect();
        let logits = (0..n * k).map(|_| draw(12.0)).collect();
        Self { n, m, k, features, logits }
    }

    pub fn feature(&self, n: usize) -> &[f64] {
        &self.features[n * self.m..(n + 1) * self.m]
    }

    /// softmax(z_n), written out.
    pub fn probabilities(&self, n: usize) -> Vec<f64> {
        softmax(&self.logits[n * self.k..(n + 1) * self.k])
    }

    fn all_probabilities(&self) -> Vec<f64> {
        (0..self.n).flat_map(|n| self.probabilities(n)).collect()
    }

    /// Features [N, m] and probabilities [N, K] as tensors.
    pub fn tensors(&self, device: &Device, dtype: DType) -> (Tensor<2>, Tensor<2>) {
        let tensor = |values: Vec<f64>, columns| {
            let data = TensorData::new(values, [self.n, columns]).convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        (tensor(self.features.clone(), self.m), tensor(self.all_probabilities(), self.k))
    }

    /// The crate's own samples, in chunks of `chunk`.
    pub fn set(&self, device: &Device, dtype: DType, chunk: usize) -> SampleSet {
        let (features, probabilities) = self.tensors(device, dtype);
        let mut set = SampleSet::new(self.m, self.k, dtype).unwrap();
        for start in (0..self.n).step_by(chunk) {
            let rows = start..(start + chunk).min(self.n);
            set.push(features.clone().slice(rows.clone()), probabilities.clone().slice(rows)).unwrap();
        }
        set
    }

    /// The crate's Hessian, from chunks of `chunk` samples.
    pub fn hessian(&self, device: &Device, dtype: DType, chunk: usize) -> Hessian {
        let (features, probabilities) = self.tensors(device, dtype);
        let mut sums = Accumulator::new(self.m, self.k).unwrap();
        for start in (0..self.n).step_by(chunk) {
            let rows = start..(start + chunk).min(self.n);
            sums.add(features.clone().slice(rows.clone()), probabilities.clone().slice(rows)).unwrap();
        }
        sums.finish().unwrap()
    }

    /// 1/N sum_n (diag(p) - p p^T) (x) g g^T, term by term.
    pub fn kronecker_sum(&self) -> Vec<f64> {
        let (m, size) = (self.m, self.m * self.k);
        let mut hessian = vec![0.0; size * size];
        for n in 0..self.n {
            let (g, p) = (self.feature(n), self.probabilities(n));
            for row in 0..size {
                let (a, i) = (row / m, row % m);
                for column in 0..size {
                    let (b, j) = (column / m, column % m);
                    let jacobian = if a == b { p[a] } else { 0.0 } - p[a] * p[b];
                    hessian[row * size + column] += jacobian * g[i] * g[j] / self.n as f64;
                }
            }
        }
        hessian
    }
}

pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |max, &z| max.max(z));
    let powers: Vec<f64> = logits.iter().map(|z| (z - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// |A - B| / |B| in the Frobenius norm.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    difference / norm(&mut expected.iter().copied()).max(f64::MIN_POSITIVE)
}
