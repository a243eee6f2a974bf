//! What holds of any last layer: closed forms, derivatives by differences, samples that are left out for real.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use kappa_hessian::{Samples, SymmetricOperator, Weights, burn::tensor::Device, faer::Mat, largest_pairs};
use kappa_posterior::{
    Extremes, Influence, Point, Posterior, Problem, Reach, conjugate_gradients, contrast_variance, decrement,
    losses,
};
use proptest::prelude::*;

/// Numbers that look random: the fractions of a sine's multiples.
fn noise(count: usize, salt: usize) -> Vec<f64> {
    let number = |i: usize| (((i * 7 + salt * 101 + 1) as f64).sin() * 43758.5453).fract();
    (0..count).map(number).collect()
}

fn problem(n: usize, m: usize, k: usize, salt: usize) -> Problem {
    let columns = k.max(2);
    let features = noise(n * m, salt).iter().map(|x| 2.0 * x).collect::<Vec<_>>();
    let labels = (0..n).map(|i| (i * 5 + salt + usize::from(features[i * m] > 0.0)) % columns).collect();
    let samples = Samples::from_logits(m, k, &features, &vec![0.0; n * k], &Device::flex()).unwrap();
    Problem::new(samples, labels).unwrap()
}

fn zeros(m: usize, k: usize) -> Weights {
    Weights { elements: vec![0.0; k * m], offsets: vec![0.0; k] }
}

fn optimum(problem: &Problem, m: usize, k: usize, delta: f64) -> Point {
    problem.optimum(problem.at(zeros(m, k)).unwrap(), delta, &()).unwrap()
}

fn features_of(point: &Point) -> Vec<f64> {
    point.samples.on_host(|chunk| chunk.features).unwrap().concat()
}

/// One feature of 1 and one logit: n of N labels are 1, and the optimum without a prior is ln(n / (N - n)); with one it
/// solves N p - n + delta w = 0, and A = N p (1 - p) + delta.
#[test]
fn of_one_feature_and_one_logit_all_is_known() {
    let samples = Samples::from_logits(1, 1, &[1.0; 10], &[0.0; 10], &Device::flex()).unwrap();
    let problem = Problem::new(samples, [vec![1; 7], vec![0; 3]].concat()).unwrap();
    for delta in [1e-6, 0.3, 50.0] {
        let found = optimum(&problem, 1, 1, delta);
        // By bisection of what rises.
        let (mut low, mut high) = (-10.0f64, 10.0f64);
        for _ in 0..100 {
            let w = 0.5 * (low + high);
            if 10.0 / (1.0 + (-w).exp()) - 7.0 + delta * w < 0.0 { low = w } else { high = w }
        }
        let w = found.weights.elements[0];
        assert!((w - low).abs() < 1e-10, "{w} {low}");
        let p = 1.0 / (1.0 + (-w).exp());
        let precision = 10.0 * p * (1.0 - p) + delta;
        let posterior = Posterior::whole(&found).unwrap();
        let variance = posterior.covariances(&[2.0], delta)[0];
        assert!((variance * precision / 4.0 - 1.0).abs() < 1e-13, "{variance}");
        let loss = -(7.0 * p.ln() + 3.0 * (1.0 - p).ln());
        let expected = -loss - 0.5 * delta * w * w - 0.5 * (precision / delta).ln();
        assert!((posterior.log_marginal(delta).low / expected - 1.0).abs() < 1e-13);
        assert!(posterior.decrement(&found, delta) < 1e-7);
    }
}

/// At weights of zero every sample has S = (I - 11'/K) / K, so that H is that times E[g g'], of features 1 and -1 and
/// no correlation the identity: (K - 1) m eigenvalues of 1/K.
#[test]
fn at_weights_of_zero_the_determinant_is_known() {
    let (m, k, n) = (2, 3, 4);
    let features = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0];
    let samples = Samples::from_logits(m, k, &features, &[0.0; 12], &Device::flex()).unwrap();
    let problem = Problem::new(samples, vec![0, 1, 2, 0]).unwrap();
    let point = problem.at(zeros(m, k)).unwrap();
    let posterior = Posterior::whole(&point).unwrap();
    let delta = 0.7;
    let expected = 4.0 * (n as f64 / 3.0 / delta).ln_1p();
    let found = posterior.log_determinant_ratio(delta);
    assert!((found.low / expected - 1.0).abs() < 1e-13 && found.low == found.high);
    assert_eq!(posterior.best_delta(), None, "weights of zero want the narrowest prior there is");
    // What probabilities see of a logit's covariance: |g|^2 (K - 1) / (n/K + delta).
    let covariance = posterior.covariances(&[1.0, 2.0], delta);
    let expected = 5.0 * 2.0 / (n as f64 / 3.0 + delta);
    assert!((contrast_variance(&covariance, k) / expected - 1.0).abs() < 1e-13);
}

