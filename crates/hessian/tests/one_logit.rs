//! One logit a sample: the Hessian of the mean binary cross-entropy, against one that is written out, and
//! against half of the softmax of two logits [0, z].
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{Samples, relative_error};
use kappa_hessian::{
    Accumulator, AccumulatorWithConstant, DensityOptions, Hessian, HessianError, Samples as SampleSet,
    density, growing_subsets, largest_pairs, smallest_pairs, verify, verify_pairs, verify_values,
};

/// N, m: one of anything, fewer samples than features, and more than one part of the samples.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [1, 5], [7, 1], [5, 17], [129, 5], [2500, 13]];

fn samples(n: usize, m: usize) -> Samples {
    Samples::new(n, m, 1, 41)
}

fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// The crate's samples of one logit, from logits.
fn set(samples: &Samples) -> SampleSet {
    SampleSet::from_logits(samples.m, 1, &samples.features, &samples.logits, &Device::flex()).unwrap()
}

/// Those of the two logits [0, z].
fn two_logits(samples: &Samples) -> SampleSet {
    let logits: Vec<f64> = samples.logits.iter().flat_map(|&z| [0.0, z]).collect();
    SampleSet::from_logits(samples.m, 2, &samples.features, &logits, &Device::flex()).unwrap()
}

/// 1/N sum_n p (1 - p) g g^T, term by term: that of a logistic regression.
fn logistic(samples: &Samples) -> Vec<f64> {
    let m = samples.m;
    let mut hessian = vec![0.0; m * m];
    for (n, &z) in samples.logits.iter().enumerate() {
        let (g, weight) = (samples.feature(n), sigmoid(z) * sigmoid(-z) / samples.n as f64);
        for i in 0..m {
            for j in 0..m {
                hessian[i * m + j] += weight * g[i] * g[j];
            }
        }
    }
    hessian
}

fn assert_passes(set: &SampleSet, what: &str) -> (Hessian, kappa_hessian::Eigenpairs) {
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let evidence = verify(&hessian, &pairs, set).unwrap();
    assert!(evidence.passed(), "{what}: {:?}", evidence.checks);
    assert!(verify_values(&hessian, &pairs.spectrum).iter().all(|check| check.passed()), "{what}");
    (hessian, pairs)
}

#[test]
fn it_is_that_of_a_logistic_regression() {
    for [n, m] in SHAPES {
        let samples = samples(n, m);
        let expected = logistic(&samples);
        let (hessian, _) = assert_passes(&set(&samples), &format!("{n} {m}"));
        assert_eq!((hessian.size(), hessian.classes()), (m, 1));
        // Both sum N <= 2500 terms in f64, of some ten roundings each: 2510 epsilon.
        let error = relative_error(hessian.elements(), &expected);
        assert!(error < 6e-13, "{n} {m}: {error}");
        let trace: f64 = expected.iter().step_by(m + 1).sum();
        assert!((set(&samples).trace().unwrap() - trace).abs() <= 6e-13 * trace, "{n} {m}");
    }
}

#[test]
fn twice_its_eigenvalues_are_those_of_two_logits() {
    for [n, m] in SHAPES {
        let samples = samples(n, m);
        let one = set(&samples).hessian().unwrap().eigenpairs().unwrap().spectrum;
        let two = two_logits(&samples).hessian().unwrap().eigenpairs().unwrap().spectrum;
        let lambda_1 = two.eigenvalues()[0];
        // The same sums; either solver's backward error is below 5 size epsilon lambda_1.
        let bound = 5.0 * 3.0 * m as f64 * f64::EPSILON * lambda_1;
        for (one, two) in one.eigenvalues().iter().zip(two.eigenvalues()) {
            assert!((2.0 * one - two).abs() <= bound, "{n} {m}: {one} {two}");
        }
    }
}

#[test]
fn zeros_are_silent_and_dependent_features_once_and_no_shift() {
    let mut samples = samples(60, 6);
    for g in samples.features.chunks_mut(6) {
        g[1] = 0.0;
        g[4] = -3.0 * g[2];
    }
    let (_, pairs) = assert_passes(&set(&samples), "zeros");
    let null = pairs.null_space;
    assert_eq!(
        (null.shift, null.absent_classes, null.silent_features, null.dependent_features),
        (0, 0, 1, 1)
    );
    assert_eq!((null.contrasts, null.explained(), null.numerical), (1, 2, 0));
    assert_eq!(pairs.spectrum.eigenvalues().iter().filter(|&&value| value == 0.0).count(), 2);

    // Fewer samples than features: as many features as there are samples say something of their own.
    samples = Samples { features: samples.features.iter().map(|g| g + 0.5).collect(), ..samples };
    let few = SampleSet::from_logits(6, 1, &samples.features[6..24], &samples.logits[1..4], &Device::flex());
    let (_, pairs) = assert_passes(&few.unwrap(), "fewer samples than features");
    assert_eq!((pairs.null_space.explained(), pairs.spectrum.rank()), (3, 3));
}

