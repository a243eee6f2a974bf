//! A study as tasks of a batch system: stages, each of runs that do not need each other.
//!
//! ```text
//! grid    the reference along the grid, trained
//! runs    all that depends on the chosen point: paired seeds, widths, sweeps, each with its spectra
//! ```
//!
//! Where a study stands is what lies in its directory, so tasks share nothing else: each does its part of a
//! stage's runs, in an order that is always the same, takes a run's lock, and finds done what is done. Verdicts
//! are left to a call without tasks ([`crate::run_study`]).

use std::{path::Path, thread, time::Duration};

use kappa_data::DataSet;
use kappa_run::{Precision, RunError, StudyConfig, StudyDir};
use kappa_trainer::{Machine, TrainError};
use serde::Serialize;

use crate::{
    Checked, StudyError, StudyObserver,
    findings::choose,
    plan::{self, Arms, Point},
    study::{Probed, Runner},
};

/// How long another process's run is waited for before it is looked at again.
const WAIT: Duration = Duration::from_millis(500);

/// Runs that do not need each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The reference along the grid.
    Grid,
    /// All that depends on what the grid chooses.
    Runs,
}

impl Stage {
    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Runs => "runs",
        }
    }
}

/// The part of a stage that one task does: every `count`th run, from the `index`th on, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Which of them.
    pub index: usize,
    /// How many tasks there are.
    pub count: usize,
}

/// Where a study stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its stages, in their order.
    pub stages: Vec<StagePlan>,
    /// The first that is not done; none if there is nothing but verdicts left.
    pub open: Option<Stage>,
}

/// Where a stage stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StagePlan {
    /// Which one.
    pub stage: Stage,
    /// How many runs it has.
    pub count: usize,
    /// Each of them, where they are known: they depend on what the stage before chooses.
    pub runs: Vec<RunPlan>,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunPlan {
    /// The run directory's name.
    pub name: String,
    /// Whether nothing is left of it to do.
    pub done: bool,
}

/// What a run is for.
#[derive(Debug, Clone, Copy)]
struct Job {
    point: Point,
    probed: Probed,
    /// Whether Hessians of more than the last layer are taken of it.
    whole: bool,
    /// Whether it may diverge.
    may_diverge: bool,
}

