//! The Hessian on a CPU, in f64, against three references that share no code
//! with it and none with each other: the explicit sum of Kronecker products,
//! central differences of the gradient, and burn's autodiff of the gradient.
//!
//! Shapes are ragged on purpose: no multiple of any tile, and the degenerate ones.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use common::{Samples, relative_error};
use kappa_hessian::{Accumulator, HessianError, verify};

/// N, m, K. The last has several parts of samples, and several stacks of rows.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 2],
    [1, 5, 3],
    [7, 1, 4],
    [5, 3, 2],
    [33, 7, 5],
    [65, 17, 3],
    [129, 5, 10],
    [300, 35, 4],
    [4500, 9, 10],
];

/// Backends that compute on the CPU.
fn cpu_devices() -> Vec<Device> {
    vec![
        Device::flex(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        Device::ndarray(),
    ]
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let samples = Samples::new(4500, 9, 10, 1);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| samples.hessian(&Device::flex(), DType::F64, 4500).elements().to_vec())
    };
    let alone = on_threads(1);
    // More threads than parts of the samples, and fewer.
    assert_eq!(alone, on_threads(3));
    assert_eq!(alone, on_threads(9));
}

#[test]
fn eigenvalues_alone_are_those_of_the_eigenpairs_and_their_zeros_are_zeros() {
    for [n, m, k] in SHAPES {
        let hessian = Samples::new(n, m, k, 3).hessian(&Device::flex(), DType::F64, n);
        let (values, pairs) = (hessian.eigenvalues().unwrap(), hessian.eigenpairs().unwrap());
        let plain = hessian.spectrum().unwrap();
        let lambda_1 = plain.eigenvalues()[0];
        assert_eq!(values.eigenvalues().len(), m * k);
        let triples = values.eigenvalues().iter().zip(pairs.spectrum.eigenvalues()).zip(plain.eigenvalues());
        for ((alone, paired), plain) in triples {
            // Decompositions of f64: a unit for each row.
            let bound = 4.0 * (m * k) as f64 * f64::EPSILON * lambda_1;
            assert!(
                (alone - paired).abs() <= bound && (alone - plain).abs() <= bound,
                "{alone} {paired} {plain}"
            );
        }
        let zeros = values.eigenvalues().iter().filter(|value| **value == 0.0).count();
        let below = plain.eigenvalues().iter().filter(|value| value.abs() < f64::EPSILON).count();
        assert!(
            zeros >= pairs.null_space.explained().min(m),
            "{zeros} exact ones of {below} in [{n}, {m}, {k}]"
        );
        assert_eq!(values.rank(), plain.rank(), "[{n}, {m}, {k}]");
    }
}

/// Of a matrix of 366 rows that does depend on it where faer is told the number of threads: the
/// eigenvalues were 7e-16 apart.
#[test]
fn the_bits_of_a_decomposition_and_of_what_follows_do_not_depend_on_it_either() {
    let samples = Samples::new(3000, 61, 7, 2);
    let labels: Vec<usize> = (0..3000).map(|n| n % 7).collect();
    let set = samples.set(&Device::flex(), DType::F64, 3000);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let hessian = set.hessian().unwrap();
            let pairs = hessian.eigenpairs().unwrap();
            let lambda_1 = pairs.spectrum.eigenvalues()[0];
            let kronecker = set.kronecker(&hessian, pairs.leading(10)).unwrap();
            let checks = verify(&hessian, &pairs, &set).unwrap().checks;
            let vectors =
                pairs.vectors.col_iter().flat_map(|column| column.iter().copied().collect::<Vec<_>>());
            [
                ("eigenvectors", vectors.collect()),
                ("eigenvalues", pairs.spectrum.eigenvalues().to_vec()),
                ("those of the whole matrix", hessian.spectrum().unwrap().eigenvalues().to_vec()),
                ("those that Adam sees", {
                    let seen = hessian.preconditioned_spectrum(&vec![3.0; hessian.size()]).unwrap();
                    seen.eigenvalues().to_vec()
                }),
                ("the leading direction", hessian.leading_direction(lambda_1).unwrap().vector().to_vec()),
                ("the gradient", set.gradient(&labels).unwrap()),
                ("Kronecker", vec![kronecker.relative_error, kronecker.overlap, kronecker.lambda_1]),
                ("the checks", checks.iter().map(|check| check.value).collect()),
            ]
        })
    };
    let alone = on_threads(1);
    for threads in [2, 3, 4] {
        for ((what, alone), (_, found)) in alone.iter().zip(on_threads(threads)) {
            assert!(*alone == found, "{what} on {threads} threads");
        }
    }
}

