//! What a record says, against the eigenvalues beside it: the numbers that people quote are read
//! off the spectrum, and can be read off again.
//!
//! Ratios, counts and sums of the same numbers in the same order give the same bits. What comes of
//! the matrix and not of its eigenvalues is held to them by rounding; to the last bit it is
//! compared where it is computed again.

mod posterior;

use kappa_hessian::Spectrum;
use kappa_run::{
    CheckRecord, CurvatureRecord, CurvatureSummary, MatrixFreeRecord, Mismatch, Precision, SpectraRow,
    SpectrumRecord, SpectrumSummary, WholeRow, kappa_prime, mismatches,
};

use crate::{
    belonging::is_blind,
    curvature::of_all_blocks,
    measure::{OfMatrix, summary_of},
    variants,
};

pub use posterior::{influence_mismatches, laplace_mismatches};

/// Roundings of an eigenvalue by the solver in units of size x epsilon x lambda_1: its stages.
const STAGES: f64 = 5.0;

/// What in `record` does not follow from `eigenvalues`, largest first.
pub fn spectrum_mismatches(record: &SpectrumRecord, eigenvalues: &[f64]) -> Vec<Mismatch> {
    let settings = &record.settings;
    let spectrum = Spectrum::from_eigenvalues(eigenvalues.to_vec(), settings.request.precision.epsilon());
    let mut found = summary_mismatches(record, &spectrum);
    found.extend(matrix_mismatches(&record.spectrum, &spectrum));
    let mut found = under("spectrum.", found);
    if settings.classes.saturating_mul(settings.features) != eigenvalues.len() {
        let size = format!("{} x {}", settings.classes, settings.features);
        found.push(mismatch("settings.classes, settings.features", size, eigenvalues.len()));
    }
    if let Some(evidence) = &record.evidence {
        found.extend(check_mismatches("evidence.checks", &evidence.checks));
        let passed = evidence.checks.iter().all(|check| check.passed);
        if evidence.passed != passed {
            found.push(mismatch("evidence.passed", evidence.passed, passed));
        }
    }
    found.extend(check_mismatches("settings.input_checks", &settings.input_checks));
    if let Some(adam) = record.directions.as_ref().and_then(|directions| directions.adam.as_ref()) {
        let here = mismatches(&adam.kappa_prime, &kappa_prime(&adam.top), 0.0, |_| false);
        found.extend(under("directions.adam.kappa_prime", here));
    }
    for (index, subset) in record.subsets.iter().enumerate() {
        let ratios = subset.lambda_1.iter().zip(&subset.lambda_10).map(|(first, tenth)| first / tenth);
        let follows: Vec<f64> = ratios.collect();
        // Where a tenth eigenvalue is zero there is no ratio, and not as many of them.
        if subset.kappa_prime.len() == follows.len() {
            let here = mismatches(&subset.kappa_prime, &follows, 0.0, |_| false);
            found.extend(under(&format!("subsets[{index}].kappa_prime"), here));
        }
    }
    found
}

/// What of the summary follows from the eigenvalues to the last bit.
fn summary_mismatches(record: &SpectrumRecord, spectrum: &Spectrum) -> Vec<Mismatch> {
    let (settings, stands) = (&record.settings, &record.spectrum);
    let of_matrix = OfMatrix {
        lambda_min: stands.lambda_min,
        kappa: stands.kappa,
        trace: stands.trace,
        absent_classes: stands.null_space.absent_classes,
        silent_features: stands.null_space.silent_features,
        dependent_features: stands.null_space.dependent_features,
        against_whole_matrix: stands.null_space.against_whole_matrix,
    };
    let mut follows = summary_of(spectrum, [settings.classes, settings.features], settings.l2, of_matrix);
    // A sum of logarithms, which libraries of functions round otherwise: each term by a unit, and
    // the entropy is ln n at the most, some ten.
    let rounding = 64.0 * f64::EPSILON;
    let same = |(there, here): (f64, f64)| (there - here).abs() <= rounding * there.abs().max(here.abs());
    if stands.entropy_rank.zip(follows.entropy_rank).is_some_and(same) {
        follows.entropy_rank = stands.entropy_rank;
    }
    mismatches(stands, &follows, 0.0, |_| false)
}

