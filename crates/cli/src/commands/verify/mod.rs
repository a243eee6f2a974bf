//! `kappa verify`: the files, what their numbers follow from, and spectra computed again.
//!
//! ```text
//! place       what there is to verify
//! posterior   what `kappa laplace` and `kappa influence` have left
//! again       an answer, from its checkpoint and the images
//! agreement   how near two computations of the same eigenvalues come
//! ```

mod again;
mod agreement;
mod place;
mod posterior;

use std::{error::Error, path::Path};

use kappa_probe::{
    curvature_mismatches, matrix_free_mismatches, network_row_mismatches, row_mismatches, spectrum_mismatches,
};
use kappa_run::{CheckedFiles, Mismatch, RunDir, Saved, WhyDir, mismatches, shown};
use kappa_study::find;
use kappa_why::{WhyError, find_why};

use super::DataSets;
use crate::{args::VerifyArguments, error::CliError, output::say};
use again::Again;
use place::{Holding, Place, places};

pub fn run(arguments: &VerifyArguments) -> Result<(), CliError> {
    let mut wrong = 0;
    let mut again = Again::new(arguments);
    for (path, place) in places(&arguments.directory)? {
        say(format_args!("{}", shown(&path)));
        let files = CheckedFiles::of(&path)?;
        tell(&files);
        wrong += files.wrong.len();
        if !files.wrong.is_empty() {
            continue;
        }
        let holdings = place.holdings(&path)?;
        wrong += derived(&path, &place, &holdings);
        let folders = posterior::folders(&path, &holdings)?;
        wrong += folders.derived()?;
        if !arguments.no_spectrum {
            if folders.is_empty() || holdings.iter().any(|holding| !holding.saved.is_empty()) {
                wrong += again.compute(&place, holdings)?;
            }
            wrong += folders.again(arguments)?;
        }
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(CliError::Unverified { wrong }),
    }
}

/// What the files say of themselves.
fn tell(files: &CheckedFiles) {
    say(format_args!("  {} files are as they were written", files.right));
    for path in &files.unknown {
        say(format_args!("  {} is not kappa's, and was left aside", shown(path)));
    }
    for path in &files.half_written {
        say(format_args!("  {} is half of a file, which a write that was killed has left", shown(path)));
    }
    for unfinished in &files.unfinished {
        let command = if unfinished.is_study { "kappa study" } else { "kappa train --resume" };
        say(format_args!(
            "  {} is unfinished ({}); `{command}` goes on with it",
            shown(&unfinished.path),
            unfinished.why
        ));
    }
    for error in &files.wrong {
        let because = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        say(format_args!("  WRONG: {error}{because}"));
    }
}

/// Derives again what follows from the eigenvalues, and a study's findings from its runs; says
/// what does not follow, and counts it.
fn derived(path: &Path, place: &Place, holdings: &[Holding]) -> usize {
    let mut wrong = 0;
    let mut answers = 0;
    for Holding { run, saved } in holdings {
        for saved in saved {
            answers += 1;
            let file = saved.file(run.as_ref().map_or(path, RunDir::path));
            let found = match saved {
                Saved::Row { row, precision, eigenvalues } => {
                    of_row(&saved.name(), row.epoch, row_mismatches(row, *precision, eigenvalues))
                }
                Saved::Whole { row, .. } => {
                    of_row(&saved.name(), row.point.epoch, network_row_mismatches(row))
                }
                Saved::Spectrum { record, eigenvalues, .. } => spectrum_mismatches(record, eigenvalues),
                Saved::MatrixFree { record, .. } => matrix_free_mismatches(record),
                Saved::Curvature { record, .. } => curvature_mismatches(record),
            };
            wrong += told(&file, &found, "from the eigenvalues beside it");
        }
    }
    if wrong == 0 && answers > 0 {
        match answers {
            1 => say(format_args!("  1 record follows from its eigenvalues")),
            answers => say(format_args!("  {answers} records follow from their eigenvalues")),
        }
    }
    if let Place::Why(why) = place {
        wrong += of_why(why);
    }
    if let Place::Study(study, config) = place
        && let Ok(findings) = study.findings()
    {
        let file = path.join("findings.json");
        match find(config, study, &findings.kappa_version) {
            Ok(again) => {
                // Logarithms and Student's t are rounded otherwise by other libraries of functions.
                let found = mismatches(&findings, &again, 1e-12, |_| false);
                if found.is_empty() {
                    let verdicts = findings.points.iter().map(|point| point.verdicts.len()).sum::<usize>();
                    say(format_args!("  {verdicts} verdicts follow from the runs"));
                }
                wrong += told(&file, &found, "from the runs");
            }
            Err(error) => {
                say(format_args!("  WRONG: {} does not follow from the runs: {error}", shown(&file)));
                wrong += 1;
            }
        }
    }
    wrong
}

/// Derives again what the trainings of a `kappa why` say, and counts what does not follow.
fn of_why(why: &WhyDir) -> usize {
    let file = why.path().join("why.json");
    let Ok(findings) = why.findings() else {
        say(format_args!("  {} is unfinished; `kappa why` goes on with it", shown(why.path())));
        return 0;
    };
    let config = why.config();
    let again = config.iter().flat_map(|config| &config.again);
    let again = again.filter_map(|set| WhyDir::open(&why.again().join(set.slug())).ok());
    let wrong: usize = again.map(|again| of_why(&again)).sum();
    let found = config.map_err(WhyError::from);
    wrong
        + match found.and_then(|config| find_why(&config, why, &findings.kappa_version)) {
            Ok(again) => {
                let found = mismatches(&findings, &again, 1e-12, |_| false);
                if found.is_empty() {
                    say(format_args!("  all that it found follows from the trainings"));
                }
                told(&file, &found, "from the trainings")
            }
            Err(error) => {
                say(format_args!("  WRONG: {} does not follow from the trainings: {error}", shown(&file)));
                1
            }
        }
}

/// What was found of the row of `name` at an epoch.
fn of_row(name: &str, epoch: usize, found: Vec<Mismatch>) -> Vec<Mismatch> {
    let key = |key: &str| format!("of {name} after epoch {epoch}, {key}");
    found.into_iter().map(|found| Mismatch { key: key(&found.key), ..found }).collect()
}

/// Says what in `file` does not follow, and counts it.
fn told(file: &Path, found: &[Mismatch], from: &str) -> usize {
    for mismatch in found {
        say(format_args!("  WRONG: {}: {mismatch} {from}", shown(file)));
    }
    found.len()
}
