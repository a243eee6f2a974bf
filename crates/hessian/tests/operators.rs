//! Pairs, density and evidence of operators whose eigenvalues are known.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    f64::consts::PI,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use faer::{Mat, MatMut, MatRef, prelude::Reborrow};
use kappa_hessian::{
    DenseMatrix, Density, DensityOptions, ExtremePairs, HessianError, Progress, SymmetricOperator, density,
    largest_pairs, smallest_pairs, verify_pairs,
};

/// A diagonal, by its elements, of which the first may be known to be zero.
struct Diagonal {
    values: Vec<f64>,
    semi_definite: bool,
    known_zeros: usize,
}

impl Diagonal {
    fn new(values: impl IntoIterator<Item = f64>) -> Self {
        Self { values: values.into_iter().collect(), semi_definite: false, known_zeros: 0 }
    }

    fn known_semi_definite(self) -> Self {
        Self { semi_definite: true, ..self }
    }
}

impl SymmetricOperator for Diagonal {
    fn size(&self) -> usize {
        self.values.len()
    }

    fn epsilon(&self) -> f64 {
        f64::EPSILON
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        Ok(Mat::from_fn(block.nrows(), block.ncols(), |i, j| self.values[i] * block[(i, j)]))
    }

    fn is_semi_definite(&self) -> bool {
        self.semi_definite
    }

    fn known_nullity(&self) -> usize {
        self.known_zeros
    }

    fn take_out_null(&self, block: MatMut<'_, f64>) {
        block.subrows_mut(0, self.known_zeros).fill(0.0);
    }
}

/// The graph Laplacian of a path of n nodes: eigenvalues 2 - 2 cos(pi i / n), and what is
/// constant is null.
struct Path(usize);

impl Path {
    fn eigenvalue(&self, i: usize) -> f64 {
        2.0 - 2.0 * (PI * i as f64 / self.0 as f64).cos()
    }
}

impl SymmetricOperator for Path {
    fn size(&self) -> usize {
        self.0
    }

    fn epsilon(&self) -> f64 {
        f64::EPSILON
    }

    fn product(&self, x: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        let last = self.0 - 1;
        Ok(Mat::from_fn(self.0, x.ncols(), |i, j| {
            let to = |other: usize| x[(i, j)] - x[(other, j)];
            to(i.saturating_sub(1)) + to(last.min(i + 1))
        }))
    }

    fn is_semi_definite(&self) -> bool {
        true
    }

    fn known_nullity(&self) -> usize {
        1
    }

    fn take_out_null(&self, block: MatMut<'_, f64>) {
        for column in block.col_iter_mut() {
            let mean = column.rb().iter().sum::<f64>() / column.nrows() as f64;
            column.iter_mut().for_each(|element| *element -= mean);
        }
    }
}

/// The pairs are those of the `expected` eigenvalues, and their evidence holds.
#[track_caller]
fn assert_pairs(operator: &dyn SymmetricOperator, found: &ExtremePairs, expected: &[f64]) {
    assert_eq!(found.eigenvalues.len(), expected.len());
    for (index, (value, expected)) in found.eigenvalues.iter().zip(expected).enumerate() {
        // An eigenvalue is within a residual's bound.
        let bound = found.residual_bound * found.scale;
        assert!((value - expected).abs() <= bound, "{index}: {value} {expected}; {:?}", found.eigenvalues);
    }
    assert!(found.passed(), "{:?}", found.residuals);
    let checks = verify_pairs(operator, found, &()).unwrap();
    assert!(checks.iter().all(|check| check.passed()), "{checks:?}");
}

/// Both ends of an operator with these eigenvalues.
#[track_caller]
fn assert_both_ends(operator: &dyn SymmetricOperator, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    for count in [1, 3, 10] {
        let found = smallest_pairs(operator, count, &()).unwrap();
        assert_pairs(operator, &found, &values[..count]);
    }
    values.reverse();
    for count in [1, 3, 10] {
        let found = largest_pairs(operator, count, &()).unwrap();
        assert_pairs(operator, &found, &values[..count]);
    }
}

/// H diagonal H with H = I - 2 n n', a matrix of these eigenvalues that is not sparse.
fn reflected(values: &[f64]) -> DenseMatrix {
    let size = values.len();
    let normal: Vec<f64> = (0..size).map(|i| (1.0 + i as f64).sin()).collect();
    let squared: f64 = normal.iter().map(|x| x * x).sum();
    let reflection =
        Mat::from_fn(size, size, |i, j| f64::from(i == j) - 2.0 * normal[i] * normal[j] / squared);
    let diagonal = Mat::from_fn(size, size, |i, j| if i == j { values[i] } else { 0.0 });
    let matrix = &reflection * diagonal * &reflection;
    let symmetric = Mat::from_fn(size, size, |i, j| matrix[(i.max(j), i.min(j))]);
    DenseMatrix::new(symmetric, f64::EPSILON).unwrap()
}

