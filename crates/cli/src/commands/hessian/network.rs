//! A checkpoint and its images, as subjects.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use burn::{data::dataset::Dataset, tensor::Tensor};
use kappa_data::{DataSet, LabelledImages, SplitOrder, SplitSizes};
use kappa_hessian::Samples;
use kappa_model::TwoLayerNet;
use kappa_run::{AdamConfig, BatchSize, CheckRecord, Manifest, Scaling, SpectrumSettings};
use kappa_study::{BatchNormStatistics, ProbeError, ProbeOptions, fold, probe};
use kappa_trainer::{
    AdamState, DeviceSplit, PixelScaling, import_checkpoint, load_adam_state, load_checkpoint, other_file,
    split_data,
};

use super::{
    Settings, Subject,
    target::{Origin, Target},
};
use crate::{
    args::{Split, StatisticsArgument},
    commands::DataSets,
    error::CliError,
    progress::bar,
};

/// Gives one network to `measure`: once, or once for each of batch norm's statistics,
/// and folded where that was asked for.
pub fn for_each_subject(
    target: &Target,
    settings: &Settings,
    sets: &mut DataSets,
    measure: &mut impl FnMut(Subject) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let (chosen, images) = images(target, settings, sets)?;
    let device = &settings.machine.device;
    let network = match target.origin {
        Origin::Run { .. } => load_checkpoint(&target.checkpoint, device)?,
        Origin::File { .. } => import_checkpoint(&target.checkpoint, device)?,
    };
    let shape = network.shape();
    if shape.inputs != chosen.inputs() {
        // Before the images go to the device: they may be of any size.
        return Err(ProbeError::OtherImages { network: shape.inputs, images: chosen.inputs() }.into());
    }
    let statistics = match shape.batch_norm {
        Some(_) => statistics(target, settings)?,
        // Without batch norm they are all one.
        None => vec![BatchNormStatistics::Running],
    };
    let split = DeviceSplit::new(&chosen, images.classes, images.scaling, device);
    // They are on the device now, and the sums need memory.
    drop(chosen);
    let source = Source { target, settings, images: &images, split: &split };
    for statistics in statistics {
        let out = match statistics {
            BatchNormStatistics::Running => target.out.clone(),
            other => with_suffix(&target.out, other.name()),
        };
        measure(source.subject(&network, statistics, out.clone(), None)?)?;
        let can_be_folded = !matches!(statistics, BatchNormStatistics::Batch(_));
        if settings.folded && shape.batch_norm.is_some() && can_be_folded {
            let folded = fold(&network, &split, statistics)?;
            let check = CheckRecord {
                name: "folding".to_owned(),
                quantity: "max |z - z'| / (|W2| |g| + |b2|), z' the folded network's logits".to_owned(),
                value: Some(folded.difference),
                bound: folded.bound,
                passed: folded.difference <= folded.bound,
            };
            let out = with_suffix(&out, "folded");
            measure(source.subject(&folded.network, statistics, out, Some(check))?)?;
        }
    }
    Ok(())
}

/// All that is known beside the network itself.
struct Source<'a> {
    target: &'a Target,
    settings: &'a Settings<'a>,
    images: &'a Images,
    split: &'a DeviceSplit,
}

impl Source<'_> {
    /// `network` by `statistics`; with `folding` it is the folded one.
    fn subject(
        &self,
        network: &TwoLayerNet,
        statistics: BatchNormStatistics,
        out: PathBuf,
        folding: Option<CheckRecord>,
    ) -> Result<Subject, CliError> {
        let (target, settings, images) = (self.target, self.settings, self.images);
        let (epoch, l2) = match &target.origin {
            Origin::Run { manifest, epoch, .. } => (Some(*epoch), manifest.config.training.l2),
            Origin::File { .. } => (None, 0.0),
        };
        let normalised = network.shape().batch_norm.is_some() || folding.is_some();
        let label = match (&folding, normalised) {
            (Some(_), _) => "FC+BN folded",
            (None, true) => "FC+BN",
            (None, false) => "FC",
        };
        let start = Instant::now();
        let samples = self.samples(network, statistics, label)?;
        let seconds = start.elapsed().as_secs_f64();
        let asked = &settings.asked;
        let others = asked.overlap_with.iter().map(|&epoch| {
            let network = self.network_after(epoch)?;
            let network =
                if folding.is_some() { fold(&network, self.split, statistics)?.network } else { network };
            Ok((epoch, self.samples(&network, statistics, label)?))
        });
        let others = others.collect::<Result<_, CliError>>()?;
        let bn_statistics = normalised.then(|| match statistics {
            BatchNormStatistics::Batch(size) => format!("batch {size}"),
            other => other.name().to_owned(),
        });
        // The optimiser knows the weights that it trained, and not the folded ones.
        let adam = if asked.directions && folding.is_none() { self.adam()? } else { None };
        Ok(Subject {
            settings: SpectrumSettings {
                source: target.checkpoint.display().to_string(),
                network: label.to_owned(),
                epoch,
                data: Some(images.data.clone()),
                split: Some(images.split.clone()),
                scaling: Some(
                    match images.scaling_name {
                        Scaling::Unit => "unit",
                        Scaling::Standardised => "standardised",
                    }
                    .to_owned(),
                ),
                samples: samples.count(),
                features: samples.features(),
                classes: samples.classes(),
                bias: settings.bias,
                bn_statistics,
                files: Vec::new(),
                input_checks: folding.into_iter().filter(|_| asked.verify).collect(),
                precision: settings.precision.name().to_owned(),
                backend: settings.machine.provenance.backend.clone(),
                device: settings.machine.provenance.device.clone(),
                l2,
            },
            samples,
            labels: Some(images.labels.clone()),
            loss: None,
            weights: Some(weights(network, settings.bias)?),
            adam,
            others,
            out,
            seconds,
        })
    }

    fn samples(
        &self,
        network: &TwoLayerNet,
        statistics: BatchNormStatistics,
        label: &str,
    ) -> Result<Samples, CliError> {
        let settings = self.settings;
        let options = ProbeOptions { precision: settings.precision, bias: settings.bias, statistics };
        let bar = bar(self.split.samples(), label, settings.quiet);
        let samples = probe(network, self.split, options, |samples| bar.set_position(samples as u64))?;
        bar.finish_and_clear();
        Ok(samples)
    }

    fn network_after(&self, epoch: usize) -> Result<TwoLayerNet, CliError> {
        match &self.target.origin {
            Origin::Run { run, .. } => {
                let (_, checkpoint) = run.checkpoint(Some(epoch))?;
                Ok(load_checkpoint(&checkpoint, &self.settings.machine.device)?)
            }
            Origin::File { .. } => Err(CliError::Usage(
                "a --checkpoint has no other epochs; --overlap-with takes those of a run".to_owned(),
            )),
        }
    }

    /// The optimiser's state; there is none before training, and none of a file.
    fn adam(&self) -> Result<Option<(AdamState, AdamConfig)>, CliError> {
        match &self.target.origin {
            Origin::Run { run, manifest, epoch } if *epoch > 0 => {
                let state = load_adam_state(&run.adam_state(*epoch)?)?;
                Ok(Some((state, manifest.config.training.adam)))
            }
            _ => Ok(None),
        }
    }
}

