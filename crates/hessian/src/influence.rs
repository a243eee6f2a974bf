//! What a single sample carries of the largest eigenvalue.
//!
//! With v the eigenvector of lambda_1, reshaped to V [K, m], and u_n = V g_n,
//!
//! ```text
//! lambda_1 = v^T H v = 1/N sum_n u_n^T S_n u_n,
//! u^T S u  = sum_a p_a (u_a - u_mean)^2,      u_mean = sum_a p_a u_a,
//! ```
//!
//! a mean of N terms none of which is negative: each is what its sample carries,
//! and its share is that term over N lambda_1. Without the sample lambda_1 falls
//! by its share at the most, since v is still there to be tried.

use burn::tensor::{Tensor, TensorData};
use faer::{MatMut, MatRef};

use crate::{
    Check, DeviceError, Hessian, HessianError, classes, decomposition,
    evidence::summation,
    samples::Chunk,
    sums::{too_large, zeros},
};

/// The distance of the shift from lambda_1, over lambda_1: so near that each
/// step of inverse iteration gains digits in the millions, so far that the
/// shifted matrix is positive definite in spite of rounding (1000 x 2e-16).
const SHIFT: f64 = 1e-9;
/// Steps of inverse iteration: each multiplies what is wrong by SHIFT over the
/// relative gap to lambda_2.
const STEPS: usize = 3;

/// The direction in which the loss is most curved: the eigenvector of lambda_1.
#[derive(Debug, Clone)]
pub struct LeadingDirection {
    features: usize,
    classes: usize,
    samples: usize,
    /// v^T H v.
    lambda: f64,
    /// v, class by class.
    vector: Vec<f64>,
}

impl Hessian {
    /// The eigenvector of lambda_1, which must be this Hessian's own, by inverse
    /// iteration with a shift just above it.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let samples = Samples::from_slices(1, 2, &[1.0, 3.0], &[0.5; 4], &Device::flex())?;
    /// let hessian = samples.hessian()?;
    /// let lambda_1 = hessian.spectrum()?.eigenvalues()[0];
    /// let direction = hessian.leading_direction(lambda_1)?;
    ///
    /// // Each sample carries p (1 - p) g^2 of it, and without the second only 1 is left of 5.
    /// let chunk = samples.chunks().next().unwrap()?;
    /// let shares = direction.shares(chunk.features, chunk.probabilities)?;
    /// assert!((shares[1] - 0.9).abs() < 1e-12);
    /// assert!(hessian.shares_check(direction.lambda(), shares.iter().sum()).passed());
    /// let rest = hessian.without(&[3.0], &[0.5, 0.5])?;
    /// assert!((rest.spectrum()?.eigenvalues()[0] - lambda_1 / 5.0).abs() < 1e-14);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`] if the shifted matrix is not positive
    /// definite, as it is if `lambda_1` is not the largest eigenvalue.
    pub fn leading_direction(&self, lambda_1: f64) -> Result<LeadingDirection, HessianError> {
        let size = self.size();
        // Irregular, so that no eigenvector is orthogonal to it but by bad luck.
        let golden = 0.5 * (5.0f64.sqrt() - 1.0);
        let mut vector: Vec<f64> = (0..size).map(|i| 0.5 + (golden * i as f64).fract()).collect();
        if lambda_1 > 0.0 {
            let mut shifted = zeros(size * size).ok_or_else(|| too_large(self.features(), self.classes()))?;
            for (shifted, element) in shifted.iter_mut().zip(self.elements()) {
                *shifted = -element;
            }
            for diagonal in shifted.iter_mut().step_by(size + 1) {
                *diagonal += lambda_1 * (1.0 + SHIFT);
            }
            decomposition::factor(MatMut::from_column_major_slice_mut(&mut shifted, size, size))?;
            let factor = MatRef::from_column_major_slice(&shifted, size, size);
            for _ in 0..STEPS {
                decomposition::solve(factor, MatMut::from_column_major_slice_mut(&mut vector, size, 1))?;
                normalise(&mut vector);
            }
        }
        normalise(&mut vector);
        let rows = self.elements().chunks_exact(size);
        let lambda = rows.zip(&vector).map(|(row, v)| v * dot(row, &vector)).sum();
        Ok(LeadingDirection {
            features: self.features(),
            classes: self.classes(),
            samples: self.samples(),
            lambda,
            vector,
        })
    }

    /// Whether the shares of all samples add up to one: lambda_1 from the samples against
    /// lambda_1 = `lambda` from the matrix.
    pub fn shares_check(&self, lambda: f64, sum_of_shares: f64) -> Check {
        // Both sums round, and a rounded sum is off by delta tr H at the most.
        let delta = 2.0 * summation(self.samples(), self.classes(), self.epsilon());
        Check {
            name: "shares",
            quantity: "|sum_n u_n' S_n u_n / (N lambda_1) - 1|",
            value: if lambda > 0.0 { (sum_of_shares - 1.0).abs() } else { 0.0 },
            bound: if lambda > 0.0 { delta * self.trace() / lambda } else { 0.0 },
        }
    }

    /// The mean over the other N - 1 samples: without the one of these features
    /// `[m]` and probabilities `[K]`, of one logit that of class 1 or of both classes.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], or [`HessianError::NoSamples`] if it is the only one.
    pub fn without(&self, features: &[f64], probabilities: &[f64]) -> Result<Self, HessianError> {
        let (m, k) = (self.features(), self.classes());
        let both;
        let probabilities = match *probabilities {
            [p] if k == 1 => {
                both = [1.0 - p, p];
                both.as_slice()
            }
            _ => probabilities,
        };
        if features.len() != m || probabilities.len() != classes::columns(k) {
            let (features, probabilities) = ([1, features.len()], [1, probabilities.len()]);
            return Err(HessianError::WrongShape { features, probabilities, m, k });
        }
        if self.samples() < 2 {
            return Err(HessianError::NoSamples);
        }
        let mut rest = self.clone();
        rest.remove(features, probabilities);
        Ok(rest)
    }
}

impl LeadingDirection {
    /// lambda_1 as this direction has it, v^T H v.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// v, flattened class by class: [K m], of length one.
    pub fn vector(&self) -> &[f64] {
        &self.vector
    }

    /// The share of lambda_1 that each of these samples carries: features [n, m],
    /// probabilities [n, K] -> `[n]`. Over all N samples of H they sum to one.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`], or [`HessianError::Device`].
    pub fn shares(&self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<Vec<f64>, HessianError> {
        let (m, k) = (self.features, self.classes);
        let Chunk { features, probabilities } = Chunk { features, probabilities }.checked(m, k)?;
        let direction = TensorData::new(self.vector.clone(), [k, m]);
        let direction = Tensor::<2>::from_data(direction, (&features.device(), features.dtype()));
        // u_n = V g_n: [n, K]
        let along = features.matmul(direction.transpose());
        let carried = if k == 1 {
            probabilities.prod_dim(1) * along.powi_scalar(2)
        } else {
            let mean = (probabilities.clone() * along.clone()).sum_dim(1);
            (probabilities * (along - mean).powi_scalar(2)).sum_dim(1)
        };
        let carried = carried.try_into_data().map_err(DeviceError::new)?;
        let whole = self.samples as f64 * self.lambda;
        let share = |carried: f64| if whole > 0.0 { carried / whole } else { 0.0 };
        Ok(carried.iter::<f64>().map(share).collect())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalise(vector: &mut [f64]) {
    let length = dot(vector, vector).sqrt();
    for element in vector {
        *element /= length;
    }
}
