//! What the steps are run on, and what they are held against.

use kappa_hessian::grams::{class_pairs, pairs};

use crate::inputs::draw;

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
    /// [pairs, m, m], zero above the diagonals.
    reference: Vec<f64>,
}

impl Case {
    pub fn new(shape: Shape, seed: u64) -> Self {
        let (features, probabilities) = draw(shape.samples, shape.features, shape.classes, seed);
        let [features, probabilities] = [features, probabilities].map(single);
        let reference = reference(&shape, &features, &probabilities);
        Self { shape, features, probabilities, reference }
    }

    /// The reference in f32.
    #[cfg(test)]
    pub fn rounded(&self) -> Vec<f32> {
        single(self.reference.clone())
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

fn single(numbers: Vec<f64>) -> Vec<f32> {
    numbers.into_iter().map(|number| number as f32).collect()
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
