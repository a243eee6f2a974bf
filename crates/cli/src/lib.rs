//! `kappa`: reads arguments, calls the libraries, prints. The program is [`program`], called with what
//! was typed; the package for Python calls it too, and takes from here which devices there are and how
//! errors are told.
//!
//! ```text
//! args        what can be typed
//! backend     --backend: which device burn computes on
//! commands    one file a subcommand
//! panics      where panics end
//! processes   those that mpirun begins together
//! output      lines on stdout
//! interrupt   Ctrl-C
//! progress    bars and epoch lines
//! provenance  which program this is: version, commit, crates
//! error       what is said when something cannot be done
//! advice      what to type then
//! ```
#![deny(missing_docs)]

mod advice;
mod args;
mod backend;
mod commands;
mod error;
mod interrupt;
mod output;
mod panics;
mod processes;
mod progress;
mod provenance;

#[cfg(unix)]
use std::sync::Arc;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use kappa_run::{Config, StudyConfig};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

#[cfg(feature = "wgpu")]
pub use crate::backend::{Adapter, adapters};
pub use crate::{
    backend::{BackendError, Chosen, choose, compiled_in},
    error::message,
};

use crate::{
    args::Arguments,
    error::{CliError, report},
    processes::Processes,
};

/// The status of a program that did what it was asked to.
const SUCCESS: u8 = 0;
/// The status of one that could not.
const FAILURE: u8 = 1;

/// Does what `arguments` say, the program's name first, and prints what comes of it. Returned is the exit
/// status: 0, 1 for an error, 2 for arguments that are none, 130 after Ctrl-C.
pub fn program(arguments: &[OsString]) -> u8 {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return told(&with_advice(error, arguments.get(1).map(OsString::as_os_str))),
    };
    #[cfg(unix)]
    without_death_of_long_files();
    // Libraries log; KAPPA_LOG chooses what is shown (warnings, if it does not).
    let filter = EnvFilter::try_from_env("KAPPA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::registry().with(filter).with(
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time().with_target(false),
    );
    if log.try_init().is_err() {
        tracing::debug!("what is logged goes where it went before");
    }
    // This thread computes too: waiting for the others' work instead would cost a wake-up,
    // there and back, for each of the thousands of small products of an epoch.
    if let Err(error) = rayon::ThreadPoolBuilder::new().use_current_thread().build_global() {
        tracing::warn!("the threads could not be set up: {error}");
    }
    let processes = match Processes::join(&parsed.command) {
        Ok(processes) => processes,
        Err(error) => {
            // All of them have it.
            if !output::is_silent() {
                report(&error);
            }
            return FAILURE;
        }
    };
    match panics::caught(|| commands::run(parsed, &processes)).and_then(|()| output::written()) {
        Ok(()) => processes.end(SUCCESS, || ()),
        Err(error) => {
            let status = if error.is_stop() { interrupt::STATUS } else { FAILURE };
            processes.end(status, || report(&error))
        }
    }
}

/// Whether `arguments` ask for something that looks for a GPU.
#[cfg(all(feature = "wgpu", target_os = "linux"))]
pub fn looks_for_a_gpu(arguments: &[OsString]) -> bool {
    Arguments::try_parse_from(arguments).is_ok_and(|arguments| arguments.command.looks_for_a_gpu())
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn told(error: &clap::Error) -> u8 {
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed.map_err(CliError::NotPrinted) {
        Err(CliError::NotPrinted(lost)) if lost.kind() == io::ErrorKind::BrokenPipe => SUCCESS,
        Err(lost) => {
            report(&lost);
            FAILURE
        }
        Ok(()) => u8::try_from(error.exit_code()).unwrap_or(FAILURE),
    }
}

/// What clap says of arguments, with the value of a configuration that an unknown option is.
fn with_advice(mut error: clap::Error, command: Option<&OsStr>) -> clap::Error {
    let keys = match command.and_then(OsStr::to_str) {
        Some("train") => Config::keys(),
        Some("study") => StudyConfig::keys(),
        _ => Vec::new(),
    };
    let advice = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => {
            advice::on_option(option, &keys)
        }
        _ => None,
    };
    if let Some(advice) = advice {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

/// Where a file may only be so long (`ulimit -f`), a write beyond that would end the process
/// without a word. Once the signal is taken by somebody the write fails instead, and that is told.
#[cfg(unix)]
fn without_death_of_long_files() {
    use signal_hook::{consts::SIGXFSZ, flag::register};
    // Nobody looks at the flag: the write's own error says more.
    if let Err(error) = register(SIGXFSZ, Arc::default()) {
        tracing::debug!("a file that grows too long would end the program: {error}");
    }
}
