//! What cheaper posteriors lose.

use kappa_hessian::{Hessian, Weights};
use kappa_posterior::{
    Covariances, Diagonal, Kronecker, Point, Posterior, Scores, auroc, contrast_variance, probit_of_contrasts,
};
use kappa_run::CheaperRecord;

use super::predictions::{Predicted, mean, scores_record, together};
use crate::{OtherSet, ProbeError};

/// The exact posterior, and what it says of a set.
pub(super) struct Exact<'a> {
    pub posterior: &'a Posterior,
    pub weights: &'a Weights,
    pub delta: f64,
    pub set: &'a OtherSet,
    pub predicted: &'a Predicted,
    /// Samples of another kind.
    pub other: Option<&'a OtherSet>,
}

impl Exact<'_> {
    /// The diagonal, the Kronecker product, and some leading eigenvectors, beside it.
    pub fn beside_cheaper(&self, point: &Point, hessian: &Hessian) -> Result<Vec<CheaperRecord>, ProbeError> {
        let diagonal = Diagonal::of(hessian, self.delta);
        let kronecker = Kronecker::of(&point.samples, self.delta)?;
        let few = self.posterior.classes().saturating_sub(1).max(1);
        let known = self.posterior.curvatures().iter().filter(|&&curvature| curvature > 0.0).count();
        let counts = [few, 10 * few].into_iter().filter(|&count| count < known);
        let mut found = vec![
            self.beside("diagonal".to_owned(), &diagonal),
            self.beside("Kronecker".to_owned(), &kronecker),
        ];
        for count in counts {
            let name = format!("{count} eigenvector{}", if count == 1 { "" } else { "s" });
            found.push(self.beside(name, &self.posterior.truncated(count).predictive(self.delta)));
        }
        Ok(found)
    }

    fn beside(&self, name: String, cheaper: &dyn Covariances) -> CheaperRecord {
        let (k, m) = (self.posterior.classes(), self.posterior.features());
        let (mut difference, mut norm, mut variances, mut probabilities) = (0.0, 0.0, Vec::new(), Vec::new());
        let (together, exact) = (together(k), self.posterior.predictive(self.delta));
        for (block, features) in self.set.features.chunks(together * m).enumerate() {
            let found = cheaper.covariances(features);
            let kept = self.predicted.covariances.as_ref();
            let kept = kept.and_then(|all| all.chunks(together * k * k).nth(block));
            let truth = kept.map_or_else(|| exact.covariances(features), <[f64]>::to_vec);
            let logits = self.weights.logits(features);
            let each = found.chunks_exact(k * k).zip(truth.chunks_exact(k * k)).zip(logits.chunks_exact(k));
            for ((found, truth), z) in each {
                let apart: Vec<f64> = found.iter().zip(truth).map(|(a, b)| a - b).collect();
                difference += contrast_norm(&apart, k);
                norm += contrast_norm(truth, k);
                variances.push(contrast_variance(found, k));
                probabilities.extend(probit_of_contrasts(z, found));
            }
        }
        let of_other = self.other.map(|other| {
            let blocks = other.features.chunks(together * m).flat_map(|features| {
                let covariances = cheaper.covariances(features);
                let variances =
                    covariances.chunks_exact(k * k).map(|covariance| contrast_variance(covariance, k));
                variances.collect::<Vec<_>>()
            });
            blocks.collect::<Vec<f64>>()
        });
        let ratio = mean(&variances) / mean(&self.predicted.variances);
        let scores = |labels: &Vec<usize>| scores_record(&Scores::of(&probabilities, labels));
        CheaperRecord {
            posterior: name,
            distance: if norm > 0.0 { f64::sqrt(difference / norm) } else { 0.0 },
            ratio: if ratio.is_finite() { ratio } else { 1.0 },
            scores: self.set.labels.as_ref().map(scores),
            auroc: of_other.and_then(|other| auroc(&variances, &other)),
        }
    }
}

/// |P M P|_F^2 with P taking off what all classes share: what probabilities see of a matrix [K, K] of logits.
fn contrast_norm(matrix: &[f64], k: usize) -> f64 {
    let square = |matrix: &[f64]| matrix.iter().map(|x| x * x).sum::<f64>();
    if k == 1 {
        return square(matrix);
    }
    let count = k as f64;
    let rows: Vec<f64> = matrix.chunks_exact(k).map(|row| row.iter().sum::<f64>() / count).collect();
    let all = rows.iter().sum::<f64>() / count;
    let element = |(index, x): (usize, &f64)| {
        let of = |i: usize| rows.get(i).copied().unwrap_or(0.0);
        x - of(index / k) - of(index % k) + all
    };
    matrix.iter().enumerate().map(element).map(|x| x * x).sum()
}
