//! Which checkpoints are asked for, and where their results go.

use std::path::{Path, PathBuf};

use kappa_run::{Lock, RunDir, RunError, Scaling};

use crate::{args::HessianArguments, error::CliError};

/// A checkpoint, and where it comes from and goes to.
pub struct Target {
    pub checkpoint: PathBuf,
    pub origin: Origin,
    pub out: PathBuf,
}

pub enum Origin {
    /// Of a run, which was trained on the images of `folder`, or the embedded ones.
    Run { run: RunDir, epoch: usize, folder: Option<PathBuf> },
    /// Of nothing that is known.
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
        let stem = checkpoint.file_stem().map_or_else(Default::default, |stem| stem.to_string_lossy());
        let out = arguments.out.clone().unwrap_or_else(|| arguments.root.join(format!("hessian-{stem}")));
        let origin = Origin::File { scaling: arguments.scaling };
        return Ok(vec![Target { checkpoint: checkpoint.clone(), origin, out }]);
    }
    let runs = if arguments.runs.is_empty() {
        RunDir::latest(&arguments.root)?.into_iter().map(|(run, _)| run).collect()
    } else {
        arguments.runs.iter().map(|path| RunDir::open(path)).collect::<Result<Vec<_>, _>>()?
    };
    runs.iter().map(|run| of_run(run, arguments.epoch, arguments.out.as_deref())).collect()
}

/// The checkpoint of a run's `epoch`, or of its last one.
pub fn of_run(run: &RunDir, epoch: Option<usize>, out: Option<&Path>) -> Result<Target, CliError> {
    let (epoch, checkpoint) = run.checkpoint(epoch)?;
    let folder = run.manifest()?.config.data.folder;
    let out = match out {
        // Several runs share one folder, each under its own name.
        Some(out) => out.join(run.path().file_name().unwrap_or_default()),
        None => run.hessian_folder(epoch),
    };
    Ok(Target { checkpoint, origin: Origin::Run { run: run.clone(), epoch, folder }, out })
}