#[test]
fn the_marginal_likelihood_has_the_slope_that_its_formula_has_and_is_flat_at_its_top() {
    for (n, m, k) in [(30, 4, 3), (5, 8, 2), (40, 1, 4), (25, 3, 1)] {
        let problem = problem(n, m, k, n);
        let point = optimum(&problem, m, k, 0.4);
        let posterior = Posterior::whole(&point).unwrap();
        let value = |delta: f64| posterior.log_marginal(delta).low;
        for delta in [0.01, 0.4, 20.0] {
            let h = 1e-5;
            // d/d ln delta: -delta/2 |W|^2 + gamma/2.
            let difference = (value(delta * (1.0f64 + h)) - value(delta * (1.0 - h))) / (2.0 * h);
            let expected = 0.5 * (posterior.determined(delta) - delta * point.square());
            // The third derivative's share, and the value's rounding over the step.
            let bound = h * h * value(delta).abs().max(1.0) + 4.0 * f64::EPSILON * value(delta).abs() / h;
            assert!((difference - expected).abs() < bound, "{delta}: {difference} {expected}");
        }
        let best = posterior.best_delta().unwrap();
        assert!((posterior.determined(best) / (best * point.square()) - 1.0).abs() < 1e-12);
        for other in [best * 0.9, best * 1.1] {
            assert!(value(other) < value(best), "{other} {best}");
        }
    }
}

/// The sigmoid of the difference of two logits has half the prior's precision, since the difference of two weights has
/// twice the variance.
#[test]
fn two_logits_are_one_with_half_the_precision() {
    let (n, m, delta) = (30, 3, 0.8);
    let two = problem(n, m, 2, 9);
    let of_two = optimum(&two, m, 2, delta);
    let features = features_of(&of_two);
    let samples = Samples::from_logits(m, 1, &features, &vec![0.0; n], &Device::flex()).unwrap();
    let one = Problem::new(samples, two.labels().to_vec()).unwrap();
    let of_one = optimum(&one, m, 1, delta / 2.0);
    for i in 0..m {
        let difference = of_two.weights.elements[m + i] - of_two.weights.elements[i];
        assert!((difference - of_one.weights.elements[i]).abs() < 1e-9);
    }
    let covariance = Posterior::whole(&of_two).unwrap().covariances(&features[..m], delta);
    let variance = Posterior::whole(&of_one).unwrap().covariances(&features[..m], delta / 2.0)[0];
    let difference = covariance[0] + covariance[3] - 2.0 * covariance[1];
    assert!((difference / variance - 1.0).abs() < 1e-9, "{difference} {variance}");
}

/// Data that a line separates have no optimum without a prior: with less of it the weights are larger, and all is
/// finite.
#[test]
fn of_separable_data_the_optimum_grows_as_the_prior_widens() {
    let features: Vec<f64> = (0..20).map(|i| f64::from(i) - 9.5).collect();
    let labels = (0..20).map(|i| usize::from(i >= 10)).collect();
    let samples = Samples::from_logits(1, 2, &features, &[0.0; 40], &Device::flex()).unwrap();
    let problem = Problem::new(samples, labels).unwrap();
    let mut before = 0.0;
    for delta in [1.0, 1e-3, 1e-6, 1e-9] {
        let point = optimum(&problem, 1, 2, delta);
        assert!(point.square() > 2.0 * before, "{delta}: {}", point.square());
        before = point.square();
        let posterior = Posterior::whole(&point).unwrap();
        assert!(posterior.log_marginal(delta).low.is_finite());
        assert!(posterior.covariances(&[1.0], delta).iter().all(|x| x.is_finite()));
        assert!(decrement(&point.hessian().unwrap(), &point, delta).unwrap() < 1e-7);
    }
}

