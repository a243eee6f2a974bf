//! A network on images: an epoch of a run, or any checkpoint.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use burn::{data::dataset::Dataset, tensor::Tensor};
use kappa_data::{DataSet, FileDigest, LabelledImages, SplitOrder, SplitSizes, Splits};
use kappa_hessian::{Samples, Weights};
use kappa_model::{Kind, Network, NetworkShape, Statistics};
use kappa_run::{
    AdamConfig, BatchSize, CheckRecord, FileChecksum, Interpretation, Manifest, Request, RunDir, Scaling,
    SpectrumSettings, Split, file_checksum,
};
use kappa_trainer::{
    AdamState, DeviceSplit, Machine, PixelScaling, Reading, import_checkpoint, load_adam_state,
    load_checkpoint, other_file, preconditioner, split_data,
};
use kappa_world::{Alone, World, share_of};

use crate::{
    Layer, NetworkPoint, Observer, ProbeError, Subject, chosen, fold,
    samples::{numbers, samples},
};

/// A trained network, and the images that it is looked at with.
#[derive(Debug)]
pub struct TrainedNetwork<'a> {
    network: Network,
    checkpoint: PathBuf,
    checksum: FileChecksum,
    origin: Origin,
    set: &'a DataSet,
    machine: &'a Machine,
    world: Arc<dyn World>,
    /// The images of the last request.
    images: Option<Images>,
}

/// Where a checkpoint comes from.
#[derive(Debug)]
enum Origin {
    Run { run: RunDir, manifest: Box<Manifest>, epoch: usize },
    File { scaling: Scaling, interpretation: Interpretation, reading: Reading },
}

/// Images on the device.
#[derive(Debug)]
struct Images {
    split: Split,
    limit: Option<NonZeroUsize>,
    /// Samples that a process has together, at the least.
    together: usize,
    on_device: DeviceSplit,
    labels: Vec<usize>,
}

impl<'a> TrainedNetwork<'a> {
    /// The network of `run` after `epoch`, or after its last one, on the images of `set`. Others
    /// than it was trained on are refused, unless `any_images` says that they are meant.
    ///
    /// # Errors
    ///
    /// [`ProbeError::OtherData`], [`ProbeError::OtherImages`], [`ProbeError::Run`] or
    /// [`ProbeError::Checkpoint`].
    pub fn of_run(
        run: &RunDir,
        epoch: Option<usize>,
        set: &'a DataSet,
        any_images: bool,
        machine: &'a Machine,
    ) -> Result<Self, ProbeError> {
        let (epoch, checkpoint) = run.checkpoint(epoch)?;
        let manifest = Box::new(run.manifest()?);
        if let Some(file) = other_file(&manifest, set).filter(|_| !any_images) {
            return Err(ProbeError::OtherData { checkpoint, file: file.to_owned() });
        }
        let network = load_checkpoint(&checkpoint, &machine.device)?;
        let origin = Origin::Run { run: run.clone(), manifest, epoch };
        Self::new(network, checkpoint, origin, set, machine)
    }

    /// The network of any checkpoint, read as `interpretation` says, on all images of `set`, scaled
    /// so.
    ///
    /// # Errors
    ///
    /// [`ProbeError::OtherImages`] or [`ProbeError::Checkpoint`].
    pub fn of_checkpoint(
        checkpoint: &Path,
        interpretation: &Interpretation,
        scaling: Scaling,
        set: &'a DataSet,
        machine: &'a Machine,
    ) -> Result<Self, ProbeError> {
        let (network, reading) = import_checkpoint(checkpoint, interpretation, &machine.device)?;
        let origin = Origin::File { scaling, interpretation: interpretation.clone(), reading };
        Self::new(network, checkpoint.to_owned(), origin, set, machine)
    }

