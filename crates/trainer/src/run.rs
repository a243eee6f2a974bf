//! A whole run: from a configuration and a data set to a run directory.

use std::{path::Path, time::Instant};

use burn::tensor::Device;
use jiff::Timestamp;
use kappa_data::{DataSet, SplitOrder, SplitSizes, Splits};
use kappa_model::{BatchNormSettings, Initialisation, NetworkShape, TwoLayerNet};
use kappa_run::{Config, DataConfig, EpochMetrics, FileChecksum, MANIFEST_VERSION, Manifest, Order, RunDir};

use crate::{
    CheckpointError, DeviceSplit, Evaluation, PixelScaling, TrainError, Trainer, adam::keep_output_layer,
    evaluate, save_adam_state, save_checkpoint,
};

/// What a run ran on, for its manifest.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The device that burn computes on.
    pub device: Device,
    /// The backend's name.
    pub backend: String,
    /// The adapter's or processor's name.
    pub device_name: String,
    /// The program's version.
    pub kappa_version: String,
}

/// Is told how far a run is.
pub trait Observer {
    /// The run directory is there, and epochs of `steps` steps begin.
    fn started(&mut self, run: &RunDir, epochs: usize, steps: usize);
    /// A step of the current epoch is queued.
    fn stepped(&mut self);
    /// An epoch is trained, evaluated and saved (epoch 0: evaluated and saved).
    fn finished_epoch(&mut self, metrics: &EpochMetrics);
}

/// Trains the network of `config` on `set` and leaves a run directory under
/// `root`: `name`, or, if there is none, one named by configuration, seed and time.
/// An unfinished run of that `name` is replaced.
///
/// # Errors
///
/// [`TrainError`]; the epochs that were finished stay in the run directory.
pub fn train(
    config: &Config,
    set: &DataSet,
    machine: &Machine,
    root: &Path,
    name: Option<&str>,
    observer: &mut dyn Observer,
) -> Result<RunDir, TrainError> {
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    let shape = network_shape(config, set);
    let manifest = manifest(config, set, machine);
    let run = match name {
        Some(name) => RunDir::create_named(root, name, &manifest)?,
        None => RunDir::create(root, &manifest)?,
    };
    tracing::info!(run = %run.path().display(), network = manifest.network, "training");

    let start = Instant::now();
    let on_device = |images| DeviceSplit::new(images, set.classes, scaling, &machine.device);
    let train = on_device(&splits.train);
    let evaluated = [train.clone(), on_device(&splits.validation), on_device(&splits.test)];
    let device = machine.device.clone().autodiff();
    let network = TwoLayerNet::new(&shape, initialisation(config), config.seed, &device);
    let mut trainer = Trainer::new(network, train, &config.training, &device, config.seed);

    let epochs = config.training.epochs.get();
    observer.started(&run, epochs, trainer.steps());
    let mut rows = Vec::with_capacity(epochs + 1);
    let mut training_seconds = 0.0;
    for epoch in 0..=epochs {
        let mut objective = None;
        if epoch > 0 {
            let epoch_start = Instant::now();
            objective = Some(trainer.epoch(|_| observer.stepped())?);
            training_seconds += epoch_start.elapsed().as_secs_f64();
        }
        let [train, validation, test] = evaluate_all(trainer.network(), &evaluated, epoch)?;
        save(&run, &trainer, epoch)?;
        let row = EpochMetrics {
            epoch,
            seconds: start.elapsed().as_secs_f64(),
            training_seconds,
            objective,
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
        };
        rows.push(row);
        run.write_metrics(&rows)?;
        observer.finished_epoch(&row);
    }
    run.write_manifest(&Manifest { finished: Some(Timestamp::now()), ..manifest })?;
    Ok(run)
}

