//! A whole run: from a configuration and a data set to a run directory.

use std::{
    num::NonZeroUsize,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::Instant,
};

use burn::tensor::Device;
use kappa_data::{DataSet, SplitOrder, SplitSizes, Splits};
use kappa_model::Network;
use kappa_run::{
    Config, DataConfig, EpochMetrics, Exit, FileChecksum, MANIFEST_VERSION, Manifest, Optimizer, Order,
    Provenance, RunDir, RunError, shown,
};

use crate::{
    CheckpointError, DeviceSplit, Evaluation, PixelScaling, TrainError, Trainer,
    adam::{keep_output_layer, load_moments},
    descent::{load_momentum, save_momentum},
    evaluate, load_checkpoint, save_adam_state, save_checkpoint,
    trainer::Kept,
};

/// What a run ran on, for its manifest.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The device that burn computes on.
    pub device: Device,
    /// What the program and the device are called.
    pub provenance: Provenance,
}

/// Is told how far a run is.
pub trait Observer {
    /// The run directory is there, and epochs of `steps` steps begin after `done` epochs
    /// that an earlier call has trained.
    fn started(&mut self, run: &RunDir, epochs: usize, steps: usize, done: Option<usize>);
    /// A step of the current epoch is queued. To break ends the run; what it has trained of
    /// this epoch is lost, and whole epochs are kept.
    fn stepped(&mut self) -> ControlFlow<()>;
    /// An epoch is trained, evaluated and saved (epoch 0: evaluated and saved).
    fn finished_epoch(&mut self, metrics: &EpochMetrics);
}

/// Trains the network of `config` on `set` and leaves a run directory under
/// `root`: `name`, or, if there is none, one named by configuration, seed and time.
/// An unfinished run of that `name` goes on, if it is of the same configuration, and is
/// replaced, if not.
///
/// # Errors
///
/// [`TrainError`]; the epochs that were finished stay in the run directory, and
/// [`resume`] goes on from there.
pub fn train(
    config: &Config,
    set: &DataSet,
    machine: &Machine,
    root: &Path,
    name: Option<&str>,
    observer: &mut dyn Observer,
) -> Result<RunDir, TrainError> {
    if let Some(run) = name.map(|name| RunDir::find(&root.join(name))).transpose()?.flatten() {
        let manifest = run.manifest()?;
        if manifest.config == *config && !manifest.is_finished() {
            return resume(run, set, machine, observer);
        }
    }
    // A mistake in the configuration is told before there is a directory.
    config.check_batches()?;
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    let manifest = manifest(config, set, machine);
    let run = match name {
        Some(name) => RunDir::create_named(root, name, &manifest)?,
        None => RunDir::create(root, &manifest)?,
    };
    let lock = run.lock()?;
    UnfinishedRun { run: &run, manifest, set, machine }.finish(splits, scaling, observer)?;
    drop(lock);
    Ok(run)
}

/// Goes on with a run that was stopped, from its last whole epoch: on a CPU with the same
/// bits as if it had not been.
///
/// # Errors
///
/// [`RunError::Finished`] or [`RunError::InUse`], [`TrainError::OtherData`] if `set` is not
/// what it was trained on, and as [`train`].
pub fn resume(
    run: RunDir,
    set: &DataSet,
    machine: &Machine,
    observer: &mut dyn Observer,
) -> Result<RunDir, TrainError> {
    go_on(run, None, set, machine, observer)
}

/// Goes on with a run, finished or not, up to so many `epochs`, which it has from now on: on a
/// CPU with the same bits as if it had had so many from the start.
///
/// # Errors
///
/// [`RunError::NotLonger`] if it has so many, and as [`resume`].
pub fn prolong(
    run: RunDir,
    epochs: NonZeroUsize,
    set: &DataSet,
    machine: &Machine,
    observer: &mut dyn Observer,
) -> Result<RunDir, TrainError> {
    go_on(run, Some(epochs), set, machine, observer)
}