#[test]
fn weights_that_are_no_optimum_are_as_far_from_it_as_is_said() {
    let (m, k, delta) = (3, 3, 0.5);
    let problem = problem(60, m, k, 2);
    let best = optimum(&problem, m, k, delta);
    // A step of t along a vector v with v' A v = 1 is t deviations.
    let direction = noise(k * m, 3);
    let moved = |t: f64| {
        let elements = best.weights.elements.iter().zip(&direction).map(|(w, d)| w + t * d).collect();
        problem.at(Weights { elements, offsets: vec![0.0; k] }).unwrap()
    };
    let hessian = best.hessian().unwrap();
    let d = Mat::from_fn(k * m, 1, |i, _| direction[i]);
    let image = hessian.product(d.as_ref()).unwrap();
    let length: f64 =
        (0..k * m).map(|i| d[(i, 0)] * (60.0 * image[(i, 0)] + delta * d[(i, 0)])).sum::<f64>().sqrt();
    let t = 1e-4 / length;
    let point = moved(t);
    for found in [
        Posterior::whole(&point).unwrap().decrement(&point, delta),
        decrement(&point.hessian().unwrap(), &point, delta).unwrap(),
    ] {
        // To first order in the step, whose relative size is 1e-4.
        assert!((found / 1e-4 - 1.0).abs() < 1e-3, "{found}");
    }
}

/// Of the leading eigenvectors all is bounded by what is left, and of all of them nothing is left.
#[test]
fn what_is_left_out_is_between_its_bounds() {
    let (n, m, k, delta) = (80, 5, 4, 0.3);
    let problem = problem(n, m, k, 5);
    let point = optimum(&problem, m, k, delta);
    let exact = Posterior::whole(&point).unwrap();
    let features = &features_of(&point)[..6 * m];
    let trace = point.samples.trace().unwrap();
    for count in [1, 4, 9, (k - 1) * m] {
        let pairs = largest_pairs(&point.samples, count, &()).unwrap();
        let leading = Posterior::leading(&point, &pairs, trace);
        for delta in [1e-2, 0.3, 10.0] {
            let (bounds, value) = (leading.log_marginal(delta), exact.log_marginal(delta).low);
            let slack = 1e-8 * value.abs();
            assert!(
                bounds.low - slack <= value && value <= bounds.high + slack,
                "{count} {delta}: {bounds:?} {value}"
            );
            let share = leading.least_share(delta);
            let diagonals = |all: Vec<f64>| {
                let of_one =
                    |covariance: &[f64]| covariance.iter().step_by(k + 1).copied().collect::<Vec<_>>();
                all.chunks_exact(k * k).flat_map(of_one).collect::<Vec<f64>>()
            };
            let found = diagonals(leading.covariances(features, delta));
            for (found, value) in found.into_iter().zip(diagonals(exact.covariances(features, delta))) {
                // The pairs are known to their residuals, which the search leaves at 1e-10 of the largest.
                assert!(
                    value <= found * (1.0 + 1e-7) && found * share <= value * (1.0 + 1e-7),
                    "{found} {value} {share}"
                );
            }
        }
        // The trace of all pairs is that of the samples, so that nothing is left but rounding.
        if count == (k - 1) * m {
            let Some(last) = pairs.eigenvalues.last() else { continue };
            assert!(leading.least_share(delta) <= 1.0 && *last > 0.0);
        }
        let cheaper = exact.truncated(count).covariances(features, delta);
        for (found, expected) in cheaper.iter().zip(leading.covariances(features, delta)) {
            assert!((found - expected).abs() < 1e-7 * cheaper[0], "{found} {expected}");
        }
    }
    // Of none there is the prior alone.
    let of_prior = exact.truncated(0).covariances(features, delta);
    for (covariance, g) in of_prior.chunks_exact(k * k).zip(features.chunks_exact(m)) {
        let variance = g.iter().map(|g| g * g).sum::<f64>() / delta;
        for (index, found) in covariance.iter().enumerate() {
            assert_eq!(*found, if index % (k + 1) == 0 { variance } else { 0.0 });
        }
    }
}

