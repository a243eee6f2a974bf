//! The sums over class pairs: from tensors and from slices, with a constant feature,
//! mapped, merged, and with the unit of their arithmetic.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device};
use common::{Samples, relative_error};
use kappa_hessian::{
    Accumulator, AccumulatorWithConstant, FeatureMap, Hessian, HessianError, Samples as SampleSet,
    grams::class_pairs, with_constant_feature,
};

#[test]
fn a_constant_feature_stands_for_the_bias() {
    let samples = Samples::new(9, 3, 4, 7);
    let mut with_one = Samples::new(9, 4, 4, 7);
    with_one.features = (0..9).flat_map(|n| [samples.feature(n), &[1.0]].concat()).collect();
    with_one.logits.clone_from(&samples.logits);
    let (features, probabilities) = samples.tensors(&Device::flex(), DType::F64);
    let mut sums = Accumulator::new(4, 4).unwrap();
    sums.add(with_constant_feature(features.clone()), probabilities.clone()).unwrap();
    let error = relative_error(sums.finish().unwrap().elements(), &with_one.kronecker_sum());
    assert!(error < 1e-13, "{error}");
    let mut with_constant = AccumulatorWithConstant::new(3, 4).unwrap();
    with_constant.add(features, probabilities).unwrap();
    assert_eq!(with_constant.finish_with_bias().unwrap().elements(), sums.finish().unwrap().elements());
}

#[test]
fn mapped_features_need_no_second_pass() {
    let samples = Samples::new(40, 5, 4, 13);
    let (features, probabilities) = samples.tensors(&Device::flex(), DType::F64);
    let mut sums = AccumulatorWithConstant::new(5, 4).unwrap();
    sums.add(features, probabilities).unwrap();
    let map = FeatureMap { shift: vec![0.7, -1.0, 0.0, 2.5, 1e-3], scale: vec![1.0, 3.0, 0.5, -2.0, 0.0] };
    let mut mapped = Samples::new(40, 5, 4, 13);
    for g in mapped.features.chunks_mut(5) {
        for ((g, shift), scale) in g.iter_mut().zip(&map.shift).zip(&map.scale) {
            *g = scale * (*g - shift);
        }
    }
    let found = sums.finish_mapped(&map).unwrap();
    // The difference of four sums of order one, in f64.
    assert!(relative_error(found.elements(), &mapped.kronecker_sum()) < 1e-13);

    let identity = FeatureMap { shift: vec![0.0; 5], scale: vec![1.0; 5] };
    let found = sums.finish_mapped(&identity).unwrap();
    assert!(relative_error(found.elements(), &samples.kronecker_sum()) < 1e-13);
    let short = FeatureMap { shift: vec![0.0; 4], scale: vec![1.0; 5] };
    assert!(matches!(sums.finish_mapped(&short), Err(HessianError::WrongMap { .. })));
}

#[test]
fn sums_over_class_pairs_are_indexed_and_merged() {
    let samples = Samples::new(23, 4, 3, 14);
    let sums_of = |chunk: std::ops::Range<usize>, dtype| {
        let (features, probabilities) = samples.tensors(&Device::flex(), dtype);
        let mut sums = Accumulator::new(4, 3).unwrap();
        sums.add(features.slice(chunk.clone()), probabilities.slice(chunk)).unwrap();
        sums.into_sums()
    };
    let all = sums_of(0..23, DType::F64);
    for (pair, (a, b)) in class_pairs(3).enumerate() {
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            let expected: f64 = (0..23)
                .map(|n| {
                    let (g, p) = (samples.feature(n), samples.probabilities(n));
                    p[a] * p[b] * g[i] * g[j]
                })
                .sum();
            // 23 terms of order ten, in f64.
            assert!((all[(pair, i, j)] - expected).abs() < 1e-13, "{pair} {i} {j}");
        }
    }

    let mut merged = sums_of(0..9, DType::F64);
    merged.merge(&sums_of(9..23, DType::F64)).unwrap();
    assert_eq!((merged.samples(), merged.epsilon()), (23, f64::EPSILON));
    let [merged, all] = [merged, all].map(|sums| Hessian::from_pair_sums(&sums).unwrap());
    // Another order of 23 additions in f64.
    assert!(relative_error(merged.elements(), all.elements()) < 1e-14);
    let mut of_others = Accumulator::new(3, 3).unwrap().into_sums();
    let error = of_others.merge(&sums_of(0..9, DType::F64)).unwrap_err();
    assert!(matches!(error, HessianError::OtherSums { features: [3, 4], .. }), "{error}");

    let mut mixed = sums_of(0..9, DType::F64);
    mixed.merge(&sums_of(9..23, DType::F32)).unwrap();
    let single = f64::from(f32::EPSILON);
    assert_eq!((mixed.epsilon(), Hessian::from_pair_sums(&mixed).unwrap().epsilon()), (single, single));
}

