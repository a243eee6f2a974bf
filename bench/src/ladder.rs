//! The GPU kernel of the class pairs, from naive to what kappa runs.

/// What is run, and how often.
#[derive(clap::Args)]
pub struct Arguments {}

/// A rung that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LadderError {}

pub fn run(_: &Arguments) -> Result<(), LadderError> {
    Ok(())
}
