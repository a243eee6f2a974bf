//! An answer, computed again from its checkpoint and the images.

use std::path::{Path, PathBuf};

use kappa_probe::{EpochSpectra, Measured, TrainedNetwork, measure, recompute, recompute_network_row};
use kappa_run::{
    CurvatureRecord, CurvatureSummary, MatrixFreeRecord, Mismatch, Precision, Request, RunDir, Saved,
    SpectrumRecord, SpectrumSettings, WholeRow, mismatches, shown,
};
use kappa_trainer::Machine;

use super::{
    DataSets,
    agreement::Agreement,
    place::{Holding, Place},
    told,
};
use crate::{args::VerifyArguments, backend, error::CliError, output::say};

/// What of a record is of the place and the time, and not of the question.
const OF_THE_PLACE: [&str; 8] =
    ["kappa_version", "source", "data", "backend", "device", "seconds", "timings", "request"];

const EIGENVALUES: &str = "eigenvalues";
const BOTH_ENDS: &str = "eigenvalues of both ends";

/// Computes again what was saved.
pub struct Again<'a> {
    arguments: &'a VerifyArguments,
    /// Asked for where something is computed, since looking for a GPU takes a while.
    machine: Option<Machine>,
    sets: DataSets,
}

/// Where the network of an answer is.
enum Origin<'a> {
    Run(&'a RunDir, usize),
    Checkpoint(PathBuf),
}

impl<'a> Again<'a> {
    pub fn new(arguments: &'a VerifyArguments) -> Self {
        Self { arguments, machine: None, sets: DataSets::default() }
    }

    /// Computes the answers of `place` again: of a run those of one epoch, of a study those of the
    /// first run that has any, of those with Hessians of more than the last layer if there are any. Says what agrees, and counts what does not.
    pub fn compute(&mut self, place: &Place, holdings: Vec<Holding>) -> Result<usize, CliError> {
        let has_whole = |saved: &Saved| matches!(saved, Saved::Whole { .. });
        let (mut with_whole, mut others): (Vec<_>, Vec<_>) =
            holdings.into_iter().partition(|holding| holding.saved.iter().any(has_whole));
        with_whole.append(&mut others);
        let first = with_whole.into_iter().find(|holding| !holding.saved.is_empty());
        match (place, first) {
            (Place::Report | Place::Unusable, _) => Ok(0),
            (_, None) => {
                say(format_args!("  no spectrum was saved, so none was computed again"));
                Ok(0)
            }
            (Place::Answer(_), Some(Holding { run, saved })) => {
                let mut wrong = 0;
                for saved in &saved {
                    wrong += self.alone(run.as_ref(), saved)?;
                }
                Ok(wrong)
            }
            (_, Some(Holding { run: Some(run), saved })) => self.of_run(&run, saved),
            (_, Some(Holding { run: None, .. })) => Ok(0),
        }
    }

    /// The answers in a run's directory of one of its epochs.
    fn of_run(&mut self, run: &RunDir, mut saved: Vec<Saved>) -> Result<usize, CliError> {
        let last = saved.iter().filter_map(Saved::epoch).max().unwrap_or(0);
        let epoch = self.arguments.epoch.unwrap_or(last);
        saved.retain(|saved| saved.epoch() == Some(epoch));
        let path = shown(run.path());
        if saved.is_empty() {
            say(format_args!(
                "  WRONG: {path} has no spectrum of epoch {epoch}; `kappa hessian {path} --epoch {epoch}` computes it"
            ));
            return Ok(1);
        }
        let name = shown(run.path().file_name().unwrap_or_default());
        let backend = self.machine()?.provenance.backend;
        say(format_args!("  computed again on {backend} from the checkpoint of epoch {epoch} of {name}"));
        // All variants at once, since they come from the same sums.
        let precision = saved.iter().find_map(|saved| match saved {
            Saved::Row { precision, .. } => Some(*precision),
            _ => None,
        });
        let plain = saved.iter().any(|saved| matches!(saved, Saved::Row { row, .. } if row.plain.is_some()));
        let variants = match precision {
            Some(precision) => self.variants(run, epoch, precision, plain)?,
            None => Vec::new(),
        };
        let inputs = run.manifest()?.inputs;
        let mut wrong = 0;
        for saved in &saved {
            wrong += match saved {
                Saved::Row { row, eigenvalues, .. } => {
                    let again = variants.iter().find(|again| again.row.variant == row.variant);
                    let values = again.map_or(&[][..], |again| &again.eigenvalues);
                    let agreement = Agreement::of(eigenvalues, values, inputs, 0.0);
                    let found = again.map(|again| mismatches(row, &again.row, 0.0, |_| false));
                    let file = saved.file(run.path());
                    verdict(&file, [&saved.name(), EIGENVALUES], &agreement, &found.unwrap_or_default())
                }
                Saved::Whole { row, precision, samples } => {
                    let again = self.network_row(run, row, *precision, *samples)?;
                    let file = saved.file(run.path());
                    again.map_or(1, |again| {
                        let agreement = of_both_ends(&row.summary, &again.summary, inputs);
                        let found = mismatches(&**row, &again, 0.0, |_| false);
                        verdict(&file, [&saved.name(), BOTH_ENDS], &agreement, &found)
                    })
                }
                _ => self.answer(&Origin::Run(run, epoch), saved)?,
            };
        }
        Ok(wrong)
    }

