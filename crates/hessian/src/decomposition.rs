//! Decompositions of symmetric matrices and products, with the same bits on any number of threads.
//!
//! faer cuts its work into as many parts as it is told that there are threads, and sums what the
//! parts give. So it is told a number that follows from the shapes alone; the pool's threads,
//! however many there are, take parts as they come.

use std::num::NonZeroUsize;

use faer::{
    Mat, MatMut, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack, StackReq},
    linalg::{
        cholesky::llt::{
            factor::{cholesky_in_place, cholesky_in_place_scratch},
            solve::{solve_in_place, solve_in_place_scratch},
        },
        evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch},
    },
};

use crate::HessianError;

/// The parts of a product, and of what is made of products: more cost nothing.
pub(crate) const PRODUCTS: Par = match NonZeroUsize::new(16) {
    Some(parts) => Par::Rayon(parts),
    None => Par::Seq,
};

/// The parts of the decomposition of a matrix of so many rows.
///
/// Each column that is eliminated goes through all parts. Where a thread has the same one each
/// time it finds it in its cache: two threads are up to a quarter slower with four parts of a
/// matrix of 1000 rows, and a hundredth with four of 3000, whose parts no cache holds.
fn parts(size: usize) -> Par {
    Par::rayon(match size {
        0..3000 => 2,
        3000..6000 => 4,
        6000..12_000 => 8,
        _ => 16,
    })
}

/// All eigenvalues of a symmetric matrix, in ascending order, and their eigenvectors, a column
/// each. The lower half alone is looked at.
///
/// # Errors
///
/// [`HessianError::NoConvergence`], [`HessianError::NoMemory`].
pub fn eigenpairs(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>), HessianError> {
    let mut vectors = Mat::zeros(matrix.nrows(), matrix.nrows());
    let values = decomposed(matrix, Some(&mut vectors))?;
    Ok((values, vectors))
}

/// All eigenvalues alone.
///
/// # Errors
///
/// As [`eigenpairs`].
pub(crate) fn eigenvalues(matrix: MatRef<f64>) -> Result<Vec<f64>, HessianError> {
    decomposed(matrix, None)
}

