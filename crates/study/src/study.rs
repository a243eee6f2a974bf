//! A study, run: the grid, the choice, the paired seeds, the sweeps, the verdicts.
//!
//! Whatever is finished already is not done again, so a study that was stopped
//! goes on where it was: a run is finished when its manifest says so, its spectra
//! when they are all written.

use std::{path::Path, time::Instant};

use kappa_data::DataSet;
use kappa_run::{EpochMetrics, RunDir, RunError, RunSpectra, SPECTRA_VERSION, StudyConfig, StudyDir};
use kappa_trainer::{
    CheckpointError, DeviceSplit, Machine, Observer, PixelScaling, TrainError, load_checkpoint, split_data,
    train,
};

use crate::{
    BatchNormStatistics, Judged, Pair, Precision, ProbeError, RunRecord, judge,
    plan::{self, Point},
    spectra::spectra,
};

/// A study stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Its directory could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint could not be read back.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A Hessian could not be computed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// No run of the grid trained.
    #[error("no point of the grid could be trained: the last one said: {0}")]
    NoChoice(String),
}

/// Is told how far a study is.
pub trait StudyObserver {
    /// A stage of `runs` runs begins.
    fn stage(&mut self, name: &'static str, runs: usize);
    /// An epoch is trained, or its spectra are taken; `epochs` are to be.
    fn epoch(&mut self, epochs: usize);
    /// A run is done; `again` if it was found finished.
    fn run_done(&mut self, name: &str, metrics: &EpochMetrics, again: bool);
}

/// What a study found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StudyResult {
    /// The chosen learning rate.
    pub learning_rate: f64,
    /// The chosen L2 parameter.
    pub l2: f64,
    /// Of each point of the grid: learning rate, L2, validation accuracy (none if it diverged).
    pub grid: Vec<(f64, f64, Option<f64>)>,
    /// The verdicts at the chosen point and along the sweeps.
    pub judged: Vec<Judged>,
    /// Seconds of each stage in this call: those of an earlier one are not counted.
    pub stages: Vec<(&'static str, f64)>,
}

/// Of which epochs the spectra are taken: of every one at the chosen point, of the
/// last one elsewhere, where a Hessian each epoch would cost most of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    EveryEpoch,
    LastEpoch,
}

struct Runner<'a> {
    study: &'a StudyConfig,
    set: &'a DataSet,
    machine: &'a Machine,
    precision: Precision,
    directory: StudyDir,
    statistics: Vec<BatchNormStatistics>,
    observer: &'a mut dyn StudyObserver,
}

/// Runs `study` on `set` and leaves its directory under `root`.
///
/// # Errors
///
/// [`StudyError`]; what was finished stays, and the same call goes on from there.
pub fn run_study(
    study: &StudyConfig,
    set: &DataSet,
    machine: &Machine,
    precision: Precision,
    root: &Path,
    observer: &mut dyn StudyObserver,
) -> Result<(StudyDir, StudyResult), StudyError> {
    let directory = StudyDir::create(root, study)?;
    let statistics = plan::statistics(study);
    let mut runner = Runner { study, set, machine, precision, directory, statistics, observer };
    let mut stages = Vec::new();
    let mut timed = |name, start: Instant| stages.push((name, start.elapsed().as_secs_f64()));

    let start = Instant::now();
    let (chosen, grid) = runner.choose()?;
    timed("grid", start);

    let start = Instant::now();
    runner.observer.stage("paired seeds", 2 * study.seeds.get());
    let pairs = plan::seeds(study)
        .map(|seed| runner.pair(Point { seed, ..chosen }, Probed::EveryEpoch))
        .collect::<Result<Vec<_>, _>>()?;
    timed("paired seeds", start);

    let start = Instant::now();
    let widths = plan::widths(study, chosen);
    runner.observer.stage("widths", 2 * widths.len());
    let widths = widths
        .into_iter()
        .map(|point| runner.pair(point, Probed::LastEpoch))
        .collect::<Result<Vec<_>, _>>()?;
    timed("widths", start);

    let mut judged = vec![judge("chosen", &pairs, &widths, &study.accuracies, set.classes)];
    let start = Instant::now();
    let sweep = plan::sweep(study, chosen);
    runner.observer.stage("sweep", 2 * sweep.len() * study.seeds.get());
    for sweep in sweep {
        let pairs: Result<Vec<_>, _> = plan::seeds(study)
            .map(|seed| runner.pair(Point { seed, ..sweep.point }, Probed::LastEpoch))
            .collect();
        match pairs {
            Ok(pairs) => judged.push(judge(&sweep.label, &pairs, &[], &study.accuracies, set.classes)),
            // A point far from the chosen one may diverge; that is a finding, not a failure.
            Err(StudyError::Train(error @ TrainError::Diverged { .. })) => {
                tracing::warn!("{}: {error}", sweep.label);
            }
            Err(error) => return Err(error),
        }
    }
    timed("sweep", start);

    let result = StudyResult { learning_rate: chosen.learning_rate, l2: chosen.l2, grid, judged, stages };
    runner.directory.write_verdicts(&result)?;
    Ok((runner.directory, result))
}

