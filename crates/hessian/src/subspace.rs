//! The subspace in which the Hessian can be anything but zero, by its structure.
//!
//! Softmax ignores a shift of all logits: S_n 1 = 0, so H (1 (x) v) = 0 for every
//! v, which is m zeros. What is left are the contrasts of the classes, with an
//! orthonormal basis Q [K, K-1] of the vectors whose elements sum to zero.
//!
//! And with M = sum_a H_aa = 1/N sum_n tr(S_n) g_n g_n^T [m, m],
//!
//! ```text
//! v^T M v = 1/N sum_n tr(S_n) (g_n . v)^2 = 0   =>   H (q (x) v) = 0 for every q,
//! ```
//!
//! so each null vector of M (a feature that never fires, or features that are
//! collinear) is K - 1 zeros more. With B [m, r] a basis of M's range, H is zero
//! but for (Q (x) B)^T H (Q (x) B), a matrix of (K-1) r rows.

use faer::prelude::ReborrowMut;
use faer::{Accum, Mat, MatRef, Par, Side, linalg::matmul::matmul};
use rayon::prelude::*;

use crate::{Hessian, HessianError};

/// The range of Q (x) B, and what lies outside it.
#[derive(Debug, Clone)]
pub(crate) struct Subspace {
    /// Q: [K, K-1].
    contrasts: Mat<f64>,
    /// B: [m, r]; absent if r = m, when any basis would do.
    range: Option<Mat<f64>>,
    /// A basis of M's null space: [m, m - r].
    null: Mat<f64>,
}

impl Subspace {
    /// The subspace of `hessian`.
    pub fn of(hessian: &Hessian, epsilon: f64) -> Result<Self, HessianError> {
        let (range, null) = range_and_null(hessian, epsilon)?;
        let range = (null.ncols() > 0).then_some(range);
        Ok(Self { contrasts: contrasts(hessian.classes()), range, null })
    }

    fn classes(&self) -> usize {
        self.contrasts.nrows()
    }

    fn features(&self) -> usize {
        self.null.nrows()
    }

    /// m - r.
    pub fn nullity(&self) -> usize {
        self.null.ncols()
    }

    /// (K-1) r.
    pub fn dimension(&self) -> usize {
        (self.classes() - 1) * (self.features() - self.nullity())
    }

    /// (Q (x) B)^T X for X [K m, n].
    fn project(&self, columns: MatRef<f64>) -> Mat<f64> {
        let m = self.features();
        self.map(columns, m, self.dimension(), |block| match &self.range {
            Some(range) => range.transpose() * (block * &self.contrasts),
            None => block * &self.contrasts,
        })
    }

    /// (Q (x) B) U for U [(K-1) r, n].
    pub fn lift(&self, columns: MatRef<f64>) -> Mat<f64> {
        let (m, r) = (self.features(), self.features() - self.nullity());
        self.map(columns, r, self.classes() * m, |block| match &self.range {
            Some(range) => range * (block * self.contrasts.transpose()),
            None => block * self.contrasts.transpose(),
        })
    }

    /// Applies `change` to each column, seen as a matrix with `rows` rows, a class a column.
    fn map(
        &self,
        columns: MatRef<f64>,
        rows: usize,
        size: usize,
        change: impl Fn(MatRef<f64>) -> Mat<f64> + Sync,
    ) -> Mat<f64> {
        let mut mapped = Mat::zeros(size, columns.ncols());
        mapped.par_col_iter_mut().zip(columns.par_col_iter()).for_each(|(mut mapped, column)| {
            let flat: Vec<f64> = column.iter().copied().collect();
            if rows > 0 {
                let block = MatRef::from_column_major_slice(&flat, rows, flat.len() / rows);
                let changed = change(block);
                let elements = changed.col_iter().flat_map(|column| column.iter());
                for (mapped, element) in mapped.rb_mut().iter_mut().zip(elements) {
                    *mapped = *element;
                }
            }
        });
        mapped
    }

    /// (Q (x) B)^T H (Q (x) B).
    pub fn restrict(&self, hessian: &Hessian) -> Mat<f64> {
        let once = self.project(hessian.matrix());
        self.project(once.transpose())
    }

