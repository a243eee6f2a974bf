//! `kappa report`.

use kappa_report::write_report;
use kappa_run::StudyDir;

use crate::{args::ReportArguments, error::CliError, output::say};

pub fn run(arguments: &ReportArguments) -> Result<(), CliError> {
    let (study, _) = StudyDir::open(&arguments.study)?;
    let folder = write_report(&study)?;
    say(format_args!("{}", folder.join("report.html").display()));
    Ok(())
}
