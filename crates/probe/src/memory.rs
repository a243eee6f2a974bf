//! What a computation needs, and what is free: asked before it is taken.

use kappa_hessian::memory::{
    dense_bytes, density_bytes, density_directions, krylov_bytes, krylov_directions, largest_features,
    matrix_bytes,
};
use kappa_model::NetworkShape;
use kappa_run::{Precision, free_memory};

use crate::ProbeError;

/// Numbers of a sample that a network's products take for each hidden unit: what it hands on, its mask,
/// what its normalisation sees, what comes to each from above, and the tangents of all those.
const OF_A_UNIT: usize = 12;
/// The same for each class: logits, probabilities, the likeliest, what comes from the loss.
const OF_A_CLASS: usize = 8;

/// Refuses a Hessian of `features` and `classes` that does not fit into what is free.
pub(crate) fn check_dense(features: usize, classes: usize) -> Result<(), ProbeError> {
    let (free, needed) = (free_memory(), dense_bytes(features, classes));
    if needed <= free {
        return Ok(());
    }
    Err(ProbeError::NoMemory {
        features,
        classes,
        matrix: gigabytes(matrix_bytes(features, classes)),
        needed: gigabytes(needed),
        free: gigabytes(free),
        largest: largest_features(free, classes),
    })
}

/// Refuses `count` leading pairs of K m = `size` numbers that do not fit into what is free.
pub(crate) fn check_leading(size: usize, count: usize) -> Result<(), ProbeError> {
    check_directions(size, krylov_directions(count), krylov_bytes(size, count))
}

/// Refuses a density by so many steps that does not fit into what is free.
pub(crate) fn check_density(size: usize, steps: usize) -> Result<(), ProbeError> {
    check_directions(size, density_directions(steps), density_bytes(size, steps))
}

/// Refuses to keep features and probabilities, `columns` of both together, that do not fit into what
/// is free.
pub(crate) fn check_kept(samples: usize, columns: usize) -> Result<(), ProbeError> {
    // As bytes, and once more as the file's.
    let needed = [samples, columns, 2 * size_of::<f64>()];
    let needed = needed.into_iter().fold(1u64, |product, factor| product.saturating_mul(factor as u64));
    let free = free_memory();
    if needed <= free {
        return Ok(());
    }
    Err(ProbeError::NoMemoryToKeep { samples, needed: gigabytes(needed), free: gigabytes(free) })
}

/// Refuses products of a network of `shape` on so many samples that do not fit into what is free.
pub(crate) fn check_network(
    shape: &NetworkShape,
    samples: usize,
    precision: Precision,
) -> Result<(), ProbeError> {
    // What each layer keeps of a sample, and what a product makes of it on its way.
    let widths = shape.hidden.iter().fold(0usize, |sum, width| sum.saturating_add(*width));
    let numbers = widths.saturating_mul(OF_A_UNIT).saturating_add(shape.classes.saturating_mul(OF_A_CLASS));
    let bytes = match precision {
        Precision::F32 => size_of::<f32>(),
        Precision::F64 => size_of::<f64>(),
    };
    let needed = (samples as u64).saturating_mul(numbers.saturating_mul(bytes) as u64);
    let free = free_memory();
    if needed <= free {
        return Ok(());
    }
    let (needed, free) = (gigabytes(needed), gigabytes(free));
    Err(ProbeError::NoMemoryForNetwork { samples, needed, free })
}

fn check_directions(size: usize, count: usize, needed: u64) -> Result<(), ProbeError> {
    let free = free_memory();
    if needed <= free {
        return Ok(());
    }
    let (needed, free) = (gigabytes(needed), gigabytes(free));
    Err(ProbeError::NoMemoryForDirections { count, size, needed, free })
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_sizes_and_the_largest_that_would() {
        assert!(check_dense(10, 10).is_ok() && check_leading(1000, 10).is_ok());
        // 8 (2,048 x 1,000)^2 bytes
        let message = check_dense(2048, 1000).unwrap_err().to_string();
        assert!(message.contains("33554 GB") && message.contains("GB are free"), "{message}");
        assert!(check_dense(usize::MAX, 3).is_err());
        assert!(check_kept(10, 10).is_ok() && check_kept(usize::MAX, 3).is_err());
        assert!(check_leading(usize::MAX, 3).is_err() && check_density(1000, usize::MAX).is_err());
    }
}
