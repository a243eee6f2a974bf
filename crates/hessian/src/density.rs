//! The spectral density without ever forming H, by stochastic Lanczos quadrature
//! (Ubaru, Chen and Saad 2017, "Fast estimation of tr(f(A)) via stochastic Lanczos
//! quadrature", section 3).
//!
//! A random vector z of signs has E[z^T f(H) z] = tr f(H). Lanczos, started from z,
//! ends in a small tridiagonal matrix whose eigenvalues theta_i and first components
//! tau_i of its eigenvectors are the nodes and weights of a Gauss quadrature,
//!
//! ```text
//! z^T f(H) z ~ |z|^2 sum_i tau_i^2 f(theta_i),
//! ```
//!
//! exact for polynomials of degree below twice the steps. The zeros that softmax's
//! shift makes, one of K of all eigenvalues, are known: z has its classes' mean taken
//! out, and the zeros are put in as zeros.

use faer::{Mat, MatRef, Side};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{HessianError, Samples, accumulator::zeros, subspace::product};

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
    /// K m eigenvalues that it stands for.
    pub probes: Vec<Vec<(f64, f64)>>,
    /// The share of eigenvalues that are zero since softmax ignores a shift: 1/K.
    pub shift: f64,
    /// tr H, the mean over the probes of z^T H z.
    pub trace: f64,
    /// The standard error of that mean.
    pub trace_error: f64,
    /// Products with H that it took.
    pub products: usize,
}

impl Density {
    /// The estimated mean over all eigenvalues of `f`, and its standard error.
    pub fn mean_of(&self, f: impl Fn(f64) -> f64) -> (f64, f64) {
        let of_probe =
            |nodes: &Vec<(f64, f64)>| nodes.iter().map(|&(node, weight)| weight * f(node)).sum::<f64>();
        let (mean, error) = mean_and_error(&self.probes.iter().map(of_probe).collect::<Vec<_>>());
        (mean + self.shift * f(0.0), error)
    }
}

impl Samples {
    /// The density of H's eigenvalues. `after_step` is called after each product with H.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoMemory`], [`HessianError::NotFiniteProduct`],
    /// [`HessianError::NoConvergence`], [`HessianError::Device`] or
    /// [`HessianError::NoSamples`].
    pub fn density(
        &self,
        options: DensityOptions,
        mut after_step: impl FnMut(),
    ) -> Result<Density, HessianError> {
        let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
        let mut probes = Vec::with_capacity(options.probes);
        let mut traces = Vec::with_capacity(options.probes);
        let mut products = 0;
        let shift = 1.0 / self.classes() as f64;
        for _ in 0..options.probes {
            let mut start: Vec<f64> =
                (0..self.size()).map(|_| if generator.random::<bool>() { 1.0 } else { -1.0 }).collect();
            self.take_out_class_mean(&mut start);
            let squared = start.iter().map(|x| x * x).sum::<f64>();
            let nodes = self.quadrature(&start, options.steps, || {
                products += 1;
                after_step();
            })?;
            traces.push(squared * nodes.iter().map(|(node, weight)| node * weight).sum::<f64>());
            // The weights of a probe sum to one; the shift's zeros have their share already.
            probes.push(nodes.into_iter().map(|(node, weight)| (node, weight * (1.0 - shift))).collect());
        }
        let (trace, trace_error) = mean_and_error(&traces);
        Ok(Density { probes, shift, trace, trace_error, products })
    }

    /// What is left of a direction [K m] without what all classes share.
    fn take_out_class_mean(&self, direction: &mut [f64]) {
        let (m, k) = (self.features(), self.classes());
        for feature in 0..m {
            let mean = direction.iter().skip(feature).step_by(m).sum::<f64>() / k as f64;
            direction.iter_mut().skip(feature).step_by(m).for_each(|element| *element -= mean);
        }
    }

    /// The Gauss quadrature of `start`'s spectral measure: (node, weight), largest node
    /// first, weights that sum to one. Lanczos with full reorthogonalisation.
    fn quadrature(
        &self,
        start: &[f64],
        steps: usize,
        mut after_step: impl FnMut(),
    ) -> Result<Vec<(f64, f64)>, HessianError> {
        let size = self.size();
        let steps = steps.min(size);
        let mut basis = zeros(size * steps)
            .ok_or(HessianError::NoMemory { gigabytes: (size * steps * size_of::<f64>()) as f64 / 1e9 })?;
        let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
        let mut current = Mat::from_fn(size, 1, |row, _| start[row]);
        let length = current.norm_l2();
        if length == 0.0 {
            return Ok(vec![(0.0, 1.0)]);
        }
        current *= faer::Scale(length.recip());
        while diagonal.len() < steps {
            let column = diagonal.len();
            let place = &mut basis[column * size..(column + 1) * size];
            place.iter_mut().zip(current.col(0).iter()).for_each(|(place, element)| *place = *element);
            let image = self.product(place)?;
            after_step();
            let mut next = Mat::from_fn(size, 1, |row, _| image[row]);
            let alpha = product(current.transpose(), next.as_ref())[(0, 0)];
            if !alpha.is_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            diagonal.push(alpha);
            let basis = MatRef::from_column_major_slice(&basis[..(column + 1) * size], size, column + 1);
            // Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", section 6.9).
            for _ in 0..2 {
                let along = product(basis.transpose(), next.as_ref());
                next -= product(basis, along.as_ref());
            }
            let beta = next.norm_l2();
            let largest = diagonal.iter().chain(&beside).fold(0.0f64, |max, x| max.max(x.abs()));
            // The space is exhausted: what is left is rounding, and the quadrature exact.
            if beta <= size as f64 * self.epsilon() * largest {
                break;
            }
            beside.push(beta);
            next *= faer::Scale(beta.recip());
            current = next;
        }
        let count = diagonal.len();
        let tridiagonal = Mat::from_fn(count, count, |row, column| match row.abs_diff(column) {
            0 => diagonal[row],
            1 => beside[row.min(column)],
            _ => 0.0,
        });
        let pairs = tridiagonal
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| HessianError::NoConvergence { size: count })?;
        let nodes = pairs.S().column_vector().iter().copied();
        let weights = pairs.U().row(0).iter().map(|first| first * first);
        let mut quadrature: Vec<_> = nodes.zip(weights).collect();
        quadrature.reverse();
        Ok(quadrature)
    }
}

/// The mean and its standard error, which needs two values.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (count * (count - 1.0))).sqrt())
}
