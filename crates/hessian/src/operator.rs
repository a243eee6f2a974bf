//! A symmetric operator: all that the matrix-free computations know of what they measure.

use faer::{Mat, MatMut, MatRef};

use crate::{HessianError, decomposition, subspace::product};

/// A symmetric n x n matrix A, known by its products with vectors and by what is known of
/// it beforehand.
///
/// [`crate::Samples`] and [`crate::Hessian`] are one, the last layer's, and [`DenseMatrix`]
/// is one. Anything else becomes one by this:
///
/// ```
/// use kappa_hessian::{HessianError, SymmetricOperator, faer::{Mat, MatRef}, largest_pairs};
///
/// /// A path's graph Laplacian, with the eigenvalues 2 - 2 cos(pi i / n).
/// struct Path(usize);
///
/// impl SymmetricOperator for Path {
///     fn size(&self) -> usize {
///         self.0
///     }
///     fn epsilon(&self) -> f64 {
///         f64::EPSILON
///     }
///     fn product(&self, x: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
///         let last = self.0 - 1;
///         Ok(Mat::from_fn(self.0, x.ncols(), |i, j| {
///             let to = |other: usize| x[(i, j)] - x[(other, j)];
///             to(i.saturating_sub(1)) + to(last.min(i + 1))
///         }))
///     }
///     fn is_semi_definite(&self) -> bool {
///         true
///     }
/// }
///
/// let pairs = largest_pairs(&Path(200), 2, &())?;
/// let expected = 2.0 + 2.0 * (std::f64::consts::PI / 200.0).cos();
/// assert!((pairs.eigenvalues[0] - expected).abs() < 1e-6 && pairs.passed());
/// # Ok::<(), HessianError>(())
/// ```
pub trait SymmetricOperator: Sync {
    /// n, the number of rows and of columns.
    fn size(&self) -> usize;

    /// The unit of the arithmetic that products are computed in: the distance from 1 to the
    /// next number.
    fn epsilon(&self) -> f64;

    /// A X for a block of vectors X: [n, k] -> [n, k].
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongRows`] for vectors of another length, and what the operator's
    /// own computations may meet.
    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError>;

    /// Whether no eigenvalue is negative, known beforehand. Then the largest eigenvalues are
    /// those of the largest magnitude, and need no shift.
    fn is_semi_definite(&self) -> bool {
        false
    }

    /// The dimension of a space that A maps to zero, as is known beforehand.
    fn known_nullity(&self) -> usize {
        0
    }

    /// Takes what lies in that space out of each vector of a block [n, k], leaving what is
    /// orthogonal to it.
    fn take_out_null(&self, _block: MatMut<'_, f64>) {}

    /// All eigenvectors, those of the largest eigenvalue first: [n, n]. It is asked of small
    /// operators only; this one decomposes the products with the unit vectors.
    ///
    /// # Errors
    ///
    /// As [`Self::product`], [`HessianError::NotFiniteProduct`] and
    /// [`HessianError::NoConvergence`].
    fn eigenvectors(&self) -> Result<Mat<f64>, HessianError> {
        let size = self.size();
        let matrix = self.product(Mat::identity(size, size).as_ref())?;
        if !matrix.is_all_finite() {
            return Err(HessianError::NotFiniteProduct);
        }
        let (_, vectors) = decomposition::eigenpairs(matrix.as_ref())?;
        Ok(vectors.reverse_cols().to_owned())
    }
}

/// Refuses vectors of another length than the operator's.
pub(crate) fn check_rows(size: usize, block: MatRef<'_, f64>) -> Result<(), HessianError> {
    match block.nrows() {
        found if found == size => Ok(()),
        found => Err(HessianError::WrongRows { found, expected: size }),
    }
}

/// A symmetric matrix in memory.
///
/// ```
/// use kappa_hessian::{DenseMatrix, faer::mat, largest_pairs, smallest_pairs};
///
/// let matrix = DenseMatrix::new(mat![[0.0, 2.0], [2.0, 3.0]], f64::EPSILON)?;
/// assert!((largest_pairs(&matrix, 1, &())?.eigenvalues[0] - 4.0).abs() < 1e-14);
/// assert!((smallest_pairs(&matrix, 1, &())?.eigenvalues[0] + 1.0).abs() < 1e-14);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseMatrix {
    elements: Mat<f64>,
    epsilon: f64,
    semi_definite: bool,
}

impl DenseMatrix {
    /// A matrix [n, n] whose elements were computed in an arithmetic of unit `epsilon`. That
    /// it is symmetric is not checked here, but by [`crate::verify_pairs`].
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongSize`] if it is not square.
    pub fn new(elements: Mat<f64>, epsilon: f64) -> Result<Self, HessianError> {
        let (rows, columns) = (elements.nrows(), elements.ncols());
        if rows != columns {
            return Err(HessianError::WrongSize { found: rows * columns, size: rows });
        }
        Ok(Self { elements, epsilon, semi_definite: false })
    }

    /// The same matrix, known to have no negative eigenvalue.
    pub fn known_semi_definite(self) -> Self {
        Self { semi_definite: true, ..self }
    }

    /// The elements: [n, n].
    pub fn elements(&self) -> MatRef<'_, f64> {
        self.elements.as_ref()
    }
}

impl SymmetricOperator for DenseMatrix {
    fn size(&self) -> usize {
        self.elements.nrows()
    }

    fn epsilon(&self) -> f64 {
        self.epsilon
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        check_rows(self.size(), block)?;
        Ok(product(self.elements(), block))
    }

    fn is_semi_definite(&self) -> bool {
        self.semi_definite
    }
}
