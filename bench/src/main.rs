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
//! device     --backend: what is computed on
//! adapter    the GPU that ladder and launches run on
//! kernel     a WGSL file as burn's cubecl launches it
//! npy        the files
//! ```

mod adapter;
mod device;
mod inputs;
mod kernel;
mod ladder;
mod launches;
mod npy;
mod protocol;
mod serve;
mod works;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

/// The work that is timed, asked for a line at a time.
/// Keeps what is freed for what is taken next: from the system's allocator every large tensor
/// has fresh pages, and clearing those takes a third of a full batch's step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    let outcome: Result<(), Box<dyn Error>> = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments).map_err(Into::into),
        Command::Inputs(arguments) => inputs::run(&arguments).map_err(Into::into),
        Command::Ladder(arguments) => ladder::run(&arguments).map_err(Into::into),
        Command::Launches(arguments) => launches::run(&arguments).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