#[test]
fn a_matrix_remembers_what_it_was_summed_in() {
    let samples = Samples::new(30, 3, 3, 15);
    let hessian = |types: [DType; 2]| {
        let mut sums = Accumulator::new(3, 3).unwrap();
        for dtype in types {
            let (features, probabilities) = samples.tensors(&Device::flex(), dtype);
            sums.add(features, probabilities).unwrap();
        }
        sums.finish().unwrap()
    };
    let (double, single) = (f64::EPSILON, f64::from(f32::EPSILON));
    for (types, epsilon) in [
        ([DType::F64; 2], double),
        ([DType::F32; 2], single),
        ([DType::F32, DType::F64], single),
        ([DType::F64, DType::F32], single),
    ] {
        let hessian = hessian(types);
        assert_eq!(hessian.epsilon(), epsilon, "{types:?}");
        assert_eq!(hessian.spectrum().unwrap().epsilon(), epsilon);
        assert_eq!(hessian.eigenpairs().unwrap().spectrum.epsilon(), epsilon);
        assert_eq!(
            hessian.without(samples.feature(0), &samples.probabilities(0)).unwrap().epsilon(),
            epsilon
        );
    }
}

#[test]
fn slices_are_the_samples_that_their_tensors_are() {
    let samples = Samples::new(17, 3, 4, 16);
    let device = Device::flex();
    let probabilities: Vec<f64> = (0..17).flat_map(|n| samples.probabilities(n)).collect();
    let expected = samples.hessian(&device, DType::F64, 17);
    let from_slices = SampleSet::from_slices(3, 4, &samples.features, &probabilities, &device).unwrap();
    assert_eq!(from_slices.hessian().unwrap().elements(), expected.elements());
    let from_logits = SampleSet::from_logits(3, 4, &samples.features, &samples.logits, &device).unwrap();
    assert_eq!(from_logits.hessian().unwrap().elements(), expected.elements());

    let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let (features, logits) = (single(&samples.features), single(&samples.logits));
    let found = SampleSet::from_logits(3, 4, &features, &logits, &device).unwrap().hessian().unwrap();
    let expected = samples.hessian(&device, DType::F32, 17);
    assert_eq!(found.epsilon(), f64::from(f32::EPSILON));
    // The softmax is in f64 and rounded once, as the tensors' is.
    assert_eq!(found.elements(), expected.elements());

    for (features, scores) in [(50, 68), (51, 67), (51, 64), (48, 68)] {
        let error =
            SampleSet::from_slices(3, 4, &vec![0.5; features], &vec![0.5; scores], &device).unwrap_err();
        assert!(matches!(error, HessianError::WrongLength { .. }), "{features} {scores}: {error}");
    }
    let error = SampleSet::from_slices(1, 2, &[1i32], &[0, 1], &device).unwrap_err();
    assert!(matches!(error, HessianError::WrongType { .. }), "{error}");
}
