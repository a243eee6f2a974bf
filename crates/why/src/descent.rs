//! Steps of the full batch's gradient.

use std::ops::Range;

use burn::tensor::{DType, Device};
use kappa_model::{Direction, Layer, Network, Parameter, Role, Statistics};
use kappa_probe::{Curvature, NetworkHessian, ProbeError};
use kappa_trainer::DeviceSplit;

/// A network on its images, at which it is.
pub struct Descent<'a> {
    /// The network as it is.
    pub network: Network,
    split: &'a DeviceSplit,
    parameters: Vec<Parameter>,
    rate: f64,
    momentum: f64,
    velocity: Vec<f64>,
    place: (Device, DType),
}

impl<'a> Descent<'a> {
    /// `network` on `split`, by steps of `rate` times v = momentum v + g.
    pub fn new(network: Network, split: &'a DeviceSplit, rate: f64, momentum: f64) -> Self {
        let parameters = network.shape().parameters().into_iter().filter(Parameter::is_trained).collect();
        let weight = network.output_parameters().0;
        let place = (weight.device(), weight.dtype());
        Self { network, split, parameters, rate, momentum, velocity: Vec::new(), place }
    }

    /// The loss with its derivatives, by the statistics of the whole batch.
    pub fn at(&self, network: &Network) -> Result<NetworkHessian, ProbeError> {
        let (statistics, curvature) = (Statistics::Dataset, Curvature::Hessian);
        NetworkHessian::new(network, self.split, self.parameters.clone(), statistics, curvature)
    }

    /// Where the elements of a tensor are in a vector of all parameters.
    pub fn range(&self, layer: Layer, role: Role) -> Option<Range<usize>> {
        let mut start = 0;
        for parameter in &self.parameters {
            let end = start + parameter.shape.iter().product::<usize>();
            if (parameter.layer, parameter.role) == (layer, role) {
                return Some(start..end);
            }
            start = end;
        }
        None
    }

    /// The parameters, in their order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The images.
    pub fn split(&self) -> &'a DeviceSplit {
        self.split
    }

    /// The learning rate.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The network `by` times `along` away.
    pub fn moved(&self, network: &Network, along: &[f64], by: f64) -> Network {
        let (device, dtype) = (&self.place.0, self.place.1);
        let hidden = network.shape().hidden.len();
        network.moved(&Direction::from_vector(hidden, &self.parameters, along, (device, dtype)), by)
    }

    /// Takes a step along `gradient`.
    pub fn step(&mut self, gradient: &[f64]) {
        if self.momentum > 0.0 && !self.velocity.is_empty() {
            self.velocity.iter_mut().zip(gradient).for_each(|(v, g)| *v = self.momentum * *v + g);
        } else {
            self.velocity = gradient.to_vec();
        }
        self.network = self.moved(&self.network, &self.velocity, -self.rate);
    }
}
