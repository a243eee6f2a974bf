//! What H needs, and what is free: asked before it is taken.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::error::CliError;

/// Matrices of the Hessian's size that are alive at once at the peak: H, its restriction
/// to the contrasts, that one's eigenvectors, those lifted and all of them in order, and
/// one for what the solver needs. (At 3000 x 3000 the peak was 4.5.)
const MATRICES: u64 = 6;

/// Refuses a Hessian of `features` and `classes` that does not fit into what is free.
pub fn check(features: usize, classes: usize) -> Result<(), CliError> {
    let free = free();
    let needed = needed(features, classes);
    if needed <= free {
        return Ok(());
    }
    let largest = ((free / MATRICES / 8) as f64).sqrt() as usize / classes;
    Err(CliError::NoMemory {
        features,
        classes,
        matrix: gigabytes(bytes_of_matrix(features, classes)),
        needed: gigabytes(needed),
        free: gigabytes(free),
        largest,
    })
}

/// Refuses `count` directions of K m = `size` numbers that do not fit into what is free.
pub fn check_directions(size: usize, count: usize) -> Result<(), CliError> {
    let needed = (size as u64).saturating_mul(count as u64).saturating_mul(size_of::<f64>() as u64);
    let free = free();
    if needed <= free {
        return Ok(());
    }
    Err(CliError::NoMemoryForDirections { count, size, needed: gigabytes(needed), free: gigabytes(free) })
}

fn needed(features: usize, classes: usize) -> u64 {
    bytes_of_matrix(features, classes).saturating_mul(MATRICES)
}

fn bytes_of_matrix(features: usize, classes: usize) -> u64 {
    let size = (features as u64).saturating_mul(classes as u64);
    size.saturating_mul(size).saturating_mul(size_of::<f64>() as u64)
}

/// Bytes that a process can still have, by the system and by its control group.
fn free() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    match system.available_memory() {
        // A system that does not tell is not in the way.
        0 => u64::MAX,
        available => available.min(limit),
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_sizes_and_the_largest_that_would() {
        assert!(check(10, 10).is_ok());
        // 8 (2,048 x 1,000)^2 bytes
        let message = check(2048, 1000).unwrap_err().to_string();
        assert!(message.contains("33554 GB") && message.contains("GB are free"), "{message}");
        assert!(message.contains("--top"), "{message}");
        assert!(check(usize::MAX, 3).is_err());
    }
}
