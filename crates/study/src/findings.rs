//! From what the runs of a study have left to its findings.
//!
//! Nothing is trained or probed here. A study is judged by this when its last run is done, and it
//! can be judged again at any time: the same files give the same findings.

use kappa_run::{
    EpochMetrics, Exit, FINDINGS_VERSION, Findings, GridPoint, PointFindings, RunDir, RunError, RunNames,
    StudyConfig, StudyDir,
};

use crate::{
    ArmNames, RunRecord, SeedRuns, StudyError, explain, judge,
    plan::{self, Arms, Point},
};

/// What the runs of `study` in `directory` say of the claims.
///
/// # Errors
///
/// [`StudyError::Run`] if a run is missing or not finished, or cannot be read;
/// [`StudyError::NoChoice`] if no run of the grid has trained.
pub fn find(study: &StudyConfig, directory: &StudyDir, kappa_version: &str) -> Result<Findings, StudyError> {
    let arms = Arms::new(study)?;
    let (chosen, grid) = choose(study, directory, &arms)?;
    let runs = Runs { study, directory, arms: &arms };
    let names = ArmNames { names: study.arm_names(), reference: study.reference_index() };
    let seeds = |point: Point| plan::seeds(study).map(move |seed| Point { seed, ..point });
    let classes = directory.run(&arms.name(chosen))?.manifest()?.classes;

    let mut at_chosen = runs.all(seeds(chosen))?;
    runs.add_whole(chosen, &mut at_chosen)?;
    let widths = plan::widths(study, &arms, chosen);
    let at_widths = runs.all(widths.iter().copied())?;
    let judged = |seeds: &[SeedRuns], widths: &[SeedRuns], found: PointFindings| PointFindings {
        verdicts: judge(seeds, widths, &names, &study.accuracies, classes),
        explanations: explain(seeds, &names),
        ..found
    };
    let mut points = vec![judged(&at_chosen, &at_widths, runs.findings("chosen", chosen))];
    for sweep in plan::sweep(study, chosen) {
        let found = runs.findings(&sweep.label, sweep.point);
        let seeds: Result<Vec<_>, _> = seeds(sweep.point).map(|point| runs.of_seed(point)).collect();
        points.push(match seeds {
            Ok(seeds) => judged(&seeds, &[], found),
            // A point far from the chosen one may diverge; that is a finding, not a failure.
            Err(Untrained::Diverged(problem)) => {
                PointFindings { seeds: Vec::new(), diverged: Some(problem), ..found }
            }
            Err(Untrained::Error(error)) => return Err(error),
        });
    }
    Ok(Findings {
        schema_version: FINDINGS_VERSION,
        kappa_version: kappa_version.to_owned(),
        grid,
        points,
        widths: widths.into_iter().map(|point| runs.names(point)).collect(),
    })
}

/// The best point of the grid, and all of them: that of the highest validation accuracy, and of
/// two equal ones that of the lower validation loss.
///
/// # Errors
///
/// As [`find`].
pub(crate) fn choose(
    study: &StudyConfig,
    directory: &StudyDir,
    arms: &Arms,
) -> Result<(Point, Vec<GridPoint>), StudyError> {
    let runs = Runs { study, directory, arms };
    let mut best: Option<(Point, EpochMetrics)> = None;
    let mut tried = Vec::new();
    let mut problem = String::new();
    for point in plan::grid(study) {
        let (learning_rate, l2, run) = (point.learning_rate, point.l2, arms.name(point));
        let mut note = |validation_accuracy| {
            tried.push(GridPoint { learning_rate, l2, run: run.clone(), validation_accuracy });
        };
        match runs.last_metrics(point) {
            Ok(metrics) => {
                note(Some(metrics.validation_accuracy));
                let better = best.is_none_or(|(_, best)| {
                    let rank = |m: &EpochMetrics| (m.validation_accuracy, -m.validation_loss);
                    rank(&metrics) > rank(&best)
                });
                if better {
                    best = Some((point, metrics));
                }
            }
            Err(Untrained::Diverged(said)) => {
                note(None);
                problem = said;
            }
            Err(Untrained::Error(error)) => return Err(error),
        }
    }
    let (chosen, _) = best.ok_or(StudyError::NoChoice(problem))?;
    Ok((chosen, tried))
}