/// What comes of the whole matrix, by rounding: its trace, and its smallest eigenvalue, which is
/// the smallest of `spectrum` by another decomposition, so far apart from it as the summary says.
fn matrix_mismatches(stands: &SpectrumSummary, spectrum: &Spectrum) -> Vec<Mismatch> {
    let mut found: Vec<Mismatch> = trace_mismatch("trace", stands.trace, spectrum).into_iter().collect();
    let lambda_1 = spectrum.lambda(1).unwrap_or(0.0);
    let smallest = spectrum.lambda_min().unwrap_or(0.0);
    // Of the zero matrix the distance is told as it is.
    let unit = if lambda_1 > 0.0 { lambda_1 } else { 1.0 };
    let apart = stands.null_space.against_whole_matrix * unit + 4.0 * f64::EPSILON * lambda_1;
    // What is not a number is not near.
    let is_near = |a: f64, b: f64| (a - b).abs() <= apart;
    if !is_near(stands.lambda_min, smallest) {
        found.push(mismatch("lambda_min", stands.lambda_min, format!("{smallest:?} to {apart:.1e}")));
    }
    let follows = match stands.kappa {
        // lambda_1 of that decomposition is as far away.
        Some(kappa) => is_near(kappa * stands.lambda_min, lambda_1),
        // What is not finite is none in a file.
        None => !(lambda_1 / stands.lambda_min).is_finite(),
    };
    if !follows {
        found.push(mismatch("kappa", number(stands.kappa), "lambda_1 / lambda_min"));
    }
    found
}

/// The same with their keys begun by `key`.
fn under(key: &str, found: Vec<Mismatch>) -> Vec<Mismatch> {
    found.into_iter().map(|mismatch| Mismatch { key: format!("{key}{}", mismatch.key), ..mismatch }).collect()
}

/// What in a row of a study's spectra does not follow from its `eigenvalues`, largest first.
pub fn row_mismatches(row: &SpectraRow, precision: Precision, eigenvalues: &[f64]) -> Vec<Mismatch> {
    let spectrum = Spectrum::from_eigenvalues(eigenvalues.to_vec(), precision.epsilon());
    let follows = SpectraRow {
        top: variants::top(&spectrum),
        lambda_min: spectrum.lambda_min().unwrap_or(0.0),
        size: eigenvalues.len(),
        rank: spectrum.rank(),
        ..row.clone()
    };
    let mut found = mismatches(row, &follows, 0.0, |_| false);
    found.extend(trace_mismatch("trace", row.trace, &spectrum));
    found.extend(check_mismatches("checks", &row.checks));
    found
}

/// What in a record of what was found without H contradicts itself.
pub fn matrix_free_mismatches(record: &MatrixFreeRecord) -> Vec<Mismatch> {
    let mut found = check_mismatches("settings.input_checks", &record.settings.input_checks);
    if let Some(top) = &record.top {
        if !top.eigenvalues.is_sorted_by(|a, b| a >= b) {
            found.push(mismatch("top.eigenvalues", "in another order", "from the largest down"));
        }
        if top.residuals.len() != top.eigenvalues.len() {
            found.push(mismatch("top.residuals", top.residuals.len(), top.eigenvalues.len()));
        }
        let passed = top.residual_bound.map(|bound| top.residuals.iter().all(|&residual| residual <= bound));
        if top.passed != passed {
            found.push(mismatch("top.passed", format!("{:?}", top.passed), format!("{passed:?}")));
        }
    }
    if let Some(density) = &record.density {
        // The zeros of the shift are m of K m; of one logit there are none.
        let shift = match record.settings.classes {
            1 => 0.0,
            classes => {
                record.settings.features as f64 / record.settings.features.saturating_mul(classes) as f64
            }
        };
        if density.shift != shift {
            found.push(mismatch("density.shift", density.shift, shift));
        }
    }
    found
}

