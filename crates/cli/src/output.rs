//! What goes to stdout.

use std::{
    fmt::Arguments,
    io::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use kappa_run::escaped;

use crate::error::CliError;

/// Whether another process speaks for this one.
static SILENT: AtomicBool = AtomicBool::new(false);
/// Why the first line that was lost could not be written.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// `text` with what a terminal would act upon escaped, but for the ends of lines: names in it come
/// from files and folders of anybody's. (A line's end in a name is escaped where the name is put
/// into its sentence, by `shown`.)
pub fn printable(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

/// From now on nothing is printed but errors: another process speaks for this one.
pub fn be_silent() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Whether another process speaks for this one.
pub fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// Prints a line. One that cannot be written ends nothing that is being computed:
/// [`written`] tells of it afterwards.
pub fn say(line: Arguments<'_>) {
    if !is_silent() {
        note(writeln!(io::stdout().lock(), "{}", printable(&line.to_string())));
    }
}

/// Whether everything that was to be printed was.
///
/// # Errors
///
/// [`CliError::NotPrinted`]. A reader that has gone (`kappa train .. | head`) has seen what it
/// wanted to see, and is none.
pub fn written() -> Result<(), CliError> {
    note(io::stdout().lock().flush());
    match LOST.lock().unwrap_or_else(PoisonError::into_inner).take() {
        None => Ok(()),
        Some(error) => Err(CliError::NotPrinted(error)),
    }
}

fn note(result: io::Result<()>) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        _ => {}
    }
}
