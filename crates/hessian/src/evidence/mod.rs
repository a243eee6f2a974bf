//! What was checked of a spectrum, against what bound.
//!
//! Bounds follow from the arithmetic, and each is written beside its check. Two
//! units of rounding occur: that of the sums over samples (f32 on a GPU), of which
//! [`summation`] says how far N terms go astray, and that of the eigensolver, f64:
//! five stages (onto the subspace from both sides, the solver, back, and the check's
//! own product), each with a backward error of size x epsilon at the most (Golub and
//! Van Loan, "Matrix Computations", section 8.3).
//!
//! A wrong sum moves an eigenvalue by at most |dH|_2 (Weyl). If each term of the
//! sums is wrong by a relative delta, then since the absolute values in a row of
//! S_n add up to 2 p_a (1 - p_a) <= tr S_n,
//!
//! ```text
//! |dH|_2 <= delta mean_n tr(S_n) |g_n|^2 = delta tr H .
//! ```

mod last_layer;
mod operator;
mod reference;

use std::time::Instant;

use crate::{Eigenpairs, Hessian, HessianError, Samples, Spectrum, classes, decomposition::squarable};
use last_layer::LastLayerChecks;

pub use operator::verify_pairs;

/// Stages between H and the check of an eigenpair, as counted above.
const STAGES: f64 = 5.0;

/// One property that the result must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Check {
    /// A short name, the same in every result.
    pub name: &'static str,
    /// The quantity, written out.
    pub quantity: &'static str,
    /// What it came out as.
    pub value: f64,
    /// The most that rounding can make of it.
    pub bound: f64,
}

impl Check {
    /// Whether the value is within the bound; what is not a number is not.
    pub fn passed(&self) -> bool {
        self.value <= self.bound
    }
}

/// What a spectrum carries as its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// All that was checked.
    pub checks: Vec<Check>,
    /// The error of the sums over samples, as some blocks of H summed again in f64 show
    /// it: |dH|_F / |H|_F over those blocks.
    pub rounding: f64,
    /// What is known of lambda_1, lambda_10 and kappa', given the samples and what they were
    /// rounded by before ([`crate::InputError`]).
    pub known: KnownDigits,
    /// What it cost.
    pub seconds: f64,
}

/// Decimal digits that are known, by the error bar of all that was rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDigits {
    /// Of lambda_1.
    pub lambda_1: u32,
    /// Of lambda_10, if there are ten eigenvalues.
    pub lambda_10: Option<u32>,
    /// Of kappa' = lambda_1 / lambda_10.
    pub kappa_prime: Option<u32>,
}

impl Evidence {
    /// Whether all checks passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }
}

/// Checks `hessian` and its `pairs` against each other, and both against the
/// `samples` that they were computed from.
///
/// ```
/// use kappa_hessian::{Samples, burn::tensor::Device, verify};
///
/// let samples = Samples::from_slices(1, 2, &[1.0, 2.0], &[0.5, 0.5, 0.9, 0.1], &Device::flex())?;
/// let hessian = samples.hessian()?;
/// let mut pairs = hessian.eigenpairs()?;
/// assert!(verify(&hessian, &pairs, &samples)?.passed());
///
/// pairs.vectors[(0, 0)] *= 1.001;
/// let evidence = verify(&hessian, &pairs, &samples)?;
/// assert!(evidence.checks.iter().any(|check| check.name == "residual" && !check.passed()));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// [`HessianError::Device`] if the samples cannot be read, and
/// [`HessianError::WrongShape`] if they are not the Hessian's. A property that does
/// not hold is no error, but a [`Check`] that did not pass.
pub fn verify(hessian: &Hessian, pairs: &Eigenpairs, samples: &Samples) -> Result<Evidence, HessianError> {
    let start = Instant::now();
    let (m, k) = (hessian.features(), hessian.classes());
    if (samples.features(), samples.classes(), samples.count()) != (m, k, hessian.samples()) {
        return Err(HessianError::WrongShape {
            features: [samples.count(), samples.features()],
            probabilities: [samples.count(), samples.classes()],
            m,
            k,
        });
    }
    let checks = LastLayerChecks::new(hessian, pairs, samples)?;
    let blocks = checks.rounding_of_blocks();
    let rounding = blocks.0;
    // Of one logit each probability stands for itself, and no shift is ignored.
    let is_softmax = k > 1;
    let results = [
        is_softmax.then(|| checks.probabilities()),
        Some(checks.symmetry()),
        is_softmax.then(|| checks.shift()),
        Some(checks.residual()),
        Some(checks.orthogonality()),
        Some(semi_definite(&pairs.spectrum, checks.scale, checks.solver() + checks.sums())),
        Some(checks.trace()),
        Some(frobenius(hessian, &pairs.spectrum, checks.solver())),
        Some(checks.products()),
        Some(checks.fisher()),
        Some(checks.blocks(blocks)),
    ];
    let results = results.into_iter().flatten().collect();
    let known = checks.known_digits();
    Ok(Evidence { checks: results, rounding, known, seconds: start.elapsed().as_secs_f64() })
}

