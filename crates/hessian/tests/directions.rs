//! Overlaps, shares, the Kronecker factorisation, the gradient, the preconditioned
//! spectrum and growing subsets, against closed forms, explicit sums and differences.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{DType, Device};
use common::{Samples, relative_error, softmax};
use faer::Mat;
use kappa_hessian::{HessianError, growing_subsets, overlap, share};

fn plane(angle: f64) -> Mat<f64> {
    // The plane of e_0 and of e_1 turned by an angle towards e_2.
    Mat::from_fn(4, 2, |row, column| match (row, column) {
        (0, 0) => 1.0,
        (1, 1) => angle.cos(),
        (2, 1) => angle.sin(),
        _ => 0.0,
    })
}

#[test]
fn overlap_is_the_mean_squared_cosine_of_the_principal_angles() {
    for angle in [0.0, 0.3, 1.0, std::f64::consts::FRAC_PI_2] {
        let expected = (1.0 + angle.cos().powi(2)) / 2.0;
        assert!((overlap(plane(0.0).as_ref(), plane(angle).as_ref()) - expected).abs() < 1e-15);
    }
}

#[test]
fn share_is_what_the_projection_keeps() {
    assert!((share(plane(0.0).as_ref(), &[3.0, 0.0, 4.0, 0.0]).unwrap() - 9.0 / 25.0).abs() < 1e-15);
    assert_eq!(share(plane(0.0).as_ref(), &[0.0; 4]), None);
}

#[test]
fn the_kronecker_factorisation_is_exact_where_all_samples_have_the_same_probabilities() {
    let mut samples = Samples::new(60, 5, 4, 51);
    samples.logits = [0.3, -1.0, 0.9, 0.0].repeat(60);
    let set = samples.set(&Device::flex(), DType::F64, 25);
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let kronecker = set.kronecker(&hessian, pairs.leading(10)).unwrap();
    assert!(kronecker.relative_error < 1e-14, "{kronecker:?}");
    assert!((kronecker.overlap - 1.0).abs() < 1e-10, "{kronecker:?}");
    assert!((kronecker.lambda_1 - 1.0).abs() < 1e-13, "{kronecker:?}");
}

#[test]
fn its_distance_is_that_of_the_explicit_sums() {
    let samples = Samples::new(37, 4, 3, 52);
    let (n, m, k) = (37, 4, 3);
    let mut jacobian = [[0.0; 3]; 3];
    let mut grams = [[0.0; 4]; 4];
    for n_ in 0..n {
        let (g, p) = (samples.feature(n_), samples.probabilities(n_));
        for a in 0..k {
            for b in 0..k {
                jacobian[a][b] += (if a == b { p[a] } else { 0.0 } - p[a] * p[b]) / n as f64;
            }
        }
        for i in 0..m {
            for j in 0..m {
                grams[i][j] += g[i] * g[j] / n as f64;
            }
        }
    }
    let size = m * k;
    let product: Vec<f64> = (0..size * size)
        .map(|index| (index / size, index % size))
        .map(|(row, column)| jacobian[row / m][column / m] * grams[row % m][column % m])
        .collect();
    let expected = relative_error(&product, &samples.kronecker_sum());
    let set = samples.set(&Device::flex(), DType::F64, 10);
    let hessian = set.hessian().unwrap();
    let pairs = hessian.eigenpairs().unwrap();
    let found = set.kronecker(&hessian, pairs.leading(10)).unwrap();
    assert!((found.relative_error / expected - 1.0).abs() < 1e-12, "{found:?} {expected}");
    assert!(found.overlap < 0.9999 && found.overlap > 10.0 / 12.0 * 0.9, "{found:?}");
}

/// -mean ln p[y] with logits z + W g.
fn loss(samples: &Samples, labels: &[usize], weights: &[f64]) -> f64 {
    let (m, k) = (samples.m, samples.k);
    let terms = (0..samples.n).map(|n| {
        let g = samples.feature(n);
        let z: Vec<f64> = (0..k)
            .map(|a| samples.logits[n * k + a] + (0..m).map(|i| weights[a * m + i] * g[i]).sum::<f64>())
            .collect();
        -softmax(&z)[labels[n]].ln()
    });
    terms.sum::<f64>() / samples.n as f64
}

