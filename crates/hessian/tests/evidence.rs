//! The evidence of a spectrum: it passes on what is right, on ragged and degenerate
//! samples, and each check fails on what was broken for it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::Samples;
use faer::Mat;
use kappa_hessian::{Eigenpairs, Evidence, Hessian, HessianError, InputError, Samples as SampleSet, verify};
use proptest::prelude::*;

/// N, m, K.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 2],
    [1, 5, 3],
    [7, 1, 4],
    [5, 3, 2],
    [33, 7, 5],
    [65, 17, 3],
    [129, 5, 10],
    [300, 35, 4],
    [2500, 6, 3],
];

fn evidence(set: &SampleSet) -> (Hessian, Eigenpairs, Evidence) {
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let evidence = verify(&hessian, &pairs, set).unwrap();
    (hessian, pairs, evidence)
}

/// The names of the checks that did not pass.
fn failed(evidence: &Evidence) -> Vec<&str> {
    evidence.checks.iter().filter(|check| !check.passed()).map(|check| check.name).collect()
}

#[track_caller]
fn assert_passes(set: &SampleSet, what: &str) -> (Hessian, Eigenpairs, Evidence) {
    let found = evidence(set);
    assert!(found.2.passed(), "{what}: {:?}", found.2.checks);
    found
}

#[test]
fn passes_on_ragged_shapes_in_both_precisions() {
    for [n, m, k] in SHAPES {
        for dtype in [DType::F64, DType::F32] {
            let set = Samples::new(n, m, k, 21).set(&Device::flex(), dtype, 100);
            assert_passes(&set, &format!("{n} {m} {k} {dtype:?}"));
        }
    }
}

#[test]
fn what_f32_loses_is_told() {
    let samples = Samples::new(2500, 20, 5, 22);
    let rounded = InputError { probabilities: f32::EPSILON.into(), ..InputError::default() };
    let single = samples.set(&Device::flex(), DType::F32, 2500).with_input_error(rounded);
    let (_, _, single) = assert_passes(&single, "f32");
    let (_, _, double) = assert_passes(&samples.set(&Device::flex(), DType::F64, 2500), "f64");
    assert!(single.rounding > 1e-8 && single.rounding < 1e-5, "{}", single.rounding);
    assert!(double.rounding < 1e-14, "{}", double.rounding);
    assert!((5..=8).contains(&single.known.lambda_1), "{:?}", single.known);
    assert!(double.known.lambda_1 >= 13, "{:?}", double.known);

    // The error bar covers the error: both spectra are of the same features.
    let top = |dtype| samples.set(&Device::flex(), dtype, 2500).hessian().unwrap().spectrum().unwrap();
    let (rough, fine) = (top(DType::F32), top(DType::F64));
    for (rank, digits) in [(1, single.known.lambda_1), (10, single.known.lambda_10.unwrap())] {
        let (rough, fine) = (rough.lambda(rank).unwrap(), fine.lambda(rank).unwrap());
        assert!((rough / fine - 1.0).abs() < 10f64.powi(-(digits as i32)), "{rank}: {rough} {fine}");
    }
}

/// Samples whose features and logits are made by hand.
fn made(n: usize, m: usize, k: usize, change: impl Fn(&mut Samples)) -> SampleSet {
    let mut samples = Samples::new(n, m, k, 23);
    change(&mut samples);
    samples.set(&Device::flex(), DType::F64, n)
}

#[test]
fn zeros_are_counted_by_their_reason() {
    let reasons = |set: &SampleSet| {
        let (_, pairs, _) = assert_passes(set, "zeros");
        let null = pairs.null_space;
        (null.shift, null.silent_features, null.dependent_features, null.numerical)
    };
    // Every feature says something of its own.
    assert_eq!(reasons(&made(50, 6, 4, |_| ())), (6, 0, 0, 0));
    // A feature that never fires, and two that are the same but for their scale.
    let silent_and_twin = made(50, 6, 4, |samples| {
        for g in samples.features.chunks_mut(6) {
            g[1] = 0.0;
            g[4] = -3.0 * g[2];
        }
    });
    assert_eq!(reasons(&silent_and_twin), (6, 1, 1, 0));
    // Batch norm makes a unit that never fires a constant: of three, two say nothing new.
    let constants = made(50, 6, 4, |samples| {
        for g in samples.features.chunks_mut(6) {
            (g[0], g[3], g[5]) = (0.7, -0.1, 2.0);
        }
    });
    assert_eq!(reasons(&constants), (6, 0, 2, 0));
    // Features that are nearly collinear are not collinear, though the square of what tells
    // them apart, 1e-16, is below all rounding.
    let nearly = made(50, 6, 4, |samples| {
        for (n, g) in samples.features.chunks_mut(6).enumerate() {
            g[4] = g[2] + 1e-8 * (n as f64).sin();
        }
    });
    assert_eq!(reasons(&nearly).2, 0);
    // Fewer samples than features: N of them at the most are independent.
    assert_eq!(
        reasons(&made(3, 6, 4, |samples| samples.features.iter_mut().for_each(|g| *g += 0.5))),
        (6, 0, 3, 0)
    );
}