fn go_on(
    run: RunDir,
    epochs: Option<NonZeroUsize>,
    set: &DataSet,
    machine: &Machine,
    observer: &mut dyn Observer,
) -> Result<RunDir, TrainError> {
    let lock = run.lock()?;
    let mut manifest = run.manifest()?;
    match epochs {
        None if manifest.is_finished() => return Err(RunError::Finished(run.path().to_owned()).into()),
        None => {}
        Some(epochs) => {
            let done = run.whole_epochs()?.last().map_or(0, |row| row.epoch);
            if epochs.get() <= done {
                let (run, asked) = (run.path().to_owned(), epochs.get());
                return Err(RunError::NotLonger { run, done, asked }.into());
            }
        }
    }
    if let Some(file) = other_file(&manifest, set) {
        return Err(TrainError::OtherData { run: run.path().to_owned(), file: file.to_owned() });
    }
    let now = machine.provenance.backend;
    if let Some(other) =
        manifest.sessions.iter().map(|session| session.with.backend).find(|&then| then != now)
    {
        tracing::warn!(
            "{} was trained on {other} and goes on with {now}: its numbers are as right, and not the same to the last bit",
            shown(run.path()),
        );
    }
    let config = &manifest.config;
    config.check_batches()?;
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    manifest.begin(machine.provenance.clone());
    if let Some(epochs) = epochs {
        manifest.prolong(epochs);
    }
    run.write_manifest(&manifest)?;
    // After the manifest, which is what counts: whatever is killed between them is set right by
    // whoever goes on.
    run.write_config(&manifest)?;
    UnfinishedRun { run: &run, manifest, set, machine }.finish(splits, scaling, observer)?;
    drop(lock);
    Ok(run)
}

/// The first file of `set` that is not what the run of `manifest` was trained on.
pub fn other_file<'a>(manifest: &Manifest, set: &'a DataSet) -> Option<&'a str> {
    let mut files = manifest.data_files.iter().zip(&set.files);
    files.find(|(then, now)| then.sha256 != now.sha256).map(|(_, now)| now.file.as_str())
}

/// A run on its way.
struct UnfinishedRun<'a> {
    run: &'a RunDir,
    manifest: Manifest,
    set: &'a DataSet,
    machine: &'a Machine,
}

impl UnfinishedRun<'_> {
    /// Trains the epochs that are missing, and notes how it ended.
    fn finish(
        mut self,
        splits: Splits,
        scaling: PixelScaling,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        // A panic (of a driver, say) is noted here and contained elsewhere.
        let result = catch_unwind(AssertUnwindSafe(|| self.epochs(splits, scaling, observer)));
        self.manifest.end(match &result {
            Ok(Ok(())) => Exit::Finished,
            Ok(Err(TrainError::Stopped)) => Exit::Stopped,
            Ok(Err(error)) => Exit::Failed(error.to_string()),
            Err(_) => Exit::Failed("a panic".to_owned()),
        });
        let noted = self.run.write_manifest(&self.manifest);
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        if let (Err(_), Err(error)) = (&result, &noted) {
            // The first error is the one to tell; without room there may be none for this, either.
            tracing::info!("run.json does not say how it ended: {error}");
        }
        result.and(noted.map_err(TrainError::from))
    }

    fn epochs(
        &self,
        splits: Splits,
        scaling: PixelScaling,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let &Self { run, ref manifest, set, machine } = self;
        let config = &manifest.config;
        tracing::info!(run = %run.path().display(), network = config.network_label(), "training");
        let mut rows = run.whole_epochs()?;
        let done = rows.last().copied();
        let (before, mut training_seconds) =
            done.map_or((0.0, 0.0), |row| (row.seconds, row.training_seconds));

        let start = Instant::now();
        let on_device = |images| DeviceSplit::new(images, set.classes, scaling, &machine.device);
        let train = on_device(&splits.train);
        let evaluated = [train.clone(), on_device(&splits.validation), on_device(&splits.test)];
        drop(splits);
        let mut trainer = self.trainer(train, done.map(|row| row.epoch))?;

        let epochs = config.training.epochs.get();
        let done = done.map(|row| row.epoch);
        // It may have been stopped between an epoch's row and what follows it.
        shorten(run, &config.training.optimizer, done.unwrap_or(0))?;
        observer.started(run, epochs, trainer.steps(), done);
        for epoch in done.map_or(0, |epoch| epoch + 1)..=epochs {
            let mut objective = None;
            if epoch > 0 {
                let epoch_start = Instant::now();
                objective = Some(trainer.epoch(|_| observer.stepped())?);
                training_seconds += epoch_start.elapsed().as_secs_f64();
            }
            let [train, validation, test] = evaluate_all(&mut trainer, &evaluated)?;
            save(run, &trainer, epoch)?;
            let row = EpochMetrics {
                epoch,
                seconds: before + start.elapsed().as_secs_f64(),
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
            shorten(run, &config.training.optimizer, epoch)?;
            observer.finished_epoch(&row);
        }
        Ok(())
    }

    /// A trainer that has trained for `done` epochs.
    fn trainer(&self, split: DeviceSplit, done: Option<usize>) -> Result<Trainer, TrainError> {
        let config = &self.manifest.config;
        let device = self.machine.device.clone().autodiff();
        let shape = config.network.shape(self.set.train.inputs(), self.set.classes);
        let new = |network| Trainer::new(network, split, &config.training, &device, config.seed);
        let Some(epoch) = done else {
            return Ok(new(Network::new(&shape, config.network.initialisation, config.seed, &device)));
        };
        let network = load_checkpoint(&self.run.checkpoint_path(epoch), &device)?;
        // What a checkpoint does not hold.
        let network = network.with_updates(&shape.normalisation);
        let state = config.training.optimizer.state(self.run, epoch);
        let kept = match (state, config.training.optimizer) {
            (None, _) => Kept::Nothing,
            (Some(path), Optimizer::Adam(_)) => Kept::Moments(load_moments(&path, &shape)?),
            (Some(path), Optimizer::Descent(_)) => Kept::Velocities(load_momentum(&path, &shape)?),
        };
        Ok(new(network).after(epoch, kept))
    }
}

