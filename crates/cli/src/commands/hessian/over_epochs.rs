//! Spectra over the epochs of a run: a row each on the screen, and a table and a figure on disk.

use std::path::PathBuf;

use kappa_report::save_over_epochs;
use kappa_run::{
    CurvatureRecord, EpochSpectrum, Place, RunDir, SpectrumRecord, SpectrumSettings, spectra_over_epochs,
};

use super::{names, table::number};
use crate::{error::CliError, output::say};

/// What one epoch's answer says in a row.
pub struct Answer<'a> {
    settings: &'a SpectrumSettings,
    row: EpochSpectrum,
    /// Whether every check of it passed.
    passed: bool,
}

impl<'a> From<&'a SpectrumRecord> for Answer<'a> {
    fn from(record: &'a SpectrumRecord) -> Self {
        let passed = record.checks().all(|check| check.passed);
        Self { settings: &record.settings, row: EpochSpectrum::of(record), passed }
    }
}

impl<'a> From<&'a CurvatureRecord> for Answer<'a> {
    fn from(record: &'a CurvatureRecord) -> Self {
        let passed = record.evidence.as_ref().is_none_or(|evidence| evidence.passed);
        Self { settings: &record.settings, row: EpochSpectrum::of_network(record), passed }
    }
}

/// Prints a row for each of `answers`, all of one run, and leaves `spectra.csv` and `spectra.svg`
/// beside their folders: of these epochs, and of those that were measured so before.
pub fn leave(run: &RunDir, place: &Place, answers: Vec<Answer<'_>>) -> Result<(), CliError> {
    let mut questions: Vec<(PathBuf, Vec<Answer<'_>>)> = Vec::new();
    for answer in answers {
        let Some(stem) = place.over_epochs(answer.settings) else { continue };
        match questions.iter_mut().find(|(other, _)| *other == stem) {
            Some((_, same)) => same.push(answer),
            None => questions.push((stem, vec![answer])),
        }
    }
    let epochs = run.epochs()?;
    for (stem, answers) in questions {
        let Some(first) = answers.first() else { continue };
        let title = title(run, first.settings);
        print(&title, &answers);
        let rows = spectra_over_epochs(place, &epochs, first.settings)?;
        save_over_epochs(&stem, &rows, &title)?;
        say(format_args!("-> {0}.csv, {0}.svg", stem.display()));
    }
    Ok(())
}

/// "FC of fc-s0-20260314-150926, mnist (train)"
fn title(run: &RunDir, settings: &SpectrumSettings) -> String {
    let name = run.name();
    let images = names::images(settings).unwrap_or_default();
    let statistics = settings.statistics.map_or_else(String::new, |statistics| format!(" by {statistics}"));
    let request = &settings.request;
    let parameters = match request.is_of_network() {
        true => format!(", {}", request.parameters),
        false => String::new(),
    };
    format!("{}{statistics} of {name}{parameters}, {images}", settings.network)
}

fn print(title: &str, answers: &[Answer<'_>]) {
    let samples = answers.first().map_or(0, |answer| answer.settings.samples);
    // One of them is known of a whole spectrum, the other of a network.
    let of_network = answers.iter().any(|answer| answer.settings.request.is_of_network());
    let last = if of_network { "lambda_min" } else { "rank" };
    say(format_args!("\n{title}, {samples} samples"));
    say(format_args!(
        "{:>5}  {:>12}  {:>12}  {:>12}  {:>12}  {last:>12}  {:>13}",
        "epoch", "lambda_1", "lambda_10", "kappa'", "trace", "digits of l_1"
    ));
    for Answer { row, passed, .. } in answers {
        let digits = match (row.digits, passed) {
            (_, false) => "FAILED".to_owned(),
            (None, true) => "SKIPPED".to_owned(),
            (Some(digits), true) => digits.to_string(),
        };
        let last = row.rank.map_or_else(|| number(row.lambda_min), |rank| rank.to_string());
        say(format_args!(
            "{:>5}  {:>12}  {:>12}  {:>12}  {:>12}  {last:>12}  {digits:>13}",
            row.epoch,
            number(row.lambda_1),
            number(row.lambda_10),
            number(row.kappa_prime),
            number(Some(row.trace)),
        ));
    }
}
