//! `kappa hessian`: from arguments to requests, and from what was measured to files and the screen.
//!
//! ```text
//! target       which checkpoints, of what run, and where results go
//! names        what tells spectra apart whose networks are called the same
//! summary      what one came for, side by side
//! table        all of it (--full)
//! reading      how a checkpoint from elsewhere was read
//! over_epochs  a row for each epoch of a run
//! density      what was found without H
//! curvature    what was found of other parameters than the last layer's weights
//! ```

mod curvature;
mod density;
mod names;
mod over_epochs;
mod reading;
mod summary;
pub mod table;
mod target;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use kappa_data::{LastLayer, LastLayerFiles};
use kappa_model::Statistics;
use kappa_probe::{LayerArrays, Measured, ProbeError, Subject, TrainedNetwork, WholeSpectrum, measure};
use kappa_report::{ReportError, save_curvature, save_matrix_free, save_spectrum};
use kappa_run::{
    CurvatureRecord, DensityRequest, Parameters, Place, Precision, Request, RunDir, RunError, SpectrumRecord,
    claim, free_memory, limit_memory, shown,
};
use kappa_trainer::Machine;
use kappa_world::{Alone, World};

use super::DataSets;
use crate::{
    args::{HessianArguments, StatisticsArgument},
    backend::{self, Chosen},
    error::CliError,
    output::{printable, say},
    processes::Processes,
    progress::Measuring,
};
use over_epochs::Answer;
use target::{Origin, Target};

/// The part of what is free that arrays in memory may take: samples made of f32 are held once more, in
/// f64, which is twice as much.
const SHARE_OF_ARRAYS: u64 = 4;

/// What holds for all that one call measures.
struct Call<'a> {
    machine: &'a Machine,
    /// What is asked of each; statistics and folding vary.
    request: Request,
    statistics: StatisticsArgument,
    /// The processes that share the samples.
    world: Arc<dyn World>,
    batch_size: Option<NonZeroUsize>,
    data: Option<PathBuf>,
    full: bool,
    quiet: bool,
}

pub fn run(arguments: &HessianArguments, processes: &Processes) -> Result<(), CliError> {
    measured(arguments, processes).map_err(|error| match error {
        // Nobody has said where to write, so nobody may know that it can be said.
        CliError::Run(error @ RunError::Write { .. })
        | CliError::Report(ReportError::Run(error @ RunError::Write { .. }))
            if arguments.out.is_none() =>
        {
            CliError::NoPlace(error)
        }
        error => error,
    })
}

fn measured(arguments: &HessianArguments, processes: &Processes) -> Result<(), CliError> {
    if let Some(memory) = arguments.memory {
        limit_memory(memory.as_u64());
    }
    let world = processes.world();
    if world.processes() > 1 && arguments.save_matrix {
        return Err(CliError::NotForSeveral("--save-matrix"));
    }
    let files = arguments.layer.features.as_ref().map(|_| layer_files(arguments, &world));
    let targets = if files.is_some() { Vec::new() } else { target::targets(arguments)? };
    let chosen = backend::choose_among(arguments.common.backend.named(), processes.rank_on_node())?;
    let call = Call {
        machine: &chosen.machine,
        world: world.clone(),
        request: request(arguments, arguments.precision.unwrap_or(chosen.precision)),
        statistics: arguments.bn_stats,
        batch_size: arguments.batch_size,
        data: arguments.data.clone(),
        full: arguments.full,
        quiet: arguments.common.quiet || !processes.is_first(),
    };
    call.begin();
    let mut found = Found::default();
    if let Some(files) = files {
        let arrays = LastLayer::from_files(&files, free_memory() / SHARE_OF_ARRAYS)?;
        if let Some(ignored) = arrays.ignored.filter(|ignored| ignored.samples > 0 && !call.quiet) {
            say(format_args!("{} samples with label {} are left out", ignored.samples, ignored.label));
        }
        let layer = LayerArrays {
            arrays: Arc::new(arrays),
            name: files.features.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            source: files.features.display().to_string(),
            l2: arguments.layer.l2,
            machine: call.machine,
            world,
        };
        let layer = call.watched(|watch| layer.layer(&call.request, watch))?;
        if let Some(kept) = layer.kept().filter(|_| !call.quiet) {
            let own = layer.settings().samples.div_ceil(call.world.processes());
            let each = if call.world.processes() > 1 { ", by each process" } else { "" };
            say(format_args!(
                "{kept} of {own} samples are kept in memory; the others are read again whenever they are gone \
                 through{each}"
            ));
        }
        found.add(call.measure_and_save(layer.into(), &target::of_files(arguments), !call.quiet)?);
    }
    call.take(&targets, &mut DataSets::default(), found)
}

