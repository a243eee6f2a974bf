//! Probabilities under a Gaussian of logits: of one sample, logits `[K]` and their covariance [K, K].
//!
//! Of one logit they are those of class 0 and of class 1, the logits being [0, z].

use kappa_hessian::{HessianError, clear_upper_halves};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// The stream of the draws of the first sample; docs/decisions/randomness.md lists all streams.
const STREAM: u64 = 1 << 32;

/// The softmax of logits, or the sigmoid of one.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let mut p = match *logits {
        [z] => vec![0.0, z],
        _ => logits.to_vec(),
    };
    make_probabilities(&mut p);
    p
}

/// Makes of logits their softmax.
fn make_probabilities(logits: &mut [f64]) {
    clear_upper_halves();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for z in logits.iter_mut() {
        *z = (*z - largest).exp();
        sum += *z;
    }
    logits.iter_mut().for_each(|p| *p /= sum);
}

/// The softmax of logits shrunk by their own variances,
///
/// ```text
/// p = softmax(z_k / sqrt(1 + pi/8 Sigma_kk))
/// ```
///
/// (MacKay 1992, "The evidence framework applied to classification networks", equation 10, for two classes; Gibbs
/// 1998, "Bayesian Gaussian processes for regression and classification", for more). It knows no covariance between
/// logits, and counts the variance of what all of them share.
pub fn probit(logits: &[f64], covariance: &[f64]) -> Vec<f64> {
    let variances = covariance.iter().step_by(logits.len() + 1);
    let shrunk: Vec<f64> = logits
        .iter()
        .zip(variances)
        .map(|(z, variance)| z / (1.0 + std::f64::consts::FRAC_PI_8 * variance).sqrt())
        .collect();
    softmax(&shrunk)
}

/// [`probit`] of what probabilities see: of the logits and their covariance without what all classes share,
///
/// ```text
/// P z and P Sigma P,      P = I - 11'/K,
/// ```
///
/// since a softmax ignores it. A prior on every weight leaves it a variance of |g|^2 / (K delta) that no data narrows,
/// and that no probability depends on.
pub fn probit_of_contrasts(logits: &[f64], covariance: &[f64]) -> Vec<f64> {
    let k = logits.len();
    if k == 1 {
        return probit(logits, covariance);
    }
    let count = k as f64;
    let shared = logits.iter().sum::<f64>() / count;
    let rows: Vec<f64> = covariance.chunks_exact(k).map(|row| row.iter().sum::<f64>() / count).collect();
    let all = rows.iter().sum::<f64>() / count;
    let shrunk: Vec<f64> = (0..k)
        .map(|a| {
            let variance = (covariance[a * k + a] - 2.0 * rows[a] + all).max(0.0);
            (logits[a] - shared) / (1.0 + std::f64::consts::FRAC_PI_8 * variance).sqrt()
        })
        .collect();
    softmax(&shrunk)
}

/// The mean of the Dirichlet distribution that the Laplace bridge has for a Gaussian of logits whose sum is zero
/// (Hobbhahn et al. 2022, "Fast predictive uncertainty for classification with Bayesian deep networks", equation 3):
///
/// ```text
/// alpha_k = (1 - 2/K + exp(z_k)/K^2 sum_l exp(-z_l)) / Sigma_kk,      p = alpha / sum alpha
/// ```
///
/// after conditioning on the sum (there, appendix A): z - (Sigma 1)(1'z)/(1'Sigma 1), and Sigma likewise.
pub fn bridge(logits: &[f64], covariance: &[f64]) -> Vec<f64> {
    let [z, variances] = match (logits, covariance) {
        // Of [0, z] what is left of its sum is -z/2 and z/2.
        (&[z], &[variance, ..]) => [vec![-0.5 * z, 0.5 * z], vec![0.25 * variance; 2]],
        _ => conditioned(logits, covariance),
    };
    let k = z.len() as f64;
    // Each term divided by exp(largest difference), which cancels, so that none overflows.
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bottom = z.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = z.iter().map(|z| (bottom - z).exp()).sum();
    let scale = (bottom - top).exp();
    let alpha: Vec<f64> = z
        .iter()
        .zip(&variances)
        .map(|(z, variance)| ((1.0 - 2.0 / k) * scale + (z - top).exp() / (k * k) * sum) / variance)
        .collect();
    let total: f64 = alpha.iter().sum();
    alpha.iter().map(|alpha| alpha / total).collect()
}

