//! What a run directory holds of each epoch: checkpoint, optimiser's state, spectrum.

use std::{fs, path::PathBuf};

use crate::{Optimizer, RunDir, RunError, reading::is_there};

pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const HESSIAN: &str = "hessian";

impl RunDir {
    /// Where the checkpoint of `epoch` goes.
    pub fn checkpoint_path(&self, epoch: usize) -> PathBuf {
        self.path().join(CHECKPOINTS).join(format!("{}.safetensors", epoch_name(epoch)))
    }

    /// Where Adam's state after `epoch` goes, beside its checkpoint.
    pub fn adam_state_path(&self, epoch: usize) -> PathBuf {
        self.state_path(epoch, "adam")
    }

    fn state_path(&self, epoch: usize, what: &str) -> PathBuf {
        self.path().join(CHECKPOINTS).join(format!("{}.{what}.safetensors", epoch_name(epoch)))
    }

    /// The optimiser's state after `epoch`.
    ///
    /// # Errors
    ///
    /// [`RunError::NoAdamState`] if there is none.
    pub fn adam_state(&self, epoch: usize) -> Result<PathBuf, RunError> {
        let path = self.adam_state_path(epoch);
        if is_there(&path) {
            Ok(path)
        } else {
            Err(RunError::NoAdamState { run: self.path().to_owned(), epoch })
        }
    }

    /// The epochs that have a checkpoint, ascending.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`].
    pub fn epochs(&self) -> Result<Vec<usize>, RunError> {
        let folder = self.path().join(CHECKPOINTS);
        let entries = fs::read_dir(&folder).map_err(|source| RunError::read(&folder, source))?;
        let mut epochs = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| RunError::read(&folder, source))?.file_name();
            let epoch: Option<usize> = name
                .to_str()
                .and_then(|name| name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok());
            epochs.extend(epoch);
        }
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// The checkpoint of `epoch`, or of the last epoch that has one.
    ///
    /// # Errors
    ///
    /// [`RunError::NoSuchEpoch`] says which epochs exist.
    pub fn checkpoint(&self, epoch: Option<usize>) -> Result<(usize, PathBuf), RunError> {
        let existing = self.epochs()?;
        let found = match epoch {
            Some(epoch) => existing.iter().find(|&&other| other == epoch),
            None => existing.last(),
        };
        match found {
            Some(&epoch) => Ok((epoch, self.checkpoint_path(epoch))),
            None => Err(RunError::NoSuchEpoch {
                run: self.path().to_owned(),
                epoch: epoch.unwrap_or(0),
                existing,
            }),
        }
    }

    /// Where its spectra go: into a folder each.
    pub fn hessians(&self) -> PathBuf {
        self.path().join(HESSIAN)
    }
}

impl Optimizer {
    /// Where its state after `epoch` of `run` goes, beside the checkpoint; nothing where it has none.
    pub fn state(&self, run: &RunDir, epoch: usize) -> Option<PathBuf> {
        match self {
            _ if epoch == 0 => None,
            Self::Adam(_) => Some(run.adam_state_path(epoch)),
            Self::Descent(descent) if descent.momentum > 0.0 => Some(run.state_path(epoch, "momentum")),
            Self::Descent(_) => None,
        }
    }
}

pub(crate) fn epoch_name(epoch: usize) -> String {
    format!("epoch-{epoch:04}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{directory::tests::manifest, write::write_atomically};

    #[test]
    fn an_epoch_that_does_not_exist_is_told_with_those_that_do() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        for epoch in [0, 1, 2, 10] {
            write_atomically(&run.checkpoint_path(epoch), b"").unwrap();
        }
        let message = run.checkpoint(Some(30)).unwrap_err().to_string();
        assert!(message.contains("no checkpoint of epoch 30; it has epochs 0 to 2, 10"), "{message}");
        assert_eq!(run.checkpoint(None).unwrap().0, 10);
        assert_eq!(run.checkpoint(Some(1)).unwrap().1, run.checkpoint_path(1));
    }

    #[test]
    fn a_state_of_the_optimiser_is_no_checkpoint_and_its_absence_is_explained() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        write_atomically(&run.checkpoint_path(1), b"").unwrap();
        write_atomically(&run.adam_state_path(1), b"").unwrap();
        write_atomically(&run.adam_state_path(2), b"").unwrap();
        assert_eq!(run.epochs().unwrap(), [1]);
        assert_eq!(run.adam_state(1).unwrap(), run.adam_state_path(1));
        let missing = run.adam_state(3).unwrap_err().to_string();
        assert!(missing.contains("after epoch 3") && missing.contains("train again"), "{missing}");
        let initial = run.adam_state(0).unwrap_err().to_string();
        assert!(initial.contains("before the first step"), "{initial}");
    }
}