    /// An orthonormal basis of what H maps to zero by its structure: 1/sqrt(K) (x) e_i
    /// for every feature, then Q (x) each null vector of M. [K m, m + (K-1)(m - r)].
    pub fn null_vectors(&self) -> Mat<f64> {
        let (m, k, nullity) = (self.features(), self.classes(), self.nullity());
        let even = (k as f64).sqrt().recip();
        let mut vectors = Mat::zeros(k * m, m + (k - 1) * nullity);
        for feature in 0..m {
            for class in 0..k {
                vectors[(class * m + feature, feature)] = even;
            }
        }
        for contrast in 0..k - 1 {
            for null in 0..nullity {
                for class in 0..k {
                    for feature in 0..m {
                        vectors[(class * m + feature, m + contrast * nullity + null)] =
                            self.contrasts[(class, contrast)] * self.null[(feature, null)];
                    }
                }
            }
        }
        vectors
    }
}

/// Orthonormal bases of M's range [m, r] and of its null space [m, m - r].
///
/// An eigenvalue mu of M is the square of what the features have along its vector,
/// so M alone cannot tell features that are collinear from features that are nearly
/// so (mu below m epsilon is 1e-7 of the features' size in f64). H is linear in one of
/// its features and can: v is null if no block moves it by more than rounding,
///
/// ```text
/// sum_a |H (e_a (x) v)|^2 <= (m epsilon lambda_max(M))^2,    lambda_max(M) <= K lambda_1 .
/// ```
fn range_and_null(hessian: &Hessian, epsilon: f64) -> Result<(Mat<f64>, Mat<f64>), HessianError> {
    let (m, size) = (hessian.features(), hessian.size());
    let eigen = |matrix: &Mat<f64>| {
        matrix.self_adjoint_eigen(Side::Lower).map_err(|_| HessianError::NoConvergence { size: m })
    };
    let pairs = eigen(&summed_diagonal_blocks(hessian))?;
    let values = pairs.S().column_vector();
    let tolerance = m as f64 * epsilon * values.iter().last().copied().unwrap_or(0.0);
    // In ascending order: what may be null comes first.
    let candidates = values.iter().filter(|&&value| value <= tolerance).count();
    let vectors = pairs.U();
    let (small, large) = vectors.split_at_col(candidates);
    let mut moved = Mat::zeros(candidates, candidates);
    for start in (0..size).step_by(m) {
        let image = product(hessian.matrix().subcols(start, m), small);
        moved += image.transpose() * &image;
    }
    if candidates == 0 {
        return Ok((large.to_owned(), small.to_owned()));
    }
    let pairs = eigen(&moved)?;
    let squares = pairs.S().column_vector();
    let nullity = squares.iter().filter(|&&square| square <= tolerance * tolerance).count();
    let (null, rest) = pairs.U().split_at_col(nullity);
    let mut range = Mat::zeros(m, m - nullity);
    range.subcols_mut(0, candidates - nullity).copy_from(small * rest);
    range.subcols_mut(candidates - nullity, m - candidates).copy_from(large);
    Ok((range, small * null))
}

/// M = sum_a H_aa: [m, m].
pub(crate) fn summed_diagonal_blocks(hessian: &Hessian) -> Mat<f64> {
    let (m, matrix) = (hessian.features(), hessian.matrix());
    let mut sum = Mat::zeros(m, m);
    for start in (0..hessian.size()).step_by(m) {
        sum += matrix.submatrix(start, start, m, m);
    }
    sum
}

/// An orthonormal basis of the vectors whose K elements sum to zero, [K, K-1], by
/// Helmert: column c is 1 in its first c + 1 rows and -(c + 1) in the next, scaled.
pub(crate) fn contrasts(classes: usize) -> Mat<f64> {
    Mat::from_fn(classes, classes - 1, |row, column| {
        let count = (column + 1) as f64;
        let length = (count * (count + 1.0)).sqrt();
        match row {
            row if row <= column => 1.0 / length,
            row if row == column + 1 => -count / length,
            _ => 0.0,
        }
    })
}

/// A B on all threads.
pub(crate) fn product(a: MatRef<f64>, b: MatRef<f64>) -> Mat<f64> {
    let mut product = Mat::zeros(a.nrows(), b.ncols());
    matmul(product.as_mut(), Accum::Replace, a, b, 1.0, Par::rayon(0));
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrasts_are_orthonormal_and_sum_to_zero() {
        for classes in 2..12 {
            let basis = contrasts(classes);
            let identity = basis.transpose() * &basis;
            for column in 0..classes - 1 {
                assert!(basis.col(column).iter().sum::<f64>().abs() < 1e-14);
                for row in 0..classes - 1 {
                    let expected = f64::from(row == column);
                    assert!((identity[(row, column)] - expected).abs() < 1e-14, "{classes} {row} {column}");
                }
            }
        }
    }
}
