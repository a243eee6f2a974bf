//! The paper's networks on MNIST.

use std::{ops::ControlFlow, path::PathBuf};

use burn::tensor::{Device, Tensor};
use kappa_data::DataSet;
use kappa_hessian::{SymmetricOperator, largest_pairs};
use kappa_model::{Initialisation, Parameter, Statistics};
use kappa_probe::Curvature;
use kappa_run::{Config, Precision, Request};
use kappa_trainer::{DeviceSplit, PixelScaling, split_data};
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};

use crate::{
    block::{Block, Pairs},
    failed,
    place::{Place, done},
};

/// A network that is trained.
#[pyclass(unsendable)]
pub struct Trainer {
    trainer: kappa_trainer::Trainer,
    device: Device,
}

#[pymethods]
impl Trainer {
    /// With a configuration's settings, and changes to it as --set takes them.
    #[new]
    fn new(place: &Place, configuration: PathBuf, changes: Vec<String>) -> PyResult<Self> {
        let problem = Problem::new(&configuration, &changes, place.device())?;
        let network = problem.network(&problem.device.clone().autodiff());
        let Problem { config, split, device, .. } = problem;
        let at = device.clone().autodiff();
        let trainer = kappa_trainer::Trainer::new(network, split, &config.training, &at, config.seed);
        Ok(Self { trainer, device })
    }

    /// An epoch more; its mean loss. With a full batch it is a step.
    fn epoch(&mut self) -> PyResult<f64> {
        done(&self.device, || self.trainer.epoch(|_| ControlFlow::Continue(())).map_err(failed))
    }
}

/// A network with its initial weights, and its images.
#[pyclass(unsendable)]
pub struct Network {
    problem: Problem,
    network: kappa_model::Network,
}

#[pymethods]
impl Network {
    #[new]
    fn new(place: &Place, configuration: PathBuf) -> PyResult<Self> {
        let problem = Problem::new(&configuration, &[], place.device())?;
        Ok(Self { network: problem.network(&problem.device), problem })
    }

    /// All trained parameters in f32, one after the other.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let tensors = self.network.parameters::<f32>().map_err(failed)?.into_iter();
        let trained = tensors.filter(|(parameter, _)| parameter.is_trained());
        let values: Vec<f32> = trained.flat_map(|(_, values)| values).collect();
        Ok(PyBytes::new(py, bytemuck::cast_slice(&values)))
    }

    /// The Hessian of all trained parameters, through the statistics of all images where there is batch
    /// norm: what stands still with the weights is computed here.
    fn hessian(&self, double: bool) -> PyResult<NetworkHessian> {
        let network = if double { &self.network.in_double_precision() } else { &self.network };
        let parameters = network.shape().parameters().into_iter().filter(Parameter::is_trained).collect();
        let (split, device) = (&self.problem.split, self.problem.device.clone());
        let (statistics, curvature) = (self.problem.statistics(), Curvature::Hessian);
        let hessian = done(&device, || {
            kappa_probe::NetworkHessian::new(network, split, parameters, statistics, curvature)
                .map_err(failed)
        })?;
        Ok(NetworkHessian { hessian, device })
    }
}

/// Products with a network's Hessian.
#[pyclass(unsendable)]
pub struct NetworkHessian {
    hessian: kappa_probe::NetworkHessian,
    device: Device,
}

#[pymethods]
impl NetworkHessian {
    fn product(&self, vectors: &Block) -> PyResult<Block> {
        done(&self.device, || self.hessian.product(vectors.0.as_ref()).map(Block).map_err(failed))
    }

    fn largest(&self, count: usize) -> PyResult<Pairs> {
        done(&self.device, || largest_pairs(&self.hessian, count, &()).map(Pairs).map_err(failed))
    }
}

/// The images that a configuration trains on: pixels [N, 784] and labels, a byte each.
#[pyfunction]
pub fn images<'py>(
    py: Python<'py>,
    configuration: PathBuf,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let config = Config::load(&configuration, &[]).map_err(failed)?;
    let set = DataSet::mnist().map_err(failed)?;
    let trained = split_data(&set, &config.data, config.seed).map_err(failed)?.train;
    Ok((PyBytes::new(py, trained.pixels()), PyBytes::new(py, trained.labels())))
}

/// Features [N, m] and probabilities [N, K], in f64, labels [N], a byte each, and sizes.
type LastLayer<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, [usize; 3]);

/// What a last layer is of after one epoch: all N training images, or all test images.
#[pyfunction]
pub fn last_layer(py: Python<'_>, configuration: PathBuf, test: bool) -> PyResult<LastLayer<'_>> {
    let place = Place(kappa::choose(Some(kappa_run::Backend::Flex)).map_err(failed)?);
    let mut trained = Trainer::new(&place, configuration, Vec::new())?;
    trained.epoch()?;
    let set = DataSet::mnist().map_err(failed)?;
    let scaling = PixelScaling::new(kappa_run::Scaling::Unit, &set.train).map_err(failed)?;
    let split = if test { &set.test } else { &set.train };
    let images = DeviceSplit::new(split, set.classes, scaling, &trained.device);
    let request = Request::new(Precision::F64);
    let samples = kappa_probe::samples(trained.trainer.network(), &images, &request, &()).map_err(failed)?;
    let (mut features, mut probabilities) = (Vec::new(), Vec::new());
    for chunk in samples.chunks() {
        let chunk = chunk.map_err(failed)?;
        features.push(chunk.features);
        probabilities.push(chunk.probabilities);
    }
    let bytes = |chunks| {
        let numbers = Tensor::<2>::cat(chunks, 0).try_into_data().map_err(failed)?.try_into_vec::<f64>();
        let numbers = numbers.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok::<_, PyErr>(PyBytes::new(py, bytemuck::cast_slice(&numbers)))
    };
    let sizes = [samples.count(), samples.features(), samples.classes()];
    Ok((bytes(features)?, bytes(probabilities)?, PyBytes::new(py, split.labels()), sizes))
}

/// A configuration, with its images on the device.
struct Problem {
    config: Config,
    set: DataSet,
    split: DeviceSplit,
    device: Device,
}

impl Problem {
    fn new(configuration: &std::path::Path, changes: &[String], device: Device) -> PyResult<Self> {
        let config = Config::load(configuration, changes).map_err(failed)?;
        let set = DataSet::mnist().map_err(failed)?;
        let images = split_data(&set, &config.data, config.seed).map_err(failed)?.train;
        let scaling = PixelScaling::new(config.data.scaling, &images).map_err(failed)?;
        let split = DeviceSplit::new(&images, set.classes, scaling, &device);
        Ok(Self { config, set, split, device })
    }

    fn network(&self, device: &Device) -> kappa_model::Network {
        let shape = self.config.network.shape(self.set.train.inputs(), self.set.classes);
        kappa_model::Network::new(&shape, Initialisation::GlorotUniform, self.config.seed, device)
    }

    fn statistics(&self) -> Statistics {
        let shape = self.config.network.shape(self.set.train.inputs(), self.set.classes);
        if shape.normalisation.has_statistics() { Statistics::Dataset } else { Statistics::Running }
    }
}