impl Runner<'_> {
    /// Trains FC along the grid; the best is that of the highest validation
    /// accuracy, and of two equal ones that of the lower validation loss.
    #[allow(clippy::type_complexity)]
    fn choose(&mut self) -> Result<(Point, Vec<(f64, f64, Option<f64>)>), StudyError> {
        let points = plan::grid(self.study);
        self.observer.stage("grid", points.len());
        let mut best: Option<(Point, EpochMetrics)> = None;
        let mut tried = Vec::new();
        let mut problem = String::new();
        for point in points {
            match self.trained(point) {
                Ok((_, metrics)) => {
                    tried.push((point.learning_rate, point.l2, Some(metrics.validation_accuracy)));
                    let better = best.is_none_or(|(_, best)| {
                        let rank = |m: &EpochMetrics| (m.validation_accuracy, -m.validation_loss);
                        rank(&metrics) > rank(&best)
                    });
                    if better {
                        best = Some((point, metrics));
                    }
                }
                Err(StudyError::Train(error @ TrainError::Diverged { .. })) => {
                    tried.push((point.learning_rate, point.l2, None));
                    problem = error.to_string();
                }
                Err(error) => return Err(error),
            }
        }
        let (chosen, _) = best.ok_or(StudyError::NoChoice(problem))?;
        Ok((chosen, tried))
    }

    /// Both networks at `point`, trained and probed.
    fn pair(&mut self, point: Point, probed: Probed) -> Result<Pair, StudyError> {
        let [fc, bn] = point.both();
        Ok(Pair { seed: point.seed, fc: self.recorded(fc, probed)?, bn: self.recorded(bn, probed)? })
    }

    /// The run of `point`, trained now or found finished, and its last metrics.
    fn trained(&mut self, point: Point) -> Result<(RunDir, EpochMetrics), StudyError> {
        let (runs, name) = (self.directory.runs(), point.name());
        let found = match RunDir::open(&runs.join(&name)) {
            Ok(run) if run.manifest()?.finished.is_some() => Some(run),
            _ => None,
        };
        let again = found.is_some();
        let run = match found {
            Some(run) => run,
            None => {
                let config = point.config(self.study);
                let mut epochs = Epochs { observer: &mut *self.observer, epochs: 0 };
                train(&config, self.set, self.machine, &runs, Some(&name), &mut epochs)?
            }
        };
        let last = run.metrics()?.pop().ok_or_else(|| RunError::NotARun(run.path().to_owned()))?;
        self.observer.run_done(&name, &last, again);
        Ok((run, last))
    }

    /// Everything that is judged of the run of `point`.
    fn recorded(&mut self, point: Point, probed: Probed) -> Result<RunRecord, StudyError> {
        let (run, _) = self.trained(point)?;
        let spectra = match run.spectra()? {
            Some(spectra) => spectra,
            None => self.probe(&run, point, probed)?,
        };
        Ok(RunRecord { metrics: run.metrics()?, spectra: spectra.rows })
    }

    /// Takes the spectra of `run` from its checkpoints.
    fn probe(&mut self, run: &RunDir, point: Point, probed: Probed) -> Result<RunSpectra, StudyError> {
        let config = point.config(self.study);
        let splits = split_data(self.set, &config.data, config.seed)?;
        let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
        let device = &self.machine.device;
        let split = DeviceSplit::new(&splits.train, self.set.classes, scaling, device);
        let mut epochs = run.epochs()?;
        if probed == Probed::LastEpoch {
            epochs = epochs.split_off(epochs.len().saturating_sub(1));
        }
        let (mut rows, mut eigenvalues) = (Vec::new(), Vec::new());
        for &epoch in &epochs {
            let network = load_checkpoint(&run.checkpoint_path(epoch), device)?;
            for (row, values) in spectra(&network, &split, epoch, self.precision, &self.statistics)? {
                rows.push(row);
                eigenvalues.extend(values);
            }
            self.observer.epoch(epochs.len());
        }
        let precision = self.precision.name().to_owned();
        let spectra = RunSpectra { schema_version: SPECTRA_VERSION, precision, rows };
        run.write_spectra(&spectra, &eigenvalues)?;
        Ok(spectra)
    }
}

/// Passes a training's epochs on to the study's observer.
struct Epochs<'a> {
    observer: &'a mut dyn StudyObserver,
    epochs: usize,
}

impl Observer for Epochs<'_> {
    fn started(&mut self, _: &RunDir, epochs: usize, _: usize) {
        self.epochs = epochs + 1;
    }

    fn stepped(&mut self) {}

    fn finished_epoch(&mut self, _: &EpochMetrics) {
        self.observer.epoch(self.epochs);
    }
}
