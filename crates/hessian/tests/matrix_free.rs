//! What is found without forming H, against H where both fit.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device};
use common::{Samples, relative_error};
use faer::MatRef;
use kappa_hessian::{
    DensityOptions, HessianError, Samples as SampleSet, SymmetricOperator, density, largest_pairs,
    smallest_pairs, verify_pairs,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn set(samples: &Samples) -> SampleSet {
    samples.set(&Device::flex(), DType::F64, 64)
}

#[test]
fn a_product_is_the_explicit_sum_times_the_direction() {
    for [n, m, k] in [[1, 1, 2], [7, 1, 4], [5, 3, 2], [130, 9, 5]] {
        let samples = Samples::new(n, m, k, 31);
        let size = m * k;
        let direction: Vec<f64> = (0..size).map(|i| (i as f64 * 0.7).sin()).collect();
        let hessian = samples.kronecker_sum();
        let expected: Vec<f64> =
            hessian.chunks(size).map(|row| row.iter().zip(&direction).map(|(h, v)| h * v).sum()).collect();
        let direction = MatRef::from_column_major_slice(&direction, size, 1);
        let product = |operator: &dyn SymmetricOperator| -> Vec<f64> {
            operator.product(direction).unwrap().col(0).iter().copied().collect()
        };
        // Sums of at most 130 terms in f64.
        assert!(relative_error(&product(&set(&samples)), &expected) < 1e-12, "{n} {m} {k}");
        assert!(
            relative_error(&product(&set(&samples).hessian().unwrap()), &expected) < 1e-12,
            "{n} {m} {k}"
        );
    }
}

/// H V of three directions, [K m, 3].
fn product_of_three(set: &SampleSet) -> Vec<f64> {
    let directions: Vec<f64> = (0..3 * set.size()).map(|i| (i as f64 * 0.7).sin()).collect();
    let directions = MatRef::from_column_major_slice(&directions, set.size(), 3);
    let product = set.product(directions).unwrap();
    product.col_iter().flat_map(|column| column.iter().copied().collect::<Vec<_>>()).collect()
}

#[test]
fn the_bits_of_a_product_do_not_depend_on_the_number_of_threads() {
    // Parts that threads share, and products that they share.
    for [n, m, k] in [[5000, 30, 7], [900, 200, 50]] {
        let samples = Samples::new(n, m, k, 32);
        let set = samples.set(&Device::flex(), DType::F64, n);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product_of_three(&set))
        };
        let alone = on(1);
        assert!(alone == on(2) && alone == on(5), "{n} {m} {k}");
    }
}

#[cfg(feature = "ndarray")]
#[test]
#[allow(deprecated)]
fn a_product_is_the_same_on_every_cpu_backend() {
    for [n, m, k] in [[1, 1, 2], [7, 3, 4], [130, 9, 5]] {
        let samples = Samples::new(n, m, k, 33);
        for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            let [found, expected] = [Device::ndarray(), Device::flex()]
                .map(|device| product_of_three(&samples.set(&device, dtype, 64)));
            // Sums of 130 terms in another order.
            assert!(relative_error(&found, &expected) < bound, "{n} {m} {k} {dtype:?}");
        }
    }
}

/// The ten largest, by decomposing H whole.
fn dense(set: &SampleSet) -> Vec<f64> {
    set.hessian().unwrap().spectrum().unwrap().eigenvalues()[..10].to_vec()
}

#[track_caller]
fn assert_leading(set: &SampleSet, what: &str) {
    let found = largest_pairs(set, 10, &()).unwrap();
    let expected = dense(set);
    for (rank, (found, expected_value)) in found.eigenvalues.iter().zip(&expected).enumerate() {
        let error = (found - expected_value).abs();
        assert!(error <= 1e-6 * expected[0], "{what}: lambda_{}: {found} {expected_value}", rank + 1);
    }
    assert_eq!(found.residual_bound, 1e-6);
    assert!(found.passed(), "{what}: {:?}", found.residuals);
    let checks = verify_pairs(set, &found, &()).unwrap();
    let names = ["residual", "orthogonality", "symmetry", "semi-definite", "null"];
    assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), names);
    assert!(checks.iter().all(|check| check.passed()), "{what}: {checks:?}");
}

#[test]
fn the_ten_largest_are_those_of_the_matrix() {
    assert_leading(&set(&Samples::new(500, 30, 10, 32)), "as after training");
    assert_leading(&set(&Samples::new(40, 100, 3, 33)), "fewer samples than features");
    assert_leading(&set(&Samples::new(50, 9, 4, 34)), "so small that it is decomposed whole");
}

#[test]
fn eigenvalues_that_occur_several_times_are_all_found() {
    let mut samples = Samples::new(300, 60, 8, 35);
    samples.logits.fill(0.0);
    // Every eigenvalue of E[g g'] / 8, seven times.
    let found = largest_pairs(&set(&samples), 10, &()).unwrap();
    let sevenfold =
        found.eigenvalues[..7].iter().all(|value| (value / found.eigenvalues[0] - 1.0).abs() < 1e-6);
    assert!(sevenfold && found.eigenvalues[7] < 0.9 * found.eigenvalues[0], "{:?}", found.eigenvalues);
    assert_leading(&set(&samples), "all classes equal");
}