/// The lower bound of the marginal likelihood is largest where its best delta says.
#[test]
fn of_the_leading_eigenpairs_the_best_prior_is_that_of_what_is_certain() {
    let (m, k) = (5, 4);
    let problem = problem(80, m, k, 5);
    let point = optimum(&problem, m, k, 0.3);
    let pairs = largest_pairs(&point.samples, 4, &()).unwrap();
    let leading = Posterior::leading(&point, &pairs, point.samples.trace().unwrap());
    let best = leading.best_delta().unwrap();
    for other in [0.97, 1.03] {
        assert!(leading.log_marginal(best * other).low < leading.log_marginal(best).low);
    }
    let exact = Posterior::whole(&point).unwrap().best_delta().unwrap();
    assert!(best > exact / 3.0 && best < exact * 3.0, "what is left out is counted: {best} {exact}");
}

/// NaN.max(0.0) is 0, and weights that overflow passed for an optimum.
#[test]
fn weights_that_overflow_are_no_optimum() {
    let problem = problem(20, 2, 3, 1);
    let elements = vec![1e307, -1e307, 1e307, 1e307, -1e307, 0.0];
    let point = problem.at(Weights { elements, offsets: vec![0.0; 3] }).unwrap();
    let hessian = point.hessian().unwrap();
    for found in [
        decrement(&hessian, &point, 100.0).unwrap(),
        Posterior::whole(&point).unwrap().decrement(&point, 100.0),
    ] {
        assert!(found.is_nan() || found > 0.1, "{found}");
    }
}

fn left_out_agrees(n: usize, m: usize, k: usize, salt: usize, delta: f64) -> (f64, f64, usize) {
    let problem = problem(n, m, k, salt);
    let point = optimum(&problem, m, k, delta);
    let posterior = Posterior::whole(&point).unwrap();
    let influence = Influence::new(&posterior, delta);
    let features = features_of(&point);
    let logits = point.weights.logits(&features);
    let seen = influence.project(&features, &logits, problem.labels(), true).unwrap();
    let reach = Reach { spread: seen.spreads.iter().copied().fold(0.0, f64::max) };
    let predicted = seen.gradients.transpose() * seen.steps.as_ref().unwrap();
    let before = losses(&features, problem.labels(), &point.weights);
    let (mut worst, mut largest, mut bounded) = (0.0f64, 0.0f64, 0);
    for index in 0..n.min(6) {
        let without = problem.left_out(&point, delta, index, &()).unwrap();
        let after = losses(&features, problem.labels(), &without.weights);
        for test in 0..n {
            let (truth, guess) = (after[test] - before[test], predicted[(test, index)]);
            worst = worst.max((truth - guess).abs());
            largest = largest.max(truth.abs());
            let bound = reach.bound(
                seen.self_influences[index],
                seen.leverages[index],
                seen.lengths[test],
                seen.spreads[test],
            );
            if let Some(bound) = bound {
                bounded += 1;
                // The optimum is known to 1e-8 deviations, and a loss moves by less than twice its logits' spread.
                let slack = 1e-7 * (1.0 + reach.spread);
                assert!((truth - guess).abs() <= bound + slack, "{index} {test}: {truth} {guess} {bound}");
            }
        }
        let own = after[index] - before[index];
        assert!(own > 0.0 && seen.self_influences[index] > 0.0, "without it a sample is fitted worse");
    }
    (worst, largest, bounded)
}

#[test]
fn leaving_a_sample_out_does_what_was_predicted_within_its_bound() {
    let (worst, largest, bounded) = left_out_agrees(200, 3, 3, 1, 1.0);
    assert!(bounded == 6 * 200 && worst < 0.05 * largest, "{worst} {largest} {bounded}");
}

