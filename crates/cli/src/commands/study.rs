//! `kappa study`.

use std::time::Instant;

use kappa_report::write_report;
use kappa_run::{PointFindings, StudyConfig, shown};
use kappa_study::{Checked, Plan, Stage, StudyError, Task, plan_study, run_study, run_task};
use kappa_trainer::TrainError;

use super::DataSets;
use crate::{
    args::{StageArgument, StudyArguments, TaskArgument},
    backend,
    error::CliError,
    interrupt,
    output::say,
    progress::StudyProgress,
};

pub fn run(arguments: &StudyArguments) -> Result<(), CliError> {
    let mut study = StudyConfig::load(&arguments.config, &arguments.set)?;
    if let Some(folder) = &arguments.data {
        study.recipe.data.folder = Some(folder.clone());
    }
    if arguments.plan {
        return print_plan(&plan_study(&study, &arguments.out)?, arguments.json);
    }
    // Before anything is read.
    let task = arguments.task.map(TaskArgument::task).transpose().map_err(CliError::Task)?;
    let mut sets = DataSets::default();
    let set = sets.get(study.recipe.data.folder.as_deref())?;
    let chosen = backend::choose(arguments.common.backend.named())?;
    let precision = arguments.precision.unwrap_or(chosen.precision);
    let mut progress = StudyProgress::new(arguments.common.quiet);
    let listening = interrupt::listen();
    let stopped = |error| match error {
        StudyError::Train(TrainError::Stopped) => CliError::StudyStopped,
        error => error.into(),
    };
    let (machine, out) = (&chosen.machine, &arguments.out);
    if let Some(task) = task {
        let stage = arguments.stage.map(|stage| match stage {
            StageArgument::Grid => Stage::Grid,
            StageArgument::Runs => Stage::Runs,
        });
        let done = run_task(&study, set, machine, precision, out, (task, stage), &mut progress);
        return tell_of_task(task, done.map_err(stopped)?);
    }
    let result = run_study(&study, set, machine, precision, out, &mut progress).map_err(stopped)?;

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
    let evidence = tell_of_evidence(&result.checked);
    say(format_args!("{}", shown(report.join("report.html"))));
    evidence
}

fn tell_of_evidence(checked: &Checked) -> Result<(), CliError> {
    say(format_args!(
        "evidence: {} spectra, {} checks, {} failed",
        checked.spectra,
        checked.checks,
        checked.failed.len()
    ));
    match checked.failed.is_empty() {
        true => Ok(()),
        false => Err(CliError::Unproven { failed: checked.failed.join("; ") }),
    }
}

/// "stage runs, task 2 of 8: 12 runs done", or that there is nothing left.
fn tell_of_task(
    Task { index, count }: Task,
    (stage, runs, checked): (Option<Stage>, usize, Checked),
) -> Result<(), CliError> {
    let Some(stage) = stage else {
        say(format_args!("all runs are done; the same command without --task judges them"));
        return Ok(());
    };
    let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    say(format_args!("stage {}, task {index} of {count}: {runs} done", stage.as_str()));
    if checked.spectra > 0 { tell_of_evidence(&checked) } else { Ok(()) }
}

fn print_plan(plan: &Plan, json: bool) -> Result<(), CliError> {
    if json {
        // Names and numbers: there is nothing that JSON has no words for.
        say(format_args!("{}", serde_json::to_string_pretty(plan).unwrap_or_default()));
        return Ok(());
    }
    for stage in &plan.stages {
        let done = stage.runs.iter().filter(|run| run.done).count();
        let known = if stage.runs.is_empty() { ", which depend on what the grid chooses" } else { "" };
        say(format_args!("{}: {} runs, {done} done{known}", stage.stage.as_str(), stage.count));
        for run in &stage.runs {
            say(format_args!("  {:<48}{}", run.name, if run.done { "done" } else { "open" }));
        }
    }
    match plan.open {
        Some(stage) => say(format_args!("open: {}", stage.as_str())),
        None => say(format_args!("all runs are done; `kappa study` judges them")),
    }
    Ok(())
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
