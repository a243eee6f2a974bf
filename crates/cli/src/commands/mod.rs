//! One file a subcommand.

mod data;
mod devices;
mod hessian;
mod influence;
mod laplace;
mod posterior;
mod report;
mod study;
mod train;
mod verify;
mod why;

use std::path::{Path, PathBuf};

use kappa_data::{DataError, DataSet};
use kappa_run::free_memory;

use crate::{
    args::{Arguments, Command},
    error::CliError,
    processes::Processes,
};

/// Does what was asked for.
pub fn run(arguments: Arguments, processes: &Processes) -> Result<(), CliError> {
    match arguments.command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Hessian(arguments) => hessian::run(&arguments, processes),
        Command::Laplace(arguments) => laplace::run(&arguments),
        Command::Influence(arguments) => influence::run(&arguments),
        Command::Study(arguments) => study::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Devices => {
            devices::run();
            Ok(())
        }
        Command::Data(arguments) => data::run(&arguments),
    }
}

/// Data sets by their folder (none: the embedded MNIST), each read once.
#[derive(Default)]
struct DataSets {
    read: Vec<(Option<PathBuf>, DataSet)>,
}

impl DataSets {
    fn get(&mut self, folder: Option<&Path>) -> Result<&DataSet, DataError> {
        let known = self.read.iter().position(|(other, _)| other.as_deref() == folder);
        let index = match known {
            Some(index) => index,
            None => {
                let from_folder = |folder: &Path| DataSet::from_folder(folder, free_memory());
                let set = folder.map_or_else(DataSet::mnist, from_folder)?;
                self.read.push((folder.map(Path::to_owned), set));
                self.read.len() - 1
            }
        };
        Ok(&self.read[index].1)
    }
}
