//! Spectra over the epochs of a run: a row each on the screen, and a table and a figure on disk.

use std::path::PathBuf;

use kappa_report::save_over_epochs;
use kappa_run::{EpochSpectrum, Place, RunDir, SpectrumRecord, spectra_over_epochs};

use super::{names, table::number};
use crate::{error::CliError, output::say};

/// Prints a row for each of `records`, all of one run, and leaves `spectra.csv` and `spectra.svg`
/// beside their folders: of these epochs, and of those that were measured so before.
pub fn leave(run: &RunDir, place: &Place, records: &[SpectrumRecord]) -> Result<(), CliError> {
    let mut questions: Vec<(PathBuf, Vec<&SpectrumRecord>)> = Vec::new();
    for record in records {
        let Some(stem) = place.over_epochs(&record.settings) else { continue };
        match questions.iter_mut().find(|(other, _)| *other == stem) {
            Some((_, same)) => same.push(record),
            None => questions.push((stem, vec![record])),
        }
    }
    let epochs = run.epochs()?;
    for (stem, records) in questions {
        let Some(first) = records.first() else { continue };
        let title = title(run, first);
        print(&title, &records);
        let rows = spectra_over_epochs(place, &epochs, &first.settings)?;
        save_over_epochs(&stem, &rows, &title)?;
        say(format_args!("-> {0}.csv, {0}.svg", stem.display()));
    }
    Ok(())
}

/// "FC of fc-s0-20260314-150926, mnist (train)"
fn title(run: &RunDir, record: &SpectrumRecord) -> String {
    let settings = &record.settings;
    let name = run.name();
    let images = names::images(settings).unwrap_or_default();
    let statistics = settings.statistics.map_or_else(String::new, |statistics| format!(" by {statistics}"));
    format!("{}{statistics} of {name}, {images}", settings.network)
}

fn print(title: &str, records: &[&SpectrumRecord]) {
    let samples = records.first().map_or(0, |record| record.settings.samples);
    say(format_args!("\n{title}, {samples} samples"));
    say(format_args!(
        "{:>5}  {:>12}  {:>12}  {:>12}  {:>12}  {:>6}  {:>13}",
        "epoch", "lambda_1", "lambda_10", "kappa'", "trace", "rank", "digits of l_1"
    ));
    for record in records {
        let row = EpochSpectrum::of(record);
        let digits = match (row.digits, record.checks().all(|check| check.passed)) {
            (_, false) => "FAILED".to_owned(),
            (None, true) => "SKIPPED".to_owned(),
            (Some(digits), true) => digits.to_string(),
        };
        say(format_args!(
            "{:>5}  {:>12}  {:>12}  {:>12}  {:>12}  {:>6}  {digits:>13}",
            row.epoch,
            number(row.lambda_1),
            number(row.lambda_10),
            number(row.kappa_prime),
            number(Some(row.trace)),
            row.rank
        ));
    }
}
