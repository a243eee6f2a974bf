//! Eigenpairs at one end of an operator's spectrum, by its products alone.
//!
//! faer's Krylov solver (restarted Lanczos) finds the eigenvalues of the largest magnitude.
//! Of an operator that is known to be semi-definite these are the largest. Otherwise, and
//! for the smallest, it is given sI + A or sI - A with s above the norm of A, which are
//! semi-definite and have the ones that are asked for at the top.
//!
//! A Krylov space that grows from one vector sees one copy of an eigenvalue that
//! occurs several times, as all do where the classes are alike. Therefore what was
//! found is deflated and the rest searched again, until nothing larger is left.
//!
//! Where the solver is not at home, operators are decomposed whole
//! ([`SymmetricOperator::eigenvectors`]): those not larger than its Krylov space, and those
//! of no more than 1,024 rows on which it gives up, as it does where many eigenvalues lie
//! closer to each other than its restarts can part (ten of the largest of a path's graph
//! Laplacian with 300 nodes, which are 1e-4 apart). Larger ones of that kind are
//! [`HessianError::NoConvergence`], or a computation that does not end.

mod solver;

use std::sync::atomic::{AtomicUsize, Ordering};

use faer::{Mat, MatRef};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::solver::{Solver, View};
use crate::{
    HessianError, Progress, SymmetricOperator, lanczos::Tridiagonal, progress::advance, subspace::product,
};

/// How far from orthonormal the vectors found may be. Of eigenvalues close to each other the
/// solver's vectors are so to 1e-7 or so, and are made orthonormal; what is farther off are
/// two copies of one.
const ORTHOGONAL: f64 = 1e-3;
/// The residual that the solver stops at, over the size of the operator, where products are
/// in double and in single precision.
const TOLERANCES: [f64; 2] = [1e-7, 1e-5];
/// The largest residual that is not told as a failure, over that tolerance.
const LEEWAY: f64 = 10.0;
/// faer's solver is for matrices larger than its largest Krylov space; smaller ones
/// are decomposed whole,
pub(crate) const KRYLOV: usize = 64;
/// and so are those on which it gives up, up to this size.
const WHOLE: usize = 1024;
/// Lanczos steps that bound the norm.
const NORM_STEPS: usize = 20;

/// Eigenpairs at one end of a spectrum, found by products with the operator A.
#[derive(Debug, Clone)]
pub struct ExtremePairs {
    /// The outermost first: lambda_1, lambda_2, .. or lambda_n, lambda_(n-1), ..
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors, a column each: [n, k].
    pub vectors: Mat<f64>,
    /// |A v_i - lambda_i v_i| / scale of each: at most so far from it there is an eigenvalue.
    pub residuals: Vec<f64>,
    /// What residuals are measured by, the size of A: lambda_1 of the largest of a
    /// semi-definite one, else an estimate of the norm from below; 1 if A is zero.
    pub scale: f64,
    /// The largest residual that rounding and the solver's tolerance account for: ten times
    /// what the solver stops at, 1e-6 in f64 and 1e-4 in f32.
    pub residual_bound: f64,
    /// Products with A that it took, beside the few that tell its size.
    pub products: usize,
}

impl ExtremePairs {
    /// Whether no residual is above the bound; what is not a number is.
    pub fn passed(&self) -> bool {
        self.residuals.iter().all(|&residual| residual <= self.residual_bound)
    }
}

/// Which end of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Largest,
    Smallest,
}

/// The `count` largest eigenvalues, each to about 1e-7 of |A| in f64 (1e-5 in f32), and
/// their eigenvectors. `progress` is told of each product with A.
///
/// ```
/// use kappa_hessian::{Samples, burn::tensor::Device, largest_pairs};
///
/// let features: Vec<f64> = (0..800).map(|i| f64::from(i).sin()).collect();
/// let logits: Vec<f64> = (0..200).map(|i| 3.0 * f64::from(i).cos()).collect();
/// let samples = Samples::from_logits(40, 10, &features, &logits, &Device::flex())?;
/// let pairs = largest_pairs(&samples, 10, &())?;
/// assert!(pairs.passed() && pairs.eigenvalues[0] > pairs.eigenvalues[9]);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::NoConvergence`], [`HessianError::NotFiniteProduct`],
/// [`HessianError::NoMemory`], [`HessianError::Stopped`], and as
/// [`SymmetricOperator::product`].
pub fn largest_pairs(
    operator: &dyn SymmetricOperator,
    count: usize,
    progress: &dyn Progress,
) -> Result<ExtremePairs, HessianError> {
    Search::new(operator, End::Largest, progress).pairs(count)
}