#[test]
fn equals_the_explicit_kronecker_sum() {
    for [n, m, k] in SHAPES {
        let samples = Samples::new(n, m, k, 1);
        let expected = samples.kronecker_sum();
        for device in cpu_devices() {
            let found = samples.hessian(&device, DType::F64, n);
            let error = relative_error(found.elements(), &expected);
            // Both sum N <= 4500 terms in f64; N epsilon = 1e-12 bounds either. The issue's
            // bound is 1e-10.
            assert!(error < 1e-12, "{n} {m} {k}: {error}");
        }
    }
}

#[test]
fn in_single_precision_it_is_right_to_single_precision() {
    for [n, m, k] in SHAPES {
        let samples = Samples::new(n, m, k, 2);
        for device in cpu_devices() {
            let found = samples.hessian(&device, DType::F32, n);
            let error = relative_error(found.elements(), &samples.kronecker_sum());
            // Four roundings in each term, and sqrt(N) of them in the sum at the most: 1.2e-7 * (2 + 17 / 3).
            assert!(error < 1e-6, "{n} {m} {k}: {error}");
        }
    }
}

/// The gradient of the mean loss, from its definition: 1/N sum_n (p_n - y_n) g_n^T.
/// The labels drop out of its derivative; here every sample's class is 0.
fn gradient(samples: &Samples, weights: &[f64]) -> Vec<f64> {
    let (m, k) = (samples.m, samples.k);
    let mut gradient = vec![0.0; m * k];
    for n in 0..samples.n {
        let g = samples.feature(n);
        let logits: Vec<f64> = (0..k)
            .map(|class| {
                let offset = samples.logits[n * k + class];
                offset + (0..m).map(|i| weights[class * m + i] * g[i]).sum::<f64>()
            })
            .collect();
        let p = common::softmax(&logits);
        for class in 0..k {
            let residual = p[class] - if class == 0 { 1.0 } else { 0.0 };
            for i in 0..m {
                gradient[class * m + i] += residual * g[i] / samples.n as f64;
            }
        }
    }
    gradient
}

#[test]
fn equals_central_differences_of_the_gradient() {
    // Logits are z_n + W g_n at W = 0, so the probabilities there are softmax(z_n).
    const STEP: f64 = 1e-4;
    for [n, m, k] in SHAPES {
        let samples = Samples::new(n, m, k, 3);
        let size = m * k;
        let mut differences = vec![0.0; size * size];
        for parameter in 0..size {
            let shifted = |step: f64| {
                let mut weights = vec![0.0; size];
                weights[parameter] = step;
                gradient(&samples, &weights)
            };
            let (up, down) = (shifted(STEP), shifted(-STEP));
            for (row, (up, down)) in up.iter().zip(&down).enumerate() {
                differences[row * size + parameter] = (up - down) / (2.0 * STEP);
            }
        }
        let found = samples.hessian(&Device::flex(), DType::F64, n);
        let error = relative_error(found.elements(), &differences);
        // Truncation h^2/6 times the third derivative, at most |g|^3 with |g|^2 <= 4 m: below
        // 1e-8/6 * 4^1.5 * m^0.5 relative to H; rounding epsilon / h = 2e-12 relative to the gradient.
        // A sample that the softmax is sure of has a small H and makes the ratio worse: one digit more.
        assert!(error < 1e-6, "{n} {m} {k}: {error}");
    }
}

#[test]
fn equals_autodiff_of_the_gradient() {
    for [n, m, k] in SHAPES.into_iter().filter(|[_, m, k]| m * k <= 60) {
        let samples = Samples::new(n, m, k, 4);
        let size = m * k;
        let device = Device::flex().autodiff();
        let tensor = |values: &[f64], columns: usize| {
            let data = TensorData::new(values.to_vec(), [n, columns]);
            Tensor::<2>::from_data(data, (&device, DType::F64))
        };
        let (features, offsets) = (tensor(&samples.features, m), tensor(&samples.logits, k));
        let mut rows = Vec::new();
        for parameter in 0..size {
            let weights = Tensor::<2>::zeros([k, m], (&device, DType::F64)).require_grad();
            let logits = offsets.clone() + features.clone().matmul(weights.clone().transpose());
            // The gradient [K, m], of which one component is differentiated again.
            // The division by N is left to the end: burn's backward pass of div_scalar rounds
            // its scalar to f32, whatever the tensor is.
            let gradient = softmax(logits, 1).transpose().matmul(features.clone());
            let (class, i) = (parameter / m, parameter % m);
            let component = gradient.slice([class..class + 1, i..i + 1]).sum();
            let row = weights.grad(&component.backward()).unwrap();
            rows.extend(row.into_data().iter::<f64>().map(|element| element / n as f64));
        }
        let found = samples.hessian(&Device::flex(), DType::F64, n);
        let error = relative_error(found.elements(), &rows);
        // Both are f64 all the way.
        assert!(error < 1e-12, "{n} {m} {k}: {error}");
    }
}

