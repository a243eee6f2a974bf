//! Each tensor alone, and how much of H lies between tensors.

use kappa_hessian::{SymmetricOperator, largest_pairs, squared_blocks};
use kappa_run::{BlockRecord, BlocksRecord, CurvatureSummary};

use super::{Looked, kappa_prime_of};
use crate::{Observer, ProbeError, measure::LEADING};

/// Random vectors for the share between tensors.
const PROBES: usize = 4;

pub(super) fn blocks(
    looked: &Looked<'_>,
    summary: &CurvatureSummary,
    observer: &dyn Observer,
) -> Result<BlocksRecord, ProbeError> {
    let mut blocks = Vec::new();
    for parameter in &looked.parameters {
        observer.stage(&parameter.name, None);
        let alone = looked.of(&looked.network, std::slice::from_ref(parameter))?;
        let pairs = largest_pairs(&alone, LEADING.min(alone.size()), observer)?;
        blocks.push(BlockRecord {
            tensor: parameter.name.clone(),
            kappa_prime: kappa_prime_of(&pairs),
            largest: pairs.eigenvalues,
            products: pairs.products,
        });
    }
    let largest = of_all_blocks(&blocks);
    let error = largest.first().zip(summary.lambda_1()).map(|(of_blocks, lambda_1)| {
        let apart = (of_blocks - lambda_1).abs();
        if lambda_1 > 0.0 { apart / lambda_1 } else { apart }
    });
    let sizes: Vec<usize> = summary.tensors.iter().map(|tensor| tensor.elements).collect();
    observer.stage("between tensors", Some(PROBES * sizes.len()));
    let squares = squared_blocks(&looked.hessian, &sizes, PROBES, looked.request.seed, observer)?;
    let (between, between_error) = share_between(&squares);
    Ok(BlocksRecord { blocks, largest, error, between, between_error })
}

/// The largest eigenvalues of all blocks together: those of the matrix that has nothing else.
pub(crate) fn of_all_blocks(blocks: &[BlockRecord]) -> Vec<f64> {
    let mut all: Vec<f64> = blocks.iter().flat_map(|block| block.largest.iter().copied()).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate(LEADING);
    all
}

/// 1 - sum_t |H_tt|^2 / |H|^2 of some estimates of the squares, and its standard error by leaving out
/// one after the other (the jackknife of a ratio; Efron 1982, chapter 3).
fn share_between(squares: &[Vec<Vec<f64>>]) -> (Option<f64>, Option<f64>) {
    let sums: Vec<[f64; 2]> = squares
        .iter()
        .map(|table| {
            let all = table.iter().flatten().sum::<f64>();
            let within = table.iter().enumerate().filter_map(|(block, row)| row.get(block)).sum::<f64>();
            [all - within, all]
        })
        .collect();
    let share = |left_out: Option<usize>| {
        let kept = sums.iter().enumerate().filter(|(index, _)| Some(*index) != left_out);
        let [between, all] = kept.fold([0.0, 0.0], |[a, b], (_, [between, all])| [a + between, b + all]);
        if all > 0.0 { Some(between / all) } else { None }
    };
    let without: Option<Vec<f64>> = (0..sums.len()).map(|index| share(Some(index))).collect();
    let error = without.filter(|shares| shares.len() > 1).map(|shares| {
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let squares = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>();
        (squares * (count - 1.0) / count).sqrt()
    });
    (share(None), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_between_blocks_is_what_is_not_within_and_has_an_error_of_two_or_more() {
        let table = |between: f64| vec![vec![3.0, between], vec![between, 1.0]];
        assert_eq!(share_between(&[table(2.0)]), (Some(0.5), None));
        let (share, error) = share_between(&[table(1.0), table(3.0)]);
        assert_eq!(share, Some(0.5));
        // Alone they say 1/3 and 3/5; half of the distance, by the jackknife of two.
        assert!((error.unwrap() - (3.0 / 5.0 - 1.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(share_between(&[vec![vec![0.0]]]), (None, None));
    }
}