/// Saves network and optimiser after `epoch`.
///
/// The last epoch keeps Adam's whole state, twice the network's size, so that the
/// training can be taken up or looked into where it ended. Of every earlier epoch
/// only the output layer's is kept: it is what the Hessian is compared with, and a
/// study of 51 runs of 30 epochs would hold 1 GB otherwise. Before the first step
/// there is no state.
///
/// In this order a checkpoint that is there has its state beside it, and wherever
/// the process is stopped the last checkpoint's is whole.
fn save(run: &RunDir, trainer: &Trainer, epoch: usize) -> Result<(), CheckpointError> {
    if epoch > 0 {
        save_adam_state(trainer, &run.adam_state_path(epoch))?;
    }
    save_checkpoint(trainer.network(), &run.checkpoint_path(epoch))?;
    if epoch > 1 {
        keep_output_layer(&run.adam_state_path(epoch - 1))?;
    }
    Ok(())
}

fn evaluate_all(
    network: &TwoLayerNet,
    splits: &[DeviceSplit; 3],
    epoch: usize,
) -> Result<[Evaluation; 3], TrainError> {
    let mut evaluations = [Evaluation { loss: 0.0, accuracy: 0.0 }; 3];
    let names = ["training loss", "validation loss", "test loss"];
    for ((evaluation, split), what) in evaluations.iter_mut().zip(splits).zip(names) {
        *evaluation = evaluate(network, split)?;
        if !evaluation.loss.is_finite() {
            return Err(TrainError::Diverged { what, value: evaluation.loss, epoch });
        }
    }
    Ok(evaluations)
}

/// The splits that a configuration asks for.
///
/// # Errors
///
/// [`kappa_data::DataError::SplitTooLarge`] if the set has too few images.
pub fn split_data(set: &DataSet, config: &DataConfig, seed: u64) -> Result<Splits, TrainError> {
    let sizes = SplitSizes {
        train: config.train.get(),
        validation: config.validation.get(),
        test: config.test.get(),
    };
    let order = match config.order {
        Order::File => SplitOrder::File,
        Order::Shuffled => SplitOrder::Shuffled { seed },
    };
    Ok(set.split(sizes, order)?)
}

/// The network that a configuration describes, for the inputs and classes of `set`.
pub fn network_shape(config: &Config, set: &DataSet) -> NetworkShape {
    NetworkShape {
        inputs: set.train.inputs(),
        hidden: config.network.hidden,
        classes: set.classes,
        batch_norm: config
            .network
            .batch_norm
            .map(|norm| BatchNormSettings { epsilon: norm.epsilon, momentum: norm.momentum }),
    }
}

fn initialisation(config: &Config) -> Initialisation {
    match config.network.initialisation {
        kappa_run::Initialisation::GlorotUniform => Initialisation::GlorotUniform,
        kappa_run::Initialisation::KaimingUniform => Initialisation::KaimingUniform,
    }
}

fn manifest(config: &Config, set: &DataSet, machine: &Machine) -> Manifest {
    let checksum =
        |file: &kappa_data::FileDigest| FileChecksum { file: file.file.clone(), sha256: file.sha256.clone() };
    Manifest {
        schema_version: MANIFEST_VERSION,
        kappa_version: machine.kappa_version.clone(),
        network: config.network_label().to_owned(),
        config: config.clone(),
        data: set.name.clone(),
        inputs: set.train.inputs(),
        classes: set.classes,
        data_files: set.files.iter().map(checksum).collect(),
        backend: machine.backend.clone(),
        device: machine.device_name.clone(),
        started: Timestamp::now(),
        finished: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[test]
    fn shuffled_splits_come_from_the_seed_and_the_others_from_the_files() {
        let set = DataSet::mnist().unwrap();
        let size = |count| NonZeroUsize::new(count).unwrap();
        let split = |order, seed| {
            let (train, validation, test) = (size(50), size(5), size(5));
            let scaling = kappa_run::Scaling::Unit;
            let config = DataConfig { folder: None, train, validation, test, order, scaling };
            split_data(&set, &config, seed).unwrap().train
        };
        assert_eq!(split(Order::File, 1), split(Order::File, 2));
        assert_eq!(split(Order::Shuffled, 1), split(Order::Shuffled, 1));
        assert_ne!(split(Order::Shuffled, 1), split(Order::Shuffled, 2));
        assert_ne!(split(Order::Shuffled, 1), split(Order::File, 1));
    }
}