/// Logits and their variances, given that the logits sum to zero.
fn conditioned(logits: &[f64], covariance: &[f64]) -> [Vec<f64>; 2] {
    let k = logits.len();
    let rows: Vec<f64> = covariance.chunks_exact(k).map(|row| row.iter().sum()).collect();
    let (all, shared): (f64, f64) = (rows.iter().sum(), logits.iter().sum());
    let z = logits.iter().zip(&rows).map(|(z, row)| z - row * shared / all).collect();
    let variances = rows.iter().enumerate().map(|(a, row)| covariance[a * k + a] - row * row / all).collect();
    [z, variances]
}

/// The mean of the softmax over `draws` of the logits of each sample: logits [n, K], covariances [n, K, K]
/// -> [n, K], of one logit [n, 2]. A sample's draws depend on `seed` and its number alone, the first being `first`.
///
/// # Errors
///
/// [`HessianError::NotFiniteProduct`] of covariances that are no numbers.
pub fn sampled(
    logits: &[f64],
    covariances: &[f64],
    classes: usize,
    draws: usize,
    seed: u64,
    first: usize,
) -> Result<Vec<f64>, HessianError> {
    let samples = logits.par_chunks(classes).zip(covariances.par_chunks(classes * classes)).enumerate();
    let means = samples.map(|(index, (z, covariance))| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(STREAM + (first + index) as u64);
        let factor = root(covariance, classes).ok_or(HessianError::NotFiniteProduct)?;
        let mut mean = vec![0.0; classes.max(2)];
        // One logit is the second of two, the first being 0.
        let before = usize::from(classes == 1);
        let (mut normal, mut drawn) = (vec![0.0; classes], vec![0.0; classes + before]);
        for _ in 0..draws {
            normal.iter_mut().for_each(|x| *x = StandardNormal.sample(&mut generator));
            drawn[..before].fill(0.0);
            for (row, drawn) in drawn[before..].iter_mut().enumerate() {
                let of_row = &factor[row * classes..][..=row];
                *drawn = z[row] + of_row.iter().zip(&normal).map(|(l, x)| l * x).sum::<f64>();
            }
            make_probabilities(&mut drawn);
            mean.iter_mut().zip(&drawn).for_each(|(mean, p)| *mean += p);
        }
        mean.iter_mut().for_each(|mean| *mean /= draws as f64);
        Ok(mean)
    });
    Ok(means.collect::<Result<Vec<_>, HessianError>>()?.concat())
}