/// What can be checked of eigenvalues alone, at little cost: that none is negative, and
/// that they add up to the trace and their squares to the squared Frobenius norm.
///
/// ```
/// use kappa_hessian::{Samples, burn::tensor::Device, verify_values};
///
/// let samples = Samples::from_slices(1, 2, &[1.0, 2.0], &[0.5, 0.5, 0.9, 0.1], &Device::flex())?;
/// let hessian = samples.hessian()?;
/// assert!(verify_values(&hessian, &hessian.spectrum()?).iter().all(|check| check.passed()));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
pub fn verify_values(hessian: &Hessian, spectrum: &Spectrum) -> Vec<Check> {
    let lambda_1 = spectrum.lambda(1).unwrap_or(0.0);
    let scale = if lambda_1 > 0.0 { lambda_1 } else { f64::MIN_POSITIVE };
    let (size, trace) = (hessian.size() as f64, hessian.trace());
    let solver = STAGES * size * f64::EPSILON;
    let sums = summation(hessian.samples(), hessian.classes(), hessian.epsilon()) * trace / scale;
    vec![
        semi_definite(spectrum, scale, solver + sums),
        Check {
            name: "sum",
            quantity: "|sum_i lambda_i / tr H - 1|",
            value: relative(spectrum.trace(), trace),
            bound: sum_of_errors(solver, hessian.size(), scale, trace),
        },
        frobenius(hessian, spectrum, solver),
    ]
}

/// H is a sum of positive semi-definite terms; what is negative is rounding.
fn semi_definite(spectrum: &Spectrum, scale: f64, bound: f64) -> Check {
    let smallest = spectrum.lambda_min().unwrap_or(f64::NAN);
    // Not `max`, which would take a NaN for zero.
    let value = if smallest >= 0.0 { 0.0 } else { -smallest / scale };
    Check { name: "semi-definite", quantity: "-lambda_min / lambda_1", value, bound }
}

/// n errors of the solver's size, over the trace.
fn sum_of_errors(solver: f64, size: usize, scale: f64, trace: f64) -> f64 {
    if trace > 0.0 { solver * size as f64 * scale / trace } else { 0.0 }
}

/// The norm of n errors of the solver's size, over a norm of lambda_1 at the least.
fn frobenius(hessian: &Hessian, spectrum: &Spectrum, solver: f64) -> Check {
    let unit = squarable(spectrum.lambda(1).unwrap_or(0.0));
    let norm = |values: &[f64]| values.iter().map(|x| (x / unit).powi(2)).sum::<f64>().sqrt();
    Check {
        name: "Frobenius norm",
        quantity: "|sqrt(sum_i lambda_i^2) / sqrt(sum_ij H_ij^2) - 1|",
        value: relative(norm(spectrum.eigenvalues()), norm(hessian.elements())),
        bound: solver * (hessian.size() as f64).sqrt(),
    }
}

/// The relative error of a sum of N terms p_a p_b g_i g_j in an arithmetic of unit
/// `epsilon`: half an epsilon for each rounding. A term has four products and its
/// probabilities were rounded K + 1 times each (of one logit as the softmax of two); of the additions' errors no more
/// than 4 sqrt(N) add up (Higham and Mary 2019, "A New Approach to Probabilistic
/// Rounding Error Analysis", theorem 2.4: with lambda = 4 it fails in 7 of 10^4
/// sums), and never more than N.
pub(crate) fn summation(samples: usize, classes: usize, epsilon: f64) -> f64 {
    let (samples, columns) = (samples as f64, classes::columns(classes) as f64);
    let additions = samples.min(4.0 * samples.sqrt());
    (additions + 2.0 * (columns + 1.0) + 4.0) * epsilon / 2.0
}

/// |a / b - 1|, which is zero if both are.
fn relative(a: f64, b: f64) -> f64 {
    ratio((a - b).abs(), b.abs())
}

/// a / b, which is zero if both are.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}
