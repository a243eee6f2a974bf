//! `kappa verify`.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use kappa_probe::recompute as variants_again;
use kappa_run::{CheckedFiles, RunDir, RunError, SavedSpectrum, StudyDir};
use kappa_trainer::Machine;

use super::{DataSets, hessian};
use crate::{args::VerifyArguments, backend, error::CliError, output::say};

pub fn run(arguments: &VerifyArguments) -> Result<(), CliError> {
    let mut wrong = 0;
    let places = places(&arguments.directory)?;
    // Asked for where something is computed, since looking for a GPU takes a while.
    let mut machine = None;
    let mut sets = DataSets::default();
    for place in &places {
        say(format_args!("{}", place.display()));
        let files = CheckedFiles::of(place)?;
        say(format_args!("  {} files are as they were written", files.right));
        for path in &files.unknown {
            say(format_args!("  {} is not kappa's, and was left aside", path.display()));
        }
        for error in &files.wrong {
            let because = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            say(format_args!("  WRONG: {error}{because}"));
        }
        wrong += files.wrong.len();
        if files.wrong.is_empty() && !arguments.no_spectrum {
            let machine = match &mut machine {
                Some(machine) => machine,
                None => machine.insert(backend::choose(arguments.backend)?.machine),
            };
            wrong += recompute(place, arguments, machine, &mut sets)?;
        }
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(CliError::Unverified { wrong }),
    }
}

/// `directory`, if it is a run or a study, or those right under it.
fn places(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let is_one = |path: &Path| path.join("run.json").is_file() || path.join("study.toml").is_file();
    if is_one(directory) {
        return Ok(vec![directory.to_owned()]);
    }
    let read = |source| RunError::Read { path: directory.to_owned(), source };
    let entries = std::fs::read_dir(directory).map_err(read)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut places: Vec<PathBuf> = paths.map_err(read)?.into_iter().filter(|path| is_one(path)).collect();
    places.sort();
    if places.is_empty() { Err(RunError::NoRun(directory.to_owned()).into()) } else { Ok(places) }
}

/// The run of `place` whose spectra are computed again, with all that it has saved: itself, or of
/// a study the first that has any.
fn run_of(place: &Path) -> Result<Option<(RunDir, Vec<SavedSpectrum>)>, CliError> {
    let runs = match RunDir::find(place)? {
        Some(run) => vec![run],
        None => {
            let (study, _) = StudyDir::open(place)?;
            study.names()?.iter().map(|name| study.run(name)).collect::<Result<_, _>>()?
        }
    };
    for run in runs {
        let saved = run.saved_spectra()?;
        if !saved.is_empty() {
            return Ok(Some((run, saved)));
        }
    }
    Ok(None)
}

/// Computes the saved spectra of one epoch again, says what agrees, and counts what does not.
fn recompute(
    place: &Path,
    arguments: &VerifyArguments,
    machine: &Machine,
    sets: &mut DataSets,
) -> Result<usize, CliError> {
    let Some((run, mut saved)) = run_of(place)? else {
        say(format_args!("  no spectrum was saved, so none was computed again"));
        return Ok(0);
    };
    let last = saved.iter().map(|saved| saved.epoch).max().unwrap_or(0);
    let epoch = arguments.epoch.unwrap_or(last);
    saved.retain(|saved| saved.epoch == epoch);
    if saved.is_empty() {
        let path = run.path().display();
        say(format_args!(
            "  WRONG: {path} has no spectrum of epoch {epoch}; `kappa hessian {path} --epoch {epoch}` computes it"
        ));
        return Ok(1);
    }
    let manifest = run.manifest()?;
    let name = run.path().file_name().unwrap_or_default().to_string_lossy();
    say(format_args!(
        "  computed again on {} from the checkpoint of epoch {epoch} of {name}",
        machine.provenance.backend
    ));
    let folder = arguments.data.as_deref().or(manifest.config.data.folder.as_deref());
    // Of all variants at once, since they come from the same sums.
    let of_study = saved.iter().find(|saved| saved.settings.is_none());
    let variants = match of_study {
        None => Vec::new(),
        Some(saved) => variants_again(&run, epoch, saved.precision, sets.get(folder)?, machine)?,
    };
    let mut wrong = 0;
    for saved in &saved {
        let found = match &saved.settings {
            None => {
                let again = variants.iter().find(|again| again.row.variant.to_string() == saved.name);
                again.map(|again| again.eigenvalues.clone())
            }
            Some(settings) => {
                let data = arguments.data.as_deref();
                Some(hessian::eigenvalues_again(&run, epoch, settings, machine, data, sets)?)
            }
        };
        let agreement = Agreement::of(&saved.eigenvalues, found.as_deref(), manifest.inputs);
        wrong += usize::from(!agreement.is_within());
        say(format_args!("    {:<26}{}", saved.name, agreement.describe()));
    }
    Ok(wrong)
}

