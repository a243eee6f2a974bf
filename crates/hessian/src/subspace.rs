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
//!
//! A class that never occurs has a row of zeros in every S_n: m zeros more, and the contrasts are those of
//! the K - a classes that do. One logit has no shift to ignore, and Q = 1.

use faer::prelude::ReborrowMut;
use faer::{Accum, ColRef, Mat, MatMut, MatRef, linalg::matmul::matmul};
use rayon::prelude::*;

use crate::{
    Hessian, HessianError, classes,
    decomposition::{self, squarable},
};

/// The range of Q (x) B, and what lies outside it.
#[derive(Debug, Clone)]
pub(crate) struct Subspace {
    /// K,
    classes: usize,
    /// and those of them that occur, K - a.
    occurring: Vec<usize>,
    /// Q: [K - a, c], c = K - a - 1 contrasts, or 1 of one logit.
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
        let (classes, occurring) = (hessian.classes(), classes::occurring(hessian));
        let contrasts = if classes == 1 { Mat::identity(1, 1) } else { contrasts(occurring.len()) };
        Ok(Self { classes, occurring, contrasts, range, null })
    }

    /// a.
    pub fn absent(&self) -> usize {
        self.classes - self.occurring.len()
    }

    /// c.
    pub fn contrasts(&self) -> usize {
        self.contrasts.ncols()
    }

    fn features(&self) -> usize {
        self.null.nrows()
    }

    /// m - r.
    pub fn nullity(&self) -> usize {
        self.null.ncols()
    }

    /// c r.
    pub fn dimension(&self) -> usize {
        self.contrasts() * (self.features() - self.nullity())
    }

    /// (Q (x) B)^T H (Q (x) B), a column after the other.
    pub fn restrict(&self, hessian: &Hessian) -> Vec<f64> {
        if self.dimension() == 0 {
            return Vec::new();
        }
        let rows = self.contrasts() * self.features();
        let twice = match self.classes {
            1 => hessian.elements().to_vec(),
            _ => self.restrict_to_contrasts(hessian),
        };
        let Some(range) = &self.range else { return twice };
        let half = on_features(range.transpose(), MatRef::from_column_major_slice(&twice, rows, rows));
        let half = MatRef::from_column_major_slice(&half, self.dimension(), rows);
        on_features(range.transpose(), half.transpose())
    }

    /// (Q (x) I)^T H (Q (x) I), a column after the other.
    fn restrict_to_contrasts(&self, hessian: &Hessian) -> Vec<f64> {
        let (m, size) = (self.features(), hessian.size());
        let rows = self.contrasts() * m;
        // (Q (x) I)^T H: the classes are parts of a column ..
        let mut once = vec![0.0; rows * size];
        let columns = once.par_chunks_mut(rows).zip(hessian.elements().par_chunks(size));
        columns.for_each(|(to, from)| {
            let classes = self.occurring.iter().map(|class| &from[class * m..(class + 1) * m]);
            contrast(classes, to.chunks_exact_mut(m));
        });
        // .. times Q (x) I: the classes are columns, m apart.
        let mut twice = vec![0.0; rows * rows];
        let mut of_feature: Vec<Vec<&mut [f64]>> = (0..m).map(|_| Vec::new()).collect();
        for (index, column) in twice.chunks_exact_mut(rows).enumerate() {
            of_feature[index % m].push(column);
        }
        of_feature.into_par_iter().enumerate().for_each(|(feature, columns)| {
            let classes = self.occurring.iter().map(|class| &once[(class * m + feature) * rows..][..rows]);
            contrast(classes, columns.into_iter());
        });
        twice
    }

    /// (Q (x) B) u for u [c r]: [K m].
    pub fn lift(&self, column: ColRef<f64>) -> Vec<f64> {
        let (m, r) = (self.features(), self.features() - self.nullity());
        let flat: Vec<f64> = column.iter().copied().collect();
        let of_features = match &self.range {
            None => flat,
            Some(range) => {
                let blocks =
                    product(range.as_ref(), MatRef::from_column_major_slice(&flat, r, flat.len() / r));
                blocks.col_iter().flat_map(|column| column.iter().copied()).collect()
            }
        };
        let mut lifted = vec![0.0; self.classes * m];
        for (contrast, y) in of_features.chunks_exact(m).enumerate() {
            for (row, class) in self.occurring.iter().enumerate().take(contrast + 2) {
                let weight = self.contrasts[(row, contrast)];
                let x = &mut lifted[class * m..(class + 1) * m];
                x.iter_mut().zip(y).for_each(|(x, y)| *x += weight * y);
            }
        }
        lifted
    }

    /// An orthonormal basis of what H maps to zero by its structure: 1/sqrt(K - a) (x) e_i over the
    /// classes that occur for every feature, e_c (x) e_i for each class c that does not, then
    /// Q (x) each null vector of M. [K m, (1 + a) m + c (m - r)], of one logit [m, m - r].
    pub fn null_vectors(&self) -> Mat<f64> {
        let (m, k, nullity) = (self.features(), self.classes, self.nullity());
        let even = (self.occurring.len() as f64).sqrt().recip();
        let shift = classes::zeros_of_shift(m, k);
        let before = shift + self.absent() * m;
        let mut vectors = Mat::zeros(k * m, before + self.contrasts() * nullity);
        for feature in 0..shift {
            for class in &self.occurring {
                vectors[(class * m + feature, feature)] = even;
            }
        }
        let absent = (0..k).filter(|class| !self.occurring.contains(class));
        for (column, row) in absent.flat_map(|class| class * m..(class + 1) * m).enumerate() {
            vectors[(row, shift + column)] = 1.0;
        }
        for contrast in 0..self.contrasts() {
            for null in 0..nullity {
                for (row, class) in self.occurring.iter().enumerate() {
                    for feature in 0..m {
                        vectors[(class * m + feature, before + contrast * nullity + null)] =
                            self.contrasts[(row, contrast)] * self.null[(feature, null)];
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
    let (values, vectors) = decomposition::eigenpairs(summed_diagonal_blocks(hessian).as_ref())?;
    let largest = values.last().copied().unwrap_or(0.0);
    let tolerance = m as f64 * epsilon * largest;
    // In ascending order: what may be null comes first.
    let candidates = values.iter().filter(|&&value| value <= tolerance).count();
    let (small, large) = vectors.split_at_col(candidates);
    // Squares of what is as large as a large feature's fourth power.
    let unit = squarable(largest);
    let mut moved = Mat::zeros(candidates, candidates);
    for start in (0..size).step_by(m) {
        let image = product(hessian.matrix().subcols(start, m), small) * faer::Scale(unit.recip());
        moved += product(image.transpose(), image.as_ref());
    }
    if candidates == 0 {
        return Ok((large.to_owned(), small.to_owned()));
    }
    let (squares, rotation) = decomposition::eigenpairs(moved.as_ref())?;
    let nullity = squares.iter().filter(|&&square| square <= (tolerance / unit).powi(2)).count();
    let (null, rest) = rotation.split_at_col(nullity);
    let mut range = Mat::zeros(m, m - nullity);
    range.subcols_mut(0, candidates - nullity).copy_from(product(small, rest));
    range.subcols_mut(candidates - nullity, m - candidates).copy_from(large);
    let null = product(small, null);
    Ok((range, null))
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

/// [`contrasts`] of what the classes have, K vectors -> K - 1:
///
/// ```text
/// y_c = (x_0 + .. + x_c - (c + 1) x_(c+1)) / sqrt((c + 1) (c + 2))
/// ```
fn contrast<'a, 'b>(
    mut classes: impl Iterator<Item = &'a [f64]>,
    contrasts: impl Iterator<Item = &'b mut [f64]>,
) {
    let Some(first) = classes.next() else { return };
    let mut sum = first.to_vec();
    for (column, (y, x)) in contrasts.zip(classes).enumerate() {
        let count = (column + 1) as f64;
        let length = (count * (count + 1.0)).sqrt().recip();
        for (y, (sum, x)) in y.iter_mut().zip(sum.iter_mut().zip(x)) {
            *y = length * (*sum - count * x);
            *sum += x;
        }
    }
}

/// A [r, m] on every m rows of X [c m, n]: [c r, n], a column after the other.
fn on_features(a: MatRef<f64>, x: MatRef<f64>) -> Vec<f64> {
    let (r, m, contrasts) = (a.nrows(), a.ncols(), x.nrows() / a.ncols());
    let mut image = vec![0.0; contrasts * r * x.ncols()];
    let mut rows = MatMut::from_column_major_slice_mut(&mut image, contrasts * r, x.ncols());
    for block in 0..contrasts {
        let rows = rows.rb_mut().subrows_mut(block * r, r);
        matmul(rows, Accum::Replace, a, x.subrows(block * m, m), 1.0, decomposition::PRODUCTS);
    }
    image
}

/// A B on all threads, in the same order of sums on any number of them.
pub fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(a.nrows(), b.ncols());
    matmul(product.as_mut(), Accum::Replace, a, b, 1.0, decomposition::PRODUCTS);
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