    fn new(
        network: Network,
        checkpoint: PathBuf,
        origin: Origin,
        set: &'a DataSet,
        machine: &'a Machine,
    ) -> Result<Self, ProbeError> {
        let (inputs, images) = (network.shape().inputs, set.train.inputs());
        // Before the images go to the device: they may be of any size.
        if inputs != images {
            return Err(ProbeError::OtherImages { network: inputs, images });
        }
        let checksum = file_checksum(&checkpoint)?;
        let world = Arc::new(Alone);
        Ok(Self { network, checkpoint, checksum, origin, set, machine, world, images: None })
    }

    /// The same on images that the processes of `world` share.
    pub fn among(self, world: Arc<dyn World>) -> Self {
        Self { world, images: None, ..self }
    }

    /// How it was read, if it is of no run.
    pub fn reading(&self) -> Option<&Reading> {
        match &self.origin {
            Origin::Run { .. } => None,
            Origin::File { reading, .. } => Some(reading),
        }
    }

    /// The network's shape.
    pub fn shape(&self) -> NetworkShape {
        self.network.shape()
    }

    /// The statistics of mini-batches of `size`, or of those that it was trained with.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoBatchSize`] if neither is known.
    pub fn batch_statistics(&self, size: Option<NonZeroUsize>) -> Result<Statistics, ProbeError> {
        match (size, &self.origin) {
            (Some(size), _) => Ok(Statistics::Batch(size)),
            (None, Origin::Run { manifest, .. }) => Ok(match manifest.config.training.batch_size {
                BatchSize::Samples(size) => Statistics::Batch(size),
                // The mini-batch of a full-batch run is the whole split.
                BatchSize::Full => Statistics::Dataset,
            }),
            (None, Origin::File { .. }) => Err(ProbeError::NoBatchSize),
        }
    }

    /// What `request` is about: its last layer, or other parameters of it.
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    pub fn subject(&mut self, request: &Request, observer: &dyn Observer) -> Result<Subject, ProbeError> {
        match request.is_of_network() {
            true => Ok(Subject::Network(Box::new(self.point(request)?))),
            false => Ok(self.layer(request, observer)?.into()),
        }
    }

    /// Itself, on the images that `request` is about.
    fn point(&mut self, request: &Request) -> Result<NetworkPoint, ProbeError> {
        self.refuse_unknown_statistics(request)?;
        let parameters = chosen(&self.network.shape(), &request.parameters)?;
        let images = self.take_images(request)?;
        let (split, shape) = (images.on_device.clone(), self.network.shape());
        let label = shape.normalisation.label().to_owned();
        let counts = [split.all(), shape.features(), shape.classes];
        let settings = self.settings(request, label, counts, Vec::new());
        self.images = Some(images);
        let (preconditioner, optimizer) = match &self.origin {
            Origin::Run { run, manifest, epoch } => {
                let optimizer = manifest.config.training.optimizer;
                let state = (*epoch > 0).then(|| run.adam_state(*epoch)).and_then(Result::ok);
                let of = |(path, adam): (PathBuf, &AdamConfig)| preconditioner(&path, &parameters, adam);
                (state.zip(optimizer.adam()).map(of).transpose()?.flatten(), Some(optimizer))
            }
            Origin::File { .. } => (None, None),
        };
        Ok(NetworkPoint { settings, network: self.network.clone(), split, preconditioner, optimizer })
    }

    fn refuse_unknown_statistics(&self, request: &Request) -> Result<(), ProbeError> {
        match self.reading() {
            Some(reading)
                if request.statistics == Statistics::Running && reading.lacks_running_statistics =>
            {
                Err(ProbeError::NoRunningStatistics)
            }
            _ => Ok(()),
        }
    }