/// How far eigenvalues are from those that were saved.
#[derive(Debug, PartialEq)]
enum Agreement {
    /// Not at all: bit by bit.
    Same { count: usize },
    /// At the most so far, in units of lambda_1, and how far rounding can take them.
    Apart { count: usize, distance: f64, bound: f64 },
    /// Not the same number of them.
    Other { saved: usize, found: usize },
}

impl Agreement {
    /// Compares what was `saved` with what was `found` for a network of so many `inputs`.
    fn of(saved: &[f64], found: Option<&[f64]>, inputs: usize) -> Self {
        let found = found.unwrap_or_default();
        let count = saved.len();
        if count != found.len() || count == 0 {
            return Self::Other { saved: count, found: found.len() };
        }
        if saved.iter().zip(found).all(|(saved, found)| saved.to_bits() == found.to_bits()) {
            return Self::Same { count };
        }
        let lambda_1 = saved.iter().chain(found).copied().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
        // Not a number is farther than anything.
        let farther = |far: f64, (saved, found): (&f64, &f64)| {
            let distance = (saved - found).abs() / lambda_1;
            if far.is_nan() || distance <= far { far } else { distance }
        };
        let distance = saved.iter().zip(found).fold(0.0, farther);
        // By Weyl no eigenvalue moves farther than H does. Another machine or backend adds in
        // another order: inputs d in the first layer, in single precision on all of them, and
        // with the size K m of the matrix in the decomposition.
        let bound = (inputs + count) as f64 * f64::from(f32::EPSILON);
        Self::Apart { count, distance, bound }
    }

    fn is_within(&self) -> bool {
        match self {
            Self::Same { .. } => true,
            Self::Apart { distance, bound, .. } => distance <= bound,
            Self::Other { .. } => false,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Same { count } => format!("{count} eigenvalues, the same to the last bit"),
            Self::Apart { count, distance, bound } => format!(
                "{}{count} eigenvalues, at most {distance:.1e} lambda_1 apart (rounding: up to {bound:.1e})",
                if self.is_within() { "" } else { "WRONG: " }
            ),
            Self::Other { saved, found } => {
                format!("WRONG: {saved} eigenvalues were saved, {found} came out")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_cannot_explain_is_wrong() {
        let saved = [4.0, 1.0, 0.0];
        assert_eq!(Agreement::of(&saved, Some(&saved), 7), Agreement::Same { count: 3 });
        // Ten additions in single precision, 1.2e-7 each.
        let apart = |by: f64| Agreement::of(&saved, Some(&[4.0, 1.0 + 4.0 * by, 0.0]), 7);
        assert!(apart(1.1e-6).is_within() && !apart(1.3e-6).is_within());
        assert!(apart(1.3e-6).describe().contains("WRONG"));
        assert!(!apart(f64::NAN).is_within() && !apart(f64::INFINITY).is_within());
        assert!(!Agreement::of(&saved, Some(&saved[..2]), 7).is_within());
        assert!(!Agreement::of(&saved, None, 7).is_within() && !Agreement::of(&[], None, 7).is_within());
    }
}
