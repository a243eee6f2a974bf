//! What the steps are run on, and what they are held against.

use kappa_hessian::grams::{class_pairs, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// N samples of m features and K classes.
#[derive(Debug, Clone, Copy, Serialize)]
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
    /// [pairs, m, m], zero above the diagonals.
    reference: Vec<f64>,
}

/// How far sums are from the reference.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Error {
    /// |S - R| / |R| in the Frobenius norm.
    pub frobenius: f64,
    /// The largest |S_ij - R_ij|, relative to the largest |R_ij|.
    pub largest: f64,
}

impl Case {
    /// Features as after a ReLU, half of them zero, and the probabilities of a network
    /// that is sure of some samples and not of others.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let Shape { samples, features: m, classes } = shape;
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |scale: f32| (generator.random::<f32>() - 0.5) * scale;
        let features: Vec<f32> = (0..samples * m).map(|_| draw(4.0).max(0.0)).collect();
        let mut probabilities: Vec<f32> = (0..samples * classes).map(|_| draw(12.0).exp()).collect();
        for p in probabilities.chunks_exact_mut(classes) {
            let sum: f32 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= sum);
        }
        let reference = reference(&shape, &features, &probabilities);
        Self { shape, features, probabilities, reference }
    }

    /// The reference in f32.
    #[cfg(test)]
    pub fn rounded(&self) -> Vec<f32> {
        self.reference.iter().map(|&sum| sum as f32).collect()
    }

    /// The error of sums [pairs, m, m]; what is above the diagonals is not looked at.
    pub fn error_of(&self, sums: &[f32]) -> Error {
        let m = self.shape.features;
        let (mut difference, mut norm) = (0.0_f64, 0.0_f64);
        let (mut largest_difference, mut largest) = (0.0_f64, 0.0_f64);
        for (index, (&sum, &expected)) in sums.iter().zip(&self.reference).enumerate() {
            if index % m <= index / m % m {
                let apart = (f64::from(sum) - expected).abs();
                difference += apart * apart;
                norm += expected * expected;
                // A sum that is not a number is as far away as can be.
                largest_difference =
                    if apart.is_nan() { f64::INFINITY } else { largest_difference.max(apart) };
                largest = largest.max(expected.abs());
            }
        }
        let missing = sums.len() != self.reference.len();
        Error {
            frobenius: if missing {
                f64::INFINITY
            } else {
                (difference / norm.max(f64::MIN_POSITIVE)).sqrt()
            },
            largest: largest_difference / largest.max(f64::MIN_POSITIVE),
        }
    }
}

/// S_ab[i, j] = sum_n p_na p_nb g_ni g_nj in f64, as it is written.
fn reference(shape: &Shape, features: &[f32], probabilities: &[f32]) -> Vec<f64> {
    let m = shape.features;
    let mut sums = vec![0.0; shape.elements()];
    let features: Vec<f64> = features.iter().copied().map(f64::from).collect();
    for ((a, b), sum) in class_pairs(shape.classes).zip(sums.chunks_exact_mut(m * m)) {
        for (g, p) in features.chunks_exact(m).zip(probabilities.chunks_exact(shape.classes)) {
            let weight = f64::from(p[a]) * f64::from(p[b]);
            for (i, row) in sum.chunks_exact_mut(m).enumerate() {
                let weighted = weight * g[i];
                for (element, g_j) in row[..=i].iter_mut().zip(g) {
                    *element += weighted * g_j;
                }
            }
        }
    }
    sums
}