/// Why there is nothing of a run to judge.
enum Untrained {
    /// Its training did not come to its end: what it said.
    Diverged(String),
    Error(StudyError),
}

impl From<RunError> for Untrained {
    fn from(error: RunError) -> Self {
        Self::Error(error.into())
    }
}

struct Runs<'a> {
    study: &'a StudyConfig,
    directory: &'a StudyDir,
    arms: &'a Arms,
}

impl Runs<'_> {
    /// Where `point` is and which runs are there; nothing judged yet.
    fn findings(&self, label: &str, point: Point) -> PointFindings {
        let seeds = plan::seeds(self.study);
        PointFindings {
            point: label.to_owned(),
            learning_rate: point.learning_rate,
            l2: point.l2,
            seeds: seeds.map(|seed| self.names(Point { seed, ..point })).collect(),
            diverged: None,
            verdicts: Vec::new(),
            explanations: Vec::new(),
        }
    }

    /// The names of the runs of all arms at `point`, which is one of the reference.
    fn names(&self, point: Point) -> RunNames {
        let runs = self.arms.all(point).map(|point| self.arms.name(point)).collect();
        RunNames { seed: point.seed, hidden: self.arms.hidden(point), runs }
    }

    /// All arms at all `points`, of which none may be missing.
    fn all(&self, points: impl Iterator<Item = Point>) -> Result<Vec<SeedRuns>, StudyError> {
        let seeds: Result<Vec<_>, Untrained> = points.map(|point| self.of_seed(point)).collect();
        seeds.map_err(|untrained| match untrained {
            Untrained::Diverged(_) => self.unfinished().into(),
            Untrained::Error(error) => error,
        })
    }

    /// All arms at `point`.
    fn of_seed(&self, point: Point) -> Result<SeedRuns, Untrained> {
        let runs = self.arms.all(point).map(|point| self.record(point)).collect::<Result<_, _>>()?;
        Ok(SeedRuns { seed: point.seed, runs })
    }

    /// Everything that is judged of the run of `point`.
    fn record(&self, point: Point) -> Result<RunRecord, Untrained> {
        let run = self.trained(point)?;
        let spectra = run.spectra()?.ok_or_else(|| self.unfinished())?;
        Ok(RunRecord { metrics: run.metrics()?, spectra: spectra.rows, whole: Vec::new() })
    }

    /// Adds what was taken of more than the last layer to the runs of the `chosen` point.
    fn add_whole(&self, chosen: Point, records: &mut [SeedRuns]) -> Result<(), StudyError> {
        let Some(whole) = &self.study.whole else { return Ok(()) };
        for seed in records {
            for (point, record) in self.arms.all(Point { seed: seed.seed, ..chosen }).zip(&mut seed.runs) {
                let rows = self.directory.run(&self.arms.name(point))?.whole()?;
                let points = whole.points(&self.arms.config(point));
                let found = rows.filter(|rows| rows.is_whole(&points));
                record.whole = match found {
                    Some(found) => found.rows,
                    None if points.is_empty() => Vec::new(),
                    None => return Err(self.unfinished().into()),
                };
            }
        }
        Ok(())
    }

    fn last_metrics(&self, point: Point) -> Result<EpochMetrics, Untrained> {
        let last = self.trained(point)?.metrics()?.pop();
        last.ok_or_else(|| self.unfinished().into())
    }

    /// The run of `point`, which has trained to its end.
    fn trained(&self, point: Point) -> Result<RunDir, Untrained> {
        let run = self.directory.run(&self.arms.name(point))?;
        let manifest = run.manifest()?;
        match manifest.sessions.last().and_then(|session| session.exit.as_ref()) {
            Some(Exit::Finished) => Ok(run),
            Some(Exit::Failed(problem)) => Err(Untrained::Diverged(problem.clone())),
            _ => Err(self.unfinished().into()),
        }
    }

    fn unfinished(&self) -> RunError {
        RunError::Unfinished(self.directory.path().to_owned())
    }
}