#[test]
fn does_not_depend_on_the_chunks() {
    let samples = Samples::new(50, 6, 4, 5);
    let whole = samples.hessian(&Device::flex(), DType::F64, 50);
    for chunk in [1, 7, 49] {
        let found = samples.hessian(&Device::flex(), DType::F64, chunk);
        // Another order of 50 additions in f64.
        assert!(relative_error(found.elements(), whole.elements()) < 1e-14);
        assert_eq!(found.samples(), 50);
    }
}

#[test]
fn wide_layers_are_computed_in_several_launches() {
    // 1,500^2 elements of 8 bytes are more than one launch computes (16 MiB): one pair a launch.
    let samples = Samples::new(3, 1500, 3, 6);
    let found = samples.hessian(&Device::flex(), DType::F64, 3);
    let size = found.size();
    for (row, column) in [(0, 0), (1499, 1500), (3000, 1), (4499, 4499), (2999, 3001)] {
        let (a, i, b, j) = (row / 1500, row % 1500, column / 1500, column % 1500);
        let expected: f64 = (0..3)
            .map(|n| {
                let (g, p) = (samples.feature(n), samples.probabilities(n));
                (if a == b { p[a] } else { 0.0 } - p[a] * p[b]) * g[i] * g[j] / 3.0
            })
            .sum();
        let element = found.elements()[row * size + column];
        assert!((element - expected).abs() <= 1e-14 * expected.abs().max(1e-3), "{row} {column}");
    }
}

#[test]
fn the_spectrum_of_equal_classes_and_one_feature_is_known() {
    // p = 1/K and g = c for all samples: H = c^2 (I/K - 11^T/K^2), eigenvalues c^2/K (K-1 times) and 0.
    let device = Device::flex();
    let (k, c) = (12, 3.0);
    let features = Tensor::<2>::full([5, 1], c, (&device, DType::F64));
    let probabilities = Tensor::<2>::full([5, k], 1.0 / k as f64, (&device, DType::F64));
    let mut sums = Accumulator::new(1, k).unwrap();
    sums.add(features, probabilities).unwrap();
    let hessian = sums.finish().unwrap();
    let spectrum = hessian.spectrum().unwrap();
    let expected = c * c / k as f64;
    for rank in 1..k {
        assert!((spectrum.lambda(rank).unwrap() - expected).abs() < 1e-15 * k as f64, "{rank}");
    }
    assert!(spectrum.lambda_min().unwrap().abs() < 1e-15);
    assert!((spectrum.kappa_prime(0.0).unwrap() - 1.0).abs() < 1e-13);
    assert_eq!(spectrum.rank(), k - 1);
    assert!((hessian.trace() - spectrum.trace()).abs() < 1e-14);
}

#[test]
fn certain_samples_have_no_curvature() {
    let device = Device::flex();
    let features = Tensor::<2>::full([4, 3], 2.0, (&device, DType::F64));
    let probabilities = Tensor::<2>::from_data([[0.0, 1.0, 0.0]; 4], (&device, DType::F64));
    let mut sums = Accumulator::new(3, 3).unwrap();
    sums.add(features, probabilities).unwrap();
    assert!(sums.finish().unwrap().elements().iter().all(|&element| element == 0.0));
}