#[test]
fn saturated_samples_keep_their_digits() {
    for z in [40.0, -40.0, 300.0] {
        let set = SampleSet::from_logits(1, 1, &[1.0f64], &[z], &Device::flex()).unwrap();
        let (hessian, pairs) = assert_passes(&set, "saturated");
        let expected = (-f64::abs(z)).exp() / (1.0 + (-f64::abs(z)).exp()).powi(2);
        let lambda_1 = pairs.spectrum.eigenvalues()[0];
        // exp, a sum, two quotients and two products.
        assert!((lambda_1 / expected - 1.0).abs() < 8.0 * f64::EPSILON, "{z}: {lambda_1} {expected}");
        assert!((largest_pairs(&set, 1, &()).unwrap().eigenvalues[0] / lambda_1 - 1.0).abs() < 1e-15);
        assert!((hessian.trace() / set.trace().unwrap() - 1.0).abs() < 1e-15);
        // The gradient of a label that is all but certain, too.
        let label = usize::from(z > 0.0);
        let gradient = set.gradient(&[label]).unwrap();
        let expected = if z > 0.0 { -1.0 } else { 1.0 } * (-f64::abs(z)).exp();
        assert!((gradient[0] / expected - 1.0).abs() < 1e-15, "{z}");
    }
    // Certain: nothing is left of p (1 - p).
    let certain = SampleSet::from_slices(2, 1, &[1.0, 2.0, 3.0, 1.0], &[1.0, 0.0], &Device::flex()).unwrap();
    let (_, pairs) = assert_passes(&certain, "certain");
    assert_eq!((pairs.spectrum.eigenvalues(), pairs.null_space.explained()), (&[0.0, 0.0][..], 2));
}

#[test]
fn probabilities_of_class_1_alone_will_do() {
    let samples = samples(50, 4);
    let p: Vec<f64> = samples.logits.iter().map(|&z| sigmoid(z)).collect();
    let device = Device::flex();
    let alone = SampleSet::from_slices(4, 1, &samples.features, &p, &device).unwrap();
    let found = assert_passes(&alone, "one column").0;
    // 1 - p has lost at most e^6 epsilon / 2 of its digits.
    assert!(relative_error(found.elements(), &logistic(&samples)) < 5e-14);
    let single = samples.tensors(&device, DType::F32).0;
    let p = Tensor::<1>::from_floats(&p.iter().map(|&p| p as f32).collect::<Vec<_>>()[..], &device);
    let mut sums = Accumulator::new(4, 1).unwrap();
    sums.add(single, p.reshape([50, 1])).unwrap();
    assert!(relative_error(sums.finish().unwrap().elements(), &logistic(&samples)) < 1e-4);

    // Three columns are no sigmoid's.
    let mut set = SampleSet::new(4, 1, DType::F32).unwrap();
    let error = set.push(Tensor::ones([2, 4], &device), Tensor::ones([2, 3], &device)).unwrap_err();
    assert!(matches!(error, HessianError::WrongShape { .. }), "{error}");
    let none = Accumulator::new(4, 0).unwrap_err();
    assert!(matches!(none, HessianError::TooSmall { features: 4, classes: 0 }), "{none}");
}

#[test]
fn products_density_and_subsets_are_the_matrixs() {
    let samples = samples(900, 80);
    let set = set(&samples);
    let hessian = set.hessian().unwrap();
    let spectrum = hessian.eigenpairs().unwrap().spectrum;
    let lambda_1 = spectrum.eigenvalues()[0];
    let top = largest_pairs(&set, 5, &()).unwrap();
    for (found, expected) in top.eigenvalues.iter().zip(spectrum.eigenvalues()) {
        // The solver's tolerance, 1e-7 of |A|.
        assert!((found - expected).abs() < 1e-7 * lambda_1, "{found} {expected}");
    }
    assert!(verify_pairs(&set, &top, &()).unwrap().iter().all(|check| check.passed()));
    let smallest = smallest_pairs(&set, 2, &()).unwrap().eigenvalues;
    assert!((smallest[0] - spectrum.eigenvalues()[79]).abs() < 1e-6 * lambda_1);
    assert!(spectrum.eigenvalues()[79] > 1e-4 * lambda_1, "no zero is known of");
    let density = density(&set, DensityOptions { probes: 4, steps: 20, seed: 0 }, &()).unwrap();
    assert_eq!(density.known_zeros, 0.0);
    assert!((density.trace - set.trace().unwrap()).abs() < 5.0 * density.trace_error);
    let subsets = growing_subsets(&set, 2, 0, &()).unwrap();
    assert!(subsets.iter().flat_map(|subset| &subset.spectra).all(|s| s.eigenvalues().len() == 80));
}

