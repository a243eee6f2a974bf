//! The trace of an operator by random vectors (Hutchinson 1990, "A stochastic estimator of the trace
//! of the influence matrix", section 2): a vector z of random signs has E[z' A z] = tr A.

use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{HessianError, Progress, SymmetricOperator, density::mean_and_error, progress::advance};

/// tr A by so many `probes` of a generator seeded with `seed`, and its standard error, which is not a
/// number for a single one. `progress` is told of each product.
///
/// ```
/// use kappa_hessian::{DenseMatrix, estimated_trace, faer::mat};
///
/// // Of a diagonal matrix every vector of signs has the trace itself.
/// let diagonal = DenseMatrix::new(mat![[2.0, 0.0], [0.0, -5.0]], f64::EPSILON)?;
/// assert_eq!(estimated_trace(&diagonal, 4, 0, &())?, (-3.0, 0.0));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::Stopped`], [`HessianError::NotFiniteProduct`], and as
/// [`SymmetricOperator::product`].
pub fn estimated_trace(
    operator: &dyn SymmetricOperator,
    probes: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(f64, f64), HessianError> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut traces = Vec::with_capacity(probes);
    while traces.len() < probes {
        let count = BLOCK.min(probes - traces.len());
        let signs = Mat::from_fn(operator.size(), count, |_, _| random_sign(&mut generator));
        let images = operator.product(signs.as_ref())?;
        advance(progress, count)?;
        if !images.is_all_finite() {
            return Err(HessianError::NotFiniteProduct);
        }
        let columns = signs.col_iter().zip(images.col_iter());
        traces.extend(columns.map(|(sign, image)| {
            sign.iter().zip(image.iter()).map(|(sign, image)| sign * image).sum::<f64>()
        }));
    }
    Ok(mean_and_error(&traces))
}

/// Vectors that share a product.
const BLOCK: usize = 4;

/// 1 or -1.
pub(crate) fn random_sign(generator: &mut ChaCha8Rng) -> f64 {
    if generator.random::<bool>() { 1.0 } else { -1.0 }
}

/// What lies of |A|_F^2 in each pair of blocks (s, t) of rows and columns, of the sizes that `blocks`
/// says: `[probe][s][t]`, an estimate each. E|A z|^2 = |A|_F^2 for a vector z of random signs, and of
/// those of one block of columns, and of one block of the image's rows, likewise.
///
/// ```
/// use kappa_hessian::{DenseMatrix, faer::mat, squared_blocks};
///
/// let matrix = DenseMatrix::new(mat![[2.0, 3.0], [3.0, -5.0]], f64::EPSILON)?;
/// assert_eq!(squared_blocks(&matrix, &[1, 1], 1, 0, &())?, [[[4.0, 9.0], [9.0, 25.0]]]);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::WrongRows`] if the blocks are not all rows, and as [`estimated_trace`].
pub fn squared_blocks(
    operator: &dyn SymmetricOperator,
    blocks: &[usize],
    probes: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Vec<f64>>>, HessianError> {
    let (size, all) = (operator.size(), blocks.iter().sum::<usize>());
    if all != size {
        return Err(HessianError::WrongRows { found: all, expected: size });
    }
    let starts: Vec<usize> = blocks
        .iter()
        .scan(0, |start, length| {
            *start += length;
            Some(*start - length)
        })
        .collect();
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::with_capacity(probes);
    for _ in 0..probes {
        let mut squares = vec![vec![0.0; blocks.len()]; blocks.len()];
        for (column, (&start, &length)) in starts.iter().zip(blocks).enumerate() {
            let mut signs = Mat::zeros(size, 1);
            (start..start + length).for_each(|row| signs[(row, 0)] = random_sign(&mut generator));
            let image = operator.product(signs.as_ref())?;
            advance(progress, 1)?;
            if !image.is_all_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            for (row, (&start, &length)) in starts.iter().zip(blocks).enumerate() {
                squares[row][column] = image.subrows(start, length).squared_norm_l2();
            }
        }
        found.push(squares);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DenseMatrix;

    fn operator() -> DenseMatrix {
        let elements = Mat::from_fn(30, 30, |i, j| ((i * j + i + j) as f64).sin());
        DenseMatrix::new(elements, f64::EPSILON).unwrap()
    }

    #[test]
    fn the_trace_is_met_within_its_error() {
        let operator = operator();
        let trace: f64 = (0..30).map(|i| operator.elements()[(i, i)]).sum();
        let (found, error) = estimated_trace(&operator, 400, 0, &()).unwrap();
        assert!((found - trace).abs() < 4.0 * error, "{found} +- {error}, {trace}");
        // Var z'Az = 2 sum_(i != j) A_ij^2 (Hutchinson 1990, proposition 1), within a tenth or two of it.
        let off: f64 = (0..30)
            .flat_map(|i| (0..30).map(move |j| (i, j)))
            .filter(|(i, j)| i != j)
            .map(|at| operator.elements()[at].powi(2))
            .sum();
        let expected = (2.0 * off / 400.0).sqrt();
        assert!((error / expected - 1.0).abs() < 0.3, "{error} {expected}");
        assert!(estimated_trace(&operator, 1, 0, &()).unwrap().1.is_nan());
    }

    #[test]
    fn squares_of_blocks_are_met_on_average() {
        let operator = operator();
        let blocks = [4, 17, 9];
        let probes = squared_blocks(&operator, &blocks, 300, 1, &()).unwrap();
        let starts = [0, 4, 21];
        for (s, t) in (0..3).flat_map(|s| (0..3).map(move |t| (s, t))) {
            let block = operator.elements().submatrix(starts[s], starts[t], blocks[s], blocks[t]);
            let values: Vec<f64> = probes.iter().map(|squares| squares[s][t]).collect();
            let (mean, error) = mean_and_error(&values);
            let expected = block.squared_norm_l2();
            assert!((mean - expected).abs() < 4.0 * error + 1e-12 * expected, "{s} {t}: {mean} {expected}");
        }
        let wrong = squared_blocks(&operator, &[4, 17], 1, 0, &());
        assert!(matches!(wrong, Err(HessianError::WrongRows { found: 21, expected: 30 })));
    }
}
