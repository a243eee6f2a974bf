//! `kappa`: reads arguments, calls the libraries, prints.
//!
//! ```text
//! args        what can be typed
//! backend     --backend: which device burn computes on
//! commands    one file a subcommand
//! panics      where panics end
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
mod progress;
mod provenance;

#[cfg(unix)]
use std::sync::Arc;
use std::{
    ffi::OsStr,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use kappa_run::{Config, StudyConfig};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    args::Arguments,
    error::{CliError, report},
};

/// Keeps what is freed for what is taken next: from the system's allocator every large tensor
/// has fresh pages, and clearing those takes a third of a full batch's step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return told(&with_advice(error)),
    };
    #[cfg(all(feature = "wgpu", target_os = "linux"))]
    if arguments.command.looks_for_a_gpu() {
        without_device_select();
    }
    #[cfg(unix)]
    without_death_of_long_files();
    // Libraries log; KAPPA_LOG chooses what is shown (warnings, if it does not).
    let filter = EnvFilter::try_from_env("KAPPA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time().with_target(false))
        .init();
    // This thread computes too: waiting for the others' work instead would cost a wake-up,
    // there and back, for each of the thousands of small products of an epoch.
    if let Err(error) = rayon::ThreadPoolBuilder::new().use_current_thread().build_global() {
        tracing::warn!("the threads could not be set up: {error}");
    }
    match panics::caught(|| commands::run(arguments)).and_then(|()| output::written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            if error.is_stop() { ExitCode::from(interrupt::STATUS) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn told(error: &clap::Error) -> ExitCode {
    let printed = error.print().and_then(|()| io::stdout().flush());
    match printed.map_err(CliError::NotPrinted) {
        Err(CliError::NotPrinted(lost)) if lost.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(lost) => {
            report(&lost);
            ExitCode::FAILURE
        }
        Ok(()) => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// What clap says of arguments, with the value of a configuration that an unknown option is.
fn with_advice(mut error: clap::Error) -> clap::Error {
    let command = std::env::args_os().nth(1);
    let keys = match command.as_deref().and_then(OsStr::to_str) {
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

/// Begins this program again without Mesa's device-select layer, where there is no desktop: the
/// layer asks the desktop for its preferred adapter, and where there is none it prints an error
/// that reads like kappa's. It is told to stand aside by a variable of the environment, which a
/// process cannot set for itself without unsafe code; the program that takes this one's place
/// can be given it.
#[cfg(all(feature = "wgpu", target_os = "linux"))]
fn without_device_select() {
    use std::{env, os::unix::process::CommandExt, process::Command};
    const STAND_ASIDE: &str = "NODEVICE_SELECT";
    if env::var_os("XDG_RUNTIME_DIR").is_some() || env::var_os(STAND_ASIDE).is_some() {
        return;
    }
    if let Ok(this) = env::current_exe() {
        // It returns only if it fails; then everything works all the same.
        let error = Command::new(this).args(env::args_os().skip(1)).env(STAND_ASIDE, "1").exec();
        tracing::debug!("the device-select layer stays: {error}");
    }
}
