//! What is free, asked before a file is read.

use std::{fs, path::Path};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::RunError;

/// Bytes that a process can still have, by the system and by its control group.
pub fn free_memory() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    match system.available_memory() {
        // A system that does not tell is not in the way.
        0 => u64::MAX,
        available => available.min(limit),
    }
}

/// Refuses the file at `path` if `times` its bytes are more than is free.
///
/// # Errors
///
/// [`RunError::NoMemory`], or [`RunError::Read`] if nothing is there.
pub fn refuse_beyond_memory(path: &Path, times: u64) -> Result<(), RunError> {
    let bytes = fs::metadata(path).map_err(|source| RunError::read(path, source))?.len();
    let (needed, free) = (bytes.saturating_mul(times), free_memory());
    if needed <= free {
        return Ok(());
    }
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Err(RunError::NoMemory {
        path: path.to_owned(),
        size: gigabytes(bytes),
        needed: gigabytes(needed),
        free: gigabytes(free),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_what_is_free_is_refused_with_the_sizes_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.safetensors");
        // Sparse: it takes no room.
        fs::File::create(&path).unwrap().set_len(1 << 43).unwrap();
        let message = refuse_beyond_memory(&path, 3).unwrap_err().to_string();
        assert!(message.contains("8796.1 GB") && message.contains("26388.3 GB"), "{message}");
        fs::write(&path, "x").unwrap();
        assert!(refuse_beyond_memory(&path, 3).is_ok());
    }
}
