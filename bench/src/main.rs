//! kappa's side of the benchmark (`just bench`).
//!
//! ```text
//! ladder     the GPU kernel of the class pairs, from naive to what kappa runs
//! launches   how many kernels a step of training queues, and what one costs
//! ```

mod adapter;
mod kernel;
mod ladder;
mod launches;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The work that is timed, asked for a line at a time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The GPU kernel of the class pairs, step by step, each against the same reference
    Ladder(ladder::Arguments),
    /// How many kernels a step of training queues, and what queueing one costs
    Launches(launches::Arguments),
}

/// What ends the program without a result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ladder(#[from] ladder::LadderError),
    #[error(transparent)]
    Launches(#[from] launches::LaunchesError),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Ladder(arguments) => ladder::run(&arguments).map_err(Failure::from),
        Command::Launches(arguments) => launches::run(&arguments).map_err(Failure::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
