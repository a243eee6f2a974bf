//! Eigenpairs at one end of an operator's spectrum, by its products alone.
//!
//! Lanczos ([`solver`]) finds them in a Krylov space of a few dozen directions. It is given
//! a number of products: an operator of no more than [`WHOLE`] rows of which it has not found
//! the end by then, since many eigenvalues lie closely together there, is decomposed whole
//! ([`SymmetricOperator::eigenvectors`]), which costs no more; a larger one is
//! [`HessianError::NoConvergence`]. Those not larger than a Krylov space are decomposed at once.

mod solver;
mod space;

use std::sync::atomic::{AtomicUsize, Ordering};

use faer::{Mat, MatRef};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::{
    solver::{Found, Solver},
    space::{beside, orthonormal},
};
use crate::{
    HessianError, Progress, SymmetricOperator, decomposition::eigenpairs, progress::advance,
    subspace::product,
};

/// The residual that the solver stops at, over the size of the operator, where products are
/// in double and in single precision.
const TOLERANCES: [f64; 2] = [1e-7, 1e-5];
/// The largest residual that is not told as a failure, over that tolerance.
const LEEWAY: f64 = 10.0;
/// The smallest Krylov space. Matrices that are not larger are decomposed whole,
pub(crate) const KRYLOV: usize = 64;
/// and so are those up to this size of which the search takes longer.
const WHOLE: usize = 4096;
/// Products for each pair of a larger operator, at the most, and for as many as a Krylov space has at
/// the least.
const PRODUCTS: usize = 100;

/// Eigenpairs at one end of a spectrum, found by products with the operator A.
#[derive(Debug, Clone)]
pub struct ExtremePairs {
    /// The outermost first: lambda_1, lambda_2, .. or lambda_n, lambda_(n-1), ..
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors, a column each: [n, k].
    pub vectors: Mat<f64>,
    /// |A v_i - lambda_i v_i| / scale of each: at most so far from it there is an eigenvalue. They follow
    /// from the products that the pairs were found by; [`Self::measured_anew`] multiplies again.
    pub residuals: Vec<f64>,
    /// What residuals are measured by, the size of A: an estimate of the norm from below, which
    /// is lambda_1 of the largest of a semi-definite one; 1 if A is zero.
    pub scale: f64,
    /// The largest residual that rounding and the solver's tolerance account for: ten times
    /// what the solver stops at, 1e-6 in f64 and 1e-4 in f32 if nothing else was asked for.
    pub residual_bound: f64,
    /// So many eigenvalues at the least lie beyond zero, above it at the upper end and below it at the
    /// lower one: as many values of v' A v are by more than the tolerance in a space of orthonormal
    /// directions (Cauchy's interlacing theorem; Parlett, "The Symmetric Eigenvalue Problem",
    /// section 10.1).
    pub beyond_zero: usize,
    /// Products with A that it took, beside the few that tell its size.
    pub products: usize,
}