/// Standard normal features: nothing of them is larger than the rest, unlike of what a ReLU leaves.
fn normal(n: usize, m: usize, k: usize, seed: u64) -> Samples {
    let mut samples = Samples::new(n, m, k, seed);
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    // A sum of twelve numbers from [0, 1) has variance 1.
    let mut draw = || (0..12).map(|_| generator.random::<f64>()).sum::<f64>() - 6.0;
    samples.features.fill_with(&mut draw);
    samples
}

/// Spectra without a gap, on which restarted Lanczos as it was before gave up or never ended.
#[test]
fn flat_spectra_end_in_the_eigenvalues_of_the_matrix() {
    let mut even = normal(200, 100, 10, 43);
    even.logits.fill(0.0);
    assert_leading(&set(&even), "normal features, classes alike: nine copies of each");
    let mut identity = Samples::new(40, 40, 4, 0);
    identity.features.iter_mut().enumerate().for_each(|(i, g)| *g = f64::from(u8::from(i % 41 == 0)));
    identity.logits.fill(0.0);
    let found = largest_pairs(&set(&identity), 10, &()).unwrap();
    // H = I / 40 (x) (I - 1 1' / 4) / 4
    assert!(
        found.eigenvalues.iter().all(|value| (value * 160.0 - 1.0).abs() < 1e-13),
        "{:?}",
        found.eigenvalues
    );
}

#[test]
fn a_flat_spectrum_that_is_too_large_to_be_decomposed_is_found_too() {
    let (n, m, k) = (700, 600, 8);
    let mut samples = normal(n, m, k, 44);
    samples.logits.fill(0.0);
    let found = largest_pairs(&set(&samples), 10, &()).unwrap();
    // H = G'G / N (x) (I - 1 1' / K) / K: seven copies of each eigenvalue of G'G / (N K).
    let features = MatRef::from_row_major_slice(&samples.features, n, m);
    let singular = features.singular_values().unwrap();
    let expected = |rank: usize| singular[rank / (k - 1)].powi(2) / (n * k) as f64;
    for (rank, value) in found.eigenvalues.iter().enumerate() {
        assert!((value - expected(rank)).abs() <= 1e-6 * expected(0), "{rank}: {value} {}", expected(rank));
    }
    assert!(found.passed(), "{:?}", found.residuals);
}

/// p_c is one but for rounding: u_c - p . u, as it was computed before, was nothing but rounding
/// (41 % too low at a distance of 40).
#[test]
fn of_saturated_samples_the_largest_are_those_of_the_matrix() {
    for distance in [1.0, 30.0, 40.0, 200.0, 300.0] {
        let mut samples = normal(3, 40, 2, 45);
        samples.logits = [distance, 0.0].repeat(3);
        let found = largest_pairs(&set(&samples), 3, &()).unwrap();
        // One class pair: H is sum_n p q g g' / N (x) [[1, -1], [-1, 1]].
        let q = (-distance).exp() / (1.0 + (-distance).exp());
        let weight = (q / (1.0 + (-distance).exp()) / 3.0).sqrt();
        let features = MatRef::from_row_major_slice(&samples.features, 3, 40);
        let singular = (features * faer::Scale(weight)).singular_values().unwrap();
        for (value, singular) in found.eigenvalues.iter().zip(&singular) {
            let expected = 2.0 * singular * singular;
            assert!((value / expected - 1.0).abs() < 1e-9, "{distance}: {value} {expected}");
        }
    }
}

#[test]
fn a_hessian_of_low_rank_has_zeros_below_it() {
    // One sample: rank K - 1.
    let samples = Samples::new(1, 40, 3, 36);
    let found = largest_pairs(&set(&samples), 10, &()).unwrap();
    assert!(found.eigenvalues[1] > 1e-6 * found.eigenvalues[0]);
    assert!(found.eigenvalues[2..].iter().all(|value| value.abs() < 1e-12 * found.eigenvalues[0]));
}

#[test]
fn a_hessian_of_zeros_has_zeros() {
    let mut samples = Samples::new(30, 40, 3, 37);
    samples.features.fill(0.0);
    assert_eq!(largest_pairs(&set(&samples), 10, &()).unwrap().eigenvalues, [0.0; 10]);
}

#[test]
fn features_that_are_not_finite_are_an_error() {
    let mut samples = Samples::new(30, 40, 3, 38);
    samples.features[7] = f64::NAN;
    assert!(matches!(largest_pairs(&set(&samples), 10, &()), Err(HessianError::NotFiniteProduct)));
    let options = DensityOptions { probes: 1, steps: 5, seed: 0 };
    assert!(matches!(density(&set(&samples), options, &()), Err(HessianError::NotFiniteProduct)));
}