/// The `count` smallest eigenvalues, the most negative first, and their eigenvectors: as
/// exact as [`largest_pairs`], which is by the size of A and not by their own. Of a
/// semi-definite operator they are zeros if it knows of so many.
///
/// ```
/// use kappa_hessian::{DenseMatrix, faer::Mat, smallest_pairs};
///
/// let diagonal = Mat::from_fn(200, 200, |i, j| if i == j { i as f64 - 20.0 } else { 0.0 });
/// let pairs = smallest_pairs(&DenseMatrix::new(diagonal, f64::EPSILON)?, 2, &())?;
/// assert!((pairs.eigenvalues[0] + 20.0).abs() < 1e-4 && (pairs.eigenvalues[1] + 19.0).abs() < 1e-4);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// As [`largest_pairs`].
pub fn smallest_pairs(
    operator: &dyn SymmetricOperator,
    count: usize,
    progress: &dyn Progress,
) -> Result<ExtremePairs, HessianError> {
    Search::new(operator, End::Smallest, progress).pairs(count)
}

/// An operator whose products are counted.
struct Products<'a> {
    operator: &'a dyn SymmetricOperator,
    progress: &'a dyn Progress,
    count: AtomicUsize,
}

impl Products<'_> {
    fn of(&self, block: MatRef<f64>) -> Result<Mat<f64>, HessianError> {
        self.count.fetch_add(block.ncols(), Ordering::Relaxed);
        advance(self.progress, block.ncols())?;
        self.operator.product(block)
    }
}

/// A search for one end of an operator's spectrum.
struct Search<'a> {
    products: Products<'a>,
    end: End,
    /// The size of A; zero where nobody asks.
    scale: f64,
}

impl<'a> Search<'a> {
    fn new(operator: &'a dyn SymmetricOperator, end: End, progress: &'a dyn Progress) -> Self {
        let products = Products { operator, progress, count: AtomicUsize::new(0) };
        Self { products, end, scale: 0.0 }
    }

    fn operator(&self) -> &'a dyn SymmetricOperator {
        self.products.operator
    }

    /// Whether the eigenvalues asked for are those of the largest magnitude.
    fn is_at_the_top(&self) -> bool {
        self.end == End::Largest && self.operator().is_semi_definite()
    }

    fn pairs(mut self, count: usize) -> Result<ExtremePairs, HessianError> {
        let size = self.operator().size();
        let count = count.min(size);
        if count == 0 {
            return self.finished(Mat::zeros(size, 0).as_ref());
        }
        let is_small = size <= KRYLOV.max(2 * count);
        if !(is_small && self.is_at_the_top()) {
            self.scale = self.size_of_operator()?;
        }
        if is_small {
            return self.decomposed_whole(count);
        }
        if self.scale == 0.0 {
            // A is zero, and any directions are its eigenvectors.
            return self.finished(Mat::identity(size, count).as_ref());
        }
        match self.searched(count).and_then(|found| self.finished(found.as_ref())) {
            Err(HessianError::NoConvergence { .. }) if size <= WHOLE => self.decomposed_whole(count),
            result => result,
        }
    }

    /// The outermost of all eigenvectors.
    fn decomposed_whole(&self, count: usize) -> Result<ExtremePairs, HessianError> {
        let vectors = self.operator().eigenvectors()?;
        let vectors = match self.end {
            End::Largest => vectors.as_ref(),
            End::Smallest => vectors.reverse_cols(),
        };
        self.finished(vectors.subcols(0, count))
    }

    /// The outermost eigenvectors, in any order: [n, count].
    fn searched(&self, count: usize) -> Result<Mat<f64>, HessianError> {
        let size = self.operator().size();
        let mut solver = Solver::new(&self.products, self.view()?, self.scale * tolerance(self.operator()));
        // Of a semi-definite operator nothing is smaller than the zeros that are known.
        let is_bounded_by_null = self.end == End::Smallest && self.operator().is_semi_definite();
        let nullity = if is_bounded_by_null { self.operator().known_nullity() } else { 0 };
        let known = nullity.min(count);
        if known == 0 {
            return solver.search(count);
        }
        let null = self.null_vectors(known);
        if known == count {
            return Ok(null);
        }
        if size - nullity <= KRYLOV.max(2 * count) {
            // Too few dimensions are left for a Krylov space.
            return Err(HessianError::NoConvergence { size });
        }
        solver.without_null = true;
        let others = solver.search(count - known)?;
        Ok(Mat::from_fn(size, count, |row, column| match column.checked_sub(known) {
            None => null[(row, column)],
            Some(column) => others[(row, column)],
        }))
    }

    fn view(&self) -> Result<View, HessianError> {
        if self.is_at_the_top() {
            return Ok(View::Plain);
        }
        let start = column(&irregular(self.operator().size(), 0.5));
        let progress = self.products.progress;
        let bound = Tridiagonal::new(self.operator(), start, NORM_STEPS, progress)?.norm_bound()?;
        Ok(if self.end == End::Largest { View::Above(bound) } else { View::Below(bound) })
    }

    /// Orthonormal directions in the space that is known to be null: [n, count].
    fn null_vectors(&self, count: usize) -> Mat<f64> {
        let size = self.operator().size();
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        let directions = Mat::from_fn(size, count, |_, _| generator.random::<f64>() - 0.5);
        let mut rest = directions.clone();
        self.operator().take_out_null(rest.as_mut());
        (directions - rest).qr().compute_thin_Q()
    }

    /// Rayleigh and Ritz in the space of `vectors`, and the residuals.
    fn finished(&self, vectors: MatRef<f64>) -> Result<ExtremePairs, HessianError> {
        let (size, count) = (vectors.nrows(), vectors.ncols());
        let cosines = product(vectors.transpose(), vectors);
        let apart = (cosines - Mat::<f64>::identity(count, count)).norm_max();
        if apart.is_nan() || apart > ORTHOGONAL {
            return Err(HessianError::NoConvergence { size });
        }
        let orthonormal = vectors.qr().compute_thin_Q();
        let vectors = orthonormal.as_ref();
        let images = self.products.of(vectors)?;
        let within = product(vectors.transpose(), images.as_ref());
        let ritz = within
            .self_adjoint_eigen(faer::Side::Lower)
            .map_err(|_| HessianError::NoConvergence { size: count })?;
        let order: Vec<usize> = match self.end {
            End::Largest => (0..count).rev().collect(),
            End::Smallest => (0..count).collect(),
        };
        let rotation = Mat::from_fn(count, count, |row, column| ritz.U()[(row, order[column])]);
        let eigenvalues: Vec<f64> = order.iter().map(|&i| ritz.S().column_vector()[i]).collect();
        let vectors = product(vectors, rotation.as_ref());
        let images = product(images.as_ref(), rotation.as_ref());
        let scale = match self.is_at_the_top() {
            true => eigenvalues.first().copied().unwrap_or(0.0),
            false => eigenvalues.iter().fold(self.scale, |max, value| max.max(value.abs())),
        };
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let residuals = eigenvalues
            .iter()
            .enumerate()
            .map(|(i, &lambda)| {
                let difference = images.col(i) - vectors.col(i) * faer::Scale(lambda);
                difference.norm_l2() / scale
            })
            .collect();
        let residual_bound = LEEWAY * tolerance(self.operator());
        let products = self.products.count.load(Ordering::Relaxed);
        Ok(ExtremePairs { eigenvalues, vectors, residuals, scale, residual_bound, products })
    }

    /// |A|, within a small factor from below: what a few steps of the power method make of
    /// an irregular vector.
    fn size_of_operator(&self) -> Result<f64, HessianError> {
        let size = self.operator().size();
        let mut vector = column(&irregular(size, 0.0));
        let mut scale = 0.0;
        for _ in 0..3 {
            vector = self.operator().product(vector.as_ref())?;
            advance(self.products.progress, 1)?;
            scale = vector.col(0).iter().map(|x| x * x).sum::<f64>().sqrt();
            if !scale.is_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            if scale == 0.0 {
                break;
            }
            vector.col_mut(0).iter_mut().for_each(|x| *x /= scale);
        }
        Ok(scale)
    }
}

