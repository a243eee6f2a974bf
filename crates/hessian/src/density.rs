//! The spectral density without ever forming a matrix, by stochastic Lanczos quadrature
//! (Ubaru, Chen and Saad 2017, "Fast estimation of tr(f(A)) via stochastic Lanczos
//! quadrature", section 3).
//!
//! A random vector z of signs has E[z^T f(A) z] = tr f(A). Lanczos, started from z,
//! ends in a small tridiagonal matrix whose eigenvalues theta_i and first components
//! tau_i of its eigenvectors are the nodes and weights of a Gauss quadrature,
//!
//! ```text
//! z^T f(A) z ~ |z|^2 sum_i tau_i^2 f(theta_i),
//! ```
//!
//! exact for polynomials of degree below twice the steps. Zeros that the operator knows of
//! are put in as zeros, and z has what lies in their space taken out.

use faer::Mat;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{HessianError, Progress, SymmetricOperator, lanczos::Tridiagonal, trace::random_sign};

/// How a density is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DensityOptions {
    /// Random vectors.
    pub probes: usize,
    /// Lanczos steps, and so nodes, for each.
    pub steps: usize,
    /// Of the generator.
    pub seed: u64,
}

/// The density of eigenvalues, as a sum of points with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// For each probe its nodes, largest first, each with its weight: the share of all
    /// n eigenvalues that it stands for.
    pub probes: Vec<Vec<(f64, f64)>>,
    /// The share of eigenvalues that are known to be zero; 1/K of the last layer's, since
    /// softmax ignores a shift.
    pub known_zeros: f64,
    /// tr A, the mean over the probes of z^T A z.
    pub trace: f64,
    /// The standard error of that mean.
    pub trace_error: f64,
    /// Products with A that it took.
    pub products: usize,
}

impl Density {
    /// The estimated mean over all eigenvalues of `f`, and its standard error.
    pub fn mean_of(&self, f: impl Fn(f64) -> f64) -> (f64, f64) {
        let of_probe =
            |nodes: &Vec<(f64, f64)>| nodes.iter().map(|&(node, weight)| weight * f(node)).sum::<f64>();
        let (mean, error) = mean_and_error(&self.probes.iter().map(of_probe).collect::<Vec<_>>());
        (mean + self.known_zeros * f(0.0), error)
    }
}

/// The density of an operator's eigenvalues. `progress` is told of each product.
///
/// ```
/// use kappa_hessian::{DenseMatrix, DensityOptions, density, faer::Mat};
///
/// // Half of the eigenvalues are 1, half are 3.
/// let halves = Mat::from_fn(100, 100, |i, j| if i != j { 0.0 } else if i < 50 { 1.0 } else { 3.0 });
/// let matrix = DenseMatrix::new(halves, f64::EPSILON)?;
/// let density = density(&matrix, DensityOptions { probes: 4, steps: 10, seed: 0 }, &())?;
/// assert!((density.trace - 200.0).abs() < 1e-9);
/// assert!((density.mean_of(|value| value * value).0 - 5.0).abs() < 1e-9);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::NoMemory`], [`HessianError::NotFiniteProduct`],
/// [`HessianError::NoConvergence`], [`HessianError::Stopped`], and as
/// [`SymmetricOperator::product`].
pub fn density(
    operator: &dyn SymmetricOperator,
    options: DensityOptions,
    progress: &dyn Progress,
) -> Result<Density, HessianError> {
    let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
    let (mut probes, mut traces, mut products) = (Vec::new(), Vec::new(), 0);
    let known_zeros = operator.known_nullity() as f64 / operator.size() as f64;
    for _ in 0..options.probes {
        let mut start = Mat::from_fn(operator.size(), 1, |_, _| random_sign(&mut generator));
        operator.take_out_null(start.as_mut());
        let squared = start.col(0).iter().map(|x| x * x).sum::<f64>();
        let tridiagonal = Tridiagonal::new(operator, start, options.steps, progress)?;
        products += tridiagonal.diagonal.len();
        let nodes = match tridiagonal.diagonal.is_empty() {
            true => vec![(0.0, 1.0)],
            false => tridiagonal.quadrature()?,
        };
        traces.push(squared * nodes.iter().map(|(node, weight)| node * weight).sum::<f64>());
        // The weights of a probe sum to one; the known zeros have their share already.
        probes.push(nodes.into_iter().map(|(node, weight)| (node, weight * (1.0 - known_zeros))).collect());
    }
    let (trace, trace_error) = mean_and_error(&traces);
    Ok(Density { probes, known_zeros, trace, trace_error, products })
}

/// The mean and its standard error, which needs two values.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (count * (count - 1.0))).sqrt())
}