#[test]
fn single_precision_finds_them_to_single_precision() {
    let samples = Samples::new(500, 30, 10, 39);
    let single = samples.set(&Device::flex(), DType::F32, 64);
    let found = largest_pairs(&single, 10, &()).unwrap();
    assert_eq!(found.residual_bound, 1e-4);
    assert!(found.passed(), "{:?}", found.residuals);
    assert!(verify_pairs(&single, &found, &()).unwrap().iter().all(|check| check.passed()));
    for (found, expected) in found.eigenvalues.iter().zip(dense(&set(&samples))) {
        assert!((found - expected).abs() < 2e-5 * found.max(expected), "{found} {expected}");
    }
}

#[test]
fn the_densitys_moments_are_the_matrixs_within_their_error() {
    let samples = Samples::new(400, 25, 6, 40);
    let set = set(&samples);
    let options = DensityOptions { probes: 30, steps: 20, seed: 1 };
    let density = density(&set, options, &()).unwrap();
    let spectrum = set.hessian().unwrap().spectrum().unwrap();
    let size = spectrum.eigenvalues().len() as f64;
    let error = (density.trace - spectrum.trace()).abs();
    // Four standard errors: one run in 10^4 would miss, and the seed is fixed.
    assert!(
        error < 4.0 * density.trace_error,
        "{} {} {}",
        density.trace,
        spectrum.trace(),
        density.trace_error
    );
    for power in 0..4 {
        let (mean, standard_error) = density.mean_of(|value| value.powi(power));
        let expected = spectrum.eigenvalues().iter().map(|value| value.powi(power)).sum::<f64>() / size;
        assert!(
            (mean - expected).abs() < 4.0 * standard_error + 1e-12,
            "{power}: {mean} {expected} {standard_error}"
        );
    }
    assert_eq!(density.products, 600);
    // The largest node of a Krylov space of twenty dimensions is lambda_1.
    let largest = density.probes.iter().map(|nodes| nodes[0].0).fold(0.0, f64::max);
    assert!((largest / spectrum.lambda(1).unwrap() - 1.0).abs() < 1e-3);
}

#[test]
fn a_density_of_all_steps_is_exact_for_its_probe() {
    // One feature: two eigenvalues besides the shift's zero, so two nodes and no more.
    let samples = Samples::new(20, 1, 3, 41);
    let set = set(&samples);
    let density = density(&set, DensityOptions { probes: 3, steps: 10, seed: 2 }, &()).unwrap();
    let spectrum = set.hessian().unwrap().spectrum().unwrap();
    for nodes in &density.probes {
        for (node, _) in nodes {
            let nearest = spectrum.eigenvalues().iter().map(|value| (value - node).abs()).fold(1.0, f64::min);
            assert!(nearest < 1e-13, "{node} {spectrum:?}");
        }
        let weights: f64 = nodes.iter().map(|(_, weight)| weight).sum();
        assert!((weights + density.known_zeros - 1.0).abs() < 1e-13);
    }
    assert!((density.known_zeros - 1.0 / 3.0).abs() < 1e-15);
}

#[test]
fn the_smallest_are_the_zeros_that_are_known_and_what_comes_after_them() {
    let samples = Samples::new(500, 30, 3, 42);
    let set = set(&samples);
    let zeros = smallest_pairs(&set, 30, &()).unwrap();
    let lambda_1 = dense(&set)[0];
    // Nothing but rounding of products of 500 terms.
    assert!(zeros.eigenvalues.iter().all(|value| value.abs() < 1e-13 * lambda_1), "{:?}", zeros.eigenvalues);
    assert_eq!(zeros.products, 30, "no search");
    let beyond = smallest_pairs(&set, 32, &()).unwrap();
    let spectrum = set.hessian().unwrap().spectrum().unwrap();
    for (found, expected) in beyond.eigenvalues.iter().zip(spectrum.eigenvalues().iter().rev()) {
        assert!((found - expected).abs() <= 1e-6 * lambda_1, "{found} {expected}");
    }
    assert!(verify_pairs(&set, &beyond, &()).unwrap().iter().all(|check| check.passed()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_largest_are_found_on_any_shape(
        n in 1usize..60,
        m in 1usize..40,
        k in 2usize..9,
        seed in 0u64..1000,
        count in 1usize..31,
        is_flat in any::<bool>(),
    ) {
        let mut samples = Samples::new(n, m, k, seed);
        if is_flat {
            samples = normal(n, m, k, seed);
            samples.logits.iter_mut().for_each(|z| *z *= 0.01);
        }
        let set = set(&samples);
        let found = largest_pairs(&set, count, &()).unwrap();
        prop_assert_eq!(found.eigenvalues.len(), count.min(m * k));
        let spectrum = set.hessian().unwrap().spectrum().unwrap();
        let lambda_1 = spectrum.lambda(1).unwrap();
        for (found, expected) in found.eigenvalues.iter().zip(spectrum.eigenvalues()) {
            prop_assert!((found - expected).abs() <= 1e-6 * lambda_1, "{} {} {}: {} {}", n, m, k, found, expected);
        }
    }
}