/// The power of two below `scale`: numbers of its size, divided by it, may be squared, and no digit
/// of theirs is another.
pub(crate) fn squarable(scale: f64) -> f64 {
    if scale > 0.0 { scale.log2().floor().clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
}

/// Scaled by a power of two to elements of size 1, which changes no digit: faer squares elements, and where it merges
/// the halves of a tridiagonal matrix it leaves out what is below some units of rounding of 1 or of the matrix,
/// whichever is larger (LAPACK's dstedc scales for that). Of a matrix of 4e-6, as trained networks have, the smaller
/// eigenvalues had lost half of their digits.
fn decomposed(matrix: MatRef<f64>, vectors: Option<&mut Mat<f64>>) -> Result<Vec<f64>, HessianError> {
    let columns = matrix.col_iter().enumerate();
    let largest = columns
        .map(|(j, column)| column.iter().skip(j).fold(0.0f64, |max, x| max.max(x.abs())))
        .fold(0.0, f64::max);
    if largest == 0.0 {
        return decomposed_as_it_is(matrix, vectors);
    }
    let scale = squarable(largest);
    let scaled = matrix * faer::Scale(scale.recip());
    let values = decomposed_as_it_is(scaled.as_ref(), vectors)?;
    Ok(values.into_iter().map(|value| value * scale).collect())
}

fn decomposed_as_it_is(
    matrix: MatRef<f64>,
    vectors: Option<&mut Mat<f64>>,
) -> Result<Vec<f64>, HessianError> {
    let size = matrix.nrows();
    let asked = if vectors.is_some() { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let parts = parts(size);
    let mut memory = memory(self_adjoint_evd_scratch::<f64>(size, asked, parts, Default::default()))?;
    let mut values = Diag::<f64>::zeros(size);
    self_adjoint_evd(
        matrix,
        values.as_mut(),
        vectors.map(Mat::as_mut),
        parts,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|_| HessianError::NoConvergence { size })?;
    Ok(values.column_vector().iter().copied().collect())
}

/// Makes of the lower half of a positive definite matrix A its factor L, A = L L^T.
///
/// # Errors
///
/// [`HessianError::NoConvergence`] of one that is not positive definite, [`HessianError::NoMemory`].
pub(crate) fn factor(matrix: MatMut<f64>) -> Result<(), HessianError> {
    let size = matrix.nrows();
    let mut memory = memory(cholesky_in_place_scratch::<f64>(size, PRODUCTS, Default::default()))?;
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(matrix, Default::default(), PRODUCTS, stack, Default::default())
        .map_err(|_| HessianError::NoConvergence { size })?;
    Ok(())
}

/// Makes of each column b the x with A x = b, by what [`factor`] has made of A.
///
/// # Errors
///
/// [`HessianError::NoMemory`].
pub(crate) fn solve(factor: MatRef<f64>, block: MatMut<f64>) -> Result<(), HessianError> {
    let mut memory = memory(solve_in_place_scratch::<f64>(block.nrows(), block.ncols(), PRODUCTS))?;
    solve_in_place(factor, block, PRODUCTS, MemStack::new(&mut memory));
    Ok(())
}

fn memory(scratch: StackReq) -> Result<MemBuffer, HessianError> {
    MemBuffer::try_new(scratch)
        .map_err(|_| HessianError::NoMemory { gigabytes: scratch.size_bytes() as f64 / 1e9 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of which faer merges halves, with eigenvalues from 1 down to 1e-10: of one that was 4e-6 as large they
    /// were off by 2e-10 of the largest.
    #[test]
    fn a_small_matrix_keeps_as_many_digits_as_a_large_one() {
        let size = 200;
        let decay = |i: usize| (-0.06 * i as f64).exp();
        let noise = |i: usize, j: usize| (((i * 200 + j * 7 + 1) as f64).sin() * 43_758.545_3).fract();
        let root = Mat::from_fn(size, size, |i, j| noise(i, j) * decay(j));
        let matrix = &root * root.transpose();
        let (expected, _) = eigenpairs(matrix.as_ref()).unwrap();
        let largest = expected.last().copied().unwrap();
        for exponent in [-18, -60, 40] {
            let scale = 2f64.powi(exponent);
            let scaled = &matrix * faer::Scale(scale);
            let (values, vectors) = eigenpairs(scaled.as_ref()).unwrap();
            assert_eq!(values, expected.iter().map(|value| value * scale).collect::<Vec<_>>());
            let images = &scaled * &vectors;
            for (column, value) in values.iter().enumerate() {
                let residual = (images.col(column) - vectors.col(column) * faer::Scale(*value)).norm_l2();
                // n roundings of the largest.
                assert!(residual <= size as f64 * f64::EPSILON * largest * scale, "{exponent}: {residual}");
            }
        }
    }

    /// Of features times 1e-70 and less faer found none ("did not converge").
    #[test]
    fn of_a_matrix_of_any_size_the_eigenvalues_are_as_many_times_as_large() {
        let matrix =
            Mat::from_fn(7, 7, |i, j| 1.0 / (1.0 + i as f64 + j as f64) + f64::from(u8::from(i == j)));
        let expected = eigenvalues(matrix.as_ref()).unwrap();
        for exponent in [-1000, -700, -465, -100, 100, 465, 700, 1000] {
            let scale = 2f64.powi(exponent);
            let (values, vectors) = eigenpairs((&matrix * faer::Scale(scale)).as_ref()).unwrap();
            for (value, expected) in values.iter().zip(&expected) {
                // A backward error of 7 rows.
                assert!((value / scale / expected - 1.0).abs() < 1e-14, "{exponent}: {value} {expected}");
            }
            assert!((vectors.transpose() * &vectors - Mat::<f64>::identity(7, 7)).norm_max() < 1e-14);
        }
    }
}
