//! What goes to stdout.

use std::{
    fmt::Arguments,
    io::{self, Write},
};

/// Prints a line. A reader that has gone (`kappa train .. | head`) is no reason
/// to end a training, so a line that cannot be written is left out.
pub fn say(line: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
}