/// Saves network and optimiser after `epoch`; before the first step there is no state.
///
/// In this order a checkpoint that is there has its state beside it. The epoch's row of
/// metrics follows both, so that an epoch that has one can be gone on from.
fn save(run: &RunDir, trainer: &Trainer, epoch: usize) -> Result<(), CheckpointError> {
    if let Some(path) = trainer.settings().state(run, epoch) {
        match trainer.settings() {
            Optimizer::Adam(_) => save_adam_state(trainer, &path)?,
            Optimizer::Descent(_) => save_momentum(trainer, &path)?,
        }
    }
    save_checkpoint(trainer.network(), &run.checkpoint_path(epoch))
}

/// Leaves of the state before `epoch` the output layer's.
///
/// The last epoch keeps the optimiser's whole state, twice the network's size, so that the
/// training can be taken up or looked into where it ended. Of every earlier epoch
/// only the output layer's is kept: it is what the Hessian is compared with, and a
/// study of 51 runs of 30 epochs would hold 1 GB otherwise.
fn shorten(run: &RunDir, optimizer: &Optimizer, epoch: usize) -> Result<(), CheckpointError> {
    let before = epoch.checked_sub(1).and_then(|before| optimizer.state(run, before));
    before.map_or(Ok(()), |path| keep_output_layer(&path))
}

/// Evaluates the network that `trainer` has at the end of an epoch.
fn evaluate_all(trainer: &mut Trainer, splits: &[DeviceSplit; 3]) -> Result<[Evaluation; 3], TrainError> {
    let mut evaluations = [Evaluation { loss: 0.0, accuracy: 0.0 }; 3];
    let names = ["the training loss", "the validation loss", "the test loss"];
    for ((evaluation, split), what) in evaluations.iter_mut().zip(splits).zip(names) {
        *evaluation = evaluate(trainer.network(), split)?;
        if !evaluation.loss.is_finite() {
            return Err(trainer.diverged(what, evaluation.loss));
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

/// The training split of `config` on `device`, as its run sees it.
///
/// # Errors
///
/// As [`split_data`], and [`TrainError::ConstantPixels`].
pub fn training_split(set: &DataSet, config: &Config, device: &Device) -> Result<DeviceSplit, TrainError> {
    training_images(set, config, usize::MAX, device)
}

/// The first `count` images of the training split, or all if there are not so many, scaled as all are.
///
/// # Errors
///
/// As [`training_split`].
pub fn training_images(
    set: &DataSet,
    config: &Config,
    count: usize,
    device: &Device,
) -> Result<DeviceSplit, TrainError> {
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    Ok(DeviceSplit::new(&splits.train.truncated(count), set.classes, scaling, device))
}

fn manifest(config: &Config, set: &DataSet, machine: &Machine) -> Manifest {
    let checksum =
        |file: &kappa_data::FileDigest| FileChecksum { file: file.file.clone(), sha256: file.sha256.clone() };
    let mut manifest = Manifest {
        schema_version: MANIFEST_VERSION,
        config: config.clone(),
        data: set.name.clone(),
        inputs: set.train.inputs(),
        classes: set.classes,
        data_files: set.files.iter().map(checksum).collect(),
        sessions: Vec::new(),
    };
    manifest.begin(machine.provenance.clone());
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

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
