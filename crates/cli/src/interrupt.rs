//! Ctrl-C: once stops after the step that is being done, twice at once.

use std::{
    ops::ControlFlow,
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The exit status of a program that was interrupted: 128 + SIGINT.
pub const STATUS: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C (or SIGTERM) is a request, which [`go_on`] tells of. For what
/// asks often enough; elsewhere the first one ends the program, as usual.
pub fn listen() {
    let handled = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            process::exit(STATUS.into());
        }
        eprintln!("stopping after this step; once more to stop at once");
    });
    if let Err(error) = handled {
        tracing::warn!("Ctrl-C will not finish the step: {error}");
    }
}

/// Whether to go on.
pub fn go_on() -> ControlFlow<()> {
    if REQUESTED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