/// The residual that the solver stops at, over the size of the operator.
fn tolerance(operator: &dyn SymmetricOperator) -> f64 {
    TOLERANCES[usize::from(operator.epsilon() > 1e-10)]
}

/// A vector without structure, the same at every call: the fractional parts of
/// multiples of the golden ratio's square root, about zero.
pub(crate) fn irregular(size: usize, offset: f64) -> Vec<f64> {
    let step = (0.5 * (5.0f64.sqrt() - 1.0)).sqrt();
    (0..size).map(|i| (offset + step * (i + 1) as f64).fract() - 0.5).collect()
}

/// A vector as a block of one.
pub(crate) fn column(vector: &[f64]) -> Mat<f64> {
    Mat::from_fn(vector.len(), 1, |row, _| vector[row])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DenseMatrix;

    /// The solver's vectors of eigenvalues close to each other are orthonormal to 1e-7 only,
    /// and were refused as copies of each other (K = 2, m = 100: nine of ten in the bulk).
    #[test]
    fn vectors_a_little_askew_are_set_right_and_copies_are_refused() {
        let values = [3.0, 2.0, 1.0, 0.0];
        // The diagonal of `values`, reflected at an irregular vector.
        let normal = [0.5, -0.1, 0.7, -0.5];
        let reflection = Mat::from_fn(4, 4, |i, j| f64::from(i == j) - 2.0 * normal[i] * normal[j]);
        let diagonal = Mat::from_fn(4, 4, |i, j| if i == j { values[i] } else { 0.0 });
        let matrix = DenseMatrix::new(&reflection * diagonal * &reflection, f64::EPSILON).unwrap();
        let matrix = matrix.known_semi_definite();
        let turned = |by: f64| {
            let [first, second] = [0, 1].map(|i| reflection.col(i).to_owned());
            let second = &second + faer::Scale(by) * &first;
            Mat::from_fn(
                4,
                2,
                |row, column| if column == 0 { first[row] } else { second[row] / second.norm_l2() },
            )
        };
        let search = Search::new(&matrix, End::Largest, &());
        let found = search.finished(turned(1e-7).as_ref()).unwrap();
        for (value, expected) in found.eigenvalues.iter().zip(values) {
            // A matrix of four rows in f64.
            assert!((value - expected).abs() < 1e-14, "{value} {expected}");
        }
        let copies = search.finished(turned(1e4).as_ref());
        assert!(matches!(copies, Err(HessianError::NoConvergence { .. })));
    }
}