/// The Newton step's error falls with the step itself: a sample of ten times as many is a tenth of the step, and its
/// error a hundredth.
#[test]
fn of_more_samples_the_prediction_is_better_by_more() {
    let few = left_out_agrees(60, 2, 3, 4, 1.0);
    let many = left_out_agrees(600, 2, 3, 4, 1.0);
    assert!(many.0 / many.1 < 0.4 * few.0 / few.1, "{few:?} {many:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Ragged: fewer samples than features, one feature, one logit, classes without a sample.
    #[test]
    fn of_any_small_layer_the_truth_is_within_the_bound(
        n in 2usize..12, m in 1usize..6, k in 1usize..5, salt in 0usize..50, exponent in -2i32..3,
    ) {
        left_out_agrees(n, m, k, salt, 10f64.powi(exponent));
    }

    #[test]
    fn covariances_are_those_of_the_inverse(
        n in 1usize..10, m in 1usize..5, k in 1usize..5, salt in 0usize..50, exponent in -3i32..3,
    ) {
        let delta = 10f64.powi(exponent);
        let problem = problem(n, m, k, salt);
        let point = problem.at(Weights { elements: noise(k * m, salt + 1), offsets: noise(k, salt + 2) }).unwrap();
        let posterior = Posterior::whole(&point).unwrap();
        let g = noise(m, salt + 3);
        let found = posterior.covariances(&g, delta);
        let factor = kappa_hessian::Factor::of(kappa_posterior::precision(&point.hessian().unwrap(), delta)).unwrap();
        let right = Mat::from_fn(k * m, k, |row, class| if row / m == class { g[row % m] } else { 0.0 });
        let mut solved = right.clone();
        factor.solve(solved.as_mut()).unwrap();
        let expected = right.transpose() * &solved;
        // n^2 |A| / delta roundings of a solve, with some to spare.
        let largest = posterior.curvatures().iter().copied().fold(0.0, f64::max) + delta;
        let bound = 100.0 * (k * m) as f64 * f64::EPSILON * largest / delta;
        for a in 0..k {
            for b in 0..k {
                let scale = expected[(a, a)].max(expected[(b, b)]);
                prop_assert!((found[a * k + b] - expected[(a, b)]).abs() <= bound * scale, "{a} {b}");
            }
        }
    }
}

#[test]
fn conjugate_gradients_solve_what_the_factor_solves() {
    let (n, m, k, delta) = (100, 6, 4, 0.2);
    let problem = problem(n, m, k, 8);
    let point = optimum(&problem, m, k, delta);
    let trace = point.samples.trace().unwrap();
    let right = Mat::from_fn(k * m, 3, |i, j| noise(k * m, 20 + j)[i]);
    let factor =
        kappa_hessian::Factor::of(kappa_posterior::precision(&point.hessian().unwrap(), delta)).unwrap();
    let mut expected = right.clone();
    factor.solve(expected.as_mut()).unwrap();
    let mut taken = Vec::new();
    for count in [1, 12] {
        let known = Posterior::leading(&point, &largest_pairs(&point.samples, count, &()).unwrap(), trace);
        let (found, iterations) =
            conjugate_gradients(&point.samples, n, delta, &known, right.as_ref(), 1e-12).unwrap();
        // The residual over |A| / delta.
        let condition = 1.0 + posterior_top(&known) / delta;
        assert!((&found - &expected).norm_l2() <= 1e-12 * condition * expected.norm_l2() * 10.0);
        taken.push(iterations);
        let newton =
            problem.optimum_matrix_free(problem.at(zeros(m, k)).unwrap(), delta, &known, &()).unwrap();
        for (a, b) in newton.weights.elements.iter().zip(&point.weights.elements) {
            assert!((a - b).abs() < 1e-7, "{a} {b}");
        }
    }
    assert!(taken[1] < taken[0], "what is known saves iterations: {taken:?}");
}

fn posterior_top(posterior: &Posterior) -> f64 {
    posterior.curvatures()[0]
}

#[test]
fn the_most_helpful_and_harmful_of_blocks_are_those_of_all() {
    let table = Mat::from_fn(50, 3, |i, j| noise(50, j)[i]);
    let mut found = Extremes::new(3, 4);
    for start in [0, 20, 40] {
        let count = 20.min(50 - start);
        found.add(table.as_ref().subrows(start, count), start, 0);
    }
    for test in 0..3 {
        let mut all: Vec<(usize, f64)> = (0..50).map(|i| (i, table[(i, test)])).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(found.helpful[test], all[..4]);
        all.reverse();
        assert_eq!(found.harmful[test], all[..4]);
    }
}
