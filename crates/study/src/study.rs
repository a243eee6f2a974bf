//! A study, run: the grid, the choice, the paired seeds, the sweeps, the verdicts.
//!
//! Whatever is finished already is not done again, so a study that was stopped
//! goes on where it was: a run is finished when its manifest says so, its spectra
//! when they are all written. A run that is not goes on from its last whole epoch.

mod whole;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::module::Module;
use kappa_data::DataSet;
use kappa_probe::{ProbeError, variants};
use kappa_run::{
    CheckRecord, EpochMetrics, Findings, Precision, RunDir, RunError, RunSpectra, RunWhole, SPECTRA_VERSION,
    StudyConfig, StudyDir, shown,
};
use kappa_trainer::{CheckpointError, Machine, Observer, TrainError, load_checkpoint, train, training_split};

use crate::{
    findings::{choose, find},
    plan::{self, Arms, Point},
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
    #[error("{} has no spectrum of epoch {epoch}", shown(run))]
    Probe {
        /// The run directory.
        run: PathBuf,
        /// The epoch.
        epoch: usize,
        /// Why.
        source: ProbeError,
    },
    /// A run of the study is of another configuration than the study gives it.
    #[error("{} was trained by another configuration than this study's", shown(.0))]
    OtherRun(PathBuf),
    /// What depends on the grid's choice was asked for before there is one.
    #[error("the runs depend on what the grid chooses, and the grid is not done")]
    GridFirst,
    /// No run of the grid trained.
    #[error("no point of the grid could be trained: the last one said: {0}")]
    NoChoice(String),
}

/// Is told how far a study is.
pub trait StudyObserver {
    /// There is `work` left from here on, training and spectra, in epochs of training.
    fn planned(&mut self, work: usize);
    /// So much of it is done.
    fn worked(&mut self, work: usize);
    /// A stage of `runs` runs begins.
    fn stage(&mut self, name: &'static str, runs: usize);
    /// A run is done; `again` if it was found finished.
    fn run_done(&mut self, name: &str, metrics: &EpochMetrics, again: bool);
    /// Whether to go on: asked after every step of a training and every epoch's spectra.
    fn go_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What a study leaves.
#[derive(Debug, Clone)]
pub struct StudyResult {
    /// Its directory.
    pub directory: StudyDir,
    /// What it found.
    pub findings: Findings,
    /// Seconds of each stage in this call: those of an earlier one are not counted.
    pub stages: Vec<(&'static str, f64)>,
    /// What was checked of its spectra.
    pub checked: Checked,
}

/// What was checked of a study's spectra.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Spectra.
    pub spectra: usize,
    /// Checks of them.
    pub checks: usize,
    /// Each check that did not pass: run, epoch, variant, check.
    pub failed: Vec<String>,
}

impl Checked {
    fn add(&mut self, run: &str, spectra: &RunSpectra) {
        for row in &spectra.rows {
            self.add_row(&row.checks, || format!("{run}, epoch {}, {}", row.epoch, row.variant));
        }
    }

    fn add_whole(&mut self, run: &str, whole: &RunWhole) {
        for row in &whole.rows {
            self.add_row(&row.checks, || format!("{run}, epoch {}, {}", row.point.epoch, row.name()));
        }
    }

    fn add_row(&mut self, checks: &[CheckRecord], of: impl Fn() -> String) {
        self.spectra += 1;
        self.checks += checks.len();
        let failed = checks.iter().filter(|check| !check.passed);
        self.failed.extend(failed.map(|check| format!("{}: {}", of(), check.name)));
    }
}

/// Of which epochs the spectra are taken: of every one at the chosen point, of the
/// last one elsewhere, where a Hessian each epoch would cost most of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    EveryEpoch,
    LastEpoch,
    No,
}

/// What the spectra of one epoch cost, in epochs of training: about, for the bar.
const SPECTRA_WORK: usize = 3;
/// The same of a Hessian of more than the last layer.
const WHOLE_WORK: usize = 8;

/// What does a study's runs.
pub(crate) struct Runner<'a> {
    study: &'a StudyConfig,
    set: &'a DataSet,
    machine: &'a Machine,
    precision: Precision,
    directory: StudyDir,
    pub arms: Arms,
    pub observer: &'a mut dyn StudyObserver,
    pub checked: Checked,
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
) -> Result<StudyResult, StudyError> {
    let arms = Arms::new(study)?;
    arms.check_batches()?;
    let directory = StudyDir::create(root, study)?;
    let lock = directory.lock()?;
    let mut runner = Runner::new(study, set, machine, precision, directory, arms, observer);
    let count = runner.arms.count();
    let mut stages = Vec::new();
    let mut timed = |name, start: Instant| stages.push((name, start.elapsed().as_secs_f64()));

    let start = Instant::now();
    // Which point will be chosen does not matter for how much there is to do.
    if let Some(&any) = plan::grid(study).first() {
        runner.plan(any);
    }
    runner.train_grid()?;
    let (chosen, _) = choose(study, &runner.directory, &runner.arms)?;
    runner.plan(chosen);
    timed("grid", start);

    let start = Instant::now();
    runner.observer.stage("paired seeds", count * study.seeds.get());
    for seed in plan::seeds(study) {
        runner.seed_runs(Point { seed, ..chosen }, Probed::EveryEpoch)?;
    }
    timed("paired seeds", start);

    if study.whole.is_some() {
        let start = Instant::now();
        runner.observer.stage("whole network", count * study.seeds.get());
        for seed in plan::seeds(study) {
            let mut points = runner.arms.all(Point { seed, ..chosen });
            points.try_for_each(|point| runner.take_whole(point))?;
        }
        timed("whole network", start);
    }

    let start = Instant::now();
    let widths = plan::widths(study, &runner.arms, chosen);
    runner.observer.stage("widths", count * widths.len());
    for point in widths {
        runner.seed_runs(point, Probed::LastEpoch)?;
    }
    timed("widths", start);

    let start = Instant::now();
    let sweep = plan::sweep(study, chosen);
    runner.observer.stage("sweep", count * sweep.len() * study.seeds.get());
    for sweep in sweep {
        let mut seeds = plan::seeds(study);
        match seeds.try_for_each(|seed| runner.seed_runs(Point { seed, ..sweep.point }, Probed::LastEpoch)) {
            // What it says stands in its run, and is found there.
            Err(StudyError::Train(error @ TrainError::Diverged { .. })) => {
                tracing::warn!("{}: {error}", sweep.label);
            }
            result => result?,
        }
    }
    timed("sweep", start);

    let findings = find(study, &runner.directory, &machine.provenance.kappa_version)?;
    runner.directory.write_findings(&findings)?;
    drop(lock);
    Ok(StudyResult { directory: runner.directory, findings, stages, checked: runner.checked })
}