impl ExtremePairs {
    /// The same with residuals by products of their own with `operator`, one a pair: what went wrong in
    /// the search is seen in them.
    ///
    /// ```
    /// use kappa_hessian::{DenseMatrix, faer::Mat, largest_pairs};
    ///
    /// let matrix = |other: f64| {
    ///     let elements = Mat::from_fn(90, 90, |i, j| if i == j { other + i as f64 } else { 0.0 });
    ///     DenseMatrix::new(elements, f64::EPSILON)
    /// };
    /// let pairs = largest_pairs(&matrix(0.0)?, 3, &())?.measured_anew(&matrix(0.0)?, &())?;
    /// assert!(pairs.passed() && !pairs.measured_anew(&matrix(0.1)?, &())?.passed());
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::Stopped`], and as [`SymmetricOperator::product`].
    pub fn measured_anew(
        self,
        operator: &dyn SymmetricOperator,
        progress: &dyn Progress,
    ) -> Result<Self, HessianError> {
        advance(progress, self.vectors.ncols())?;
        let images = operator.product(self.vectors.as_ref())?;
        let residuals = residuals(images.as_ref(), self.vectors.as_ref(), &self.eigenvalues, self.scale);
        Ok(Self { residuals, products: self.products + self.vectors.ncols(), ..self })
    }

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

/// The same to a residual of `tolerance` |A|.
///
/// # Errors
///
/// As [`largest_pairs`].
pub fn largest_pairs_within(
    operator: &dyn SymmetricOperator,
    count: usize,
    tolerance: f64,
    progress: &dyn Progress,
) -> Result<ExtremePairs, HessianError> {
    Search { tolerance, ..Search::new(operator, End::Largest, progress) }.pairs(count)
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

/// The same to a residual of `tolerance` |A|: where many eigenvalues crowd at the lower end, as they do
/// just below zero of a network, each digit costs as much again.
///
/// # Errors
///
/// As [`largest_pairs`].
pub fn smallest_pairs_within(
    operator: &dyn SymmetricOperator,
    count: usize,
    tolerance: f64,
    progress: &dyn Progress,
) -> Result<ExtremePairs, HessianError> {
    Search { tolerance, ..Search::new(operator, End::Smallest, progress) }.pairs(count)
}

impl End {
    /// Whether a value is on this end's side of zero by more than `margin`.
    fn is_beyond(self, value: f64, margin: f64) -> bool {
        match self {
            Self::Largest => value > margin,
            Self::Smallest => value < -margin,
        }
    }
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

/// What a search has found.
struct Searched {
    /// The outermost eigenvectors, in any order: [n, count].
    vectors: Mat<f64>,
    /// Their images, where they are known.
    images: Option<Mat<f64>>,
    /// An estimate of |A| from below.
    scale: f64,
    /// So many eigenvalues at the least are beyond zero.
    beyond_zero: usize,
}

/// A search for one end of an operator's spectrum.
struct Search<'a> {
    products: Products<'a>,
    end: End,
    /// The residual that is small enough, over the size of A.
    tolerance: f64,
}

impl<'a> Search<'a> {
    fn new(operator: &'a dyn SymmetricOperator, end: End, progress: &'a dyn Progress) -> Self {
        let products = Products { operator, progress, count: AtomicUsize::new(0) };
        Self { products, end, tolerance: tolerance(operator) }
    }

    fn operator(&self) -> &'a dyn SymmetricOperator {
        self.products.operator
    }

    fn pairs(self, count: usize) -> Result<ExtremePairs, HessianError> {
        let size = self.operator().size();
        let count = count.min(size);
        if size <= KRYLOV.max(count.saturating_mul(2)) {
            return self.decomposed_whole(count);
        }
        match self.searched(count) {
            Ok(Searched { vectors, images, scale, beyond_zero }) => {
                let pairs = self.finished(vectors.as_ref(), images, scale)?;
                Ok(ExtremePairs { beyond_zero: pairs.beyond_zero.max(beyond_zero), ..pairs })
            }
            Err(HessianError::NoConvergence { .. }) if size <= WHOLE => self.decomposed_whole(count),
            Err(error) => Err(error),
        }
    }

    /// The outermost of all eigenvectors.
    fn decomposed_whole(&self, count: usize) -> Result<ExtremePairs, HessianError> {
        let vectors = self.operator().eigenvectors()?;
        let last = vectors.ncols().saturating_sub(1);
        // |A| is at one of the ends.
        let ends = Mat::from_fn(vectors.nrows(), 2, |row, column| vectors[(row, column * last)]);
        let images = self.operator().product(ends.as_ref())?;
        let scale = images.col_iter().map(|image| image.norm_l2()).fold(0.0, f64::max);
        let outermost = match self.end {
            End::Largest => vectors.as_ref(),
            End::Smallest => vectors.reverse_cols(),
        };
        self.finished(outermost.subcols(0, count), None, scale)
    }

    fn searched(&self, count: usize) -> Result<Searched, HessianError> {
        let size = self.operator().size();
        let budget = match size {
            // As many as make the whole matrix.
            ..=WHOLE => size,
            _ => PRODUCTS * count.max(KRYLOV),
        };
        let solver = Solver::new(&self.products, self.end, self.tolerance, budget);
        // Of a semi-definite operator nothing is smaller than the zeros that are known.
        let is_bounded_by_null = self.end == End::Smallest && self.operator().is_semi_definite();
        let nullity = if is_bounded_by_null { self.operator().known_nullity() } else { 0 };
        let known = nullity.min(count);
        let null = self.null_vectors(known);
        if known == count {
            let scale = self.size_of_operator()?;
            return Ok(Searched { vectors: null, images: None, scale, beyond_zero: 0 });
        }
        let mut solver = if known > 0 { solver.without_null() } else { solver };
        let Found { vectors, images, .. } = solver.search(count - known)?;
        Ok(Searched {
            vectors: beside(null.as_ref(), vectors.as_ref()),
            images: images.filter(|_| known == 0),
            scale: solver.scale,
            beyond_zero: solver.beyond_zero,
        })
    }

    /// Orthonormal directions in the space that is known to be null: [n, count].
    fn null_vectors(&self, count: usize) -> Mat<f64> {
        let size = self.operator().size();
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        let directions = Mat::from_fn(size, count, |_, _| generator.random::<f64>() - 0.5);
        let mut rest = directions.clone();
        self.operator().take_out_null(rest.as_mut());
        orthonormal((directions - rest).as_ref())
    }

    /// |A|, within a small factor from below: what a few steps of the power method make of an
    /// irregular vector.
    fn size_of_operator(&self) -> Result<f64, HessianError> {
        let mut vector = column(&irregular(self.operator().size(), 0.0));
        let mut scale = 0.0;
        for _ in 0..3 {
            let length = vector.norm_l2();
            if length == 0.0 {
                break;
            }
            vector = self.operator().product((vector * faer::Scale(length.recip())).as_ref())?;
            advance(self.products.progress, 1)?;
            scale = vector.norm_l2();
        }
        Ok(scale)
    }

    /// Rayleigh and Ritz in the space of `vectors`, whose images may be known, and the residuals. `scale`
    /// is what else is known of |A|.
    fn finished(
        &self,
        vectors: MatRef<f64>,
        images: Option<Mat<f64>>,
        scale: f64,
    ) -> Result<ExtremePairs, HessianError> {
        let count = vectors.ncols();
        let vectors = orthonormal(vectors);
        let vectors = vectors.as_ref();
        let images = match images {
            Some(images) => images,
            None => self.products.of(vectors)?,
        };
        if !images.is_all_finite() {
            return Err(HessianError::NotFiniteProduct);
        }
        let within = product(vectors.transpose(), images.as_ref());
        let (values, ritz) = eigenpairs(within.as_ref())?;
        let order: Vec<usize> = match self.end {
            End::Largest => (0..count).rev().collect(),
            End::Smallest => (0..count).collect(),
        };
        let rotation = Mat::from_fn(count, count, |row, column| ritz[(row, order[column])]);
        let eigenvalues: Vec<f64> = order.iter().map(|&i| values[i]).collect();
        let vectors = product(vectors, rotation.as_ref());
        let images = product(images.as_ref(), rotation.as_ref());
        let scale = eigenvalues.iter().fold(scale, |max, value| max.max(value.abs()));
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let residuals = residuals(images.as_ref(), vectors.as_ref(), &eigenvalues, scale);
        let residual_bound = LEEWAY * self.tolerance;
        let beyond_zero =
            eigenvalues.iter().filter(|value| self.end.is_beyond(**value, self.tolerance * scale));
        let beyond_zero = beyond_zero.count();
        let products = self.products.count.load(Ordering::Relaxed);
        Ok(ExtremePairs { eigenvalues, vectors, residuals, scale, residual_bound, beyond_zero, products })
    }
}

/// |A v_i - lambda_i v_i| / scale of each, from A V and V.
fn residuals(images: MatRef<f64>, vectors: MatRef<f64>, eigenvalues: &[f64], scale: f64) -> Vec<f64> {
    let of = |(i, &lambda): (usize, &f64)| {
        let difference = images.col(i) - vectors.col(i) * faer::Scale(lambda);
        difference.norm_l2() / scale
    };
    eigenvalues.iter().enumerate().map(of).collect()
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
