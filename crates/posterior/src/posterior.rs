//! The Gaussian about the optimum: N(W, A^-1) with A = N H + delta I.

use kappa_hessian::{
    Eigenpairs, ExtremePairs, HessianError,
    faer::{Mat, MatRef},
    product,
};

use crate::{Covariances, Point, Predictive, directions::Directions};

/// Halvings of the interval in which the best delta is looked for: more than a double's digits.
const HALVINGS: usize = 200;

/// The eigenpairs of N H at some weights: of every delta the posterior.
#[derive(Debug, Clone)]
pub struct Posterior {
    features: usize,
    classes: usize,
    /// N.
    samples: f64,
    /// The mean loss, and |W|^2.
    loss: f64,
    square: f64,
    /// N lambda_i, none negative; all K m of them, or the leading ones.
    curvatures: Vec<f64>,
    /// [K m, as many].
    vectors: Mat<f64>,
    /// What is left out.
    rest: Option<Rest>,
}

/// The eigenvalues that are left out.
#[derive(Debug, Clone, Copy)]
struct Rest {
    /// How many can be anything but zero,
    count: f64,
    /// the sum of N lambda over them,
    trace: f64,
    /// and the largest at the most.
    largest: f64,
}

/// A number that what is left out makes uncertain: it is between these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// At the least.
    pub low: f64,
    /// At the most.
    pub high: f64,
}

impl Posterior {
    /// From all eigenpairs of the Hessian at `point`.
    ///
    /// # Errors
    ///
    /// [`HessianError`].
    pub fn whole(point: &Point) -> Result<Self, HessianError> {
        Ok(Self::of_pairs(point, point.hessian()?.eigenpairs()?))
    }

    /// From all eigenpairs of the Hessian at `point`, which are there.
    pub fn of_pairs(point: &Point, pairs: Eigenpairs) -> Self {
        let Eigenpairs { spectrum, vectors, .. } = pairs;
        Self::new(point, spectrum.eigenvalues(), vectors, None)
    }

    /// What follows from all N lambda_i alone, largest first, of so many samples with a mean loss and |W|^2: the marginal
    /// likelihood along delta, and no covariances.
    pub fn of_curvatures(samples: usize, loss: f64, square: f64, curvatures: Vec<f64>) -> Self {
        let vectors = Mat::zeros(0, curvatures.len());
        Self {
            features: 0,
            classes: 0,
            samples: samples as f64,
            loss,
            square,
            curvatures,
            vectors,
            rest: None,
        }
    }

    /// From the leading eigenpairs of the Hessian at `point`, and its trace: elsewhere the posterior has the prior's
    /// precision, and so variances that are too large rather than too small.
    pub fn leading(point: &Point, pairs: &ExtremePairs, trace: f64) -> Self {
        let n = point.samples.count() as f64;
        let known = pairs.eigenvalues.len();
        let zeros = if point.samples.classes() == 1 { 0 } else { point.samples.features() };
        let sum: f64 = pairs.eigenvalues.iter().sum();
        // An eigenvalue is off by its residual at the most.
        let last = pairs.eigenvalues.last().zip(pairs.residuals.last());
        let rest = Rest {
            count: (point.samples.size() - zeros).saturating_sub(known) as f64,
            trace: (n * (trace - sum)).max(0.0),
            largest: last.map_or(n * trace, |(value, residual)| n * (value + residual)),
        };
        Self::new(point, &pairs.eigenvalues, pairs.vectors.clone(), Some(rest))
    }

    fn new(point: &Point, eigenvalues: &[f64], vectors: Mat<f64>, rest: Option<Rest>) -> Self {
        let samples = point.samples.count() as f64;
        // Below zero there is rounding alone: H is semi-definite.
        let curvatures = eigenvalues.iter().map(|value| samples * value.max(0.0)).collect();
        let (features, classes) = (point.samples.features(), point.samples.classes());
        Self {
            features,
            classes,
            samples,
            loss: point.loss,
            square: point.square(),
            curvatures,
            vectors,
            rest,
        }
    }