/// The spectra of runs that were just trained on `sets`, at their last epochs.
pub fn of_last_epochs(
    runs: Vec<RunDir>,
    mut sets: DataSets,
    chosen: Chosen,
    quiet: bool,
) -> Result<(), CliError> {
    let targets = runs.iter().map(|run| target::of_run(run, None, None)).collect::<Result<Vec<_>, _>>()?;
    let call = Call {
        machine: &chosen.machine,
        world: Arc::new(Alone),
        request: Request::new(chosen.precision),
        statistics: StatisticsArgument::Running,
        batch_size: None,
        data: None,
        full: false,
        quiet,
    };
    call.begin();
    call.take(&targets, &mut sets, Found::default())
}

fn layer_files(arguments: &HessianArguments, world: &Arc<dyn World>) -> LastLayerFiles {
    let layer = arguments.layer.clone();
    let most = arguments.limit.map_or(usize::MAX, NonZeroUsize::get);
    LastLayerFiles {
        features: layer.features.unwrap_or_default(),
        logits: layer.logits,
        probabilities: layer.probabilities,
        weights: layer.weights,
        labels: layer.labels,
        logits_are_meant: layer.logits_are_meant,
        ignore_index: layer.ignore_index,
        share: (world.processes() > 1).then(|| (world.clone(), most)),
    }
}

fn request(arguments: &HessianArguments, precision: Precision) -> Request {
    let (further, layer) = (&arguments.further, &arguments.layer);
    let of_network = arguments.parameters != Parameters::LastLayer;
    Request {
        split: arguments.split,
        limit: arguments.limit,
        parameters: arguments.parameters.clone(),
        blocks: further.blocks && of_network,
        // A network's products are in one arithmetic throughout.
        forward: if of_network { precision } else { arguments.forward },
        bias: arguments.bias,
        verify: !arguments.no_verify,
        keep_matrix: arguments.save_matrix,
        // Labels and weights are of no other use.
        directions: further.directions
            || !further.overlap_with.is_empty()
            || layer.labels.is_some()
            || layer.weights.is_some(),
        overlap_with: further.overlap_with.clone(),
        subsets: further.subsets,
        top: further.top,
        density: further.density.then_some(DensityRequest { probes: further.probes, steps: further.steps }),
        seed: further.seed,
        folded: arguments.folded,
        ..Request::new(precision)
    }
}

/// What a call found that is shown together with the rest.
#[derive(Default)]
struct Found {
    spectra: Vec<SpectrumRecord>,
    curvatures: Vec<CurvatureRecord>,
}

impl Found {
    fn add(&mut self, measured: Measured) {
        match measured {
            Measured::Spectrum(whole) => self.spectra.push(whole.record),
            Measured::Curvature(record) => self.curvatures.push(*record),
            // It is told by itself.
            Measured::MatrixFree(_) => {}
        }
    }
}