#[test]
fn of_a_diagonal_they_are_its_elements() {
    // Small enough to be decomposed whole, and not.
    for size in [10, 64, 65, 300] {
        let values: Vec<f64> = (0..size).map(|i| 1.0 + (i as f64).sqrt()).collect();
        assert_both_ends(&Diagonal::new(values.clone()), values.clone());
        assert_both_ends(&Diagonal::new(values.clone()).known_semi_definite(), values);
    }
}

#[test]
fn of_a_path_they_are_known_in_closed_form() {
    for nodes in [12, 100, 300] {
        let path = Path(nodes);
        let values = (0..nodes).map(|i| path.eigenvalue(i)).collect();
        assert_both_ends(&path, values);
    }
}

#[test]
fn of_an_indefinite_matrix_the_largest_are_largest_and_the_smallest_most_negative() {
    // The most negative are larger in magnitude than any that is positive, and the other way round.
    for sign in [1.0, -1.0] {
        let values: Vec<f64> = (0..200).map(|i| sign * (5.0 - 0.1 * f64::from(i))).collect();
        assert_both_ends(&reflected(&values), values.clone());
        assert_both_ends(&Diagonal::new(values.clone()), values);
    }
    let negative: Vec<f64> = (0..150).map(|i| -3.0 - 0.05 * f64::from(i)).collect();
    assert_both_ends(&reflected(&negative), negative);
}

/// Of a path's graph Laplacian the largest eigenvalues are 1e-6 apart, and there are too many of them
/// to be decomposed: the products are counted, and there is a most.
#[test]
fn what_cannot_be_told_apart_is_an_error_after_so_many_products_and_ends() {
    let path = Path(4200);
    match largest_pairs(&path, 10, &()) {
        Ok(found) => {
            let expected: Vec<f64> = (1..11).map(|i| path.eigenvalue(4200 - i)).collect();
            assert_pairs(&path, &found, &expected);
        }
        Err(error) => assert!(matches!(error, HessianError::NoConvergence { size: 4200 }), "{error}"),
    }
}

#[test]
fn eigenvalues_that_occur_several_times_are_all_found() {
    let values: Vec<f64> = (0..200).map(|i| [4.0, 4.0, 4.0, 2.5, 2.5, 1.0][i.min(5)]).collect();
    assert_both_ends(&reflected(&values), values.clone());
    assert_both_ends(&reflected(&values).known_semi_definite(), values);
}

/// Ten outliers and a bulk, as of a network: a search that looks for copies by finding the next one to the
/// last digit takes many more products.
#[test]
fn outliers_and_that_they_have_no_copies_are_found_by_few_products() {
    let outliers = (0..10).map(|i| 7.0 - 0.6 * f64::from(i));
    let bulk = (0..20_000).map(|i| 0.9 * (f64::from(i) / 20_000.0).powi(8) - 0.1);
    let values: Vec<f64> = outliers.chain(bulk).collect();
    let found = largest_pairs(&Diagonal::new(values.clone()), 10, &()).unwrap();
    assert_pairs(&Diagonal::new(values.clone()), &found, &values[..10]);
    assert!(found.products < 60, "{}", found.products);
    // The same where three of them are one.
    let copies: Vec<f64> = values.iter().enumerate().map(|(i, &x)| if i < 3 { 7.0 } else { x }).collect();
    let found = largest_pairs(&Diagonal::new(copies.clone()), 10, &()).unwrap();
    assert_pairs(&Diagonal::new(copies.clone()), &found, &copies[..10]);
}

#[test]
fn eigenvalues_in_clusters_are_all_found() {
    // Three about 3, closer to each other than the solver tells apart, and a bulk.
    let values: Vec<f64> =
        (0..250).map(|i| if i < 3 { 3.0 + 1e-8 * i as f64 } else { 1.0 + 1e-3 * i as f64 }).collect();
    assert_both_ends(&reflected(&values), values.clone());
    assert_both_ends(&reflected(&values).known_semi_definite(), values);
}

#[test]
fn of_low_rank_the_rest_is_zero() {
    let values: Vec<f64> = (0..200).map(|i| if i < 2 { 1.0 + i as f64 } else { 0.0 }).collect();
    assert_both_ends(&reflected(&values), values.clone());
    assert_both_ends(&reflected(&values).known_semi_definite(), values);
    let signs: Vec<f64> = (0..200).map(|i| [1.0, -2.0, 0.0][i.min(2)]).collect();
    assert_both_ends(&reflected(&signs), signs);
}

