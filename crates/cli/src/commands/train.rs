//! `kappa train`.

use kappa_run::{Config, RunDir};
use kappa_trainer::train;

use super::{DataSets, hessian};
use crate::{args::TrainArguments, backend, error::CliError, output::say, progress::TrainingProgress};

pub fn run(arguments: &TrainArguments) -> Result<(), CliError> {
    // All configurations first: a mistake in the last one is told before the first one trains.
    let mut configs = Vec::new();
    for path in &arguments.configs {
        let mut config = Config::load(path, &arguments.set)?;
        if let Some(folder) = &arguments.data {
            config.data.folder = Some(folder.clone());
        }
        configs.push(config);
    }
    let chosen = backend::choose(arguments.common.backend)?;
    let quiet = arguments.common.quiet;
    if !quiet {
        say(format_args!("{} on {}", chosen.machine.backend, chosen.machine.device_name));
    }
    let mut sets = DataSets::default();
    let mut runs: Vec<RunDir> = Vec::new();
    for config in &configs {
        let set = sets.get(config.data.folder.as_deref())?;
        let mut progress = TrainingProgress::new(config.network_label(), quiet);
        runs.push(train(config, set, &chosen.machine, &arguments.out, None, &mut progress)?);
        if quiet && let Some(run) = runs.last() {
            say(format_args!("{}", run.path().display()));
        }
    }
    if arguments.hessian { hessian::of_last_epochs(runs, sets, chosen, quiet) } else { Ok(()) }
}
