//! A positive definite matrix, factored once and solved with often.

use faer::{Mat, MatMut};

use crate::{HessianError, decomposition};

/// The Cholesky factor L of a positive definite matrix A = L L^T.
///
/// ```
/// use kappa_hessian::{Factor, faer::mat};
///
/// let factor = Factor::of(mat![[4.0, 2.0], [2.0, 3.0]])?;
/// let mut x = mat![[8.0], [7.0]];
/// factor.solve(x.as_mut())?;
/// assert!((x[(0, 0)] - 1.25).abs() < 1e-15 && (x[(1, 0)] - 1.5).abs() < 1e-15);
/// assert!((factor.log_determinant() - 8f64.ln()).abs() < 1e-15);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Factor(Mat<f64>);

impl Factor {
    /// Of a symmetric matrix, whose lower half alone is looked at.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`] of one that is not positive definite, [`HessianError::NoMemory`].
    pub fn of(mut matrix: Mat<f64>) -> Result<Self, HessianError> {
        decomposition::factor(matrix.as_mut())?;
        Ok(Self(matrix))
    }

    /// Makes of each column b of a block [n, k] the x with A x = b.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoMemory`].
    pub fn solve(&self, block: MatMut<'_, f64>) -> Result<(), HessianError> {
        decomposition::solve(self.0.as_ref(), block)
    }

    /// ln det A = 2 sum_i ln L_ii.
    pub fn log_determinant(&self) -> f64 {
        (0..self.0.nrows()).map(|row| 2.0 * self.0[(row, row)].ln()).sum()
    }
}
