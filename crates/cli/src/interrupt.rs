//! Ctrl-C: once stops after the step that is being done, twice at once.

use std::{
    ops::ControlFlow,
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The exit status of a program that was interrupted: 128 + SIGINT.
pub const STATUS: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Whether there is somebody who asks [`go_on`].
static ASKED: AtomicBool = AtomicBool::new(false);

/// For as long as it lives the first Ctrl-C (or SIGTERM) is a request.
#[must_use]
pub struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        ASKED.store(false, Ordering::Relaxed);
    }
}

/// From now on, and until what is returned is dropped, the first Ctrl-C (or SIGTERM) is a
/// request, which [`go_on`] tells of. For what asks often enough; elsewhere it ends the program.
pub fn listen() -> Listening {
    ASKED.store(true, Ordering::Relaxed);
    let handled = ctrlc::set_handler(|| {
        if !ASKED.load(Ordering::Relaxed) || REQUESTED.swap(true, Ordering::Relaxed) {
            process::exit(STATUS.into());
        }
        eprintln!("stopping after this step; once more to stop at once");
    });
    if let Err(error) = handled {
        tracing::warn!("Ctrl-C will not finish the step: {error}");
    }
    Listening
}

/// Whether to go on.
pub fn go_on() -> ControlFlow<()> {
    if REQUESTED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