    /// An answer in a folder of its own, if its network is still there.
    fn alone(&mut self, run: Option<&RunDir>, saved: &Saved) -> Result<usize, CliError> {
        let Some(settings) = saved.settings() else { return Ok(0) };
        let source = PathBuf::from(&settings.source);
        // Two folders above its checkpoints is a run.
        let around = source.ancestors().nth(2).map(RunDir::find).transpose()?.flatten();
        let run = run.or(around.as_ref());
        let origin = match (run, settings.epoch) {
            (Some(run), Some(epoch)) if run.checkpoint_path(epoch).is_file() => Origin::Run(run, epoch),
            _ if settings.data.is_none() => {
                say(format_args!(
                    "  not computed again: it is of arrays ({}), and `kappa hessian` with the same options takes them again",
                    shown(&source)
                ));
                return Ok(0);
            }
            _ if source.is_file() => Origin::Checkpoint(source),
            _ => {
                say(format_args!("  not computed again: {} is not there", shown(&source)));
                return Ok(0);
            }
        };
        let backend = self.machine()?.provenance.backend;
        say(format_args!("  computed again on {backend} from {}", shown(&settings.source)));
        self.answer(&origin, saved)
    }

    /// An answer of `kappa hessian`: its request is done again.
    fn answer(&mut self, origin: &Origin<'_>, saved: &Saved) -> Result<usize, CliError> {
        let Some(settings) = saved.settings() else { return Ok(0) };
        let Some((again, inputs)) = self.measured(origin, settings)? else {
            say(format_args!(
                "    {:<26}not computed again: it is of the images {}, and --data takes their folder",
                saved.name(),
                shown(settings.data.as_deref().unwrap_or_default())
            ));
            return Ok(0);
        };
        // The file is inside the answer's folder, so no run's path is needed.
        let file = saved.file(Path::new(""));
        let name = saved.name();
        match (saved, again) {
            (Saved::Spectrum { record, eigenvalues, .. }, Measured::Spectrum(again)) => {
                let values = again.pairs.spectrum.eigenvalues();
                let agreement = Agreement::of(eigenvalues, values, inputs, 0.0);
                Ok(verdict(&file, [&name, EIGENVALUES], &agreement, &in_spectrum(record, &again.record)))
            }
            (Saved::MatrixFree { record, .. }, Measured::MatrixFree(again)) => {
                Ok(matrix_free(&file, &name, record, &again, inputs))
            }
            (Saved::Curvature { record, .. }, Measured::Curvature(again)) => {
                Ok(curvature(&file, &name, record, &again, inputs))
            }
            // The same request is answered in the same way.
            _ => Ok(0),
        }
    }

    /// Does a request again, where the images that it is of are at hand; with the network's inputs.
    fn measured(
        &mut self,
        origin: &Origin<'_>,
        settings: &SpectrumSettings,
    ) -> Result<Option<(Measured, usize)>, CliError> {
        self.machine()?;
        let Some(machine) = &self.machine else { return Ok(None) };
        let named = self.arguments.data.as_deref();
        let folder = match origin {
            Origin::Run(run, _) => run.manifest()?.config.data.folder,
            Origin::Checkpoint(_) => None,
        };
        let set = self.sets.get(named.or(folder.as_deref()))?;
        let of_these = set.files.iter().map(|file| &file.sha256);
        if !of_these.eq(settings.data_files.iter().map(|file| &file.sha256)) {
            return Ok(None);
        }
        let mut network = match origin {
            Origin::Run(run, epoch) => {
                TrainedNetwork::of_run(run, Some(*epoch), set, named.is_some(), machine)?
            }
            Origin::Checkpoint(path) => TrainedNetwork::of_checkpoint(
                path,
                &settings.interpretation,
                settings.scaling.unwrap_or_default(),
                set,
                machine,
            )?,
        };
        let inputs = network.shape().inputs;
        // The matrix was kept for others, and says nothing that is not compared.
        let request = Request { keep_matrix: false, ..settings.request.clone() };
        let subject = network.subject(&request, &())?;
        Ok(Some((measure(subject, &machine.provenance.kappa_version, &())?, inputs)))
    }

