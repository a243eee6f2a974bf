//! `kappa report`.

use kappa_report::write_report;
use kappa_run::{StudyDir, shown};

use crate::{args::ReportArguments, error::CliError, output::say};

pub fn run(arguments: &ReportArguments) -> Result<(), CliError> {
    let (study, _) = StudyDir::open(&arguments.study)?;
    let folder = write_report(&study)?;
    say(format_args!("{}", shown(folder.join("report.html"))));
    Ok(())
}