/// L with Sigma = L L', row by row; a pivot that rounding makes negative is zero. None of what is not finite.
fn root(covariance: &[f64], size: usize) -> Option<Vec<f64>> {
    let mut factor = vec![0.0; size * size];
    for column in 0..size {
        for row in column..size {
            let known: f64 = (0..column).map(|i| factor[row * size + i] * factor[column * size + i]).sum();
            let left = covariance[row * size + column] - known;
            factor[row * size + column] = if row == column {
                left.max(0.0).sqrt()
            } else {
                let pivot = factor[column * size + column];
                if pivot > 0.0 { left / pivot } else { 0.0 }
            };
            if !left.is_finite() {
                return None;
            }
        }
    }
    Some(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covariance_is_the_product_of_its_root() {
        let covariance = [4.0, 2.0, 2.0, 2.0, 1.0, 1.0, 2.0, 1.0, 5.0];
        let factor = root(&covariance, 3).unwrap();
        for a in 0..3 {
            for b in 0..3 {
                let found: f64 = (0..3).map(|i| factor[a * 3 + i] * factor[b * 3 + i]).sum();
                assert!((found - covariance[a * 3 + b]).abs() < 1e-14, "{a} {b}");
            }
        }
        assert!(root(&[f64::NAN], 1).is_none());
    }

    /// Two logits and their difference are the same classifier.
    #[test]
    fn one_logit_is_the_difference_of_two() {
        let (z, variance) = (1.3, 0.7);
        let two = [-0.5 * z, 0.5 * z];
        let covariance = [0.25, -0.25, -0.25, 0.25].map(|x| x * variance);
        let found = bridge(&[z], &[variance]);
        // The two sum to zero as it is; a variance of the sum that is not zero is needed to condition on it.
        let shifted: Vec<f64> = covariance.iter().map(|x| x + 3.0).collect();
        for (one, two) in found.iter().zip(bridge(&two, &shifted)) {
            assert!((one - two).abs() < 1e-14, "{one} {two}");
        }
        assert_eq!(softmax(&[z]), softmax(&[0.0, z]));
    }

    #[test]
    fn what_all_logits_share_changes_no_probability_of_contrasts() {
        let (z, covariance) = ([0.3, -1.0, 2.0], [1.0, 0.2, 0.1, 0.2, 2.0, 0.3, 0.1, 0.3, 3.0]);
        let found = probit_of_contrasts(&z, &covariance);
        let shifted: Vec<f64> = covariance.iter().map(|x| x + 50.0).collect();
        for (a, b) in found.iter().zip(probit_of_contrasts(&z.map(|z| z + 7.0), &shifted)) {
            // The variance's rounding at 50.
            assert!((a - b).abs() < 1e-13, "{a} {b}");
        }
        assert!((probit(&z, &shifted)[0] - found[0]).abs() > 0.01, "the plain one counts it");
    }

    #[test]
    fn logits_that_are_far_apart_leave_probabilities_finite() {
        let covariance = [1.0, 0.2, 0.0, 0.2, 2.0, 0.1, 0.0, 0.1, 3.0];
        let z = [900.0, -900.0, 0.0];
        for p in [
            softmax(&z),
            probit(&z, &covariance),
            probit_of_contrasts(&z, &covariance),
            bridge(&z, &covariance),
        ] {
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-14 && p[0] > 0.99, "{p:?}");
        }
    }

    /// Against the integral over the difference of the two logits, by the trapezoid rule, which converges faster than
    /// any power for a function that is smooth and falls so.
    #[test]
    fn draws_come_to_the_integral() {
        let (z, covariance) = ([0.4, -0.3], [1.5, 0.4, 0.4, 0.9]);
        let (mean, variance): (f64, f64) = (z[0] - z[1], 1.5 + 0.9 - 2.0 * 0.4);
        let steps = 4000;
        let integral: f64 = (0..=steps)
            .map(|i| {
                let x = -10.0 + 20.0 * f64::from(i) / f64::from(steps);
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                density / (1.0 + (-(mean + variance.sqrt() * x)).exp()) * 20.0 / f64::from(steps)
            })
            .sum();
        let draws = 200_000;
        let found = sampled(&z, &covariance, 2, draws, 7, 0).unwrap();
        // Five standard errors of a number in 0 .. 1, whose deviation is below a half.
        assert!(
            (found[0] - integral).abs() < 5.0 * 0.5 / f64::from(draws as u32).sqrt(),
            "{} {integral}",
            found[0]
        );
        let one = sampled(&[mean], &[variance], 1, draws, 8, 0).unwrap();
        assert!(
            (one[1] - integral).abs() < 5.0 * 0.5 / f64::from(draws as u32).sqrt(),
            "{} {integral}",
            one[1]
        );
    }

    #[test]
    fn the_draws_of_a_sample_do_not_depend_on_those_beside_it() {
        let (z, covariance) = ([0.1, 0.2, -0.3, 0.5], [1.0, 0.0, 0.0, 1.0, 2.0, 0.5, 0.5, 2.0]);
        let both = sampled(&z, &covariance, 2, 50, 3, 0).unwrap();
        let second = sampled(&z[2..], &covariance[4..], 2, 50, 3, 1).unwrap();
        assert_eq!(both[2..], second[..]);
    }
}
