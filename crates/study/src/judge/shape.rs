//! Claims (6) to (8): zeros and outliers.

use kappa_run::Verdict;

use super::{Arm, RunRecord};
use crate::claims::verdict;

/// (6) H is singular, so that kappa = lambda_1 / lambda_min cannot be used.
pub(super) fn singularity(arm: Arm<'_>) -> Option<Verdict> {
    let what = format!("the Hessian of {} is singular", arm.name);
    verdict(6, arm.name, what, "eigenvalues that are zero up to rounding", arm.each(zeros))
}

/// Eigenvalues below rounding at the end of a run, by a decomposition that knows of no zeros.
fn zeros(run: &RunRecord) -> Option<f64> {
    run.last_spectrum()?.zeros().map(|zeros| zeros as f64)
}

/// (7) There are about as many outlying eigenvalues as classes, or one fewer. An
/// outlier is what stands before the widest relative gap among the first 2 K.
/// The effect is 1 where their number is K - 1 or K, and less by every one off.
pub(super) fn outliers(arm: Arm<'_>, classes: usize) -> Option<Verdict> {
    let effects = arm.each(|run| {
        let last = run.last_spectrum()?;
        let count = outlying(last.top.get(..2 * classes).unwrap_or(&last.top))? as f64;
        let off = (classes as f64 - 1.0 - count).max(count - classes as f64).max(0.0);
        Some(1.0 - off)
    });
    let what = format!("{} has as many outlying eigenvalues as classes, or one fewer", arm.name);
    verdict(7, arm.name, what, "of 1, less one for each eigenvalue off", effects)
}

/// How many eigenvalues stand before the widest gap, lambda_i / lambda_(i+1).
pub(super) fn outlying(top: &[f64]) -> Option<usize> {
    let gaps = top.iter().zip(top.iter().skip(1)).map(|(a, b)| a / b);
    gaps.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index + 1)
}

/// (8) The singularity grows with the number of hidden units: the least that a
/// width adds to the zeros of the next narrower one, so that one step back is
/// enough for it to fail. The widths are one seed's, in the place of an arm's seeds.
pub(super) fn growth(widths: Arm<'_>) -> Option<Verdict> {
    let zeros = widths.each(zeros);
    let steps = zeros.iter().zip(zeros.iter().skip(1)).map(|(narrow, wide)| wide - narrow);
    let least = steps.min_by(f64::total_cmp)?;
    let what = format!("the Hessian of {} has more zero eigenvalues the wider it is", widths.name);
    verdict(8, widths.name, what, "zeros that a width adds, at the least", vec![least])
}
