//! What the steps are run on, and what they are held against.

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_hessian::grams::{class_pair_grams, pairs};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::BenchError;

/// N samples of m features and K classes.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub samples: usize,
    pub features: usize,
    pub classes: usize,
}

impl Shape {
    pub fn pairs(&self) -> usize {
        pairs(self.classes)
    }

    /// Elements of all S_ab, those above the diagonals included.
    pub fn elements(&self) -> usize {
        self.pairs() * self.features * self.features
    }

    /// Operations that the equation asks for: a multiplication and an addition for
    /// each pair, sample and element on or below the diagonal.
    pub fn flop(&self) -> f64 {
        let triangle = self.features * (self.features + 1) / 2;
        2.0 * self.pairs() as f64 * self.samples as f64 * triangle as f64
    }
}

/// Samples from a seed, and their sums in f64.
pub struct Case {
    pub shape: Shape,
    /// [N, m]
    pub features: Vec<f32>,
    /// [N, K]
    pub probabilities: Vec<f32>,
    /// [pairs, m, m]
    pub reference: Vec<f64>,
}

impl Case {
    /// The sums are kappa's on the CPU in f64, which have nothing in common with a kernel.
    pub fn new(shape: Shape, seed: u64) -> Result<Self, BenchError> {
        let Shape { samples, features: m, classes } = shape;
        let (features, probabilities) = draw(samples, m, classes, seed);
        let [features, probabilities] = [features, probabilities].map(single);
        let doubles = |values: &[f32], columns| {
            let data = TensorData::new(values.to_vec(), [samples, columns]).convert::<f64>();
            Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
        };
        let (g, p) = (doubles(&features, m), doubles(&probabilities, classes));
        let sums = class_pair_grams(g, p, 0, shape.pairs()).try_into_data().map_err(BenchError::device)?;
        let reference = sums.try_into_vec().map_err(BenchError::device)?;
        Ok(Self { shape, features, probabilities, reference })
    }

    /// |S - R| / |R| of sums S [pairs, m, m] in the Frobenius norm; what is above the diagonals
    /// is not looked at.
    pub fn error_of(&self, sums: &[f32]) -> f64 {
        if sums.len() != self.reference.len() {
            return f64::INFINITY;
        }
        let m = self.shape.features;
        let (mut difference, mut norm) = (0.0_f64, f64::MIN_POSITIVE);
        for (index, (&sum, expected)) in sums.iter().zip(&self.reference).enumerate() {
            if index % m <= index / m % m {
                difference += (f64::from(sum) - expected).powi(2);
                norm += expected * expected;
            }
        }
        (difference / norm).sqrt()
    }
}

/// Features [N, m] as a ReLU leaves them, half of them zero, and probabilities [N, K], the softmax
/// of logits that are spread out: some samples leave no doubt, others do.
fn draw(samples: usize, features: usize, classes: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut number = |largest: f64| generator.random_range(-largest..largest);
    let g = (0..samples * features).map(|_| number(1.0).max(0.0)).collect();
    let mut p: Vec<f64> = (0..samples * classes).map(|_| number(4.0).exp()).collect();
    for p in p.chunks_exact_mut(classes) {
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
    }
    (g, p)
}

pub fn single(numbers: Vec<f64>) -> Vec<f32> {
    numbers.into_iter().map(|number| number as f32).collect()
}