#[test]
fn structural_zeros_are_exact() {
    let (hessian, pairs, _) = assert_passes(&made(50, 6, 4, |_| ()), "zeros");
    let zeros = pairs.spectrum.eigenvalues().iter().filter(|&&value| value == 0.0).count();
    assert_eq!(zeros, pairs.null_space.explained());
    // The plain way has the same eigenvalues, and noise for zeros.
    let plain = hessian.spectrum().unwrap();
    let lambda_1 = plain.lambda(1).unwrap();
    for (ours, theirs) in pairs.spectrum.eigenvalues().iter().zip(plain.eigenvalues()) {
        // Each solver's backward error is below size x epsilon.
        assert!((ours - theirs).abs() < 24.0 * 2.0 * f64::EPSILON * lambda_1);
    }
    assert!(plain.eigenvalues().iter().any(|&value| value != 0.0 && value.abs() < 1e-14 * lambda_1));
}

#[test]
fn degenerate_samples_pass() {
    let certain = made(20, 4, 3, |samples| {
        for z in samples.logits.chunks_mut(3) {
            z.copy_from_slice(&[2000.0, 0.0, 0.0]);
        }
    });
    let (_, pairs, _) = assert_passes(&certain, "one class certain");
    assert!(pairs.spectrum.eigenvalues().iter().all(|&value| value == 0.0));

    let equal = made(40, 4, 3, |samples| samples.logits.fill(1.5));
    let (_, pairs, _) = assert_passes(&equal, "all classes equal");
    // S = I/3 - 11'/9, with the eigenvalue 1/3 twice: all of E[g g'] / 3, twice.
    for pair in pairs.spectrum.eigenvalues()[..8].chunks(2) {
        assert!((pair[0] - pair[1]).abs() < 1e-14 * pairs.spectrum.lambda(1).unwrap());
    }
    assert_passes(&made(40, 4, 3, |samples| samples.features.fill(0.0)), "all features zero");
    assert_passes(&made(40, 4, 3, |samples| samples.features.fill(2.5)), "all features constant");
    let duplicated = made(40, 4, 3, |samples| {
        let (g, z) = (samples.feature(0).to_vec(), samples.logits[..3].to_vec());
        samples.features = g.repeat(40);
        samples.logits = z.repeat(40);
    });
    let (_, pairs, _) = assert_passes(&duplicated, "one sample, forty times");
    assert_eq!(pairs.spectrum.rank(), 2);
    assert_passes(&made(2, 9, 3, |_| ()), "fewer samples than features");
    assert_passes(&made(30, 7, 2, |_| ()), "two classes");
    assert_passes(&made(30, 1, 5, |_| ()), "one feature");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn passes_on_any_shape(n in 1usize..80, m in 1usize..12, k in 2usize..7, seed in 0u64..1000, scale in -3i32..4) {
        let mut samples = Samples::new(n, m, k, seed);
        samples.features.iter_mut().for_each(|g| *g *= 10f64.powi(scale));
        for dtype in [DType::F64, DType::F32] {
            let set = samples.set(&Device::flex(), dtype, 33);
            let (_, _, evidence) = evidence(&set);
            prop_assert!(evidence.passed(), "{:?}", evidence.checks);
        }
    }
}

/// A right result, to be broken.
struct Right {
    hessian: Hessian,
    pairs: Eigenpairs,
    set: SampleSet,
}

impl Right {
    fn new() -> Self {
        let set = Samples::new(200, 6, 4, 24).set(&Device::flex(), DType::F64, 200);
        let (hessian, pairs, _) = assert_passes(&set, "before it is broken");
        Self { hessian, pairs, set }
    }

    fn failed(&self) -> Vec<String> {
        let evidence = verify(&self.hessian, &self.pairs, &self.set).unwrap();
        failed(&evidence).into_iter().map(str::to_owned).collect()
    }

    fn lambda_1(&self) -> f64 {
        self.pairs.spectrum.lambda(1).unwrap()
    }

