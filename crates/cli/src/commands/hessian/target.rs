//! Which checkpoints are asked for, and where their results go.

use std::path::{Path, PathBuf};

use kappa_run::{Interpretation, Lock, Place, RunDir, RunError, Scaling};

use crate::{
    args::{Epochs, HessianArguments},
    error::CliError,
};

/// A run or a checkpoint, and where its results go.
pub struct Target {
    pub origin: Origin,
    pub place: Place,
}

pub enum Origin {
    /// Some epochs of a run, which was trained on the images of `folder`, or the embedded ones.
    Run { run: RunDir, epochs: Vec<usize>, folder: Option<PathBuf>, over_epochs: bool },
    /// A checkpoint of nothing that is known.
    File { checkpoint: PathBuf, interpretation: Interpretation, scaling: Scaling },
}

impl Target {
    /// Keeps other processes out of the run, if the results go into it.
    pub fn lock(&self) -> Result<Option<Lock>, RunError> {
        match (&self.origin, &self.place) {
            (Origin::Run { run, .. }, Place::Folder(folder) | Place::Epochs { folder, .. })
                if folder.starts_with(run.path()) =>
            {
                run.lock().map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// What the arguments name.
pub fn targets(arguments: &HessianArguments) -> Result<Vec<Target>, CliError> {
    if let Some(checkpoint) = &arguments.checkpoint {
        let origin = Origin::File {
            checkpoint: checkpoint.clone(),
            interpretation: arguments.interpretation.interpretation(),
            scaling: arguments.scaling,
        };
        return Ok(vec![Target { origin, place: of_files(arguments) }]);
    }
    let runs = if arguments.runs.is_empty() {
        RunDir::latest(&arguments.root)?.into_iter().map(|(run, _)| run).collect()
    } else {
        arguments.runs.iter().map(|path| RunDir::open(path)).collect::<Result<Vec<_>, _>>()?
    };
    runs.iter().map(|run| of_run(run, arguments.epoch.as_ref(), arguments.out.as_deref())).collect()
}

/// Where results go that are of no run.
pub fn of_files(arguments: &HessianArguments) -> Place {
    match &arguments.out {
        Some(out) => Place::Folder(out.clone()),
        None => Place::Files(arguments.root.clone()),
    }
}

/// Those epochs of a run, or its last one.
pub fn of_run(run: &RunDir, epochs: Option<&Epochs>, out: Option<&Path>) -> Result<Target, CliError> {
    let (last, _) = run.checkpoint(None)?;
    let (chosen, over_epochs) = match epochs {
        None => (vec![last], false),
        Some(Epochs::All) => (run.epochs()?, true),
        Some(Epochs::These(these)) => (these.clone(), these.len() > 1),
    };
    // Before the first one is measured.
    for &epoch in &chosen {
        run.checkpoint(Some(epoch))?;
    }
    let manifest = run.manifest()?;
    // Several runs share one folder, each under its own name.
    let elsewhere = out.map(|out| out.join(run.name()));
    let place = match elsewhere {
        Some(folder) if !over_epochs => Place::Folder(folder),
        folder => {
            let folder = folder.unwrap_or_else(|| run.hessians());
            Place::Epochs { folder, trained_on: manifest.data_files }
        }
    };
    let folder = manifest.config.data.folder;
    Ok(Target { origin: Origin::Run { run: run.clone(), epochs: chosen, folder, over_epochs }, place })
}
