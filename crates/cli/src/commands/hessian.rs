//! `kappa hessian`.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use burn::data::dataset::Dataset;
use kappa_data::{DataSet, LabelledImages, SplitOrder, SplitSizes};
use kappa_run::{
    BatchSize, Manifest, RunDir, SPECTRUM_VERSION, SavedTensor, Scaling, SpectrumRecord, SpectrumSettings,
    SpectrumSummary, write_spectrum,
};
use kappa_study::{BatchNormStatistics, Precision, Probe, ProbeError, ProbeOptions, probe};
use kappa_trainer::{DeviceSplit, Machine, PixelScaling, load_checkpoint, split_data};

use super::{DataSets, table};
use crate::{
    args::{HessianArguments, PrecisionArgument, ScalingArgument, Split, StatisticsArgument},
    backend::{self, Chosen},
    error::CliError,
    output::say,
    progress::bar,
};

/// A checkpoint, and where it comes from and goes to.
struct Target {
    checkpoint: PathBuf,
    origin: Origin,
    out: PathBuf,
}

enum Origin {
    Run { manifest: Box<Manifest>, epoch: usize },
    File { scaling: Scaling },
}

/// What holds for all targets of one call.
struct Settings<'a> {
    machine: &'a Machine,
    precision: Precision,
    data: Option<&'a Path>,
    split: Split,
    limit: Option<usize>,
    bias: bool,
    statistics: StatisticsArgument,
    batch_size: Option<NonZeroUsize>,
    save_matrix: bool,
    quiet: bool,
}

pub fn run(arguments: &HessianArguments) -> Result<(), CliError> {
    let targets = targets(arguments)?;
    let chosen = backend::choose(arguments.common.backend)?;
    let precision = PrecisionArgument::or(arguments.precision, chosen.precision);
    let settings = Settings {
        machine: &chosen.machine,
        precision,
        data: arguments.data.as_deref(),
        split: arguments.split,
        limit: arguments.limit.map(NonZeroUsize::get),
        bias: arguments.bias,
        statistics: arguments.bn_stats,
        batch_size: arguments.batch_size,
        save_matrix: arguments.save_matrix,
        quiet: arguments.common.quiet,
    };
    probe_all(&targets, &settings, DataSets::default())
}

/// The spectra of runs that were just trained on `sets`, at their last epochs.
pub fn of_last_epochs(
    runs: Vec<RunDir>,
    sets: DataSets,
    chosen: Chosen,
    quiet: bool,
) -> Result<(), CliError> {
    let targets =
        runs.iter().map(|run| of_run(run, run.manifest()?, None, None)).collect::<Result<Vec<_>, _>>()?;
    let settings = Settings {
        machine: &chosen.machine,
        precision: chosen.precision,
        data: None,
        split: Split::Train,
        limit: None,
        bias: false,
        statistics: StatisticsArgument::Running,
        batch_size: None,
        save_matrix: false,
        quiet,
    };
    probe_all(&targets, &settings, sets)
}

fn targets(arguments: &HessianArguments) -> Result<Vec<Target>, CliError> {
    if let Some(checkpoint) = &arguments.checkpoint {
        let scaling = match arguments.scaling {
            ScalingArgument::Unit => Scaling::Unit,
            ScalingArgument::Standardised => Scaling::Standardised,
        };
        let stem = checkpoint.file_stem().map_or_else(Default::default, |stem| stem.to_string_lossy());
        let out = arguments.out.clone().unwrap_or_else(|| arguments.root.join(format!("hessian-{stem}")));
        return Ok(vec![Target { checkpoint: checkpoint.clone(), origin: Origin::File { scaling }, out }]);
    }
    let runs = if arguments.runs.is_empty() {
        RunDir::latest(&arguments.root)?
    } else {
        let open = |path: &PathBuf| {
            let run = RunDir::open(path)?;
            let manifest = run.manifest()?;
            Ok((run, manifest))
        };
        arguments.runs.iter().map(open).collect::<Result<Vec<_>, CliError>>()?
    };
    runs.into_iter()
        .map(|(run, manifest)| of_run(&run, manifest, arguments.epoch, arguments.out.as_deref()))
        .collect()
}

