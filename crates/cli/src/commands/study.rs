//! `kappa study`.

use std::time::Instant;

use kappa_report::write_report;
use kappa_run::{PointFindings, StudyConfig, shown};
use kappa_study::{StudyError, run_study};
use kappa_trainer::TrainError;

use super::DataSets;
use crate::{
    args::StudyArguments, backend, error::CliError, interrupt, output::say, progress::StudyProgress,
};

pub fn run(arguments: &StudyArguments) -> Result<(), CliError> {
    let mut study = StudyConfig::load(&arguments.config, &arguments.set)?;
    if let Some(folder) = &arguments.data {
        study.recipe.data.folder = Some(folder.clone());
    }
    let mut sets = DataSets::default();
    let set = sets.get(study.recipe.data.folder.as_deref())?;
    let chosen = backend::choose(arguments.common.backend.named())?;
    let precision = arguments.precision.unwrap_or(chosen.precision);
    let mut progress = StudyProgress::new(arguments.common.quiet);
    let listening = interrupt::listen();
    let result = run_study(&study, set, &chosen.machine, precision, &arguments.out, &mut progress).map_err(
        |error| match error {
            StudyError::Train(TrainError::Stopped) => CliError::StudyStopped,
            error => error.into(),
        },
    )?;

    drop(listening);
    if interrupt::go_on().is_break() {
        return Err(CliError::StudyStopped);
    }

    if let Some((chosen, sweep)) = result.findings.points.split_first() {
        say(format_args!("\nchosen: learning rate {:e}, L2 {:e}", chosen.learning_rate, chosen.l2));
        print_verdicts(chosen);
        print_words(&study, sweep);
    }
    let start = Instant::now();
    let report = write_report(&result.directory)?;
    say(format_args!("\nseconds"));
    for (stage, seconds) in &result.stages {
        say(format_args!("  {stage:<16}{seconds:9.1}"));
    }
    say(format_args!("  {:<16}{:9.1}", "report", start.elapsed().as_secs_f64()));
    let checked = &result.checked;
    say(format_args!(
        "evidence: {} spectra, {} checks, {} failed",
        checked.spectra,
        checked.checks,
        checked.failed.len()
    ));
    say(format_args!("{}", shown(report.join("report.html"))));
    match checked.failed.is_empty() {
        true => Ok(()),
        false => Err(CliError::Unproven { failed: checked.failed.join("; ") }),
    }
}

/// The verdicts at the chosen point, with their numbers.
fn print_verdicts(judged: &PointFindings) {
    for verdict in &judged.verdicts {
        let interval = verdict
            .estimate
            .interval
            .map_or_else(|| "(one seed)".to_owned(), |[low, high]| format!("[{low:.3}, {high:.3}]"));
        say(format_args!(
            "  ({}) {}  {}{}: {:.3} {interval} {}, {} of {}",
            verdict.claim,
            verdict.word.as_str(),
            if verdict.control { "control: " } else { "" },
            verdict.what,
            verdict.estimate.mean,
            verdict.unit,
            verdict.holding,
            verdict.estimate.effects.len()
        ));
    }
}

/// One word for each claim and point of the sweeps, and each arm beside the reference.
fn print_words(study: &StudyConfig, sweep: &[PointFindings]) {
    let claims = 1..=5u8;
    let others: Vec<_> = study.arms.iter().filter(|arm| arm.name != study.reference).collect();
    let headings: String = claims.clone().map(|claim| format!("{:>7}", format!("({claim})"))).collect();
    say(format_args!("\n{:<24}{headings}", "elsewhere"));
    for found in sweep {
        for arm in &others {
            let words: String = claims
                .clone()
                .map(|claim| {
                    format!("{:>7}", found.word_of(claim, &arm.name).map_or("-", |word| word.as_str()))
                })
                .collect();
            let whose = if others.len() > 1 { format!("  {}", arm.name) } else { String::new() };
            let diverged = if found.diverged.is_some() { "  diverged" } else { "" };
            say(format_args!("{:<24}{words}{whose}{diverged}", found.point));
        }
    }
}