    /// Changes the matrix, and decomposes what comes of it.
    fn with_elements(mut self, change: impl Fn(&mut [f64])) -> Self {
        let mut elements = self.hessian.elements().to_vec();
        change(&mut elements);
        self.hessian = Hessian::from_elements(6, 4, 200, f64::EPSILON, elements).unwrap();
        self.pairs = self.hessian.eigenpairs().unwrap();
        self
    }
}

#[test]
fn a_matrix_that_is_not_symmetric_fails() {
    let right = Right::new();
    let tiny = right.lambda_1() * 1e-15;
    let broken = right.with_elements(|elements| elements[5] += tiny);
    assert_eq!(broken.failed(), ["symmetry"]);
}

#[test]
fn a_matrix_that_a_shift_of_the_logits_changes_fails() {
    let right = Right::new();
    let tiny = right.lambda_1() * 1e-12;
    assert!(right.with_elements(|elements| elements[0] += tiny).failed().contains(&"shift".to_owned()));
}

#[test]
fn a_wrong_eigenvalue_fails() {
    let mut right = Right::new();
    let mut values = right.pairs.spectrum.eigenvalues().to_vec();
    values[2] *= 1.0 + 1e-9;
    right.pairs.spectrum = kappa_hessian::Spectrum::from_eigenvalues(values, f64::EPSILON);
    assert!(right.failed().contains(&"residual".to_owned()));
}

#[test]
fn eigenvectors_that_are_not_orthonormal_fail() {
    let mut right = Right::new();
    // The eigenvectors of zero may be any; their residual does not tell.
    right.pairs.vectors.col_mut(20).iter_mut().for_each(|element| *element *= 1.0 + 1e-11);
    assert_eq!(right.failed(), ["orthogonality"]);
}

#[test]
fn a_negative_eigenvalue_fails() {
    let right = Right::new();
    // Beyond the smallest eigenvalue that is not zero.
    let shift = right.pairs.spectrum.lambda(18).unwrap() * 1.5;
    let broken =
        right.with_elements(|elements| elements.iter_mut().step_by(25).for_each(|element| *element -= shift));
    assert!(broken.failed().contains(&"semi-definite".to_owned()));
}

#[test]
fn a_trace_other_than_that_of_the_samples_fails() {
    let broken = Right::new().with_elements(|elements| elements.iter_mut().for_each(|x| *x *= 1.0 + 1e-11));
    let failed = broken.failed();
    assert!(failed.contains(&"trace".to_owned()), "{failed:?}");
}

#[test]
fn eigenvalues_whose_squares_do_not_add_up_fail() {
    let mut right = Right::new();
    let mut values = right.pairs.spectrum.eigenvalues().to_vec();
    // The trace stays what it is.
    let moved = values[0] * 1e-4;
    values[0] += moved;
    values[1] -= moved;
    right.pairs.spectrum = kappa_hessian::Spectrum::from_eigenvalues(values, f64::EPSILON);
    let failed = right.failed();
    assert!(
        failed.contains(&"Frobenius norm".to_owned()) && !failed.contains(&"trace".to_owned()),
        "{failed:?}"
    );
}

#[test]
fn the_hessian_of_other_samples_fails_though_its_spectrum_is_the_same() {
    // Classes 0 and 1 change places: similar, as symmetric, as definite, of the same trace.
    let swap = |index: usize| match index / 6 {
        0 => index + 6,
        1 => index - 6,
        _ => index,
    };
    let right = Right::new();
    let elements = right.hessian.elements().to_vec();
    let broken = right.with_elements(|changed| {
        for row in 0..24 {
            for column in 0..24 {
                changed[row * 24 + column] = elements[swap(row) * 24 + swap(column)];
            }
        }
    });
    assert_eq!(broken.failed(), ["samples", "Fisher", "rounding"]);
}

#[test]
fn probabilities_that_do_not_sum_to_one_fail() {
    let samples = Samples::new(30, 3, 4, 25);
    let (features, probabilities) = samples.tensors(&Device::flex(), DType::F64);
    let mut set = SampleSet::new(3, 4, DType::F64).unwrap();
    set.push(features, probabilities * 1.000_000_001).unwrap();
    let (_, _, evidence) = evidence(&set);
    assert!(failed(&evidence).contains(&"probabilities"));
}

#[test]
fn sums_that_lost_digits_fail() {
    let broken = Right::new().with_elements(|elements| {
        // As if they had been summed in single precision.
        elements.iter_mut().for_each(|element| *element = f64::from(*element as f32));
    });
    assert!(broken.failed().contains(&"rounding".to_owned()));
}

