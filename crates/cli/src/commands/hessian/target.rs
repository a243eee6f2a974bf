//! Which checkpoints are asked for, and what is known of them.

use std::path::{Path, PathBuf};

use kappa_run::{Lock, Manifest, RunDir, RunError, Scaling};

use crate::{
    args::{HessianArguments, ScalingArgument},
    error::CliError,
};

/// A checkpoint, and where it comes from and goes to.
pub struct Target {
    pub checkpoint: PathBuf,
    pub origin: Origin,
    pub out: PathBuf,
}

pub enum Origin {
    Run { run: RunDir, manifest: Box<Manifest>, epoch: usize },
    File { scaling: Scaling },
}

impl Target {
    /// Keeps other processes out of the run, if the results go into it.
    pub fn lock(&self) -> Result<Option<Lock>, RunError> {
        match &self.origin {
            Origin::Run { run, .. } if self.out.starts_with(run.path()) => run.lock().map(Some),
            _ => Ok(None),
        }
    }
}

/// The checkpoints that the arguments name.
pub fn targets(arguments: &HessianArguments) -> Result<Vec<Target>, CliError> {
    if let Some(checkpoint) = &arguments.checkpoint {
        let scaling = match arguments.scaling {
            ScalingArgument::Unit => Scaling::Unit,
            ScalingArgument::Standardised => Scaling::Standardised,
        };
        let stem = checkpoint.file_stem().map_or_else(Default::default, |stem| stem.to_string_lossy());
        let out = arguments.out.clone().unwrap_or_else(|| arguments.root.join(format!("hessian-{stem}")));
        return Ok(vec![Target { checkpoint: checkpoint.clone(), origin: Origin::File { scaling }, out }]);
    }
    let runs = if arguments.runs.is_empty() {
        RunDir::latest(&arguments.root)?
    } else {
        let open = |path: &PathBuf| {
            let run = RunDir::open(path)?;
            let manifest = run.manifest()?;
            Ok((run, manifest))
        };
        arguments.runs.iter().map(open).collect::<Result<Vec<_>, CliError>>()?
    };
    runs.into_iter()
        .map(|(run, manifest)| of_run(&run, manifest, arguments.epoch, arguments.out.as_deref()))
        .collect()
}

/// The checkpoint of a run's `epoch`, or of its last one.
pub fn of_run(
    run: &RunDir,
    manifest: Manifest,
    epoch: Option<usize>,
    out: Option<&Path>,
) -> Result<Target, CliError> {
    let (epoch, checkpoint) = run.checkpoint(epoch)?;
    let out = match out {
        // Several runs share one folder, each under its own name.
        Some(out) => out.join(run.path().file_name().unwrap_or_default()),
        None => run.hessian_folder(epoch),
    };
    Ok(Target {
        checkpoint,
        origin: Origin::Run { run: run.clone(), manifest: Box::new(manifest), epoch },
        out,
    })
}
