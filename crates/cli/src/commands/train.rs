//! `kappa train`.

use std::ops::ControlFlow;

use kappa_run::{Config, RunDir, shown};
use kappa_trainer::{TrainError, prolong, resume, train};

use super::{DataSets, hessian};
use crate::{
    args::TrainArguments, backend, error::CliError, interrupt, output::say, progress::TrainingProgress,
};

pub fn run(arguments: &TrainArguments) -> Result<(), CliError> {
    // All configurations first: a mistake in the last one is told before the first one trains.
    let mut configs = Vec::new();
    for path in &arguments.configs {
        let mut config = Config::load(path, &arguments.set)?;
        if let Some(folder) = &arguments.data {
            config.data.folder = Some(folder.clone());
        }
        config.check_batches()?;
        configs.push(config);
    }
    let resumed = arguments
        .resume
        .iter()
        .map(|path| {
            let run = RunDir::open(path)?;
            let config = run.manifest()?.config.prolonged(&arguments.set)?;
            Ok((config, run))
        })
        .collect::<Result<Vec<_>, CliError>>()?;
    let chosen = backend::choose(arguments.common.backend.named())?;
    let quiet = arguments.common.quiet;
    if !quiet {
        say(format_args!("{} on {}", chosen.machine.provenance.backend, chosen.machine.provenance.device));
    }
    let listening = interrupt::listen();
    let mut sets = DataSets::default();
    let mut runs: Vec<RunDir> = Vec::new();
    let trainings = configs.into_iter().map(|config| (config, None));
    for (config, stopped) in resumed.into_iter().map(|(config, run)| (config, Some(run))).chain(trainings) {
        let set = sets.get(arguments.data.as_deref().or(config.data.folder.as_deref()))?;
        let mut progress = TrainingProgress::new(config.network_label(), quiet);
        let run = match stopped {
            Some(run) if arguments.set.is_empty() => resume(run, set, &chosen.machine, &mut progress),
            Some(run) => prolong(run, config.training.epochs, set, &chosen.machine, &mut progress),
            None => train(&config, set, &chosen.machine, &arguments.out, None, &mut progress),
        };
        runs.push(run.map_err(|error| match error {
            TrainError::Stopped => CliError::TrainingStopped(progress.run().to_owned()),
            error => error.into(),
        })?);
        if quiet && let Some(run) = runs.last() {
            say(format_args!("{}", shown(run.path())));
        }
    }
    drop(listening);
    match (arguments.hessian, interrupt::go_on()) {
        (false, _) => Ok(()),
        // Asked for after the last step.
        (true, ControlFlow::Break(())) => Err(CliError::Stopped),
        (true, ControlFlow::Continue(())) => hessian::of_last_epochs(runs, sets, chosen, quiet),
    }
}
