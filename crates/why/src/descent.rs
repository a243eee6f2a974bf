//! A network on its way down, by steps of its optimiser on the whole batch or on mini-batches.

use std::ops::Range;

use burn::tensor::{DType, Device};
use kappa_model::{Direction, Layer, Network, Parameter, Role, Statistics};
use kappa_probe::{Curvature, NetworkHessian, ProbeError};
use kappa_trainer::{DeviceSplit, order_of_epoch};

use crate::optimizer::Stepper;

/// A network on its images, at which it is.
pub struct Descent<'a> {
    /// The network as it is.
    pub network: Network,
    /// What takes its steps.
    pub stepper: Stepper,
    split: &'a DeviceSplit,
    parameters: Vec<Parameter>,
    place: (Device, DType),
}

impl<'a> Descent<'a> {
    /// `network` on `split`, by steps of `stepper`.
    pub fn new(network: Network, split: &'a DeviceSplit, stepper: Stepper) -> Self {
        let parameters = network.shape().parameters().into_iter().filter(Parameter::is_trained).collect();
        let weight = network.output_parameters().0;
        let place = (weight.device(), weight.dtype());
        Self { network, stepper, split, parameters, place }
    }

    /// The loss of all images with its derivatives, by the statistics of the whole batch.
    pub fn at(&self, network: &Network) -> Result<NetworkHessian, ProbeError> {
        self.on(self.split, network)
    }

    /// The same of some images.
    pub fn on(&self, images: &DeviceSplit, network: &Network) -> Result<NetworkHessian, ProbeError> {
        let (statistics, curvature) = (Statistics::Dataset, Curvature::Hessian);
        NetworkHessian::new(network, images, self.parameters.clone(), statistics, curvature)
    }

    /// Where the elements of a tensor are in a vector of all parameters.
    pub fn range(&self, layer: Layer, role: Role) -> Option<Range<usize>> {
        let mut tensors = self.tensors();
        tensors.find(|(tensor, _)| (tensor.layer, tensor.role) == (layer, role)).map(|(_, range)| range)
    }

    /// Each tensor with where its elements are in a vector of all parameters.
    pub fn tensors(&self) -> impl Iterator<Item = (&Parameter, Range<usize>)> {
        self.parameters.iter().scan(0, |start, tensor| {
            let range = *start..*start + tensor.shape.iter().product::<usize>();
            *start = range.end;
            Some((tensor, range))
        })
    }

    /// The images.
    pub fn split(&self) -> &'a DeviceSplit {
        self.split
    }

    /// The network `by` times `along` away.
    pub fn moved(&self, network: &Network, along: &[f64], by: f64) -> Network {
        let (device, dtype) = (&self.place.0, self.place.1);
        let hidden = network.shape().hidden.len();
        network.moved(&Direction::from_vector(hidden, &self.parameters, along, (device, dtype)), by)
    }

    /// Takes the step that `gradient` makes it take, and returns its direction.
    pub fn step(&mut self, gradient: &[f64]) -> Vec<f64> {
        let (direction, stepper) = self.stepper.after(gradient);
        self.network = self.moved(&self.network, &direction, -stepper.rate());
        self.stepper = stepper;
        direction
    }
}

/// Mini-batches in the order in which `kappa train` takes them.
pub struct Batches<'a> {
    split: &'a DeviceSplit,
    size: usize,
    seed: u64,
    order: Vec<i32>,
}

impl<'a> Batches<'a> {
    /// Of `size` samples, the last of an epoch being the rest.
    pub fn new(split: &'a DeviceSplit, size: usize, seed: u64) -> Self {
        Self { split, size, seed, order: Vec::new() }
    }

    /// The images of a step, counted from 0; steps are asked for in their order.
    pub fn of_step(&mut self, step: usize) -> DeviceSplit {
        let an_epoch = self.split.samples().div_ceil(self.size).max(1);
        let (epoch, place) = (1 + step / an_epoch, step % an_epoch);
        if place == 0 {
            self.order = order_of_epoch(self.split.samples(), self.seed, epoch);
        }
        let numbers = self.order.chunks(self.size).nth(place).unwrap_or_default();
        self.split.at(numbers)
    }
}