#[test]
fn the_gradient_is_the_losss_central_difference() {
    let samples = Samples::new(23, 3, 4, 53);
    let labels: Vec<usize> = (0..23).map(|n| (n * 7) % 4).collect();
    let set = samples.set(&Device::flex(), DType::F64, 10);
    assert!((set.loss(&labels).unwrap() / loss(&samples, &labels, &[0.0; 12]) - 1.0).abs() < 1e-13);
    let differences: Vec<f64> = (0..12)
        .map(|parameter| {
            let shifted = |step: f64| {
                let mut weights = [0.0; 12];
                weights[parameter] = step;
                loss(&samples, &labels, &weights)
            };
            (shifted(1e-5) - shifted(-1e-5)) / 2e-5
        })
        .collect();
    // Truncation h^2 / 6 of third derivatives of order 10, rounding epsilon |loss| / h = 1e-10.
    assert!(relative_error(&set.gradient(&labels).unwrap(), &differences) < 1e-8);
    assert!(matches!(set.gradient(&labels[1..]), Err(HessianError::WrongLabels { labels: 22, .. })));
    assert!(matches!(set.loss(&[4; 23]), Err(HessianError::WrongLabels { largest: 4, .. })));
}

/// p_y - 1 had lost what e^-40 / (1 + e^-40) of the other class is: half of the gradient, 6.37e-18.
#[test]
fn the_gradient_and_the_loss_of_a_sample_that_is_all_but_certain_keep_their_digits() {
    let set =
        kappa_hessian::Samples::from_logits(1, 2, &[1.0, 2.0], &[40.0, 0.0, 40.0, 0.0], &Device::flex())
            .unwrap();
    let rest = (-40.0f64).exp() / (1.0 + (-40.0f64).exp());
    let gradient = set.gradient(&[0, 0]).unwrap();
    // Some ten roundings of f64.
    let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 10.0 * f64::EPSILON);
    close(gradient[0], -1.5 * rest);
    close(gradient[1], 1.5 * rest);
    close(gradient[0].hypot(gradient[1]), 1.5 * 2.0f64.sqrt() * rest);
    // ln(1 + e^-40) = e^-40 to the last digit.
    close(set.loss(&[0, 0]).unwrap(), (-40.0f64).exp());
    close(set.loss(&[1, 1]).unwrap(), 40.0);
}

#[test]
fn preconditioning_divides_by_the_diagonal_on_both_sides() {
    let set = Samples::new(80, 5, 3, 54).set(&Device::flex(), DType::F64, 80);
    let hessian = set.hessian().unwrap();
    let plain = hessian.spectrum().unwrap();
    let quarter = hessian.preconditioned_spectrum(&[4.0; 15]).unwrap();
    assert!((quarter.lambda(1).unwrap() / plain.lambda(1).unwrap() - 0.25).abs() < 1e-14);

    let diagonal: Vec<f64> = (0..15).map(|i| 0.1 + i as f64).collect();
    let found = hessian.preconditioned_spectrum(&diagonal).unwrap();
    // tr D^-1 H, and tr (D^-1 H)^2 = sum_ij H_ij^2 / d_i d_j.
    let element = |i: usize, j: usize| hessian.elements()[i * 15 + j];
    let trace: f64 = (0..15).map(|i| element(i, i) / diagonal[i]).sum();
    let squares: f64 = (0..15)
        .flat_map(|i| (0..15).map(move |j| (i, j)))
        .map(|(i, j)| element(i, j).powi(2) / (diagonal[i] * diagonal[j]))
        .sum();
    assert!((found.trace() / trace - 1.0).abs() < 1e-13);
    assert!((found.eigenvalues().iter().map(|x| x * x).sum::<f64>() / squares - 1.0).abs() < 1e-13);
    assert!(hessian.preconditioned_spectrum(&[1.0; 14]).is_err());
    assert!(hessian.preconditioned_spectrum(&[0.0; 15]).is_err());
}

#[test]
fn subsets_are_drawn_without_replacement_and_grow() {
    // Sample n alone has feature n, so a subset's rank counts its samples.
    let mut samples = Samples::new(128, 128, 2, 55);
    for (n, g) in samples.features.chunks_mut(128).enumerate() {
        g.fill(0.0);
        g[n] = 1.0;
    }
    samples.logits.fill(0.0);
    let set = samples.set(&Device::flex(), DType::F64, 50);
    let subsets = growing_subsets(&set, 3, 7, &()).unwrap();
    assert_eq!(subsets.iter().map(|subset| subset.samples).collect::<Vec<_>>(), [2, 4, 8, 16, 32, 64]);
    for subset in &subsets {
        assert_eq!(subset.spectra.len(), 3);
        for spectrum in &subset.spectra {
            // Each of its samples is the eigenvalue 2 * 1/4 / n, once.
            assert_eq!(spectrum.rank(), subset.samples);
            let expected = 0.5 / subset.samples as f64;
            assert!((spectrum.lambda(1).unwrap() / expected - 1.0).abs() < 1e-13);
        }
    }
}

#[test]
fn few_samples_have_few_subsets() {
    let set = Samples::new(5, 2, 3, 56).set(&Device::flex(), DType::F64, 2);
    let subsets = growing_subsets(&set, 2, 0, &()).unwrap();
    assert_eq!(subsets.iter().map(|subset| subset.samples).collect::<Vec<_>>(), [1, 2]);
}
