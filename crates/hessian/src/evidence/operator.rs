//! What can be checked of some eigenpairs, and of what an operator says of itself, by
//! products alone.

use faer::{
    Accum, Mat, MatRef,
    linalg::matmul::triangular::{self, BlockStructure},
};

use super::{Check, STAGES, ratio, reference::worst};
use crate::{
    ExtremePairs, HessianError, Progress, SymmetricOperator,
    decomposition::{PRODUCTS, squarable},
    krylov::{column, irregular},
    progress::advance,
    subspace::product,
};

/// Checks `pairs` against the operator they were computed from, and by the way what the
/// operator says of itself: that it is symmetric, semi-definite, null where it says so.
///
/// "At most a residual away there is an eigenvalue" holds for a symmetric operator. If
/// rounding adds something of norm d to it, eigenvalues move by d at the most (Weyl): as
/// long as no defect is larger than the bound of the residuals, what they promise holds to
/// twice the bound.
///
/// ```
/// use kappa_hessian::{DenseMatrix, faer::mat, largest_pairs, verify_pairs};
///
/// let matrix = DenseMatrix::new(mat![[0.0, 2.0], [2.0, 3.0]], f64::EPSILON)?;
/// let pairs = largest_pairs(&matrix, 1, &())?;
/// assert!(verify_pairs(&matrix, &pairs, &())?.iter().all(|check| check.passed()));
///
/// let askew = DenseMatrix::new(mat![[0.0, 2.0], [2.1, 3.0]], f64::EPSILON)?;
/// assert!(!verify_pairs(&askew, &pairs, &())?.iter().all(|check| check.passed()));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::Stopped`], and as [`SymmetricOperator::product`]. A property that does
/// not hold is no error, but a [`Check`] that did not pass.
pub fn verify_pairs(
    operator: &dyn SymmetricOperator,
    pairs: &ExtremePairs,
    progress: &dyn Progress,
) -> Result<Vec<Check>, HessianError> {
    let images = operator.product(pairs.vectors.as_ref())?;
    advance(progress, images.ncols())?;
    let (size, bound) = (operator.size(), pairs.residual_bound);
    let mut checks = vec![
        Check {
            name: "residual",
            quantity: "max_i |A v_i - lambda_i v_i| / |A|",
            value: largest_residual(images.as_ref(), pairs.vectors.as_ref(), &pairs.eigenvalues, pairs.scale),
            bound,
        },
        Check {
            name: "orthogonality",
            quantity: "max_ij |V'V - I|",
            value: distance_from_orthonormal(pairs.vectors.as_ref()),
            bound: STAGES * size as f64 * f64::EPSILON,
        },
    ];
    checks.push(symmetry(operator, pairs, progress)?);
    if operator.is_semi_definite() {
        let smallest = pairs.eigenvalues.iter().fold(0.0, |min: f64, &value| min.min(value));
        checks.push(Check {
            name: "semi-definite",
            quantity: "-min_i lambda_i / |A|",
            value: -smallest / pairs.scale,
            bound,
        });
    }
    if operator.known_nullity() > 0 {
        checks.push(null(operator, pairs, progress)?);
    }
    Ok(checks)
}

fn symmetry(
    operator: &dyn SymmetricOperator,
    pairs: &ExtremePairs,
    progress: &dyn Progress,
) -> Result<Check, HessianError> {
    let size = operator.size();
    let [u, v] = [0.0, 0.5].map(|offset| irregular_direction(size, offset));
    let directions = Mat::from_fn(size, 2, |row, column| if column == 0 { u[row] } else { v[row] });
    let images = operator.product(directions.as_ref())?;
    advance(progress, 2)?;
    let forms = product(directions.transpose(), images.as_ref());
    Ok(Check {
        name: "symmetry",
        quantity: "|u' A v - v' A u| / |A|",
        value: (forms[(0, 1)] - forms[(1, 0)]).abs() / pairs.scale,
        bound: pairs.residual_bound,
    })
}

/// The null part of a direction that has something of every other.
fn null(
    operator: &dyn SymmetricOperator,
    pairs: &ExtremePairs,
    progress: &dyn Progress,
) -> Result<Check, HessianError> {
    let direction = column(&irregular_direction(operator.size(), 0.0));
    let mut rest = direction.clone();
    operator.take_out_null(rest.as_mut());
    let null = direction - rest;
    let image = operator.product(null.as_ref())?;
    advance(progress, 1)?;
    Ok(Check {
        name: "null",
        quantity: "|A z| / |A| for z in the null space",
        value: ratio(image.norm_l2(), null.norm_l2()) / pairs.scale,
        bound: pairs.residual_bound,
    })
}

/// max_i |A v_i - lambda_i v_i| / scale, from A V and V.
pub(super) fn largest_residual(
    images: MatRef<f64>,
    vectors: MatRef<f64>,
    eigenvalues: &[f64],
    scale: f64,
) -> f64 {
    let unit = squarable(scale);
    let columns = images.col_iter().zip(vectors.col_iter());
    let largest = columns
        .zip(eigenvalues)
        .map(|((image, vector), lambda)| {
            let squares =
                image.iter().zip(vector.iter()).map(|(image, v)| ((image - lambda * v) / unit).powi(2));
            squares.sum::<f64>().sqrt()
        })
        .fold(0.0, worst);
    largest / (scale / unit)
}

/// max_ij |V'V - I|.
pub(super) fn distance_from_orthonormal(vectors: MatRef<f64>) -> f64 {
    let mut products = Mat::zeros(vectors.ncols(), vectors.ncols());
    triangular::matmul(
        products.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        vectors.transpose(),
        BlockStructure::Rectangular,
        vectors,
        BlockStructure::Rectangular,
        1.0,
        PRODUCTS,
    );
    let columns = products.col_iter().enumerate();
    columns
        .flat_map(|(j, column)| {
            let below = column.iter().enumerate().skip(j);
            below.map(move |(i, x)| (x - if i == j { 1.0 } else { 0.0 }).abs())
        })
        .fold(0.0, worst)
}

/// A direction that has something of every other, of length one.
pub(super) fn irregular_direction(size: usize, offset: f64) -> Vec<f64> {
    let mut irregular = irregular(size, offset);
    let length = irregular.iter().map(|x| x * x).sum::<f64>().sqrt();
    irregular.iter_mut().for_each(|x| *x /= length);
    irregular
}
