//! A last layer's posterior by Laplace's method.

use burn::tensor::Device;
use kappa_hessian::Weights;
use kappa_posterior::{Problem, probit};
use pyo3::{prelude::*, types::PyBytes};
use rayon::prelude::*;

use crate::{
    block::doubles,
    failed,
    place::{Place, done},
};

/// A last layer's samples with their labels, and others that its posterior is asked about. There is no bias.
#[pyclass(unsendable)]
pub struct Classifier {
    problem: Problem,
    others: Vec<f64>,
    sizes: [usize; 3],
    device: Device,
}

#[pymethods]
impl Classifier {
    /// From features [N, m] and those of others in f64.
    #[new]
    fn new(
        place: &Place,
        features: &[u8],
        labels: Vec<usize>,
        others: &[u8],
        sizes: [usize; 3],
    ) -> PyResult<Self> {
        let ([n, m, k], device) = (sizes, place.device());
        // Probabilities are those of the weights, when there are some.
        let logits = vec![0.0; n * k];
        let samples = kappa_hessian::Samples::from_logits(m, k, &doubles(features), &logits, &device);
        let problem = Problem::new(samples.map_err(failed)?, labels).map_err(failed)?;
        done(&device, || Ok(()))?;
        Ok(Self { problem, others: doubles(others), sizes, device })
    }

    /// The weights [K, m] at the optimum of the loss with a prior of precision `delta`.
    fn optimum<'py>(&self, py: Python<'py>, delta: f64) -> PyResult<Bound<'py, PyBytes>> {
        let [_, m, k] = self.sizes;
        let start = self.problem.at(self.weights(vec![0.0; k * m])).map_err(failed)?;
        let optimum = self.problem.optimum(start, delta, &()).map_err(failed)?;
        Ok(PyBytes::new(py, bytemuck::cast_slice(&optimum.weights.elements)))
    }

    /// The posterior about `weights`: its marginal likelihood with priors of precisions `deltas`, and what it
    /// says of the others with that of `delta`.
    fn posterior(&self, weights: &[u8], deltas: Vec<f64>, delta: f64) -> PyResult<Posterior> {
        done(&self.device, || {
            let point = self.problem.at(self.weights(doubles(weights))).map_err(failed)?;
            let posterior = kappa_posterior::Posterior::whole(&point).map_err(failed)?;
            // Nothing is left out, so that its bounds are one.
            let log_marginals = deltas.iter().map(|&delta| posterior.log_marginal(delta).low).collect();
            let k = self.sizes[2];
            let covariances = posterior.covariances(&self.others, delta);
            let logits = point.weights.logits(&self.others);
            let others = logits.par_chunks(k).zip(covariances.par_chunks(k * k));
            let probabilities = others.flat_map_iter(|(z, covariance)| probit(z, covariance)).collect();
            Ok(Posterior { log_marginals, covariances, probabilities })
        })
    }
}

impl Classifier {
    fn weights(&self, elements: Vec<f64>) -> Weights {
        Weights { elements, offsets: vec![0.0; self.sizes[2]] }
    }
}

/// What a posterior was asked for.
#[pyclass]
pub struct Posterior {
    /// With the prior of each precision.
    #[pyo3(get)]
    log_marginals: Vec<f64>,
    covariances: Vec<f64>,
    probabilities: Vec<f64>,
}

#[pymethods]
impl Posterior {
    /// Of the others' logits: [T, K, K].
    fn covariances<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, bytemuck::cast_slice(&self.covariances))
    }

    /// By the probit approximation: [T, K].
    fn probabilities<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, bytemuck::cast_slice(&self.probabilities))
    }
}