    fn variants(
        &mut self,
        run: &RunDir,
        epoch: usize,
        precision: Precision,
        plain: bool,
    ) -> Result<Vec<EpochSpectra>, CliError> {
        self.machine()?;
        let Some(machine) = &self.machine else { return Ok(Vec::new()) };
        let folder = run.manifest()?.config.data.folder;
        let set = self.sets.get(self.arguments.data.as_deref().or(folder.as_deref()))?;
        Ok(recompute(run, epoch, precision, plain, set, machine)?)
    }

    fn network_row(
        &mut self,
        run: &RunDir,
        row: &WholeRow,
        precision: Precision,
        samples: usize,
    ) -> Result<Option<WholeRow>, CliError> {
        self.machine()?;
        let Some(machine) = &self.machine else { return Ok(None) };
        let folder = run.manifest()?.config.data.folder;
        let set = self.sets.get(self.arguments.data.as_deref().or(folder.as_deref()))?;
        Ok(recompute_network_row(run, &row.point, precision, samples, set, machine)?)
    }

    fn machine(&mut self) -> Result<&Machine, CliError> {
        let machine = match self.machine.take() {
            Some(machine) => machine,
            None => backend::choose(self.arguments.backend.named())?.machine,
        };
        Ok(self.machine.insert(machine))
    }
}

/// What of a record came out otherwise.
fn in_spectrum(saved: &SpectrumRecord, again: &SpectrumRecord) -> Vec<Mismatch> {
    mismatches(saved, again, 0.0, |key| OF_THE_PLACE.contains(&key))
}

/// What was found without H. Its numbers are the same to the last bit, or near where a sum was
/// taken in another order.
fn matrix_free(
    file: &Path,
    name: &str,
    saved: &MatrixFreeRecord,
    again: &MatrixFreeRecord,
    inputs: usize,
) -> usize {
    let values = |record: &MatrixFreeRecord| {
        let top = record.top.as_ref().map(|top| top.eigenvalues.clone()).unwrap_or_default();
        // The trace from the samples is a sum of eigenvalues, too.
        let trace = record.density.as_ref().and_then(|density| density.trace_of_samples);
        top.into_iter().chain(trace).collect::<Vec<f64>>()
    };
    let bound = |record: &MatrixFreeRecord| record.top.as_ref().and_then(|top| top.residual_bound);
    let residual = bound(saved).into_iter().chain(bound(again)).fold(0.0, f64::max);
    let agreement = Agreement::of(&values(saved), &values(again), inputs, residual);
    let found = mismatches(saved, again, 0.0, |key| OF_THE_PLACE.contains(&key));
    verdict(file, [name, "numbers without H"], &agreement, &found)
}

/// What was found of other parameters than a last layer's weights, likewise.
fn curvature(
    file: &Path,
    name: &str,
    saved: &CurvatureRecord,
    again: &CurvatureRecord,
    inputs: usize,
) -> usize {
    let agreement = of_both_ends(&saved.curvature, &again.curvature, inputs);
    // Of an epoch that was the last one when this was saved only the last layer's state is left.
    let is_gone = saved.adam.is_some() && again.adam.is_none();
    let apart = |key: &str| OF_THE_PLACE.contains(&key) || (is_gone && key == "adam");
    let found = mismatches(saved, again, 0.0, apart);
    let wrong = verdict(file, [name, BOTH_ENDS], &agreement, &found);
    if is_gone {
        say(format_args!(
            "    what Adam saw was not computed again: its state is gone, since the run went on"
        ));
    }
    wrong
}

/// How near both ends of a spectrum come to what was saved.
fn of_both_ends(saved: &CurvatureSummary, again: &CurvatureSummary, inputs: usize) -> Agreement {
    let values = |summary: &CurvatureSummary| {
        summary.ends().flat_map(|end| end.eigenvalues.iter().copied()).collect::<Vec<f64>>()
    };
    let bounds = saved.ends().chain(again.ends()).map(|end| end.residual_bound);
    Agreement::of(&values(saved), &values(again), inputs, bounds.fold(0.0, f64::max))
}

/// Says how the numbers of an answer, by its name and theirs, agree; where they do to the last bit, all that was measured beside them
/// has to. Counts what is wrong.
fn verdict(file: &Path, [name, numbers]: [&str; 2], agreement: &Agreement, found: &[Mismatch]) -> usize {
    say(format_args!("    {:<26}{}", shown(name), agreement.describe(numbers)));
    match agreement {
        Agreement::Same { .. } => told(file, found, "from the checkpoint"),
        agreement => usize::from(!agreement.is_within()),
    }
}