#[test]
fn what_cannot_be_computed_is_refused_and_changes_nothing() {
    assert!(matches!(Accumulator::new(0, 3), Err(HessianError::TooSmall { .. })));
    assert!(matches!(Accumulator::new(3, 0), Err(HessianError::TooSmall { .. })));
    assert!(matches!(Accumulator::new(usize::MAX / 4, 9), Err(HessianError::TooLarge { .. })));
    assert!(matches!(Accumulator::new(1 << 31, 1 << 15), Err(HessianError::TooLarge { .. })));
    assert!(matches!(Accumulator::new(2, 2).unwrap().finish(), Err(HessianError::NoSamples)));

    let device = Device::flex();
    let ones = |shape: [usize; 2], dtype| Tensor::<2>::ones(shape, (&device, dtype));
    let mut sums = Accumulator::new(2, 3).unwrap();
    for (features, probabilities) in [([4, 3], [4, 3]), ([4, 2], [4, 2]), ([4, 2], [5, 3])] {
        let error = sums.add(ones(features, DType::F64), ones(probabilities, DType::F64)).unwrap_err();
        assert!(matches!(error, HessianError::WrongShape { .. }), "{error}");
    }
    let error = sums.add(ones([4, 2], DType::F64), ones([4, 3], DType::F32)).unwrap_err();
    assert!(matches!(error, HessianError::WrongType { .. }), "{error}");
    assert!(matches!(sums.finish(), Err(HessianError::NoSamples)));
}

#[test]
fn a_feature_that_is_not_a_number_is_told_by_its_place() {
    let device = Device::flex();
    let features = Tensor::<2>::from_data([[1.0, f64::NAN], [1.0, 1.0]], (&device, DType::F64));
    let probabilities = Tensor::<2>::from_data([[0.5, 0.5]; 2], (&device, DType::F64));
    let mut sums = Accumulator::new(2, 2).unwrap();
    sums.add(features, probabilities).unwrap();
    let message = sums.finish().unwrap_err().to_string();
    assert!(message.contains("class 0, feature 1"), "{message}");
}

