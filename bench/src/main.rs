//! kappa's side of the benchmark (`just bench`).
//!
//! ```text
//! serve      does the work that is timed, a line of JSON in, a line of JSON out
//! inputs     writes what both sides compute from, as .npy files
//! ladder     the GPU kernel of the class pairs, from naive to what kappa runs
//! launches   how many kernels a step of training queues, and what one costs
//!
//! protocol   what is asked for and what is answered
//! works      each work, with what it keeps in memory
//! files      what both sides read
//! device     what is computed on, and how a kernel is queued there
//! timing     the clock
//! ```

mod device;
mod error;
mod files;
mod inputs;
mod ladder;
mod launches;
mod protocol;
mod serve;
mod timing;
mod works;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps what is freed for what is taken next: from the system's allocator every large tensor
/// has fresh pages, and clearing those takes a third of a full batch's step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// kappa's side of the benchmark: the work that is timed, asked for a line at a time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests on standard input, a line of JSON each, until it ends
    Serve(serve::Arguments),
    /// Write what both sides compute from: MNIST's last layer, or random numbers of any size
    Inputs(inputs::Arguments),
    /// The GPU kernel of the class pairs, step by step, each against the same reference
    Ladder(ladder::Arguments),
    /// How many kernels a step of training queues, and what queueing one costs
    Launches(launches::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Inputs(arguments) => inputs::run(&arguments),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn help_says_what_the_program_is() {
        let about = super::Arguments::command().get_about().map(ToString::to_string);
        assert!(about.is_some_and(|about| about.starts_with("kappa's side of the benchmark")));
    }
}
