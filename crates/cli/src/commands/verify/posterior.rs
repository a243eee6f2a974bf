//! What `kappa laplace` and `kappa influence` have left: derived again from its arrays, and computed again from the
//! checkpoint where there is one.

use std::path::{Path, PathBuf};

use kappa_probe::{influence, influence_mismatches, laplace, laplace_mismatches};
use kappa_run::{
    InfluenceRecord, LaplaceRecord, Mismatch, PosteriorAnswer, RunDir, RunError, answer_folders, mismatches,
    read_answer, shown,
};

use super::{
    place::{Holding, run_around},
    told,
};
use crate::{args::VerifyArguments, backend, commands::posterior::Subject, error::CliError, output::say};

/// What of a record is of the place and the time.
const OF_THE_PLACE: [&str; 6] = ["kappa_version", "source", "data", "backend", "device", "seconds"];
/// How far a loss and a marginal likelihood may be apart between machines: features in single precision, of a unit of
/// 6e-8, go through two layers of some hundred terms.
const ELSEWHERE: f64 = 1e-4;

/// The folders of answers about a posterior.
pub struct Folders {
    laplace: Vec<PathBuf>,
    influence: Vec<PathBuf>,
}

/// Those in `path`, and in the runs that it holds.
pub fn folders(path: &Path, holdings: &[Holding]) -> Result<Folders, RunError> {
    let runs = holdings.iter().filter_map(|holding| holding.run.as_ref()).map(RunDir::path);
    let mut all = vec![path.to_owned()];
    // An answer's own run is not what was asked about.
    all.extend(runs.filter(|run| run.starts_with(path) && *run != path).map(Path::to_owned));
    let mut found = Folders { laplace: Vec::new(), influence: Vec::new() };
    for folder in all {
        found.laplace.extend(answer_folders::<LaplaceRecord>(&folder)?);
        found.influence.extend(answer_folders::<InfluenceRecord>(&folder)?);
    }
    Ok(found)
}

impl Folders {
    pub fn is_empty(&self) -> bool {
        self.laplace.is_empty() && self.influence.is_empty()
    }

    /// What follows from the arrays; counts what does not.
    pub fn derived(&self) -> Result<usize, RunError> {
        let (mut wrong, mut right) = (0, 0);
        let mut tell = |folder: &Path, name: &str, found: Vec<Mismatch>| {
            wrong += told(&folder.join(format!("{name}.json")), &found, "from the arrays beside it");
            right += usize::from(found.is_empty());
        };
        for folder in &self.laplace {
            if let Some((record, tensors)) = read_answer::<LaplaceRecord>(folder)? {
                tell(folder, LaplaceRecord::NAME, laplace_mismatches(&record, &tensors));
            }
        }
        for folder in &self.influence {
            if let Some((record, tensors)) = read_answer::<InfluenceRecord>(folder)? {
                tell(folder, InfluenceRecord::NAME, influence_mismatches(&record, &tensors));
            }
        }
        if right > 0 {
            say(format_args!("  {right} posteriors and influences follow from their arrays"));
        }
        Ok(wrong)
    }

    /// Computes those of a run again; counts what comes out otherwise.
    pub fn again(&self, arguments: &VerifyArguments) -> Result<usize, CliError> {
        let mut wrong = 0;
        for folder in &self.laplace {
            let Some((mut record, _)) = read_answer::<LaplaceRecord>(folder)? else { continue };
            let Some(subject) = subject(folder, &record, arguments)? else { continue };
            let mut again =
                laplace(&subject.classifier, &subject.sets, &record.asked, &record.kappa_version, &())?
                    .record;
            // Other images than the run's own are not at hand.
            record.predictions.truncate(1);
            record.separations.clear();
            for record in [&mut record, &mut again] {
                record.cheaper.iter_mut().for_each(|cheaper| cheaper.auroc = None);
            }
            let near = [(record.posterior.log_marginal[0], again.posterior.log_marginal[0])];
            wrong += compared(folder, &record, &again, &near);
        }
        for folder in &self.influence {
            let Some((record, _)) = read_answer::<InfluenceRecord>(folder)? else { continue };
            let Some(subject) = subject(folder, &record, arguments)? else { continue };
            let Some(test) = subject.sets.first() else { continue };
            let again =
                influence(&subject.classifier, test, &record.asked, false, &record.kappa_version, &())?
                    .record;
            let near =
                [(record.optimum.loss, again.optimum.loss), (record.optimum.square, again.optimum.square)];
            wrong += compared(folder, &record, &again, &near);
        }
        Ok(wrong)
    }
}

/// What an answer is of, again; none of arrays, which are not kept.
fn subject<T: PosteriorAnswer>(
    folder: &Path,
    record: &T,
    arguments: &VerifyArguments,
) -> Result<Option<Subject>, CliError> {
    let settings = record.settings();
    let around = run_around(folder).or_else(|| {
        let source = Path::new(&settings.source);
        RunDir::find(source.ancestors().nth(2)?).ok().flatten()
    });
    let (Some(run), Some(epoch)) = (around, settings.epoch) else {
        say(format_args!(
            "  {} was not computed again: it is of arrays, and `kappa {}` with the same options takes them again",
            shown(folder),
            T::NAME
        ));
        return Ok(None);
    };
    say(format_args!("  {} computed again from epoch {epoch} of {}", shown(folder), shown(run.path())));
    let chosen = backend::choose(arguments.backend.named())?;
    let request = settings.request.clone();
    Subject::again(&run, epoch, arguments.data.as_deref(), request, chosen).map(Some)
}

/// Says how an answer came out, and counts what is wrong. On the same machine all of it is the same to the last bit;
/// on another one a network's features are rounded otherwise, and some numbers are `near`.
fn compared<T: PosteriorAnswer>(folder: &Path, record: &T, again: &T, near: &[(f64, f64)]) -> usize {
    let found = mismatches(record, again, 0.0, |key| OF_THE_PLACE.contains(&key));
    let place = |record: &T| (record.settings().backend, record.settings().device.clone());
    if found.is_empty() {
        say(format_args!("    the same to the last bit"));
        return 0;
    }
    let apart = near.iter().map(|(a, b)| (a - b).abs() / a.abs().max(b.abs())).fold(0.0, f64::max);
    if place(record) != place(again) && apart <= ELSEWHERE {
        say(format_args!("    on another machine: the same but for {apart:.1e}"));
        return 0;
    }
    told(&folder.join(format!("{}.json", T::NAME)), &found, "from the checkpoint")
}