/// What in a record of a network's Hessian contradicts itself.
pub fn curvature_mismatches(record: &CurvatureRecord) -> Vec<Mismatch> {
    let mut found = under("curvature.", curvature_summary_mismatches(&record.curvature));
    if let Some(blocks) = &record.blocks {
        let follows = of_all_blocks(&blocks.blocks);
        found.extend(under("blocks.largest", mismatches(&blocks.largest, &follows, 0.0, |_| false)));
        for (index, block) in blocks.blocks.iter().enumerate() {
            let follows = kappa_prime(&block.largest).filter(|_| block.kappa_prime.is_some());
            let here = mismatches(&block.kappa_prime, &follows, 0.0, |_| false);
            found.extend(under(&format!("blocks.blocks[{index}].kappa_prime"), here));
        }
    }
    if let Some(evidence) = &record.evidence {
        found.extend(check_mismatches("evidence.checks", &evidence.checks));
        let passed = evidence.checks.iter().all(|check| check.passed);
        if evidence.passed != passed {
            found.push(mismatch("evidence.passed", evidence.passed, passed));
        }
    }
    found
}

/// What in a row of a study's Hessians of more than the last layer contradicts itself.
pub fn network_row_mismatches(row: &WholeRow) -> Vec<Mismatch> {
    let mut found = under("summary.", curvature_summary_mismatches(&row.summary));
    found.extend(check_mismatches("checks", &row.checks));
    found
}

fn curvature_summary_mismatches(summary: &CurvatureSummary) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let largest = &summary.largest;
    if !largest.eigenvalues.is_sorted_by(|a, b| a >= b) {
        found.push(mismatch("largest.eigenvalues", "in another order", "from the largest down"));
    }
    for (key, end) in ["largest", "smallest"].into_iter().zip(summary.ends()) {
        if end.residuals.len() != end.eigenvalues.len() {
            let key = format!("{key}.residuals");
            found.push(mismatch(&key, end.residuals.len(), end.eigenvalues.len()));
        }
    }
    // Where the tenth cannot be told from zero there is none.
    let follows = kappa_prime(&largest.eigenvalues).filter(|_| summary.kappa_prime.is_some());
    found.extend(under("kappa_prime", mismatches(&summary.kappa_prime, &follows, 0.0, |_| false)));
    for (index, shares) in summary.shares.iter().enumerate() {
        // Of a vector of length one, whose squares are n terms.
        let (sum, bound) = (shares.iter().sum::<f64>(), summary.size() as f64 * f64::EPSILON);
        let is_whole = (sum - 1.0).abs() <= bound && shares.len() == summary.tensors.len();
        if !is_whole {
            found.push(mismatch(&format!("shares[{index}]"), sum, "shares of one"));
        }
    }
    found
}

/// The trace is that of the matrix: each of n eigenvalues is wrong by the solver's error at the most.
fn trace_mismatch(key: &str, trace: f64, spectrum: &Spectrum) -> Option<Mismatch> {
    let size = spectrum.eigenvalues().len() as f64;
    let largest = spectrum.lambda(1).unwrap_or(0.0).abs().max(spectrum.lambda_min().unwrap_or(0.0).abs());
    let bound = STAGES * size * f64::EPSILON * size * largest;
    let sum = spectrum.trace();
    // What is not a number is no trace.
    let is_near = (trace - sum).abs() <= bound;
    (!is_near).then(|| mismatch(key, format!("{trace:?}"), format!("{sum:?} to {bound:.1e}")))
}

/// Checks whose word is not what their value and bound say.
fn check_mismatches(key: &str, checks: &[CheckRecord]) -> Vec<Mismatch> {
    let wrong = checks.iter().filter_map(|check| {
        let passed = check.value.map_or(is_blind(check), |value| value <= check.bound);
        let place = format!("{key}, {}, passed", check.name);
        (check.passed != passed).then(|| mismatch(&place, check.passed, passed))
    });
    wrong.collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or("nothing".to_owned(), |value| format!("{value:?}"))
}

fn mismatch(key: &str, stands: impl ToString, follows: impl ToString) -> Mismatch {
    Mismatch { key: key.to_owned(), stands: stands.to_string(), follows: follows.to_string() }
}
