//! A number that is not finite stops a training, which names where it was first.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{num::NonZeroUsize, ops::ControlFlow};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use kappa_data::LabelledImages;
use kappa_model::{Initialisation, Kind, Network, NetworkShape, Normalisation};
use kappa_run::{AdamConfig, BatchSize, Optimizer, Reduction, Scaling, TrainingConfig};
use kappa_trainer::{DeviceSplit, PixelScaling, TrainError, Trainer};

const SAMPLES: usize = 40;

/// Fills each parameter that has a value in `values` with it.
struct Fill<'a> {
    path: Vec<String>,
    values: &'a [(&'static str, f32)],
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // The table's names; this network has one hidden layer.
        let path = self.path.join(".").replace("layers.0.linear", "hidden");
        match self.values.iter().find(|(name, _)| *name == path) {
            Some(&(_, value)) => Param::from_tensor(parameter.val().full_like(value).detach()),
            None => parameter,
        }
    }
}

/// What stops the first epoch, of batches of `batch` samples, of a network with these values.
fn error(values: &[(&'static str, f32)], batch: usize, learning_rate: f64, norm: bool) -> TrainError {
    let pixels = (0..SAMPLES * 6).map(|i| (i * i * 83 % 256) as u8).collect();
    // Not in balance: else p - y adds up to nothing.
    let labels = (0..SAMPLES).map(|n| (n / 30) as u8).collect();
    let images = LabelledImages::new("made up", [2, 3], pixels, labels).unwrap();
    let settings = TrainingConfig {
        epochs: NonZeroUsize::MIN,
        batch_size: BatchSize::Samples(NonZeroUsize::new(batch).unwrap()),
        reduction: Reduction::Sum,
        l2: 0.0,
        optimizer: Optimizer::Adam(AdamConfig { learning_rate, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }),
    };
    let device = Device::flex();
    let kind = if norm { Kind::Batch } else { Kind::None };
    let normalisation = Normalisation { kind, ..Normalisation::default() };
    let shape = NetworkShape { inputs: 6, hidden: vec![4], classes: 3, normalisation };
    let network = Network::new(&shape, Initialisation::GlorotUniform, 5, &device.clone().autodiff());
    let network = network.map(&mut Fill { path: Vec::new(), values });
    let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
    let split = DeviceSplit::new(&images, 3, scaling, &device);
    let mut trainer = Trainer::new(network, split, &settings, &device, 1);
    trainer.epoch(|_| ControlFlow::Continue(())).unwrap_err()
}

fn place(error: &TrainError) -> (&str, usize, Option<usize>) {
    match error {
        TrainError::Diverged { tensor, value, epoch, step } => {
            assert!(!value.is_finite());
            (tensor, *epoch, *step)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_tensor_that_is_not_finite_is_named() {
    for (values, expected) in [
        (&[("hidden.bias", f32::INFINITY)][..], "the features"),
        (&[("output.weight", f32::NAN)], "the logits"),
        (&[("output.bias", f32::INFINITY)], "the logits"),
        // sum_n (p - y) g is 40/3 - 30 features of 3e38 for the first class.
        (&[("hidden.bias", 3e38), ("output.weight", 0.0)], "the gradient of output.weight"),
    ] {
        for norm in [false, true] {
            if norm && values.iter().any(|(name, _)| *name == "hidden.bias") {
                continue; // batch norm takes a shift of all samples out
            }
            let error = error(values, SAMPLES, 1e-3, norm);
            assert_eq!(place(&error), (expected, 1, Some(1)), "{error}");
        }
    }
}

#[test]
fn the_step_is_named_too() {
    // Adam's first step is the learning rate in each parameter, whatever the gradient is.
    let error_2 = error(&[], 4, 3e38, false);
    assert_eq!(place(&error_2), ("the features", 1, Some(2)), "{error_2}");
    let message = error_2.to_string();
    assert!(message.contains("in step 2 of epoch 1") && message.contains("diverged"), "{message}");
    // A learning rate beyond f32 makes the parameters infinite, and the step is the last one.
    let error_1 = error(&[], SAMPLES, 1e39, false);
    assert_eq!(place(&error_1), ("hidden.weight", 1, Some(1)), "{error_1}");
}
