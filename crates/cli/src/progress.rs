//! Bars while work goes on, a line for each epoch.
//!
//! Bars are drawn on stderr if that is a terminal; `--quiet` shows neither.

use std::{
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kappa_hessian::Progress;
use kappa_probe::Observer;
use kappa_run::{EpochMetrics, RunDir, Training, shown};
use kappa_study::StudyObserver;
use kappa_why::WhyObserver;

use crate::{interrupt, output::say};

/// A bar of `length` units, drawn only where it can be seen.
fn bar(length: usize, what: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:>12} {wide_bar} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

/// Shows a measurement: a bar for each stage.
pub struct Measuring {
    quiet: bool,
    bar: Mutex<ProgressBar>,
}

impl Measuring {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: Mutex::new(ProgressBar::hidden()) }
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Measuring {
    fn advance(&self, by: usize) -> ControlFlow<()> {
        self.bar().inc(by as u64);
        ControlFlow::Continue(())
    }
}

impl Observer for Measuring {
    fn stage(&self, what: &str, length: Option<usize>) {
        let mut shown = self.bar();
        shown.finish_and_clear();
        *shown = match length {
            Some(length) => bar(length, what, self.quiet),
            None => spinner(what, self.quiet),
        };
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}

/// Counts what has no known length.
fn spinner(what: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let spinner = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} {msg}, {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_message(what.to_owned());
    spinner
}

/// Shows a training.
pub struct TrainingProgress {
    quiet: bool,
    network: &'static str,
    epochs: usize,
    run: String,
    bar: ProgressBar,
}

impl TrainingProgress {
    pub fn new(network: &'static str, quiet: bool) -> Self {
        Self { quiet, network, epochs: 0, run: String::new(), bar: ProgressBar::hidden() }
    }

    /// Where the training's run directory is.
    pub fn run(&self) -> &str {
        &self.run
    }
}

impl kappa_trainer::Observer for TrainingProgress {
    fn started(&mut self, run: &RunDir, epochs: usize, steps: usize, done: Option<usize>) {
        self.epochs = epochs;
        self.run = shown(run.path());
        if !self.quiet {
            say(format_args!("{} -> {}", self.network, shown(run.path())));
            say(format_args!("{:>12}  {:>9}  {:>17}  {:>17}  {:>17}", "", "", "train", "validation", "test"));
        }
        self.bar = bar(epochs * steps, self.network, self.quiet);
        if let Some(done) = done {
            self.bar.inc((done * steps) as u64);
            if !self.quiet {
                self.bar.suspend(|| say(format_args!("goes on after epoch {done}")));
            }
        }
    }

    fn stepped(&mut self) -> ControlFlow<()> {
        self.bar.inc(1);
        interrupt::go_on()
    }

    fn finished_epoch(&mut self, row: &EpochMetrics) {
        if !self.quiet {
            let split = |loss: f64, accuracy: f64| format!("{loss:.4}  {:6.2} %", 100.0 * accuracy);
            let line = format!(
                "epoch {:>2}/{:<3}  {:>7.1} s  {:>17}  {:>17}  {:>17}",
                row.epoch,
                self.epochs,
                row.seconds,
                split(row.train_loss, row.train_accuracy),
                split(row.validation_loss, row.validation_accuracy),
                split(row.test_loss, row.test_accuracy),
            );
            self.bar.suspend(|| say(format_args!("{line}")));
        }
        if row.epoch == self.epochs {
            self.bar.finish_and_clear();
        }
    }
}

/// Shows a study: one bar for all of it, a line for each run.
pub struct StudyProgress {
    quiet: bool,
    bar: ProgressBar,
}

impl StudyProgress {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: bar(0, "", quiet) }
    }

    fn say(&self, line: std::fmt::Arguments<'_>) {
        if !self.quiet {
            self.bar.suspend(|| say(line));
        }
    }
}

impl Drop for StudyProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl StudyObserver for StudyProgress {
    fn go_on(&mut self) -> ControlFlow<()> {
        interrupt::go_on()
    }

    fn planned(&mut self, work: usize) {
        self.bar.set_length(self.bar.position() + work as u64);
    }

    fn worked(&mut self, work: usize) {
        self.bar.inc(work as u64);
    }

    fn stage(&mut self, name: &'static str, runs: usize) {
        self.bar.set_message(name);
        self.say(format_args!("{name}: {runs} runs"));
    }

    fn run_done(&mut self, name: &str, metrics: &EpochMetrics, again: bool) {
        let note = if again { "  (found finished)" } else { "" };
        let [train, validation, test] =
            [metrics.train_accuracy, metrics.validation_accuracy, metrics.test_accuracy]
                .map(|accuracy| 100.0 * accuracy);
        self.say(format_args!("  {name:<32}{train:7.2} %{validation:7.2} %{test:7.2} %{note}"));
    }
}

/// Shows a `kappa why`: a line for each training.
pub struct WhyProgress {
    quiet: bool,
    bar: ProgressBar,
}

impl WhyProgress {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: bar(0, "", quiet) }
    }
}

impl Drop for WhyProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl WhyObserver for WhyProgress {
    fn go_on(&mut self) -> ControlFlow<()> {
        self.bar.inc(1);
        interrupt::go_on()
    }

    fn stage(&mut self, name: &'static str, variants: usize) {
        self.bar.set_message(name);
        if !self.quiet {
            self.bar.suspend(|| say(format_args!("{name}: {variants} arms and interventions")));
        }
    }

    fn trained(&mut self, name: &str, training: &Training) {
        if !self.quiet {
            let (steps, last) = (training.losses.len().saturating_sub(1), training.losses.last());
            let loss = last.copied().unwrap_or(f64::NAN);
            self.bar.suspend(|| {
                say(format_args!("  {name:<44}{steps:>5} steps  {loss:>9.4}  {:>6.1} s", training.seconds));
            });
        }
    }
}
