//! What is free, asked before a file is read.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use sysinfo::{
    MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System, get_current_pid,
};

use crate::RunError;

/// Bytes that this process may take, by whoever started it.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// From now on this process takes so many bytes at the most, what it has already among them: of
/// these, [`free_memory`] tells what is left.
pub fn limit_memory(bytes: u64) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Bytes that this process can still have, by the system, by its control group, and by
/// [`limit_memory`].
pub fn free_memory() -> u64 {
    let allowed = match LIMIT.load(Ordering::Relaxed) {
        u64::MAX => u64::MAX,
        limit => limit.saturating_sub(taken()),
    };
    free_in_system().min(allowed)
}

/// Bytes that this process has in memory; 0 if the system does not tell.
fn taken() -> u64 {
    let Ok(this) = get_current_pid() else { return 0 };
    let mut system = System::new();
    let only_memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[this]), false, only_memory);
    system.process(this).map_or(0, sysinfo::Process::memory)
}

fn free_in_system() -> u64 {
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