#[test]
fn of_nothing_they_are_zero() {
    for size in [20, 200] {
        assert_both_ends(&Diagonal::new(vec![0.0; size]), vec![0.0; size]);
        assert_both_ends(&Diagonal::new(vec![0.0; size]).known_semi_definite(), vec![0.0; size]);
    }
}

#[test]
fn zeros_that_are_known_are_given_once_and_not_searched_for() {
    // So large that nothing is decomposed whole.
    let values: Vec<f64> = (0..1100).map(|i| if i < 3 { 0.0 } else { f64::from(i).sqrt() }).collect();
    let matrix = Diagonal { known_zeros: 3, ..Diagonal::new(values.clone()).known_semi_definite() };
    assert_pairs(&matrix, &smallest_pairs(&matrix, 5, &()).unwrap(), &values[..5]);
    assert_eq!(smallest_pairs(&matrix, 3, &()).unwrap().products, 3);
}

#[test]
fn of_a_multiple_of_one_all_are_that_multiple() {
    for value in [2.0, -2.0] {
        assert_both_ends(&Diagonal::new(vec![value; 150]), vec![value; 150]);
    }
}

#[test]
fn more_than_there_are_is_all_of_them_and_none_is_none() {
    let matrix = Diagonal::new([3.0, -1.0, 2.0]);
    assert_pairs(&matrix, &largest_pairs(&matrix, 7, &()).unwrap(), &[3.0, 2.0, -1.0]);
    assert_pairs(&matrix, &smallest_pairs(&matrix, 7, &()).unwrap(), &[-1.0, 2.0, 3.0]);
    assert_pairs(&matrix, &largest_pairs(&matrix, 0, &()).unwrap(), &[]);
    assert_pairs(&Path(90), &smallest_pairs(&Path(90), 0, &()).unwrap(), &[]);
}

#[test]
fn what_is_not_finite_is_an_error() {
    for size in [20, 200] {
        let mut values = vec![1.0; size];
        values[7] = f64::NAN;
        let matrix = Diagonal::new(values);
        assert!(matches!(largest_pairs(&matrix, 2, &()), Err(HessianError::NotFiniteProduct)));
        assert!(matches!(smallest_pairs(&matrix, 2, &()), Err(HessianError::NotFiniteProduct)));
        let options = DensityOptions { probes: 1, steps: 5, seed: 0 };
        assert!(matches!(density(&matrix, options, &()), Err(HessianError::NotFiniteProduct)));
    }
}

#[test]
fn vectors_of_another_length_are_refused() {
    let matrix = reflected(&[1.0, 2.0, 3.0]);
    let error = matrix.product(Mat::zeros(4, 1).as_ref()).unwrap_err();
    assert!(matches!(error, HessianError::WrongRows { found: 4, expected: 3 }), "{error}");
    assert!(matches!(
        DenseMatrix::new(Mat::zeros(2, 3), f64::EPSILON),
        Err(HessianError::WrongSize { found: 6, size: 2 })
    ));
}

/// Stops after some pieces of work.
struct After(AtomicUsize);

impl Progress for After {
    fn advance(&self, by: usize) -> ControlFlow<()> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(by));
        if left.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Fails after some products.
struct Failing {
    matrix: Diagonal,
    left: AtomicUsize,
}

impl SymmetricOperator for Failing {
    fn size(&self) -> usize {
        self.matrix.size()
    }

    fn epsilon(&self) -> f64 {
        self.matrix.epsilon()
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map_err(|_| HessianError::NoSamples)?;
        self.matrix.product(block)
    }
}

#[test]
fn a_computation_stops_where_it_is_told_to_or_its_operator_fails() {
    let matrix = || Diagonal::new((0..200).map(f64::from));
    let options = DensityOptions { probes: 10, steps: 20, seed: 0 };
    // While its size is measured, while its norm is bounded, and deep in the solver.
    for products in [0, 2, 10, 30, 60, 88] {
        let stop = || After(AtomicUsize::new(products));
        assert!(matches!(largest_pairs(&matrix(), 3, &stop()), Err(HessianError::Stopped)), "{products}");
        assert!(matches!(smallest_pairs(&matrix(), 3, &stop()), Err(HessianError::Stopped)), "{products}");
        assert!(matches!(density(&matrix(), options, &stop()), Err(HessianError::Stopped)), "{products}");
        let failing = Failing { matrix: matrix(), left: AtomicUsize::new(products) };
        assert!(matches!(largest_pairs(&failing, 3, &()), Err(HessianError::NoSamples)), "{products}");
    }
    let pairs = largest_pairs(&matrix(), 3, &()).unwrap();
    let stopped = verify_pairs(&matrix(), &pairs, &After(AtomicUsize::new(4)));
    assert!(matches!(stopped, Err(HessianError::Stopped)));
}

