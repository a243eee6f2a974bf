//! One file a subcommand.

mod data;
mod devices;
mod hessian;
mod study;
mod table;
mod train;

use std::path::Path;

use kappa_data::{DataError, DataSet};

use crate::{
    args::{Arguments, Command},
    error::CliError,
};

/// Does what was asked for.
pub fn run(arguments: Arguments) -> Result<(), CliError> {
    match arguments.command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Hessian(arguments) => hessian::run(&arguments),
        Command::Study(arguments) => study::run(&arguments),
        Command::Devices => {
            devices::run();
            Ok(())
        }
        Command::Data(arguments) => data::run(&arguments),
    }
}

/// The images in `folder`, or the embedded MNIST.
fn data_set(folder: Option<&Path>) -> Result<DataSet, DataError> {
    folder.map_or_else(DataSet::mnist, DataSet::from_folder)
}
