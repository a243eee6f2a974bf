//! Classes whose probability is zero in every sample: the spectrum is that of the others, and m zeros each.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::Device;
use common::{Samples, softmax};
use kappa_hessian::{Eigenpairs, HessianError, Samples as SampleSet, largest_pairs, verify};

const N: usize = 90;
const M: usize = 7;
const K: usize = 5;

fn assert_passes(set: &SampleSet, what: &str) -> Eigenpairs {
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let evidence = verify(&hessian, &pairs, set).unwrap();
    assert!(evidence.passed(), "{what}: {:?}", evidence.checks);
    // ln(p_c / p_a) of p_a = 0 is no part of it.
    assert!(evidence.known.lambda_1 >= 12, "{what}: {:?}", evidence.known);
    pairs
}

/// The samples of all classes but those.
fn without(samples: &Samples, masked: &[usize]) -> Samples {
    let rest = |z: &[f64]| -> Vec<f64> {
        let kept = z.iter().enumerate().filter(|(class, _)| !masked.contains(class));
        kept.map(|(_, &z)| z).collect()
    };
    let logits = samples.logits.chunks(samples.k).flat_map(rest).collect();
    Samples {
        n: samples.n,
        m: samples.m,
        k: samples.k - masked.len(),
        features: samples.features.clone(),
        logits,
    }
}

/// With the logits of some classes in place of what they were.
fn masked(samples: &Samples, classes: &[usize], logit: f64) -> SampleSet {
    let mut logits = samples.logits.clone();
    for z in logits.chunks_mut(samples.k) {
        classes.iter().for_each(|&class| z[class] = logit);
    }
    SampleSet::from_logits(samples.m, samples.k, &samples.features, &logits, &Device::flex()).unwrap()
}

/// With a zero in place of their probabilities.
fn zeroed(samples: &Samples, classes: &[usize]) -> SampleSet {
    let mut logits = samples.logits.clone();
    for z in logits.chunks_mut(samples.k) {
        classes.iter().for_each(|&class| z[class] = f64::NEG_INFINITY);
    }
    let p: Vec<f64> = logits.chunks(samples.k).flat_map(softmax).collect();
    SampleSet::from_slices(samples.m, samples.k, &samples.features, &p, &Device::flex()).unwrap()
}

#[test]
fn the_spectrum_is_that_of_the_other_classes() {
    for classes in [&[2][..], &[0], &[K - 1], &[0, 3], &[1, 2, 4]] {
        let samples = Samples::new(N, M, K, 51);
        let others = without(&samples, classes);
        let (a, rest) = (classes.len(), (K - classes.len()) * M);
        // The explicit sum over the K - a classes, decomposed as it is.
        let explicit =
            kappa_hessian::Hessian::from_elements(M, K - a, N, f64::EPSILON, others.kronecker_sum());
        let expected = explicit.unwrap().spectrum().unwrap();
        let lambda_1 = expected.eigenvalues()[0];
        let ways = [
            ("-inf", masked(&samples, classes, f64::NEG_INFINITY)),
            ("-1e30", masked(&samples, classes, -1e30)),
            ("p = 0", zeroed(&samples, classes)),
        ];
        for (way, set) in ways {
            let what = format!("{classes:?} {way}");
            let pairs = assert_passes(&set, &what);
            let values = pairs.spectrum.eigenvalues();
            assert_eq!(values.len(), K * M);
            for (found, expected) in values.iter().zip(expected.eigenvalues().iter().chain(&vec![0.0; a * M]))
            {
                // Each solver's backward error is below size x epsilon, and N terms are summed.
                let bound = (2.0 * rest as f64 + N as f64) * f64::EPSILON * lambda_1;
                assert!((found - expected).abs() < bound, "{what}: {found} {expected}");
            }
            let null = pairs.null_space;
            assert_eq!((null.shift, null.absent_classes, null.contrasts), (M, a, K - a - 1), "{what}");
            assert_eq!((null.silent_features, null.dependent_features, null.numerical), (0, 0, 0), "{what}");
            // Zeros are zeros, (1 + a) m of them.
            assert_eq!(values.iter().filter(|&&value| value == 0.0).count(), (1 + a) * M, "{what}");
            assert_eq!((null.explained(), pairs.spectrum.rank()), ((1 + a) * M, (K - a - 1) * M), "{what}");
            let top = largest_pairs(&set, 3, &()).unwrap();
            assert!((top.eigenvalues[2] / values[2] - 1.0).abs() < 1e-7, "{what}");
        }
    }
}

#[test]
fn silent_and_dependent_features_count_for_the_classes_that_occur() {
    let mut samples = Samples::new(N, M, K, 52);
    for g in samples.features.chunks_mut(M) {
        g[1] = 0.0;
        g[4] = 2.0 * g[2];
    }
    let pairs = assert_passes(&masked(&samples, &[3], f64::NEG_INFINITY), "both");
    let null = pairs.null_space;
    assert_eq!((null.absent_classes, null.silent_features, null.dependent_features), (1, 1, 1));
    // (1 + a) m + (K - a - 1) (m - rank G)
    assert_eq!((null.explained(), null.numerical), (2 * M + 3 * 2, 0));
    assert_eq!(pairs.spectrum.eigenvalues().iter().filter(|&&value| value == 0.0).count(), 2 * M + 6);
}

#[test]
fn a_class_that_occurs_once_is_no_absent_one() {
    let samples = Samples::new(N, M, K, 53);
    let mut logits = samples.logits.clone();
    logits.chunks_mut(K).skip(1).for_each(|z| z[2] = f64::NEG_INFINITY);
    logits[2] = -20.0;
    let set = SampleSet::from_logits(M, K, &samples.features, &logits, &Device::flex()).unwrap();
    let null = set.hessian().unwrap().eigenpairs().unwrap().null_space;
    assert_eq!((null.absent_classes, null.explained()), (0, M));
}

#[test]
fn where_nothing_is_left_in_doubt_no_class_is_blamed() {
    let certain: Vec<f64> = (0..N).flat_map(|_| [1.0, 0.0, 0.0]).collect();
    let features = Samples::new(N, M, 3, 54).features;
    let set = SampleSet::from_slices(M, 3, &features, &certain, &Device::flex()).unwrap();
    let null = set.hessian().unwrap().eigenpairs().unwrap().null_space;
    assert_eq!((null.absent_classes, null.silent_features, null.explained()), (0, M, 3 * M));
}

#[test]
fn a_row_without_any_class_is_not_a_number() {
    let logits = [f64::NEG_INFINITY; 2];
    let set = SampleSet::from_logits(1, 2, &[1.0], &logits, &Device::flex()).unwrap();
    let error = set.hessian().unwrap_err();
    assert!(matches!(error, HessianError::NotFinite { .. }), "{error}");
}
