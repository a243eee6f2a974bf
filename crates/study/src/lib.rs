//! The experiment: arms x grid x paired seeds, a probe per epoch, the verdicts.
//!
//! A [`probe`] takes a trained network and a split, and gives the samples that the
//! Hessian of the mean loss with respect to the last layer is made of:
//!
//! ```text
//! for each chunk of the split:  g = network.features(x),  p = softmax(network.logits(g))
//! H = 1/N sum_n (diag(p_n) - p_n p_n^T) (x) g_n g_n^T
//! ```
//!
//! A study ([`run_study`]) compares arms: one recipe, of which each arm sets some values. It
//! trains the reference, one of them, along a grid and chooses the best point, trains all
//! arms there with paired seeds, probes every epoch, does the same along the learning rate,
//! L2 and the width, and judges the paper's claims by what it found ([`claims`]).
#![deny(missing_docs)]

mod again;
pub mod claims;
mod judge;
pub mod plan;
mod probe;
mod spectra;
mod statistics;
mod study;

pub use again::spectra_again;
pub use judge::{ArmNames, RunRecord, SeedRuns, explain, judge};
pub use probe::{Folded, Precision, ProbeError, ProbeOptions, fold, probe};
pub use spectra::check_record;
pub use statistics::BatchNormStatistics;
pub use study::{Checked, StudyError, StudyObserver, StudyResult, run_study};