    /// The same of its `count` leading eigenpairs alone, and the prior elsewhere.
    pub fn truncated(&self, count: usize) -> Self {
        let count = count.min(self.curvatures.len());
        let (kept, left) = self.curvatures.split_at(count);
        let rest = Rest {
            count: left.iter().filter(|&&curvature| curvature > 0.0).count() as f64,
            trace: left.iter().sum(),
            largest: left.first().copied().unwrap_or(0.0),
        };
        let vectors = self.vectors.as_ref().subcols(0, count).to_owned();
        Self { curvatures: kept.to_vec(), vectors, rest: Some(rest), ..*self }
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// N lambda_i, those that are known, largest first.
    pub fn curvatures(&self) -> &[f64] {
        &self.curvatures
    }

    pub(crate) fn vectors(&self) -> MatRef<'_, f64> {
        self.vectors.as_ref()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// ln det(N H + delta I) - K m ln delta = sum_i ln(1 + N lambda_i / delta).
    ///
    /// Of c eigenvalues that are left out and sum to t, none above l, the logarithm is concave: they make
    /// c ln(1 + t / (c delta)) at the most, all being equal, and t / l ln(1 + l / delta) at the least, as many as can
    /// being l.
    pub fn log_determinant_ratio(&self, delta: f64) -> Bounds {
        let known: f64 = self.curvatures.iter().map(|curvature| (curvature / delta).ln_1p()).sum();
        let (low, high) = match self.rest {
            Some(Rest { count, trace, largest }) if trace > 0.0 && largest > 0.0 && count > 0.0 => (
                (trace / largest).min(count) * (largest / delta).ln_1p(),
                count * (trace / (count * delta)).ln_1p(),
            ),
            _ => (0.0, 0.0),
        };
        Bounds { low: known + low.min(high), high: known + high }
    }

    /// ln p(D | delta) = -N L - delta/2 |W|^2 - 1/2 ln det(A / delta), the logarithm of the marginal likelihood by
    /// Laplace's method (MacKay 1992, equation 2.9, with a prior of delta I normalised).
    pub fn log_marginal(&self, delta: f64) -> Bounds {
        let fit = -self.samples * self.loss - 0.5 * delta * self.square;
        let Bounds { low, high } = self.log_determinant_ratio(delta);
        Bounds { low: fit - 0.5 * high, high: fit - 0.5 * low }
    }

    /// gamma = sum_i N lambda_i / (N lambda_i + delta): how many parameters the data determine rather than the prior
    /// (MacKay 1992, equation 4.9); of those that are left out none.
    pub fn determined(&self, delta: f64) -> f64 {
        self.curvatures.iter().map(|curvature| curvature / (curvature + delta)).sum()
    }

    /// [`best_delta`] of these curvatures. Of a posterior that leaves eigenvectors out it is that at which the marginal
    /// likelihood is largest that is certain, the lower one of [`Self::log_marginal`]: as if what is left were equal.
    pub fn best_delta(&self) -> Option<f64> {
        let rest =
            self.rest.filter(|rest| rest.count > 0.0).map(|rest| (rest.count, rest.trace / rest.count));
        best_delta(&self.curvatures, rest, self.square)
    }

    /// sqrt(s' A^-1 s) with s the gradient of F at `point`: how far its weights are from the optimum with this prior,
    /// in deviations of the posterior. No logit, and nothing else that is linear in the weights, is farther from its
    /// value at the optimum than this many of its own deviations; and half the square is what ln exp(-F) is short of
    /// the optimum's. Both to second order.
    pub fn decrement(&self, point: &Point, delta: f64) -> f64 {
        let slope = point.slope(delta);
        let slope = MatRef::from_column_major_slice(&slope, slope.len(), 1);
        let along = product(self.vectors.transpose(), slope);
        let (mut inside, mut square) = (0.0, 0.0);
        for (a, curvature) in along.col(0).iter().zip(&self.curvatures) {
            square += a * a / (curvature + delta);
            inside += a * a;
        }
        if !self.is_whole() {
            let outside = slope.squared_norm_l2() - inside;
            // What rounding leaves of nothing; of what is no number it stays one.
            square += if outside < 0.0 { 0.0 } else { outside / delta };
        }
        square.sqrt()
    }

    /// The eigenvectors, each times the root of `weight` of its curvature.
    pub(crate) fn directions(&self, weight: impl Fn(f64) -> f64) -> Directions {
        let (rank, m) = (self.curvatures.len(), self.features);
        let roots: Vec<f64> =
            self.curvatures.iter().map(|&curvature| weight(curvature).max(0.0).sqrt()).collect();
        let element =
            |row: usize, i: usize| roots[row % rank] * self.vectors[(row / rank * m + i, row % rank)];
        Directions::new(Mat::from_fn(self.classes * rank, m, element), self.classes)
    }

    /// With the prior of precision `delta`: as it predicts.
    pub fn predictive(&self, delta: f64) -> Predictive {
        let exact = self.is_whole();
        let directions = self.directions(|curvature| match exact {
            true => 1.0 / (curvature + delta),
            // 1 / delta - 1 / (c + delta), without taking one from the other.
            false => curvature / (delta * (curvature + delta)),
        });
        Predictive::new(directions, (!exact).then_some(delta))
    }

    /// [`Predictive`]'s covariances [n, K, K] of features [n, m], row by row, with the prior of precision `delta`.
    pub fn covariances(&self, features: &[f64], delta: f64) -> Vec<f64> {
        self.predictive(delta).covariances(features)
    }

    /// The share of a variance that is at least right: those of the leading eigenvectors' posterior are the exact ones
    /// at the least, and the exact ones at the most over delta / (delta + N lambda) of the largest that is left out.
    pub fn least_share(&self, delta: f64) -> f64 {
        self.rest.map_or(1.0, |rest| delta / (delta + rest.largest))
    }
}

/// The delta that makes the marginal likelihood largest at weights of |W|^2 = `square`, with so many more equal
/// curvatures in `rest`, if any: where
///
/// ```text
/// gamma(delta) = delta |W|^2,
/// ```
///
/// whose left side falls with delta and whose right side rises (MacKay 1992, equation 4.10). None for weights of
/// zero, which want a prior as narrow as there is, and of curvatures of zero.
pub fn best_delta(curvatures: &[f64], rest: Option<(f64, f64)>, square: f64) -> Option<f64> {
    let (count, equal) = rest.filter(|&(_, equal)| equal > 0.0).unwrap_or((0.0, 0.0));
    let told = curvatures.iter().filter(|&&curvature| curvature > 0.0).count() as f64 + count;
    if !(square > 0.0 && square.is_finite()) || told == 0.0 {
        return None;
    }
    let beyond = |logarithm: f64| {
        let delta = logarithm.exp();
        let known: f64 = curvatures.iter().map(|curvature| curvature / (curvature + delta)).sum();
        known + count * equal / (equal + delta) < delta * square
    };
    // gamma is below the number of them.
    let mut high = (told / square).ln();
    let mut width = 1.0;
    while beyond(high - width) {
        width *= 2.0;
        if width > 1e4 {
            return None;
        }
    }
    let mut low = high - width;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if beyond(middle) { high = middle } else { low = middle }
    }
    Some((0.5 * (low + high)).exp())
}

/// The variance of what probabilities see of logits: the trace of their covariance [K, K] but for the shift of all of
/// them, which a softmax ignores; of one logit the variance.
pub fn contrast_variance(covariance: &[f64], classes: usize) -> f64 {
    if classes == 1 {
        return covariance.iter().sum();
    }
    let trace: f64 = covariance.iter().step_by(classes + 1).sum();
    trace - covariance.iter().sum::<f64>() / classes as f64
}
