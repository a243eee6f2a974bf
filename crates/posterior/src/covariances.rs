//! The covariances of logits under a posterior with the prior of one precision.

use rayon::prelude::*;

use crate::directions::Directions;

/// A posterior, exact or not, with the prior of one precision.
pub trait Covariances: Sync {
    /// The covariances of the logits of features [n, m], row by row: [n, K, K].
    fn covariances(&self, features: &[f64]) -> Vec<f64>;
}

/// A [`Posterior`](crate::Posterior) with the prior of one precision, to be asked of many samples:
///
/// ```text
/// Sigma_kl = (e_k (x) g)' A^-1 (e_l (x) g) = sum_i (v_ik . g) (v_il . g) / (N lambda_i + delta)
/// ```
///
/// over all eigenvectors v_i [K, m]; of the leading ones |g|^2 / delta [k = l] less what they take from it.
#[derive(Debug, Clone)]
pub struct Predictive {
    directions: Directions,
    /// The precision of the prior, where the directions are those that take from its variance.
    elsewhere: Option<f64>,
}

impl Predictive {
    pub(crate) fn new(directions: Directions, elsewhere: Option<f64>) -> Self {
        Self { directions, elsewhere }
    }
}

impl Covariances for Predictive {
    fn covariances(&self, features: &[f64]) -> Vec<f64> {
        let (k, m) = (self.directions.classes(), self.directions.features());
        let mut covariances = vec![0.0; features.len() / m * k * k];
        let block = self.directions.block();
        for (rows, to) in features.chunks(block * m).zip(covariances.chunks_mut(block * k * k)) {
            let along = self.directions.along(rows);
            let samples = to.par_chunks_mut(k * k).zip(rows.par_chunks(m)).zip(along.par_col_iter());
            samples.for_each(|((to, g), along)| {
                let grams = self.directions.gram(along);
                let Some(delta) = self.elsewhere else {
                    to.copy_from_slice(&grams);
                    return;
                };
                let own = g.iter().map(|g| g * g).sum::<f64>() / delta;
                for (index, (to, gram)) in to.iter_mut().zip(grams).enumerate() {
                    *to = if index % (k + 1) == 0 { own - gram } else { -gram };
                }
            });
        }
        covariances
    }
}
