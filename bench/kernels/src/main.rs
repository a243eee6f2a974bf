//! The GPU kernel of the class pairs, step by step, and what a launch costs.
//!
//! ```text
//! ladder     the kernel, from naive to what kappa runs
//! launches   how many kernels a step of training queues, and what one costs
//!
//! gpu        the GPU, and how a kernel is queued there
//! timing     the clock
//! ```

mod error;
mod gpu;
mod ladder;
mod launches;
mod timing;

use std::process::ExitCode;

use clap::Parser;

/// The GPU kernel of the class pairs, step by step, and what a launch costs
#[derive(Parser)]
#[command(version)]
enum Command {
    /// The GPU kernel of the class pairs, step by step, each against the same reference
    Ladder(ladder::Arguments),
    /// How many kernels a step of training queues, and what queueing one costs
    Launches(launches::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Ladder(arguments) => ladder::run(&arguments),
        Command::Launches(arguments) => launches::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error::with_causes(&error));
            ExitCode::FAILURE
        }
    }
}