#[test]
fn directions_are_those_of_the_binary_cross_entropy() {
    let samples = samples(200, 6);
    let set = set(&samples);
    let labels: Vec<usize> = (0..200).map(|n| n * n % 3 % 2).collect();
    let (mut gradient, mut loss) = (vec![0.0; 6], 0.0);
    for (n, &z) in samples.logits.iter().enumerate() {
        let sign = if labels[n] == 1 { 1.0 } else { -1.0 };
        loss += (-sign * z).exp().ln_1p() / 200.0;
        let of = |i: usize| (sigmoid(z) - labels[n] as f64) * samples.feature(n)[i] / 200.0;
        (0..6).for_each(|i| gradient[i] += of(i));
    }
    // 200 terms of some roundings each.
    assert!(relative_error(&set.gradient(&labels).unwrap(), &gradient) < 1e-13);
    assert!((set.loss(&labels).unwrap() / loss - 1.0).abs() < 1e-13);
    let wrong = set.gradient(&[2; 200]).unwrap_err();
    assert!(matches!(wrong, HessianError::WrongLabels { largest: 2, classes: 2, .. }), "{wrong}");

    // E[S] is one number: by half of what it is for two logits, as H is.
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let kronecker = set.kronecker(&hessian, pairs.leading(1)).unwrap();
    let two = two_logits(&samples);
    let two_hessian = two.hessian().unwrap();
    let of_two = two.kronecker(&two_hessian, two_hessian.eigenpairs().unwrap().leading(1)).unwrap();
    assert!((kronecker.relative_error - of_two.relative_error).abs() < 1e-12);
    assert!((kronecker.lambda_1 - of_two.lambda_1).abs() < 1e-12);

    // What a sample carries of lambda_1, and what is left without it.
    let lambda_1 = pairs.spectrum.eigenvalues()[0];
    let direction = hessian.leading_direction(lambda_1).unwrap();
    let chunk = set.chunks().next().unwrap().unwrap();
    let shares = direction.shares(chunk.features, chunk.probabilities).unwrap();
    assert!(hessian.shares_check(direction.lambda(), shares.iter().sum()).passed());
    let others = Samples {
        n: 199,
        m: 6,
        k: 1,
        features: samples.features[6..].to_vec(),
        logits: samples.logits[1..].to_vec(),
    };
    let without = hessian.without(samples.feature(0), &[sigmoid(samples.logits[0])]).unwrap();
    assert!(relative_error(without.elements(), &logistic(&others)) < 1e-13);
}

#[test]
fn the_bias_is_one_more_feature() {
    let samples = samples(70, 3);
    let mut sums = AccumulatorWithConstant::new(3, 1).unwrap();
    for chunk in set(&samples).chunks() {
        let chunk = chunk.unwrap();
        sums.add(chunk.features, chunk.probabilities).unwrap();
    }
    let with_bias: Vec<f64> = samples.features.chunks(3).flat_map(|g| [g[0], g[1], g[2], 1.0]).collect();
    let expected = logistic(&Samples { m: 4, features: with_bias, ..samples });
    assert!(relative_error(sums.finish_with_bias().unwrap().elements(), &expected) < 1e-13);
}

#[test]
fn in_single_precision_it_passes_too() {
    for [n, m] in SHAPES {
        let samples = samples(n, m);
        let features: Vec<f32> = samples.features.iter().map(|&g| g as f32).collect();
        let logits: Vec<f32> = samples.logits.iter().map(|&z| z as f32).collect();
        let set = SampleSet::from_logits(m, 1, &features, &logits, &Device::flex()).unwrap();
        let (hessian, _) = assert_passes(&set, &format!("{n} {m}"));
        // Five roundings in each term, and 4 sqrt(N) of them in the sum at the most: 6e-8 (5 + 200).
        assert!(relative_error(hessian.elements(), &logistic(&samples)) < 1.3e-5, "{n} {m}");
    }
}