/// The checkpoint of a run's `epoch`, or of its last one.
fn of_run(
    run: &RunDir,
    manifest: Manifest,
    epoch: Option<usize>,
    out: Option<&Path>,
) -> Result<Target, CliError> {
    let (epoch, checkpoint) = run.checkpoint(epoch)?;
    let out = match out {
        // Several runs share one folder, each under its own name.
        Some(out) => out.join(run.path().file_name().unwrap_or_default()),
        None => run.hessian_folder(epoch),
    };
    Ok(Target { checkpoint, origin: Origin::Run { manifest: Box::new(manifest), epoch }, out })
}

fn probe_all(targets: &[Target], settings: &Settings, mut sets: DataSets) -> Result<(), CliError> {
    if !settings.quiet {
        let machine = settings.machine;
        say(format_args!(
            "Hessian in {} by {} on {}",
            settings.precision.name(),
            machine.backend,
            machine.device_name
        ));
    }
    let mut records = Vec::new();
    for target in targets {
        records.extend(probe_one(target, settings, &mut sets)?);
    }
    table::print(&records);
    Ok(())
}

/// The spectra of one network: one, or one for each of batch norm's statistics.
fn probe_one(
    target: &Target,
    settings: &Settings,
    sets: &mut DataSets,
) -> Result<Vec<SpectrumRecord>, CliError> {
    let images = images(target, settings, sets)?;
    let device = &settings.machine.device;
    let network = load_checkpoint(&target.checkpoint, device)?;
    let shape = network.shape();
    if shape.inputs != images.chosen.inputs() {
        // Before the images go to the device: they may be of any size.
        return Err(ProbeError::OtherImages { network: shape.inputs, images: images.chosen.inputs() }.into());
    }
    let statistics = match shape.batch_norm {
        Some(_) => statistics(target, settings)?,
        // Without batch norm they are all one.
        None => vec![BatchNormStatistics::Running],
    };
    let split = DeviceSplit::new(&images.chosen, images.classes, images.scaling, device);
    statistics
        .into_iter()
        .map(|statistics| {
            let out = match statistics {
                BatchNormStatistics::Running => target.out.clone(),
                other => with_suffix(&target.out, other.name()),
            };
            let options = ProbeOptions {
                precision: settings.precision,
                bias: settings.bias,
                keep_inputs: settings.save_matrix,
                statistics,
            };
            let label = if shape.batch_norm.is_some() { "FC+BN" } else { "FC" };
            let bar = bar(split.samples(), label, settings.quiet);
            let probe = probe(&network, &split, options, |samples| bar.set_position(samples as u64))?;
            bar.finish_and_clear();
            let by = shape.batch_norm.map(|_| match statistics {
                BatchNormStatistics::Batch(size) => format!("batch {size}"),
                other => other.name().to_owned(),
            });
            let record = record(target, settings, &images, &probe, (label, by));
            write_spectrum(&out, &record, &tensors(probe, settings.precision))?;
            if !settings.quiet {
                say(format_args!("{label} -> {}", out.display()));
            }
            Ok(record)
        })
        .collect()
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

fn record(
    target: &Target,
    settings: &Settings,
    images: &Images,
    probe: &Probe,
    (label, bn_statistics): (&str, Option<String>),
) -> SpectrumRecord {
    let (epoch, l2) = match &target.origin {
        Origin::Run { manifest, epoch } => (Some(*epoch), manifest.config.training.l2),
        Origin::File { .. } => (None, 0.0),
    };
    SpectrumRecord {
        schema_version: SPECTRUM_VERSION,
        kappa_version: settings.machine.kappa_version.clone(),
        settings: SpectrumSettings {
            checkpoint: target.checkpoint.display().to_string(),
            network: label.to_owned(),
            epoch,
            data: images.data.clone(),
            split: images.split.clone(),
            scaling: match images.scaling_name {
                Scaling::Unit => "unit",
                Scaling::Standardised => "standardised",
            }
            .to_owned(),
            samples: probe.hessian.samples(),
            features: probe.hessian.features(),
            classes: probe.hessian.classes(),
            bias: settings.bias,
            bn_statistics,
            precision: settings.precision.name().to_owned(),
            backend: settings.machine.backend.clone(),
            device: settings.machine.device_name.clone(),
            l2,
        },
        spectrum: summary(probe, settings.precision, l2),
        timings: probe.timings,
    }
}

/// The images whose mean loss is differentiated.
struct Images {
    chosen: LabelledImages,
    classes: usize,
    scaling: PixelScaling,
    scaling_name: Scaling,
    data: String,
    split: String,
}

fn images(target: &Target, settings: &Settings, sets: &mut DataSets) -> Result<Images, CliError> {
    let (set, scaling_name, splits) = match &target.origin {
        Origin::Run { manifest, .. } => {
            let data = &manifest.config.data;
            let set = sets.get(settings.data.or(data.folder.as_deref()))?;
            if settings.data.is_none() {
                same_data(manifest, set, &target.checkpoint)?;
            }
            (set, data.scaling, split_data(set, data, manifest.config.seed)?)
        }
        Origin::File { scaling } => {
            let set = sets.get(settings.data)?;
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
    Ok(Images {
        scaling,
        scaling_name,
        classes: set.classes,
        data: set.name.clone(),
        split: split.to_owned(),
        chosen: chosen.truncated(settings.limit.unwrap_or(usize::MAX)),
    })
}

/// Refuses images other than those that the run was trained on.
fn same_data(manifest: &Manifest, set: &DataSet, checkpoint: &Path) -> Result<(), CliError> {
    let differs = manifest.data_files.iter().zip(&set.files).find(|(then, now)| then.sha256 != now.sha256);
    match differs {
        None => Ok(()),
        Some((_, now)) => {
            Err(CliError::OtherData { run: checkpoint.display().to_string(), file: now.file.clone() })
        }
    }
}

fn summary(probe: &Probe, precision: Precision, l2: f64) -> SpectrumSummary {
    let spectrum = &probe.spectrum;
    let shift = 2.0 * l2; // the Hessian of l2 * sum W2^2 is 2 l2 I
    let with_l2 = |number: fn(&kappa_hessian::Spectrum, f64) -> Option<f64>| {
        (l2 > 0.0).then(|| number(spectrum, shift)).flatten()
    };
    SpectrumSummary {
        size: spectrum.eigenvalues().len(),
        top: spectrum.eigenvalues().iter().take(10).copied().collect(),
        lambda_min: spectrum.lambda_min().unwrap_or(f64::NAN),
        kappa: spectrum.kappa(0.0),
        kappa_prime: spectrum.kappa_prime(0.0),
        kappa_with_l2: with_l2(kappa_hessian::Spectrum::kappa),
        kappa_prime_with_l2: with_l2(kappa_hessian::Spectrum::kappa_prime),
        trace: probe.hessian.trace(),
        rank: spectrum.rank(precision.epsilon()),
        rank_tolerance: spectrum.rank_tolerance(precision.epsilon()),
    }
}

/// The tensors of `spectrum.safetensors`.
fn tensors(probe: Probe, precision: Precision) -> Vec<SavedTensor> {
    let doubles = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (samples, features, classes) =
        (probe.hessian.samples(), probe.hessian.features(), probe.hessian.classes());
    let size = probe.hessian.size();
    let double = size_of::<f64>();
    let mut tensors = vec![SavedTensor {
        name: "eigenvalues",
        shape: vec![size],
        width: double,
        bytes: doubles(probe.spectrum.eigenvalues()),
    }];
    if let Some(inputs) = probe.inputs {
        let width = match precision {
            Precision::F32 => size_of::<f32>(),
            Precision::F64 => double,
        };
        let hessian = doubles(probe.hessian.elements());
        tensors.extend([
            SavedTensor { name: "hessian", shape: vec![size, size], width: double, bytes: hessian },
            SavedTensor { name: "features", shape: vec![samples, features], width, bytes: inputs.features },
            SavedTensor {
                name: "probabilities",
                shape: vec![samples, classes],
                width,
                bytes: inputs.probabilities,
            },
        ]);
    }
    tensors
}