impl Call<'_> {
    /// Says what computes.
    fn begin(&self) {
        if !self.quiet {
            let with = &self.machine.provenance;
            let precision = self.request.precision;
            say(format_args!("Hessian in {precision} by {} on {}", with.backend, with.device));
        }
    }

    /// Measures all targets, and prints what came out, what was `found` before first.
    fn take(&self, targets: &[Target], sets: &mut DataSets, mut found: Found) -> Result<(), CliError> {
        let mut rows_printed = false;
        for target in targets {
            // The first process writes for all.
            let _lock = if self.world.rank() == 0 { target.lock()? } else { None };
            let before = (found.spectra.len(), found.curvatures.len());
            match &target.origin {
                Origin::Run { run, epochs, folder, over_epochs } => {
                    let set = sets.get(self.data.as_deref().or(folder.as_deref()))?;
                    for &epoch in epochs {
                        let network =
                            TrainedNetwork::of_run(run, Some(epoch), set, self.data.is_some(), self.machine);
                        let measured = network.map_err(CliError::from).and_then(|network| {
                            self.take_one(network.among(self.world.clone()), target, !over_epochs, &mut found)
                        });
                        measured.map_err(|error| of_checkpoint(error, &run.checkpoint_path(epoch)))?;
                    }
                    let spectra = found.spectra.iter().skip(before.0).map(Answer::from);
                    let answers = spectra.chain(found.curvatures.iter().skip(before.1).map(Answer::from));
                    if *over_epochs && self.world.rank() == 0 {
                        over_epochs::leave(run, &target.place, answers.collect())?;
                        rows_printed = true;
                    }
                }
                Origin::File { checkpoint, interpretation, scaling } => {
                    let set = sets.get(self.data.as_deref())?;
                    let network = TrainedNetwork::of_checkpoint(
                        checkpoint,
                        interpretation,
                        *scaling,
                        set,
                        self.machine,
                    );
                    let measured = network.map_err(CliError::from).and_then(|network| {
                        reading::tell(&network, self.quiet);
                        self.take_one(network.among(self.world.clone()), target, true, &mut found)
                    });
                    measured.map_err(|error| of_checkpoint(error, checkpoint))?;
                }
            }
        }
        let records = found.spectra;
        match (records.is_empty(), self.full) {
            (true, _) => {}
            (false, true) => table::print(&records),
            (false, false) if rows_printed => summary::print_failures(&records),
            (false, false) => summary::print(&records),
        }
        for record in found.curvatures.iter().filter(|_| !rows_printed || self.full) {
            curvature::print(record, self.full);
        }
        failures(&records, &found.curvatures)
    }

    /// A network once, or once for each of its statistics, and folded where that was asked for;
    /// where it was written is said if it is `told`.
    fn take_one(
        &self,
        mut network: TrainedNetwork<'_>,
        target: &Target,
        told: bool,
        found: &mut Found,
    ) -> Result<(), CliError> {
        for request in self.requests(&network)? {
            let subject = self.watched(|watch| network.subject(&request, watch))?;
            found.add(self.measure_and_save(subject, &target.place, told && !self.quiet)?);
        }
        Ok(())
    }

    /// What is asked of one network.
    fn requests(&self, network: &TrainedNetwork<'_>) -> Result<Vec<Request>, CliError> {
        let normalises = network.shape().normalisation.has_statistics();
        let batch = || network.batch_statistics(self.batch_size);
        let statistics = match self.statistics {
            // Without any they are all one.
            _ if !normalises => vec![Statistics::Running],
            StatisticsArgument::Running => vec![Statistics::Running],
            StatisticsArgument::Dataset => vec![Statistics::Dataset],
            StatisticsArgument::Batch => vec![batch()?],
            StatisticsArgument::All => {
                let mut all = vec![Statistics::Running, batch()?, Statistics::Dataset];
                all.dedup();
                all
            }
        };
        let mut requests = Vec::new();
        for statistics in statistics {
            let request = Request { statistics, folded: false, ..self.request.clone() };
            requests.push(request.clone());
            let can_be_folded = normalises && !matches!(statistics, Statistics::Batch(_));
            if self.request.folded && can_be_folded {
                requests.push(Request { folded: true, ..request });
            }
        }
        Ok(requests)
    }

    /// Does `work` with a bar on the screen.
    fn watched<T>(&self, work: impl FnOnce(&Measuring) -> Result<T, ProbeError>) -> Result<T, CliError> {
        Ok(work(&Measuring::new(self.quiet))?)
    }

    /// Measures `subject`, writes what came out into its place, and says where that is if it is
    /// `told`; what came out is returned, to be shown with the others.
    fn measure_and_save(&self, subject: Subject, place: &Place, told: bool) -> Result<Measured, CliError> {
        let settings = subject.settings();
        let out = place.of(settings);
        let is_first = self.world.rank() == 0;
        // Before it is computed.
        if is_first {
            claim(&out, settings)?;
        }
        let network = settings.network.clone();
        if self.request.is_matrix_free() {
            let images = names::images(settings).map_or_else(String::new, |of| format!(", {of}"));
            let size = settings.classes.saturating_mul(settings.features);
            say(format_args!(
                "\n{network}{images}: {} samples, {} x {} features; H would be {size} x {size}\n",
                settings.samples,
                names::logits(settings.classes),
                settings.features,
            ));
        }
        let version = &self.machine.provenance.kappa_version;
        let measured = self.watched(|watch| measure(subject, version, watch))?;
        if !is_first {
            return Ok(measured);
        }
        match &measured {
            Measured::Spectrum(whole) => {
                let WholeSpectrum { record, pairs, of_whole_matrix, tensors, .. } = &**whole;
                save_spectrum(&out, record, pairs.spectrum.eigenvalues(), of_whole_matrix, tensors)?;
                if told {
                    say(format_args!("{network} -> {}", shown(&out)));
                }
                warn_of_guessing(record);
            }
            Measured::MatrixFree(record) => {
                save_matrix_free(&out, record)?;
                density::print(record);
                say(format_args!("{network} -> {}", shown(&out)));
                if record.top.as_ref().is_some_and(|top| top.passed == Some(false)) {
                    return Err(CliError::Unproven { failed: format!("{network}: residual") });
                }
            }
            Measured::Curvature(record) => {
                save_curvature(&out, record)?;
                if told {
                    say(format_args!("{network} -> {}", shown(&out)));
                }
            }
        }
        Ok(measured)
    }
}

