//! `kappa report`.

use kappa_report::{write_report, write_why_report};
use kappa_run::{StudyDir, WhyDir, shown};

use crate::{args::ReportArguments, error::CliError, output::say};

pub fn run(arguments: &ReportArguments) -> Result<(), CliError> {
    if WhyDir::is_one(&arguments.study) {
        let page = write_why_report(&WhyDir::open(&arguments.study)?)?;
        say(format_args!("{}", shown(&page)));
        return Ok(());
    }
    let (study, _) = StudyDir::open(&arguments.study)?;
    let folder = write_report(&study)?;
    say(format_args!("{}", shown(folder.join("report.html"))));
    Ok(())
}
