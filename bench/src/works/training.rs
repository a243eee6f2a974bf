//! Training: the paper's networks on MNIST, an epoch at a time.

use std::ops::ControlFlow;

use burn::tensor::Device;
use kappa_data::DataSet;
use kappa_model::Initialisation;
use kappa_run::{BatchSize, Config};
use kappa_trainer::{DeviceSplit, PixelScaling, Trainer, split_data};

use super::Works;
use crate::{
    error::BenchError,
    protocol::{Digest, Measured, Network, Precision},
    timing::timed,
};

/// Adam's epsilon on both sides of the benchmark (`bench/peers/training.py`).
const EPSILON: f64 = 1e-7;

impl Works {
    /// The network goes on from where the last request left it.
    pub(super) fn epoch(
        &mut self,
        precision: Precision,
        network: Network,
        batch: BatchSize,
    ) -> Result<Measured, BenchError> {
        if precision == Precision::F64 {
            return Err(BenchError::Unavailable("kappa trains in single precision only"));
        }
        let device = &self.place.device;
        let load = || {
            let mut config = configuration(network)?;
            config.training.batch_size = batch;
            trainer(&config, &DataSet::mnist()?, device)
        };
        self.kept.with((network, batch), load, |trainer| {
            let (loss, seconds) = timed(device, || Ok(trainer.epoch(|_| ControlFlow::Continue(()))?))?;
            Ok(Measured::new(seconds, Digest::Loss { loss }))
        })
    }
}

/// The shipped configuration of a network, in mini-batches of 128, without a penalty.
pub fn configuration(network: Network) -> Result<Config, BenchError> {
    let mut config: Config = toml::from_str(match network {
        Network::Fc => include_str!("../../../configs/fc.toml"),
        Network::FcBn => include_str!("../../../configs/fc-bn.toml"),
    })?;
    config.training.l2 = 0.0;
    config.training.adam.epsilon = EPSILON;
    Ok(config)
}

/// A trainer of a new network, its images on `device`.
pub fn trainer(config: &Config, set: &DataSet, device: &Device) -> Result<Trainer, BenchError> {
    let images = split_data(set, &config.data, config.seed)?.train;
    let scaling = PixelScaling::new(config.data.scaling, &images)?;
    let split = DeviceSplit::new(&images, set.classes, scaling, device);
    let device = device.clone().autodiff();
    let shape = config.network.shape(set.train.inputs(), set.classes);
    let network = kappa_model::Network::new(&shape, Initialisation::GlorotUniform, config.seed, &device);
    Ok(Trainer::new(network, split, &config.training, &device, config.seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn both_networks_train_by_the_same_recipe() {
        let [fc, fc_bn] = [Network::Fc, Network::FcBn].map(|network| configuration(network).unwrap());
        assert_eq!((fc.network_label(), fc_bn.network_label()), ("FC", "FC+BN"));
        assert_eq!((&fc.training, &fc.data), (&fc_bn.training, &fc_bn.data));
        let batch = BatchSize::Samples(NonZeroUsize::new(128).unwrap());
        assert_eq!((fc.training.batch_size, fc.training.adam.epsilon), (batch, EPSILON));
        let (rate, images) = (fc.training.adam.learning_rate, fc.data.train.get());
        assert_eq!((fc.training.l2, rate, images), (0.0, 1e-3, 55_000));
    }
}