    /// Its last layer, as `request` wants to see it.
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    pub fn layer(&mut self, request: &Request, observer: &dyn Observer) -> Result<Layer, ProbeError> {
        self.refuse_unknown_statistics(request)?;
        let images = self.take_images(request)?;
        let split = &images.on_device;
        let normalisation = self.network.shape().normalisation;
        let folding = match request.folded && normalisation.has_statistics() {
            true => Some(fold(&self.network, split, request.statistics, request.forward)?),
            false => None,
        };
        let network = folding.as_ref().map_or(&self.network, |folding| &folding.network);
        let label = match folding {
            Some(_) => format!("{} folded", normalisation.label()),
            None => normalisation.label().to_owned(),
        };
        let start = Instant::now();
        observer.stage(&label, Some(split.samples()));
        let samples = samples(network, split, request, observer)?;
        let seconds = start.elapsed().as_secs_f64();
        let others = request.overlap_with.iter().map(|&epoch| {
            let other = self.network_after(epoch)?;
            Ok((epoch, self.samples_of(other, split, request, observer)?))
        });
        let others = others.collect::<Result<_, ProbeError>>()?;
        // The optimiser knows the weights that it trained, and not the folded ones.
        let adam = if request.directions && folding.is_none() { self.adam()? } else { None };
        let checks = folding.iter().filter(|_| request.verify).map(|folding| folding.check());
        let counts = [samples.count(), samples.features(), samples.classes()];
        let layer = Layer {
            settings: self.settings(request, label, counts, checks.collect()),
            weights: Some(weights(network, request.bias)?),
            labels: Some(images.labels.clone()),
            loss: None,
            samples,
            kept: None,
            adam,
            others,
            seconds,
        };
        self.images = Some(images);
        Ok(layer)
    }

    /// The weights and biases of its last layer; with `bias` the biases are the weights of a constant feature, the
    /// last one.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Device`].
    pub fn last_layer(&self, bias: bool) -> Result<Weights, ProbeError> {
        let offsets = match bias {
            true => vec![0.0; self.network.shape().classes],
            false => numbers(self.network.output_parameters().1)?,
        };
        Ok(Weights { elements: weights(&self.network, bias)?, offsets })
    }

    /// The samples of the same network after another epoch, folded if that was asked for.
    fn samples_of(
        &self,
        network: Network,
        split: &DeviceSplit,
        request: &Request,
        observer: &dyn Observer,
    ) -> Result<Samples, ProbeError> {
        let folds = request.folded && network.shape().normalisation.has_statistics();
        let network =
            if folds { fold(&network, split, request.statistics, request.forward)?.network } else { network };
        samples(&network, split, request, observer)
    }

    fn settings(
        &self,
        request: &Request,
        network: String,
        [samples, features, classes]: [usize; 3],
        input_checks: Vec<CheckRecord>,
    ) -> SpectrumSettings {
        let (epoch, l2, scaling, interpretation) = match &self.origin {
            Origin::Run { manifest, epoch, .. } => (
                Some(*epoch),
                manifest.config.training.l2,
                manifest.config.data.scaling,
                Interpretation::default(),
            ),
            Origin::File { scaling, interpretation, .. } => (None, 0.0, *scaling, interpretation.clone()),
        };
        let normalisation = self.network.shape().normalisation;
        let image_file =
            |file: &FileDigest| FileChecksum { file: file.file.clone(), sha256: file.sha256.clone() };
        SpectrumSettings {
            request: request.clone(),
            source: self.checkpoint.display().to_string(),
            network,
            epoch,
            data: Some(self.set.name.clone()),
            data_files: self.set.files.iter().map(image_file).collect(),
            scaling: Some(scaling),
            samples,
            features,
            classes,
            statistics: normalisation.has_statistics().then_some(request.statistics),
            epsilon: normalisation.has_statistics().then_some(normalisation.epsilon),
            interpretation,
            files: vec![self.checksum.clone()],
            scores: None,
            ignored: None,
            input_checks,
            backend: self.machine.provenance.backend,
            device: self.machine.provenance.device.clone(),
            l2,
        }
    }

