//! From a study's directory to Table 1, figures, and one page that tells it all.
//!
//! ```text
//! results    reads what the runs left: metrics, spectra, findings
//! band       the median and the extremes over the seeds
//! paper      what the paper reports
//! figures    charts as SVG and CSV, and as PNG with the feature `png`
//! tables     the numbers of the report's tables, each with the files that it is from
//! lead       what was found, in a few sentences
//! page       report.md and report.html
//! spectrum   the data of the page's interactive view
//! why        the report of a `kappa why`
//! influence  what `kappa influence` leaves, with its table and pictures
//! save       what a single measurement leaves, with its plots
//! ```
//!
//! Nothing is trained and nothing recomputed: a report can be written again at
//! any time from what the runs left, and every number in it is from a file there.
#![deny(missing_docs)]

mod band;
mod figures;
mod influence;
mod lead;
mod page;
mod paper;
mod results;
mod save;
mod spectrum;
mod tables;
mod why;

use std::path::PathBuf;

pub use crate::{
    figures::posterior::{calibration_plot, marginal_plot},
    figures::single::{density_plot, epochs_plot, gap_plot, subsets_plot},
    influence::{FoundInfluences, SampleImages, save_influence},
    save::{save_curvature, save_laplace, save_matrix_free, save_over_epochs, save_spectrum},
    why::{factor, mean, tau, times, write_why_report},
};

use kappa_run::{Checksums, RunError, StudyDir, shown};

use crate::results::StudyResults;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The study's directory could not be read, or the report not be written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run that the findings name has no spectra.
    #[error("{} has no spectra", shown(.0))]
    NoSpectra(PathBuf),
    /// The findings name no run.
    #[error("the study in {} has no runs at its chosen point", shown(.0))]
    NoRuns(PathBuf),
    /// The findings have another number of runs a seed than the study has arms.
    #[error("the findings in {} are not of the arms of its study.toml", shown(.0))]
    OtherArms(PathBuf),
    /// A chart could not be drawn.
    #[error("figure {name} cannot be drawn: {problem}")]
    Figure {
        /// The figure's name.
        name: String,
        /// What went wrong.
        problem: String,
    },
    /// A page could not be written out.
    #[error("the page cannot be written out: {0}")]
    Page(String),
}

/// Writes the report of `study` into its directory and returns the folder.
///
/// # Errors
///
/// [`ReportError`].
pub fn write_report(study: &StudyDir) -> Result<PathBuf, ReportError> {
    let results = StudyResults::read(study)?;
    let _lock = study.lock()?;
    let folder = study.report();
    let drawn = folder.join("figures");
    std::fs::create_dir_all(&drawn).map_err(|source| RunError::Write { path: drawn.clone(), source })?;

    let figures = figures::all(&results)?;
    let mut files = Checksums::default();
    for figure in &figures {
        for (extension, bytes) in figure.files() {
            files.write_file(&folder, &format!("figures/{}.{extension}", figure.name), bytes)?;
        }
    }
    let tables = tables::Tables::new(&results);
    files.write_file(&folder, "table-1.csv", &tables.table_1_csv()?)?;
    files.write_file(&folder, "report.md", page::markdown(&results, &tables, &figures)?.as_bytes())?;
    files.write_file(&folder, "report.html", page::html(&results, &tables, &figures)?.as_bytes())?;
    files.write(&folder)?;
    Ok(folder)
}