#[test]
fn a_number_that_is_none_fails() {
    let mut right = Right::new();
    right.pairs.vectors[(3, 3)] = f64::NAN;
    let failed = right.failed();
    assert!(
        failed.contains(&"residual".to_owned()) && failed.contains(&"orthogonality".to_owned()),
        "{failed:?}"
    );
}

#[test]
fn other_samples_are_refused() {
    let right = Right::new();
    let other = Samples::new(199, 6, 4, 24).set(&Device::flex(), DType::F64, 200);
    assert!(verify(&right.hessian, &right.pairs, &other).is_err());
}

#[test]
fn vectors_span_what_they_say() {
    // One class pair, one feature: H = mean p (1-p) g^2 [[1, -1], [-1, 1]].
    let mut set = SampleSet::new(1, 2, DType::F64).unwrap();
    let device = Device::flex();
    let tensor = |values: [[f64; 2]; 1]| Tensor::<2>::from_data(values, (&device, DType::F64));
    set.push(Tensor::from_data([[3.0f64]], (&device, DType::F64)), tensor([[0.25, 0.75]])).unwrap();
    let (_, pairs, evidence) = evidence(&set);
    assert!(evidence.passed());
    let expected = 2.0 * 0.25 * 0.75 * 9.0;
    assert!((pairs.spectrum.lambda(1).unwrap() - expected).abs() < 1e-14);
    assert_eq!(pairs.spectrum.lambda(2), Some(0.0));
    let leading: Mat<f64> = pairs.leading(1).to_owned();
    assert!((leading[(0, 0)] + leading[(1, 0)]).abs() < 1e-15);
}

/// Where squares leave the range of a double, at features times 1e78 and 1e-78, right spectra failed, and
/// at 1e-70 there was none.
#[test]
fn features_of_any_size_give_the_same_relative_answers() {
    let at = |scale: f64| {
        let set = made(60, 6, 3, |samples| samples.features.iter_mut().for_each(|g| *g *= scale));
        let (_, pairs, evidence) = assert_passes(&set, &format!("{scale:e}"));
        (pairs, evidence.known)
    };
    let (expected, digits) = at(1.0);
    // From 1e-150 to 1e150, in powers of two, which change no digit.
    for exponent in [-498, -432, -260, -233, -100, 100, 260, 432, 498] {
        let scale = 2f64.powi(exponent);
        let (found, known) = at(scale);
        assert_eq!((known, found.null_space), (digits, expected.null_space), "{exponent}");
        for rank in 1..11 {
            let lambda = |pairs: &Eigenpairs| pairs.spectrum.lambda(rank).unwrap();
            let relative = lambda(&found) / scale / scale / lambda(&expected);
            // Twenty roundings of features and of a decomposition of 18 rows.
            assert!((relative - 1.0).abs() < 1e-12, "{exponent}, {rank}: {relative}");
        }
    }
    for scale in [1e-154, 1e154] {
        let set = made(60, 6, 3, |samples| samples.features.iter_mut().for_each(|g| *g *= scale));
        assert!(matches!(
            set.hessian(),
            Err(HessianError::OutOfRange { .. } | HessianError::NotFinite { .. })
        ));
    }
    let mut samples = Samples::new(60, 6, 3, 23);
    samples.features.iter_mut().for_each(|g| *g *= 1e-17);
    let single = samples.set(&Device::flex(), DType::F32, 60);
    assert!(
        matches!(single.hessian(), Err(HessianError::OutOfRange { .. })),
        "as f32 it has lost its digits"
    );
}

/// exp(-135) is zero in f32, and five digits of a lambda_1 of zero were claimed.
#[test]
fn of_a_zero_that_may_be_one_by_underflow_nothing_is_known() {
    let digits = |samples: SampleSet| {
        let hessian = samples.hessian().unwrap();
        let pairs = hessian.eigenpairs().unwrap();
        let evidence = verify(&hessian, &pairs, &samples).unwrap();
        assert!(evidence.passed(), "{:?}", evidence.checks);
        evidence.known.lambda_1
    };
    let device = Device::flex();
    let single = |gap: f32| digits(SampleSet::from_logits(1, 2, &[3.0f32], &[gap, 0.0], &device).unwrap());
    let double = |gap: f64| digits(SampleSet::from_logits(1, 2, &[3.0], &[gap, 0.0], &device).unwrap());
    assert!(single(40.0) >= 5 && double(135.0) >= 12, "{} {}", single(40.0), double(135.0));
    assert_eq!([single(135.0), double(800.0)], [0, 0]);
    // A certain probability that is given as one is exact.
    assert!(digits(SampleSet::from_slices(1, 2, &[3.0f32], &[1.0, 0.0], &device).unwrap()) >= 14);
}