impl<'a> Runner<'a> {
    pub fn new(
        study: &'a StudyConfig,
        set: &'a DataSet,
        machine: &'a Machine,
        precision: Precision,
        directory: StudyDir,
        arms: Arms,
        observer: &'a mut dyn StudyObserver,
    ) -> Self {
        Self { study, set, machine, precision, directory, arms, observer, checked: Checked::default() }
    }
}

impl Runner<'_> {
    /// Tells the observer how much is left, if `chosen` is the point.
    fn plan(&mut self, chosen: Point) {
        let seeds = |point: Point| plan::seeds(self.study).map(move |seed| Point { seed, ..point });
        let mut runs: Vec<(Point, Probed)> =
            plan::grid(self.study).into_iter().map(|point| (point, Probed::No)).collect();
        let mut add = |point: Point, probed| runs.extend(self.arms.all(point).map(|point| (point, probed)));
        seeds(chosen).for_each(|point| add(point, Probed::EveryEpoch));
        plan::widths(self.study, &self.arms, chosen)
            .into_iter()
            .for_each(|point| add(point, Probed::LastEpoch));
        for sweep in plan::sweep(self.study, chosen) {
            seeds(sweep.point).for_each(|point| add(point, Probed::LastEpoch));
        }
        let mut work: HashMap<String, usize> = HashMap::new();
        for (point, probed) in runs {
            let most = work.entry(self.arms.name(point)).or_default();
            *most = (*most).max(self.work_left(point, probed));
        }
        let of_whole =
            seeds(chosen).flat_map(|point| self.arms.all(point)).map(|point| self.whole_left(point));
        let of_whole: usize = of_whole.sum();
        self.observer.planned(work.values().sum::<usize>() + WHOLE_WORK * of_whole);
    }

    /// What training and probing `point` still takes.
    fn work_left(&self, point: Point, probed: Probed) -> usize {
        let epochs = self.study.recipe.training.epochs.get() + 1;
        let run = RunDir::open(&self.directory.runs().join(self.arms.name(point))).ok();
        let trained = run.as_ref().is_some_and(|run| run.manifest().is_ok_and(|run| run.is_finished()));
        let spectra = match probed {
            _ if run.is_some_and(|run| matches!(run.spectra(), Ok(Some(_)))) => 0,
            Probed::EveryEpoch => epochs,
            Probed::LastEpoch => 1,
            Probed::No => 0,
        };
        if trained { SPECTRA_WORK * spectra } else { epochs + SPECTRA_WORK * spectra }
    }

    /// Trains the reference along the grid. Some points of it may diverge.
    fn train_grid(&mut self) -> Result<(), StudyError> {
        let points = plan::grid(self.study);
        self.observer.stage("grid", points.len());
        for point in points {
            match self.trained(point) {
                Ok(_) | Err(StudyError::Train(TrainError::Diverged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All arms at `point`, trained and probed.
    fn seed_runs(&mut self, point: Point, probed: Probed) -> Result<(), StudyError> {
        self.arms.all(point).try_for_each(|point| self.probed(point, probed))
    }

    /// The run of `point`, trained now or found finished.
    pub fn trained(&mut self, point: Point) -> Result<RunDir, StudyError> {
        let (runs, name) = (self.directory.runs(), self.arms.name(point));
        let config = self.arms.config(point);
        let found = match RunDir::find(&runs.join(&name))? {
            Some(run) => Some((run.manifest()?, run)).filter(|(manifest, _)| manifest.is_finished()),
            None => None,
        };
        let again = found.is_some();
        let run = match found {
            // Somebody went on with it, say: what it says now is no answer to this study's question.
            Some((manifest, run)) if manifest.config != config => {
                return Err(StudyError::OtherRun(run.path().to_owned()));
            }
            Some((_, run)) => run,
            None => {
                let mut epochs = Epochs(&mut *self.observer);
                train(&config, self.set, self.machine, &runs, Some(&name), &mut epochs)?
            }
        };
        let last = run.metrics()?.pop().ok_or_else(|| RunError::NotARun(run.path().to_owned()))?;
        self.observer.run_done(&name, &last, again);
        Ok(run)
    }

    /// Leaves everything that is judged of the run of `point`.
    pub fn probed(&mut self, point: Point, probed: Probed) -> Result<(), StudyError> {
        let run = self.trained(point)?;
        let spectra = match run.spectra()? {
            Some(spectra) => spectra,
            None => self.probe(&run, point, probed)?,
        };
        self.checked.add(&self.arms.name(point), &spectra);
        Ok(())
    }

    /// Takes the spectra of `run` from its checkpoints.
    fn probe(&mut self, run: &RunDir, point: Point, probed: Probed) -> Result<RunSpectra, StudyError> {
        let start = Instant::now();
        let device = &self.machine.device;
        let _lock = run.lock()?;
        let config = self.arms.config(point);
        let split = training_split(self.set, &config, device)?;
        let mut epochs = run.epochs()?;
        if probed == Probed::LastEpoch {
            epochs = epochs.split_off(epochs.len().saturating_sub(1));
        }
        let ends = [epochs.first().copied(), epochs.last().copied()];
        let (mut rows, mut eigenvalues) = (Vec::new(), Vec::new());
        for &epoch in &epochs {
            let network = load_checkpoint(&run.checkpoint_path(epoch), device)?.valid();
            let found = variants(
                &network,
                &split,
                epoch,
                self.precision,
                &config.training,
                ends.contains(&Some(epoch)),
            )
            .map_err(|source| StudyError::Probe { run: run.path().to_owned(), epoch, source })?;
            for spectrum in found {
                rows.push(spectrum.row);
                eigenvalues.extend(spectrum.eigenvalues);
            }
            self.observer.worked(SPECTRA_WORK);
            if self.observer.go_on().is_break() {
                return Err(TrainError::Stopped.into());
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let (schema_version, precision) = (SPECTRA_VERSION, self.precision);
        let spectra = RunSpectra { schema_version, precision, seconds, rows };
        run.write_spectra(&spectra, &eigenvalues)?;
        Ok(spectra)
    }
}

/// Passes a training's epochs on to the study's observer.
struct Epochs<'a>(&'a mut dyn StudyObserver);

impl Observer for Epochs<'_> {
    fn started(&mut self, _: &RunDir, _: usize, _: usize, done: Option<usize>) {
        self.0.worked(done.map_or(0, |epoch| epoch + 1));
    }

    fn stepped(&mut self) -> ControlFlow<()> {
        self.0.go_on()
    }

    fn finished_epoch(&mut self, _: &EpochMetrics) {
        self.0.worked(1);
    }
}
