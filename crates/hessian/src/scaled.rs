//! An operator in other units of its parameters.

use faer::{Mat, MatRef};

use crate::{HessianError, SymmetricOperator, operator::check_rows};

/// diag(s) A diag(s). With s = D^(-1/2) it is what a preconditioner D makes of A: it has the
/// eigenvalues of D^(-1) A.
#[derive(Clone)]
pub struct Scaled<'a> {
    operator: &'a dyn SymmetricOperator,
    scale: Vec<f64>,
}

impl<'a> Scaled<'a> {
    /// `operator` [n, n], row and column i multiplied by `scale[i]`.
    ///
    /// ```
    /// use kappa_hessian::{DenseMatrix, Scaled, faer::mat, largest_pairs};
    ///
    /// let matrix = DenseMatrix::new(mat![[1.0, 0.0], [0.0, 9.0]], f64::EPSILON)?;
    /// let seen = Scaled::new(&matrix, vec![2.0, 0.5])?;
    /// assert!((largest_pairs(&seen, 1, &())?.eigenvalues[0] - 4.0).abs() < 1e-14);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongRows`] if there is not a number for each row.
    pub fn new(operator: &'a dyn SymmetricOperator, scale: Vec<f64>) -> Result<Self, HessianError> {
        match scale.len() {
            length if length == operator.size() => Ok(Self { operator, scale }),
            length => Err(HessianError::WrongRows { found: length, expected: operator.size() }),
        }
    }

    fn scaled(&self, block: MatRef<'_, f64>) -> Mat<f64> {
        Mat::from_fn(block.nrows(), block.ncols(), |row, column| self.scale[row] * block[(row, column)])
    }
}

impl SymmetricOperator for Scaled<'_> {
    fn size(&self) -> usize {
        self.operator.size()
    }

    fn epsilon(&self) -> f64 {
        self.operator.epsilon()
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        check_rows(self.size(), block)?;
        Ok(self.scaled(self.operator.product(self.scaled(block).as_ref())?.as_ref()))
    }

    fn is_semi_definite(&self) -> bool {
        self.operator.is_semi_definite()
    }
}
