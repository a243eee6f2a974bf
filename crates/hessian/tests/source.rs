//! Samples that are made when they are asked for: whatever is computed of them has the bits of the same
//! chunks in memory, and what goes wrong is told.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;

use burn::tensor::{DType, Device};
use common::Samples;
use kappa_hessian::{
    Chunk, DensityOptions, HessianError, SampleSource, Samples as SampleSet, Weights, density,
    growing_subsets, largest_pairs, verify,
};

const N: usize = 430;
const M: usize = 20;
const K: usize = 4;
const CHUNK: usize = 100;

/// Chunks that are cut out each time; one of them may be missing.
#[derive(Debug)]
struct Cut {
    k: usize,
    dtype: DType,
    fails_at: Option<usize>,
}

impl SampleSource for Cut {
    fn chunks(&self) -> usize {
        N.div_ceil(CHUNK)
    }

    fn chunk(&self, index: usize) -> Result<Chunk, HessianError> {
        if self.fails_at == Some(index) {
            return Err(HessianError::Source("the file ends in chunk 2".into()));
        }
        let (features, probabilities) = samples(self.k).tensors(&Device::flex(), self.dtype);
        let rows = index * CHUNK..((index + 1) * CHUNK).min(N);
        Ok(Chunk { features: features.slice(rows.clone()), probabilities: probabilities.slice(rows) })
    }
}

fn samples(k: usize) -> Samples {
    Samples::new(N, M, k, 61)
}

fn from_source(count: usize, dtype: DType, fails_at: Option<usize>) -> SampleSet {
    SampleSet::from_source(M, K, count, dtype, Arc::new(Cut { k: K, dtype, fails_at })).unwrap()
}

/// A layer that is not the one that the probabilities are of.
fn weights() -> Weights {
    Weights { elements: (0..K * M).map(|i| (i as f64).sin()).collect(), offsets: vec![0.5, 0.0, -0.5, 1.0] }
}

/// All that is computed of samples, as numbers.
fn computed(set: &SampleSet) -> Result<Vec<(&'static str, Vec<f64>)>, HessianError> {
    let labels: Vec<usize> = (0..N).map(|n| n % K).collect();
    let hessian = set.hessian()?;
    let pairs = hessian.eigenpairs()?;
    let density = density(set, DensityOptions { probes: 2, steps: 8, seed: 1 }, &())?;
    let kronecker = set.kronecker(&hessian, pairs.leading(10))?;
    let subsets = growing_subsets(set, 2, 3, &())?;
    let of_subsets = subsets.iter().flat_map(|subset| &subset.spectra).flat_map(|s| s.eigenvalues().to_vec());
    let moved = set.moved(&weights(), &labels)?;
    Ok(vec![
        ("moved", [&[moved.loss], &moved.gradient[..], moved.samples.hessian()?.elements()].concat()),
        ("gradient at other weights", moved.samples.gradient(&labels)?),
        ("a sample", set.features_of(N - 3)?),
        ("H", hessian.elements().to_vec()),
        ("evidence", verify(&hessian, &pairs, set)?.checks.iter().map(|check| check.value).collect()),
        ("top", largest_pairs(set, 6, &())?.eigenvalues),
        ("density", density.probes.into_iter().flatten().flat_map(|(node, weight)| [node, weight]).collect()),
        ("subsets", of_subsets.collect()),
        ("gradient", set.gradient(&labels)?),
        ("loss and trace", vec![set.loss(&labels)?, set.trace()?]),
        ("Kronecker", vec![kronecker.relative_error, kronecker.overlap, kronecker.lambda_1]),
    ])
}

#[test]
fn has_the_bits_of_the_same_chunks_in_memory() {
    for dtype in [DType::F64, DType::F32] {
        let made = computed(&from_source(N, dtype, None)).unwrap();
        let held = computed(&samples(K).set(&Device::flex(), dtype, CHUNK)).unwrap();
        for ((what, made), (_, held)) in made.into_iter().zip(held) {
            assert!(made == held, "{what} {dtype:?}");
        }
    }
}

#[test]
fn samples_in_memory_may_follow_those_of_a_source() {
    let mut both = from_source(N, DType::F64, None);
    let (features, probabilities) = samples(K).tensors(&Device::flex(), DType::F64);
    // The same ones, the last first.
    both.push(features.flip([0]), probabilities.flip([0])).unwrap();
    assert_eq!((both.count(), both.chunks().count()), (2 * N, N.div_ceil(CHUNK) + 1));
    let (twice, once) = (both.hessian().unwrap(), from_source(N, DType::F64, None).hessian().unwrap());
    assert_eq!(twice.samples(), 2 * N);
    // Every row twice: N additions more.
    assert!(common::relative_error(twice.elements(), once.elements()) < 2.0 * N as f64 * f64::EPSILON);
    let labels: Vec<usize> = (0..N).chain((0..N).rev()).map(|n| n % K).collect();
    let once = from_source(N, DType::F64, None).moved(&weights(), &labels[..N]).unwrap();
    let twice = both.moved(&weights(), &labels).unwrap();
    let [once_h, twice_h] = [&once, &twice].map(|moved| moved.samples.hessian().unwrap());
    assert!(common::relative_error(twice_h.elements(), once_h.elements()) < 2.0 * N as f64 * f64::EPSILON);
    assert!(common::relative_error(&twice.gradient, &once.gradient) < 2.0 * N as f64 * f64::EPSILON);
    assert!((twice.loss - once.loss).abs() < 2.0 * N as f64 * f64::EPSILON * once.loss);
    assert_eq!(both.features_of(2 * N - 8).unwrap(), both.features_of(7).unwrap());
    let beyond = both.features_of(2 * N).unwrap_err();
    assert!(matches!(beyond, HessianError::WrongCount { found, .. } if found == 2 * N), "{beyond}");
}

#[test]
fn what_a_source_fails_with_comes_out() {
    let set = from_source(N, DType::F64, Some(2));
    let labels = vec![0; N];
    let errors = [
        set.hessian().unwrap_err(),
        set.trace().unwrap_err(),
        set.gradient(&labels).unwrap_err(),
        largest_pairs(&set, 2, &()).unwrap_err(),
        density(&set, DensityOptions { probes: 1, steps: 2, seed: 0 }, &()).unwrap_err(),
        growing_subsets(&set, 1, 0, &()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, HessianError::Source(_)), "{error:?}");
        assert_eq!(error.to_string(), "the file ends in chunk 2");
    }
}

#[test]
fn another_number_of_samples_than_promised_is_an_error() {
    for (promised, expected) in [(N + 1, N), (N - 1, N), (CHUNK, 2 * CHUNK)] {
        let set = from_source(promised, DType::F64, None);
        for error in [set.hessian().unwrap_err(), set.trace().unwrap_err()] {
            let is_told = matches!(error, HessianError::WrongCount { found, promised: of }
                if (found, of) == (expected, promised));
            assert!(is_told, "{error}");
        }
    }
}

#[test]
fn another_shape_or_type_than_promised_is_an_error() {
    let of = |m, k, dtype| {
        let source = Arc::new(Cut { k: K, dtype: DType::F64, fails_at: None });
        SampleSet::from_source(m, k, N, dtype, source).unwrap().hessian().unwrap_err()
    };
    assert!(matches!(of(M + 1, K, DType::F64), HessianError::WrongShape { .. }));
    assert!(matches!(of(M, K - 1, DType::F64), HessianError::WrongShape { .. }));
    assert!(matches!(of(M, 1, DType::F64), HessianError::WrongShape { .. }));
    assert!(matches!(of(M, K, DType::F32), HessianError::WrongType { .. }));
}