#[test]
fn the_leading_direction_is_the_eigenvector_of_the_largest_eigenvalue() {
    for [n, m, k] in SHAPES {
        let samples = Samples::new(n, m, k, 7);
        let hessian = samples.hessian(&Device::flex(), DType::F64, n);
        let lambda = hessian.spectrum().unwrap().lambda(1).unwrap();
        let direction = hessian.leading_direction(lambda).unwrap();
        let v = direction.vector();
        for (row, v_row) in samples.kronecker_sum().chunks(m * k).zip(v) {
            let product: f64 = row.iter().zip(v).map(|(h, v)| h * v).sum();
            // Rounding of H v, and the shift's share of a gap that is no smaller than 1e-3 here.
            assert!((product - lambda * v_row).abs() <= 1e-10 * lambda, "{n} {m} {k}");
        }
        assert!((v.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn shares_of_the_largest_eigenvalue_are_quadratic_forms_and_sum_to_one() {
    for [n, m, k] in SHAPES {
        let samples = Samples::new(n, m, k, 8);
        let device = Device::flex();
        let hessian = samples.hessian(&device, DType::F64, n);
        let direction = hessian.leading_direction(hessian.spectrum().unwrap().lambda(1).unwrap()).unwrap();
        let (features, probabilities) = samples.tensors(&device, DType::F64);
        let shares = direction.shares(features, probabilities).unwrap();
        // A feature that never fires makes no curvature, and then nobody carries any.
        let whole = if direction.lambda() > 0.0 { 1.0 } else { 0.0 };
        assert!((shares.iter().sum::<f64>() - whole).abs() < 1e-12, "{n} {m} {k}");
        if whole == 0.0 {
            continue;
        }
        let v = direction.vector();
        for (sample, &share) in shares.iter().enumerate() {
            // v' (S (x) g g') v / (N lambda_1), index by index.
            let (g, p) = (samples.feature(sample), samples.probabilities(sample));
            let mut form = 0.0;
            for (row, column) in (0..m * k).flat_map(|row| (0..m * k).map(move |column| (row, column))) {
                let (a, i, b, j) = (row / m, row % m, column / m, column % m);
                let jacobian = if a == b { p[a] } else { 0.0 } - p[a] * p[b];
                form += v[row] * jacobian * g[i] * g[j] * v[column];
            }
            // Both are sums of at most (K m)^2 = 19,600 terms of order one in f64.
            assert!((share - form / (n as f64 * direction.lambda())).abs() < 1e-11, "{n} {m} {k}");
        }
    }
}

#[test]
fn without_a_sample_it_is_the_mean_over_the_others() {
    for [n, m, k] in SHAPES.into_iter().filter(|[n, ..]| *n > 1) {
        let samples = Samples::new(n, m, k, 9);
        let hessian = samples.hessian(&Device::flex(), DType::F64, n);
        let rest = hessian.without(samples.feature(n - 1), &samples.probabilities(n - 1)).unwrap();
        let others = Samples {
            n: n - 1,
            m,
            k,
            features: samples.features[..(n - 1) * m].to_vec(),
            logits: samples.logits[..(n - 1) * k].to_vec(),
        };
        // N H - S (x) g g' cancels where the sample carried all but a few units.
        assert!(relative_error(rest.elements(), &others.kronecker_sum()) < 1e-12, "{n} {m} {k}");
        assert_eq!(rest.samples(), n - 1);
    }
    let single = Samples::new(1, 2, 2, 9);
    let hessian = single.hessian(&Device::flex(), DType::F64, 1);
    assert!(matches!(
        hessian.without(single.feature(0), &single.probabilities(0)),
        Err(HessianError::NoSamples)
    ));
    assert!(matches!(hessian.without(&[1.0], &[0.5, 0.5]), Err(HessianError::WrongShape { .. })));
}

#[test]
fn without_curvature_no_sample_carries_any() {
    let device = Device::flex();
    let features = Tensor::<2>::from_data(TensorData::new(vec![1.0f64; 4], [2, 2]), (&device, DType::F64));
    let certain =
        Tensor::<2>::from_data(TensorData::new(vec![1.0f64, 0.0, 0.0, 1.0], [2, 2]), (&device, DType::F64));
    let mut sums = Accumulator::new(2, 2).unwrap();
    sums.add(features.clone(), certain.clone()).unwrap();
    let direction = sums.finish().unwrap().leading_direction(0.0).unwrap();
    assert_eq!(direction.shares(features, certain).unwrap(), [0.0, 0.0]);
}

#[test]
fn a_sample_that_is_all_but_certain_has_the_digits_of_what_is_left() {
    let set = kappa_hessian::Samples::from_logits(1, 2, &[1.0f64], &[40.0, 0.0], &Device::flex()).unwrap();
    let lambda_1 = set.hessian().unwrap().eigenpairs().unwrap().spectrum.eigenvalues()[0];
    // 2 p (1 - p) with p = 1 / (1 + exp(-40)), to the thirteen digits that are given.
    assert!((lambda_1 / 8.496_708_510_583e-18 - 1.0).abs() < 1e-13, "{lambda_1}");
}

#[test]
fn features_c_times_as_large_have_eigenvalues_c_squared_times_as_large() {
    let samples = Samples::new(80, 9, 4, 31);
    let spectrum = |c: f64| {
        let features: Vec<f64> = samples.features.iter().map(|g| c * g).collect();
        let scaled = Samples { features, logits: samples.logits.clone(), ..samples };
        scaled.hessian(&Device::flex(), DType::F64, 80).eigenpairs().unwrap().spectrum
    };
    let expected = spectrum(1.0);
    for c in [1e-6, 1e6] {
        for (found, expected) in spectrum(c).eigenvalues().iter().zip(expected.eigenvalues()) {
            // Roundings of c g, and the backward errors of two solvers: of 36 rows, 5 stages each.
            let bound = 2.0 * 5.0 * 36.0 * f64::EPSILON * spectrum(1.0).eigenvalues()[0];
            assert!((found / (c * c) - expected).abs() < bound, "{c}: {found} {expected}");
        }
    }
}

#[test]
fn every_row_twice_leaves_h_as_it_is() {
    let samples = Samples::new(300, 9, 4, 32);
    let twice = Samples {
        n: 600,
        features: samples.features.chunks(9).flat_map(|g| [g, g].concat()).collect(),
        logits: samples.logits.chunks(4).flat_map(|z| [z, z].concat()).collect(),
        ..samples
    };
    let of = |samples: &Samples| samples.hessian(&Device::flex(), DType::F64, samples.n);
    // Each a sum of 600 terms at the most.
    assert!(relative_error(of(&twice).elements(), of(&samples).elements()) < 600.0 * f64::EPSILON);
}

#[test]
fn classes_in_another_order_have_the_same_spectrum() {
    let samples = Samples::new(300, 9, 4, 33);
    let logits = samples.logits.chunks(4).flat_map(|z| [z[2], z[0], z[3], z[1]]).collect();
    let permuted = Samples { features: samples.features.clone(), logits, ..samples };
    let of = |samples: &Samples| {
        samples
            .hessian(&Device::flex(), DType::F64, 300)
            .eigenpairs()
            .unwrap()
            .spectrum
            .eigenvalues()
            .to_vec()
    };
    let (found, expected) = (of(&permuted), of(&samples));
    for (found, other) in found.iter().zip(&expected) {
        // Sums of 300 terms, and two solvers of 36 rows and 5 stages.
        assert!((found - other).abs() < (300.0 + 360.0) * f64::EPSILON * expected[0], "{found} {other}");
    }
}
