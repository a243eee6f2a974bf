//! Claims (6) to (8): zeros and outliers.

use kappa_run::Verdict;

use super::{NETWORKS, Pair, RunRecord, each};
use crate::claims::verdict;

/// (6) H is singular, so that kappa = lambda_1 / lambda_min cannot be used.
pub(super) fn singularity(pairs: &[Pair]) -> Vec<Verdict> {
    NETWORKS
        .into_iter()
        .filter_map(|(name, run)| {
            let effects = each(pairs, |pair| zeros(run(pair)));
            let what = format!("the Hessian of {name} is singular");
            verdict(6, what, "eigenvalues that are zero up to rounding", effects)
        })
        .collect()
}

/// Eigenvalues below rounding at the end of a run.
fn zeros(run: &RunRecord) -> Option<f64> {
    let last = run.last_spectrum()?;
    Some((last.size - last.rank) as f64)
}

/// (7) There are about as many outlying eigenvalues as classes, or one fewer. An
/// outlier is what stands before the widest relative gap among the first 2 K.
/// The effect is 1 where their number is K - 1 or K, and less by every one off.
pub(super) fn outliers(pairs: &[Pair], classes: usize) -> Vec<Verdict> {
    NETWORKS
        .into_iter()
        .filter_map(|(name, run)| {
            let effects = each(pairs, |pair| {
                let last = run(pair).last_spectrum()?;
                let count = outlying(last.top.get(..2 * classes).unwrap_or(&last.top))? as f64;
                let off = (classes as f64 - 1.0 - count).max(count - classes as f64).max(0.0);
                Some(1.0 - off)
            });
            let what = format!("{name} has as many outlying eigenvalues as classes, or one fewer");
            verdict(7, what, "1 where it is so, less by every one off", effects)
        })
        .collect()
}

/// How many eigenvalues stand before the widest gap, lambda_i / lambda_(i+1).
pub(super) fn outlying(top: &[f64]) -> Option<usize> {
    let gaps = top.iter().zip(top.iter().skip(1)).map(|(a, b)| a / b);
    gaps.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index + 1)
}

/// (8) The singularity grows with the number of hidden units: the least that a
/// width adds to the zeros of the next narrower one, so that one step back is
/// enough for it to fail. The widths are one seed's.
pub(super) fn growth(widths: &[Pair]) -> Vec<Verdict> {
    NETWORKS
        .into_iter()
        .filter_map(|(name, run)| {
            let zeros: Vec<f64> = widths.iter().map(|pair| zeros(run(pair))).collect::<Option<_>>()?;
            let steps = zeros.iter().zip(zeros.iter().skip(1)).map(|(narrow, wide)| wide - narrow);
            let least = steps.min_by(f64::total_cmp)?;
            let what = format!("the Hessian of {name} has more zero eigenvalues the wider it is");
            verdict(8, what, "zeros that a width adds, at the least", vec![least])
        })
        .collect()
}