    /// The images that `request` is about, on the device.
    fn take_images(&mut self, request: &Request) -> Result<Images, ProbeError> {
        // Mini-batches are not cut between processes.
        let together = match (self.world.processes(), request.statistics) {
            (1, _) => 1,
            (_, Statistics::Batch(size)) => size.get(),
            _ => 1,
        };
        let asked = (request.split, request.limit, together);
        let same = |images: &Images| (images.split, images.limit, images.together) == asked;
        if let Some(images) = self.images.take().filter(same) {
            return Ok(images);
        }
        let (scaling, splits) = self.splits(request.split)?;
        let scaling = PixelScaling::new(scaling, &splits.train)?;
        let chosen = of_split(request.split, splits);
        let chosen = chosen.truncated(request.limit.map_or(usize::MAX, NonZeroUsize::get));
        let all = chosen.len();
        let batches = share_of(&*self.world, all.div_ceil(together));
        let own = (batches.start * together).min(all)..batches.end.saturating_mul(together).min(all);
        if own.is_empty() {
            return Err(ProbeError::TooFewImages {
                images: all,
                together,
                processes: self.world.processes(),
            });
        }
        let on_device =
            DeviceSplit::new(&chosen.part(own.clone()), self.set.classes, scaling, &self.machine.device);
        Ok(Images {
            split: request.split,
            limit: request.limit,
            together,
            labels: chosen.labels().iter().map(|&label| usize::from(label)).collect(),
            on_device: on_device.shared(self.world.clone(), own.start, all),
        })
    }

    /// The images of a split, as they were read.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoValidationSplit`], [`ProbeError::Data`].
    pub fn images(&self, split: Split) -> Result<LabelledImages, ProbeError> {
        Ok(of_split(split, self.splits(split)?.1))
    }

    fn splits(&self, asked: Split) -> Result<(Scaling, Splits), ProbeError> {
        match &self.origin {
            Origin::Run { manifest, .. } => {
                let data = &manifest.config.data;
                Ok((data.scaling, split_data(self.set, data, manifest.config.seed)?))
            }
            Origin::File { .. } if asked == Split::Validation => Err(ProbeError::NoValidationSplit),
            Origin::File { scaling, .. } => {
                let (train, test) = (self.set.train.len(), self.set.test.len());
                let all = SplitSizes { train, validation: 0, test };
                Ok((*scaling, self.set.split(all, SplitOrder::File)?))
            }
        }
    }

    fn network_after(&self, epoch: usize) -> Result<Network, ProbeError> {
        match &self.origin {
            Origin::Run { run, .. } => {
                let (_, checkpoint) = run.checkpoint(Some(epoch))?;
                Ok(load_checkpoint(&checkpoint, &self.machine.device)?)
            }
            Origin::File { .. } => Err(ProbeError::NoOtherEpochs),
        }
    }

    /// The optimiser's state; there is none before training, and none of a file.
    fn adam(&self) -> Result<Option<(AdamState, AdamConfig)>, ProbeError> {
        match &self.origin {
            // Of weight norm it is of g and v, and of W nothing.
            Origin::Run { run, manifest, epoch }
                if *epoch > 0 && manifest.config.network.normalisation.kind != Kind::Weight =>
            {
                let Some(adam) = manifest.config.training.optimizer.adam() else { return Ok(None) };
                Ok(Some((load_adam_state(&run.adam_state(*epoch)?)?, *adam)))
            }
            _ => Ok(None),
        }
    }
}

fn of_split(split: Split, splits: Splits) -> LabelledImages {
    match split {
        Split::Train => splits.train,
        Split::Validation => splits.validation,
        Split::Test => splits.test,
    }
}

/// W of the last layer, class by class, with its bias as the weight of a last feature if it is a
/// parameter.
fn weights(network: &Network, bias: bool) -> Result<Vec<f64>, ProbeError> {
    let (weight, offset) = network.output_parameters();
    let parameters = if bias { Tensor::cat(vec![weight, offset.unsqueeze_dim(1)], 1) } else { weight };
    Ok(numbers(parameters)?)
}