/// Rows of features, logits and labels that are not of the same samples pass every check.
fn warn_of_guessing(record: &SpectrumRecord) {
    let Some(directions) = &record.directions else { return };
    if let (Some(accuracy), Some(most_frequent)) = (directions.accuracy, directions.most_frequent)
        && accuracy < most_frequent
    {
        eprintln!(
            "warning: {}: the likeliest class is the label of {:.2} % of the samples, and the most frequent \
             label is that of {:.2} %: are the rows of both in the same order?",
            printable(&record.settings.network),
            100.0 * accuracy,
            100.0 * most_frequent,
        );
    }
}

/// `error` with the checkpoint that it is about: which epoch it was.
fn of_checkpoint(error: CliError, checkpoint: &Path) -> CliError {
    match error {
        CliError::Probe(source) => {
            CliError::Spectrum { checkpoint: checkpoint.display().to_string(), source }
        }
        error => error,
    }
}

/// An error that names every check that did not pass.
fn failures(records: &[SpectrumRecord], of_networks: &[CurvatureRecord]) -> Result<(), CliError> {
    let named = records.iter().zip(names::of_each(records));
    let mut failed: Vec<String> = named
        .flat_map(|(record, name)| {
            let failed = record.checks().filter(|check| !check.passed);
            failed.map(move |check| format!("{name}: {}", check.name))
        })
        .collect();
    failed.extend(of_networks.iter().flat_map(curvature::failed));
    if failed.is_empty() { Ok(()) } else { Err(CliError::Unproven { failed: failed.join(", ") }) }
}