/// W2, class by class, with b2 as the weight of a last feature if it is a parameter.
fn weights(network: &TwoLayerNet, bias: bool) -> Result<Vec<f64>, CliError> {
    let (weight, offset) = network.output_parameters();
    let parameters = if bias { Tensor::cat(vec![weight, offset.unsqueeze_dim(1)], 1) } else { weight };
    let data = parameters.try_into_data().map_err(|error| ProbeError::Device(error.to_string()))?;
    Ok(data.iter::<f64>().collect())
}

/// By which statistics a network with batch norm is probed.
fn statistics(target: &Target, settings: &Settings) -> Result<Vec<BatchNormStatistics>, CliError> {
    let batch = || match (settings.batch_size, &target.origin) {
        (Some(size), _) => Ok(BatchNormStatistics::Batch(size)),
        (None, Origin::Run { manifest, .. }) => Ok(match manifest.config.training.batch_size {
            BatchSize::Samples(size) => BatchNormStatistics::Batch(size),
            BatchSize::Full => BatchNormStatistics::Dataset,
        }),
        (None, Origin::File { .. }) => Err(CliError::Usage(
            "--bn-stats batch of a --checkpoint needs the mini-batches' size: --batch-size 128, say"
                .to_owned(),
        )),
    };
    Ok(match settings.statistics {
        StatisticsArgument::Running => vec![BatchNormStatistics::Running],
        StatisticsArgument::Dataset => vec![BatchNormStatistics::Dataset],
        StatisticsArgument::Batch => vec![batch()?],
        StatisticsArgument::All => {
            let mut all = vec![BatchNormStatistics::Running, batch()?, BatchNormStatistics::Dataset];
            // The mini-batch of a full-batch run is the whole split.
            all.dedup();
            all
        }
    })
}

/// `epoch-0030` -> `epoch-0030-dataset`.
fn with_suffix(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{suffix}"));
    folder.with_file_name(name)
}

/// What is known of the images whose mean loss is differentiated, beside their pixels.
struct Images {
    labels: Vec<usize>,
    classes: usize,
    scaling: PixelScaling,
    scaling_name: Scaling,
    data: String,
    split: String,
}

fn images(
    target: &Target,
    settings: &Settings,
    sets: &mut DataSets,
) -> Result<(LabelledImages, Images), CliError> {
    let (set, scaling_name, splits) = match &target.origin {
        Origin::Run { manifest, .. } => {
            let data = &manifest.config.data;
            let set = sets.get(settings.data.as_deref().or(data.folder.as_deref()))?;
            if settings.data.is_none() {
                same_data(manifest, set, &target.checkpoint)?;
            }
            (set, data.scaling, split_data(set, data, manifest.config.seed)?)
        }
        Origin::File { scaling } => {
            let set = sets.get(settings.data.as_deref())?;
            if settings.split == Split::Validation {
                return Err(CliError::Usage(
                    "a --checkpoint has no validation split; --split takes train or test".to_owned(),
                ));
            }
            let all = SplitSizes { train: set.train.len(), validation: 0, test: set.test.len() };
            (set, *scaling, set.split(all, SplitOrder::File)?)
        }
    };
    let scaling = PixelScaling::new(scaling_name, &splits.train)?;
    let (split, chosen) = match settings.split {
        Split::Train => ("train", splits.train),
        Split::Validation => ("validation", splits.validation),
        Split::Test => ("test", splits.test),
    };
    let chosen = chosen.truncated(settings.limit.unwrap_or(usize::MAX));
    let images = Images {
        labels: chosen.labels().iter().map(|&label| usize::from(label)).collect(),
        scaling,
        scaling_name,
        classes: set.classes,
        data: set.name.clone(),
        split: split.to_owned(),
    };
    Ok((chosen, images))
}

/// Refuses images other than those that the run was trained on.
fn same_data(manifest: &Manifest, set: &DataSet, checkpoint: &Path) -> Result<(), CliError> {
    match other_file(manifest, set) {
        None => Ok(()),
        Some(file) => {
            Err(CliError::OtherData { run: checkpoint.display().to_string(), file: file.to_owned() })
        }
    }
}
