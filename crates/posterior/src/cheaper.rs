//! What cheaper posteriors make of the covariances of logits.

use kappa_hessian::{
    Hessian, HessianError, Samples,
    faer::{Mat, MatRef},
    product, symmetric_eigenpairs,
};
use rayon::prelude::*;

use crate::Covariances;

/// The precision's diagonal alone, N H_ii + delta.
#[derive(Debug, Clone)]
pub struct Diagonal {
    /// N H_ii: [K, m].
    curvatures: Vec<f64>,
    classes: usize,
    delta: f64,
}

impl Diagonal {
    /// Of the exact Hessian, with the prior of precision `delta`.
    pub fn of(hessian: &Hessian, delta: f64) -> Self {
        let n = hessian.samples() as f64;
        let diagonal = hessian.elements().iter().step_by(hessian.size() + 1);
        Self { curvatures: diagonal.map(|element| n * element).collect(), classes: hessian.classes(), delta }
    }
}

impl Covariances for Diagonal {
    /// Sigma_kk = sum_i g_i^2 / (N H_(k i)(k i) + delta), and nothing between classes.
    fn covariances(&self, features: &[f64]) -> Vec<f64> {
        let (k, m) = (self.classes, self.curvatures.len() / self.classes);
        let of_sample = |g: &[f64]| {
            let mut covariance = vec![0.0; k * k];
            for (class, curvatures) in self.curvatures.chunks_exact(m).enumerate() {
                let terms = g.iter().zip(curvatures).map(|(g, curvature)| g * g / (curvature + self.delta));
                covariance[class * k + class] = terms.sum();
            }
            covariance
        };
        features.par_chunks(m).flat_map_iter(of_sample).collect()
    }
}

/// The Kronecker factorisation of the precision, `N E[S] (x) E[g g']` + delta (Ritter et al. 2018, "A scalable Laplace
/// approximation for neural networks", with the prior added to the products of eigenvalues).
#[derive(Debug, Clone)]
pub struct Kronecker {
    samples: f64,
    /// Eigenvalues and eigenvectors of E[S] [K, K],
    of_classes: (Vec<f64>, Mat<f64>),
    /// and of E[g g'] [m, m].
    of_features: (Vec<f64>, Mat<f64>),
    delta: f64,
}

impl Kronecker {
    /// Of the samples, with the prior of precision `delta`.
    ///
    /// # Errors
    ///
    /// [`HessianError`].
    pub fn of(samples: &Samples, delta: f64) -> Result<Self, HessianError> {
        let (k, m) = (samples.classes(), samples.features());
        let (mut jacobian, mut grams) = (Mat::<f64>::zeros(k, k), Mat::<f64>::zeros(m, m));
        for (of_classes, of_features) in samples.on_host(|chunk| {
            let columns = chunk.probabilities.len() / chunk.rows.max(1);
            let mut jacobian = Mat::<f64>::zeros(k, k);
            for p in chunk.probabilities.chunks_exact(columns) {
                for a in 0..k {
                    for b in 0..a {
                        jacobian[(a, b)] -= p[a] * p[b];
                        jacobian[(b, a)] -= p[a] * p[b];
                    }
                    // 1 - p_a as the sum of the others, which keeps its digits near p_a = 1.
                    let own = if k == 1 { 1 } else { a };
                    let others: f64 = p.iter().enumerate().filter(|&(b, _)| b != own).map(|(_, p)| p).sum();
                    jacobian[(a, a)] += p[own] * others;
                }
            }
            let g = MatRef::from_row_major_slice(&chunk.features, chunk.rows, m);
            (jacobian, product(g.transpose(), g))
        })? {
            jacobian += of_classes;
            grams += of_features;
        }
        let n = samples.count() as f64;
        let mean =
            |sum: Mat<f64>| symmetric_eigenpairs((sum * kappa_hessian::faer::Scale(n.recip())).as_ref());
        Ok(Self { samples: n, of_classes: mean(jacobian)?, of_features: mean(grams)?, delta })
    }
}

impl Covariances for Kronecker {
    /// Sigma = sum_a u_a u_a' sum_i (v_i . g)^2 / (N s_a a_i + delta).
    fn covariances(&self, features: &[f64]) -> Vec<f64> {
        let ((s, u), (a, v)) = (&self.of_classes, &self.of_features);
        let (k, m) = (s.len(), a.len());
        let g = MatRef::from_row_major_slice(features, features.len() / m, m);
        let along = product(v.transpose(), g.transpose());
        let of_sample = |sample: usize| {
            let variances: Vec<f64> = s
                .iter()
                .map(|s| {
                    let terms = along.col(sample).iter().zip(a);
                    terms.map(|(x, a)| x * x / (self.samples * (s * a).max(0.0) + self.delta)).sum()
                })
                .collect();
            let element = |row: usize, column: usize| {
                variances
                    .iter()
                    .enumerate()
                    .map(|(i, variance)| u[(row, i)] * u[(column, i)] * variance)
                    .sum::<f64>()
            };
            (0..k * k).map(|index| element(index / k, index % k)).collect::<Vec<_>>()
        };
        (0..g.nrows()).into_par_iter().flat_map_iter(of_sample).collect()
    }
}
