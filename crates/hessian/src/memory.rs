//! How many bytes the computations need, to be asked before they are taken.

/// Matrices of the Hessian's size that are alive at once at the peak of eigenpairs and
/// evidence: H, its restriction to the contrasts, that one's eigenvectors, those lifted and
/// all of them in order, and one for what the solver needs. (At 3000 x 3000 the peak was 4.5.)
const MATRICES: u64 = 6;

/// Directions beside the basis that Lanczos steps need: the current one and its image, and what a product makes of
/// them on its way.
const BESIDE_THE_BASIS: usize = 8;

const DOUBLE: u64 = size_of::<f64>() as u64;

/// Bytes of H alone, a matrix of K m = `features` x `classes` rows; [`u64::MAX`] if they
/// cannot be counted.
///
/// ```
/// assert_eq!(kappa_hessian::memory::matrix_bytes(100, 10), 8_000_000);
/// ```
pub fn matrix_bytes(features: usize, classes: usize) -> u64 {
    let size = (features as u64).saturating_mul(classes as u64);
    size.saturating_mul(size).saturating_mul(DOUBLE)
}

/// Bytes that H, its eigenpairs and their evidence need.
///
/// ```
/// assert_eq!(kappa_hessian::memory::dense_bytes(100, 10), 48_000_000);
/// ```
pub fn dense_bytes(features: usize, classes: usize) -> u64 {
    matrix_bytes(features, classes).saturating_mul(MATRICES)
}

/// The most features whose [`dense_bytes`] fit into `free` bytes.
///
/// ```
/// assert_eq!(kappa_hessian::memory::largest_features(48_000_000, 10), 100);
/// ```
pub fn largest_features(free: u64, classes: usize) -> usize {
    ((free / MATRICES / DOUBLE) as f64).sqrt() as usize / classes.max(1)
}

/// Bytes that [`crate::largest_pairs`] and [`crate::smallest_pairs`] need for `count` pairs
/// of an operator of `size` rows.
///
/// ```
/// assert_eq!(kappa_hessian::memory::krylov_bytes(1_000_000, 10), 816_000_000);
/// ```
pub fn krylov_bytes(size: usize, count: usize) -> u64 {
    directions(size, krylov_directions(count))
}

/// Directions of an operator's size that [`krylov_bytes`] counts: the solver keeps a basis
/// of twice as many as are asked for, of 64 at the least, what it has found, the images of that or what it takes
/// out, and those that come next.
pub fn krylov_directions(count: usize) -> usize {
    let basis = crate::krylov::KRYLOV.max(count.saturating_mul(2));
    basis.saturating_add(count.saturating_mul(3)).saturating_add(BESIDE_THE_BASIS)
}

/// Bytes that [`crate::density`] needs for `steps` steps with an operator of `size` rows.
///
/// ```
/// assert_eq!(kappa_hessian::memory::density_bytes(1_000_000, 96), 832_000_000);
/// ```
pub fn density_bytes(size: usize, steps: usize) -> u64 {
    directions(size, density_directions(steps))
}

/// Directions of an operator's size that [`density_bytes`] counts.
pub fn density_directions(steps: usize) -> usize {
    steps.saturating_add(BESIDE_THE_BASIS)
}

fn directions(size: usize, count: usize) -> u64 {
    (size as u64).saturating_mul(count as u64).saturating_mul(DOUBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_counted_and_what_cannot_be_counted_is_too_much() {
        // 8 (2,048 x 1,000)^2 bytes
        assert_eq!(matrix_bytes(2048, 1000), 33_554_432_000_000);
        assert_eq!(dense_bytes(usize::MAX, 3), u64::MAX);
        assert_eq!(krylov_bytes(usize::MAX, 3), u64::MAX);
        assert_eq!(density_bytes(3, usize::MAX), u64::MAX);
    }

    #[test]
    fn the_largest_that_fits_fits_and_one_more_does_not() {
        for free in [1 << 20, 3_000_000_017, 1 << 37] {
            for classes in [2, 7, 10] {
                let largest = largest_features(free, classes);
                assert!(dense_bytes(largest, classes) <= free, "{free} {classes}");
                assert!(dense_bytes(largest + 1, classes) > free, "{free} {classes}");
            }
        }
    }
}
