//! One process at a time in a directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::RunError;

pub(crate) const LOCK: &str = ".lock";

/// Keeps other processes out of a directory for as long as it lives. It is the operating
/// system's: a process that ends, in whatever way, leaves none behind. (The file that it is
/// on stays; without its lock it means nothing.)
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `folder`, or says that another process has it.
    pub(crate) fn of(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| RunError::write(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(RunError::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(RunError::write(&path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_for_others_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::of(folder.path()).unwrap();
        let refused = Lock::of(folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains("another") && refused.contains(&*folder.path().to_string_lossy()),
            "{refused}"
        );
        drop(lock);
        Lock::of(folder.path()).unwrap();
    }
}