/// The names of the checks of `pairs` that do not pass.
fn failed(operator: &dyn SymmetricOperator, pairs: &ExtremePairs) -> Vec<&'static str> {
    let checks = verify_pairs(operator, pairs, &()).unwrap();
    checks.iter().filter(|check| !check.passed()).map(|check| check.name).collect()
}

#[test]
fn each_check_fails_on_what_was_broken_for_it() {
    let path = Path(100);
    let right = || largest_pairs(&path, 3, &()).unwrap();
    assert!(failed(&path, &right()).is_empty());

    let mut wrong_value = right();
    wrong_value.eigenvalues[1] += 1e-5 * wrong_value.scale;
    assert_eq!(failed(&path, &wrong_value), ["residual"]);

    // Longer by as little as the residual does not tell.
    let mut too_long = right();
    too_long.vectors.col_mut(2).iter_mut().for_each(|element| *element *= 1.0 + 1e-9);
    assert_eq!(failed(&path, &too_long), ["orthogonality"]);

    let mut none = right();
    none.vectors[(3, 1)] = f64::NAN;
    assert_eq!(failed(&path, &none), ["residual", "orthogonality"]);

    let mut askew = Mat::from_fn(100, 100, |i, j| if i == j { 1.0 + i as f64 } else { 0.0 });
    askew[(3, 70)] = 1.0;
    let askew = DenseMatrix::new(askew, f64::EPSILON).unwrap();
    assert!(failed(&askew, &right_of(&askew)).contains(&"symmetry"));

    let values: Vec<f64> = (0..100).map(|i| f64::from(i) - 50.0).collect();
    let pairs = smallest_pairs(&Diagonal::new(values.clone()), 3, &()).unwrap();
    assert_eq!(failed(&Diagonal::new(values).known_semi_definite(), &pairs), ["semi-definite"]);

    /// Says that constants are null, and has them not so.
    struct Shifted(Path);
    impl SymmetricOperator for Shifted {
        fn size(&self) -> usize {
            self.0.size()
        }
        fn epsilon(&self) -> f64 {
            self.0.epsilon()
        }
        fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
            Ok(self.0.product(block)? + block)
        }
        fn known_nullity(&self) -> usize {
            1
        }
        fn take_out_null(&self, block: MatMut<'_, f64>) {
            self.0.take_out_null(block);
        }
    }
    let shifted = Shifted(Path(100));
    assert_eq!(failed(&shifted, &right_of(&shifted)), ["null"]);
}

fn right_of(operator: &dyn SymmetricOperator) -> ExtremePairs {
    largest_pairs(operator, 3, &()).unwrap()
}

/// The mean of the eigenvalues' powers, and of the density's.
#[track_caller]
fn assert_moments(density: &Density, values: &[f64]) {
    for power in 0..6 {
        let expected = values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        let (mean, error) = density.mean_of(|value| value.powi(power));
        // Four standard errors: one run in 10^4 would miss, and the seed is fixed. A diagonal's
        // are exact, since the squares of signs are ones.
        assert!((mean - expected).abs() <= 4.0 * error + 1e-9, "{power}: {mean} {expected} {error}");
    }
}

#[test]
fn a_densitys_moments_are_those_of_known_eigenvalues() {
    let options = DensityOptions { probes: 20, steps: 15, seed: 3 };
    let values: Vec<f64> = (0..120).map(|i| 0.02 * f64::from(i) - 0.8).collect();
    assert_moments(&density(&Diagonal::new(values.clone()), options, &()).unwrap(), &values);
    assert_moments(&density(&reflected(&values), options, &()).unwrap(), &values);

    let path = Path(150);
    let values: Vec<f64> = (0..150).map(|i| path.eigenvalue(i)).collect();
    let found = density(&path, options, &()).unwrap();
    assert_moments(&found, &values);
    assert_eq!(found.known_zeros, 1.0 / 150.0);

    // Two eigenvalues: two nodes, and what is exhausted ends.
    let halves: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { -1.0 } else { 3.0 }).collect();
    let found = density(&reflected(&halves), options, &()).unwrap();
    assert!(found.probes.iter().all(|nodes| nodes.len() == 2), "{:?}", found.probes);
    assert_moments(&found, &halves);

    let nothing = density(&Diagonal::new(vec![0.0; 50]), options, &()).unwrap();
    assert_eq!((nothing.trace, nothing.products), (0.0, 20));
}
