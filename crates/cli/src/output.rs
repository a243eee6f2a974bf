//! What goes to stdout.

use std::{
    fmt::Arguments,
    io::{self, Write},
};

use kappa_run::escaped;

/// `text` with what a terminal would act upon escaped, but for the ends of lines: names in it come
/// from files and folders of anybody's. (A line's end in a name is escaped where the name is put
/// into its sentence, by `shown`.)
pub fn printable(text: &str) -> String {
    escaped(text, |character| character == '\n')
}

/// Prints a line. A reader that has gone (`kappa train .. | head`) is no reason
/// to end a training, so a line that cannot be written is left out.
pub fn say(line: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{}", printable(&line.to_string()));
}
