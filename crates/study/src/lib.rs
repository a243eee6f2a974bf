//! The experiment: arms x grid x paired seeds, a probe per epoch, the verdicts.
//!
//! A study ([`run_study`]) compares arms: one recipe, of which each arm sets some values. It
//! trains the reference, one of them, along a grid and chooses the best point, trains all
//! arms there with paired seeds, probes every epoch, does the same along the learning rate,
//! L2 and the width, and judges the paper's claims by what lies there then ([`find`],
//! [`claims`]).
#![deny(missing_docs)]

pub mod claims;
mod findings;
mod judge;
pub mod plan;
mod study;
mod tasks;

pub use findings::find;
pub use judge::{ArmNames, RunRecord, SeedRuns, explain, judge};
pub use study::{Checked, StudyError, StudyObserver, StudyResult, run_study};
pub use tasks::{Plan, RunPlan, Stage, StagePlan, Task, plan_study, run_task};