/// Where `study` stands under `root`; nothing is written.
///
/// # Errors
///
/// [`StudyError::Run`].
pub fn plan_study(study: &StudyConfig, root: &Path) -> Result<Plan, StudyError> {
    let arms = Arms::new(study)?;
    arms.check_batches()?;
    let path = root.join(&study.name);
    let directory = match StudyDir::open(&path) {
        Ok((_, there)) if there != *study => return Err(RunError::OtherStudy(path).into()),
        Ok((directory, _)) => Some(directory),
        Err(RunError::NotAStudy(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let grid = jobs_of_grid(study);
    let of = |stage, jobs: &[Job]| {
        let run = |job: &Job| RunPlan {
            name: arms.name(job.point),
            done: directory.as_ref().is_some_and(|directory| is_done(study, &arms, directory, job)),
        };
        StagePlan { stage, count: jobs.len(), runs: jobs.iter().map(run).collect() }
    };
    let grid = of(Stage::Grid, &grid);
    let all_done = |stage: &StagePlan| stage.runs.iter().all(|run| run.done);
    let chosen = match &directory {
        Some(directory) if all_done(&grid) => Some(choose(study, directory, &arms)?.0),
        _ => None,
    };
    let runs = match chosen {
        Some(chosen) => of(Stage::Runs, &jobs_of_runs(study, &arms, chosen)),
        // Whichever is chosen, there are about as many.
        None => {
            let any = plan::grid(study).first().copied();
            let count = any.map_or(0, |any| jobs_of_runs(study, &arms, any).len());
            StagePlan { stage: Stage::Runs, count, runs: Vec::new() }
        }
    };
    let open = match (all_done(&grid), chosen.is_some() && all_done(&runs)) {
        (false, _) => Some(Stage::Grid),
        (true, false) => Some(Stage::Runs),
        (true, true) => None,
    };
    Ok(Plan { stages: vec![grid, runs], open })
}

/// Does the part of `task` of a `stage` of `study`, the open one if none is named, and returns the stage, how many
/// runs it was, and what was checked of their spectra. A run that another process is at is waited for, and found
/// done then.
///
/// # Errors
///
/// [`StudyError`]; what was finished stays, and the same call goes on from there. [`StudyError::GridFirst`] if the
/// stage of runs is asked for before the grid is done.
pub fn run_task(
    study: &StudyConfig,
    set: &DataSet,
    machine: &Machine,
    precision: Precision,
    root: &Path,
    (task, stage): (Task, Option<Stage>),
    observer: &mut dyn StudyObserver,
) -> Result<(Option<Stage>, usize, Checked), StudyError> {
    let open = plan_study(study, root)?.open;
    let arms = Arms::new(study)?;
    let directory = StudyDir::create(root, study)?;
    let jobs = match stage.or(open) {
        None => return Ok((None, 0, Checked::default())),
        Some(Stage::Grid) => jobs_of_grid(study),
        Some(Stage::Runs) if open == Some(Stage::Grid) => return Err(StudyError::GridFirst),
        Some(Stage::Runs) => jobs_of_runs(study, &arms, choose(study, &directory, &arms)?.0),
    };
    let own: Vec<Job> =
        jobs.into_iter().skip(task.index.saturating_sub(1)).step_by(task.count.max(1)).collect();
    let mut runner = Runner::new(study, set, machine, precision, directory, arms, observer);
    runner.observer.stage(stage.or(open).map_or("", Stage::as_str), own.len());
    for job in &own {
        runner.job(job)?;
    }
    Ok((stage.or(open), own.len(), runner.checked))
}

fn jobs_of_grid(study: &StudyConfig) -> Vec<Job> {
    let job = |point| Job { point, probed: Probed::No, whole: false, may_diverge: true };
    plan::grid(study).into_iter().map(job).collect()
}

/// Each run once, with the most that is asked of it.
fn jobs_of_runs(study: &StudyConfig, arms: &Arms, chosen: Point) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |point: Point, probed, whole, may_diverge| {
        for point in arms.all(point) {
            // Those of every epoch come first, and a run that may not diverge stays one.
            if !jobs.iter().any(|job| arms.name(job.point) == arms.name(point)) {
                jobs.push(Job { point, probed, whole, may_diverge });
            }
        }
    };
    for seed in plan::seeds(study) {
        add(Point { seed, ..chosen }, Probed::EveryEpoch, study.whole.is_some(), false);
    }
    plan::widths(study, arms, chosen)
        .into_iter()
        .for_each(|point| add(point, Probed::LastEpoch, false, false));
    for sweep in plan::sweep(study, chosen) {
        for seed in plan::seeds(study) {
            add(Point { seed, ..sweep.point }, Probed::LastEpoch, false, true);
        }
    }
    jobs
}

fn is_done(study: &StudyConfig, arms: &Arms, directory: &StudyDir, job: &Job) -> bool {
    let Ok(run) = directory.run(&arms.name(job.point)) else { return false };
    let Ok(manifest) = run.manifest() else { return false };
    let failed = manifest
        .sessions
        .last()
        .is_some_and(|session| matches!(session.exit, Some(kappa_run::Exit::Failed(_))));
    if failed {
        return job.may_diverge;
    }
    let probed = job.probed == Probed::No || matches!(run.spectra(), Ok(Some(_)));
    let whole = !job.whole
        || study.whole.as_ref().is_none_or(|whole| {
            let points = whole.points(&arms.config(job.point));
            run.whole()
                .is_ok_and(|found| found.is_some_and(|found| found.is_whole(&points)) || points.is_empty())
        });
    manifest.is_finished() && probed && whole
}

impl Runner<'_> {
    /// Does all of a run, when no other process is at it.
    fn job(&mut self, job: &Job) -> Result<(), StudyError> {
        let mut told = false;
        loop {
            let result = match job.probed {
                Probed::No => self.trained(job.point).map(|_| ()),
                probed => self.probed(job.point, probed),
            };
            let result = result.and_then(|()| if job.whole { self.take_whole(job.point) } else { Ok(()) });
            match result {
                Err(error) if is_in_use(&error) => {
                    if !told {
                        tracing::warn!("{} is another process's: waiting for it", self.arms.name(job.point));
                        told = true;
                    }
                    if self.observer.go_on().is_break() {
                        return Err(TrainError::Stopped.into());
                    }
                    thread::sleep(WAIT);
                }
                // What it says stands in its run, and is found there.
                Err(StudyError::Train(error @ TrainError::Diverged { .. })) if job.may_diverge => {
                    tracing::warn!("{}: {error}", self.arms.name(job.point));
                    return Ok(());
                }
                result => return result,
            }
        }
    }
}

fn is_in_use(error: &StudyError) -> bool {
    matches!(
        error,
        StudyError::Run(RunError::InUse(_)) | StudyError::Train(TrainError::Run(RunError::InUse(_)))
    )
}
