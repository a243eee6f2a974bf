//! What leaving out a training sample does to the losses of others.
//!
//! At the optimum of F = sum_n l_n + delta/2 |W|^2, of Hessian A, the optimum without sample n is about
//!
//! ```text
//! W + d,      d = (A - H_n)^-1 grad l_n,      grad l_n = e_n (x) g_n,   e = p - y,   H_n = S_n (x) g_n g_n'
//! ```
//!
//! away: one Newton step of what is left (Pregibon 1981, "Logistic regression diagnostics"), where the influence
//! function of Koh and Liang (2017) has A for A - H_n. By the identity of Woodbury, with C_n [K, K] the covariance
//! of the sample's logits under A^-1,
//!
//! ```text
//! (A - H_n)^-1 (e_n (x) g_n) = A^-1 (f_n (x) g_n),      f_n = (I - S_n C_n)^-1 e_n
//! ```
//!
//! so that both are the same product of factors, for all training samples n and test samples t:
//!
//! ```text
//! I_tn = (e_t (x) g_t)' A^-1 (f_n (x) g_n)            first order: e_n for f_n
//! ```
//!
//! what leaving out n adds to the loss of t. Where it is positive n is helpful, where it is negative harmful.

use kappa_hessian::{
    HessianError, SymmetricOperator,
    faer::{Mat, MatRef},
    logit_gradients, product,
};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::{Posterior, directions::Directions, softmax};

/// Iterations of conjugate gradients, at the most.
const ITERATIONS: usize = 1000;

/// How to ask for what leaving out samples does.
#[derive(Debug, Clone)]
pub struct Influence {
    /// Of A^(-1/2).
    directions: Directions,
    classes: usize,
}

/// Samples as influence sees them: A^(-1/2) of each one's gradient.
#[derive(Debug, Clone)]
pub struct Projected {
    /// Of e (x) g: [r, n].
    pub gradients: Mat<f64>,
    /// Of f (x) g, the step that leaving it out makes: [r, n]; of samples that are not in the training there is none.
    pub steps: Option<Mat<f64>>,
    /// e' C e: the squared length of a sample's gradient under A^-1.
    pub lengths: Vec<f64>,
    /// e' C f: what leaving a sample out adds to its own loss, to first order in the step; the squared length of its
    /// gradient under (A - H_n)^-1.
    pub self_influences: Vec<f64>,
    /// The largest eigenvalue of S C: the part of A that the sample has, along its steepest direction.
    pub leverages: Vec<f64>,
    /// The largest deviation of a difference of two of its logits; of one logit that of the logit.
    pub spreads: Vec<f64>,
}

impl Influence {
    /// By all eigenpairs of the Hessian at the optimum with `delta`.
    pub fn new(posterior: &Posterior, delta: f64) -> Self {
        let directions = posterior.directions(|curvature| 1.0 / (curvature + delta));
        Self { directions, classes: posterior.classes() }
    }

    /// Samples that are taken together.
    pub fn block(&self) -> usize {
        self.directions.block()
    }

    /// Samples of features [n, m], logits [n, K] and a label each; `in_training` if F has them among its own.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`] of a sample that alone is what makes A positive definite.
    pub fn project(
        &self,
        features: &[f64],
        logits: &[f64],
        labels: &[usize],
        in_training: bool,
    ) -> Result<Projected, HessianError> {
        let k = self.classes;
        let along = self.directions.along(features);
        let of_sample = |n: usize| {
            let (z, label) =
                (logits.get(n * k..(n + 1) * k).unwrap_or_default(), labels.get(n).copied().unwrap_or(0));
            let sample = Sample::new(z, label);
            sample.seen(&self.directions.gram(along.col(n)), in_training)
        };
        let seen = (0..labels.len()).into_par_iter().map(of_sample).collect::<Option<Vec<Seen>>>();
        let seen = seen.ok_or(HessianError::NoConvergence { size: k })?;
        let gradients = self.combined(&along, &seen, |seen| &seen.error);
        let steps = in_training.then(|| self.combined(&along, &seen, |seen| &seen.step));
        let all = |number: fn(&Seen) -> f64| seen.iter().map(number).collect();
        Ok(Projected {
            gradients,
            steps,
            lengths: all(|seen| seen.length),
            self_influences: all(|seen| seen.own),
            leverages: all(|seen| seen.leverage),
            spreads: all(|seen| seen.spread),
        })
    }

    /// sum_k (what `errors` has for class k) (what class k has of the eigenvectors): [r, n].
    fn combined(&self, along: &Mat<f64>, seen: &[Seen], errors: fn(&Seen) -> &[f64]) -> Mat<f64> {
        let mut combined = Mat::zeros(along.nrows() / self.classes, seen.len());
        combined.par_col_iter_mut().zip(along.par_col_iter()).zip(seen).for_each(|((to, along), seen)| {
            let Some(to) = to.try_as_col_major_mut() else { return };
            let (classes, factors) = (self.directions.by_class(along), errors(seen));
            Arch::new().dispatch(Sum { classes: &classes, factors, to: to.as_slice_mut() });
        });
        combined
    }
}

/// sum_k f_k x_k, compiled for the processor that it runs on.
struct Sum<'a> {
    classes: &'a [&'a [f64]],
    factors: &'a [f64],
    to: &'a mut [f64],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, factor) in self.classes.iter().zip(self.factors) {
            self.to.iter_mut().zip(*x).for_each(|(to, x)| *to += factor * x);
        }
    }
}

/// Probabilities and the label of a sample.
struct Sample {
    /// e = p - y: [K].
    error: Vec<f64>,
    /// S = diag p - p p': [K, K].
    jacobian: Vec<f64>,
}

/// What influence needs of a sample.
struct Seen {
    error: Vec<f64>,
    step: Vec<f64>,
    length: f64,
    own: f64,
    leverage: f64,
    spread: f64,
}

impl Sample {
    fn new(logits: &[f64], label: usize) -> Self {
        let (k, p) = (logits.len(), softmax(logits));
        let besides =
            |class: usize| p.iter().enumerate().filter(|&(b, _)| b != class).map(|(_, p)| p).sum::<f64>();
        let mut jacobian = vec![0.0; k * k];
        for a in 0..k {
            // The one logit is class 1's.
            let class = if k == 1 { 1 } else { a };
            for b in 0..k {
                jacobian[a * k + b] = if a == b { p[class] * besides(class) } else { -p[a] * p[b] };
            }
        }
        Self { error: logit_gradients(p, &[label], k), jacobian }
    }

    /// None if A is not positive definite without the sample.
    fn seen(self, covariance: &[f64], in_training: bool) -> Option<Seen> {
        let Self { error, jacobian } = self;
        let k = error.len();
        let quadratic = |x: &[f64], y: &[f64]| -> f64 {
            covariance
                .chunks_exact(k)
                .zip(x)
                .map(|(row, x)| x * row.iter().zip(y).map(|(c, y)| c * y).sum::<f64>())
                .sum()
        };
        let length = quadratic(&error, &error);
        let pairs = (0..k).flat_map(|a| (0..a).map(move |b| (a, b)));
        let difference = |(a, b): (usize, usize)| {
            covariance[a * k + a] + covariance[b * k + b] - 2.0 * covariance[a * k + b]
        };
        let square = if k == 1 { covariance[0] } else { pairs.map(difference).fold(0.0, f64::max) };
        let spread = square.max(0.0).sqrt();
        if !in_training {
            let step = error.clone();
            return Some(Seen { error, step, length, own: length, leverage: 0.0, spread });
        }
        let product = |x: &[f64], y: &[f64]| -> Vec<f64> {
            (0..k * k).map(|i| (0..k).map(|j| x[i / k * k + j] * y[j * k + i % k]).sum()).collect()
        };
        let both = product(&jacobian, covariance);
        let step = solve(&both, &error)?;
        let own = quadratic(&error, &step);
        let leverage = largest(&both, k);
        (leverage < 1.0 && own.is_finite()).then_some(Seen { error, step, length, own, leverage, spread })
    }
}

/// x with (I - M) x = b, by elimination with the largest pivot of each column.
fn solve(matrix: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let k = b.len();
    let mut rows: Vec<Vec<f64>> = (0..k)
        .map(|i| {
            let row = (0..k).map(|j| f64::from(u8::from(i == j)) - matrix[i * k + j]);
            row.chain([b[i]]).collect()
        })
        .collect();
    for column in 0..k {
        let pivot = (column..k).max_by(|&i, &j| rows[i][column].abs().total_cmp(&rows[j][column].abs()))?;
        rows.swap(column, pivot);
        let (above, below) = rows.split_at_mut(column + 1);
        let own = above.last()?;
        if own[column] == 0.0 {
            return None;
        }
        for row in below {
            let share = row[column] / own[column];
            row.iter_mut().zip(own).skip(column).for_each(|(x, own)| *x -= share * own);
        }
    }
    let mut x = vec![0.0; k];
    for i in (0..k).rev() {
        let known: f64 = (i + 1..k).map(|j| rows[i][j] * x[j]).sum();
        x[i] = (rows[i][k] - known) / rows[i][i];
    }
    Some(x)
}

/// The largest eigenvalue of S C, at the most: of a product of two semi-definite matrices all are real and none
/// negative, so that no p-th root of the trace of its p-th power is below it, nor above it by more than K^(1/p).
fn largest(both: &[f64], k: usize) -> f64 {
    let mut power = both.to_vec();
    let mut exponent = 1.0f64;
    let mut scale = 0.0f64;
    for _ in 0..5 {
        let size = power.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        if size == 0.0 {
            return 0.0;
        }
        power.iter_mut().for_each(|x| *x /= size);
        scale = 2.0 * (scale + size.ln());
        power =
            (0..k * k).map(|i| (0..k).map(|j| power[i / k * k + j] * power[j * k + i % k]).sum()).collect();
        exponent *= 2.0;
    }
    let trace: f64 = power.iter().step_by(k + 1).sum();
    ((scale + trace.max(0.0).ln()) / exponent).exp()
}

/// The training samples that help and harm each test sample most.
#[derive(Debug, Clone)]
pub struct Extremes {
    count: usize,
    /// The most helpful of each, first the largest.
    pub helpful: Vec<Vec<(usize, f64)>>,
    /// The most harmful of each, first the smallest.
    pub harmful: Vec<Vec<(usize, f64)>>,
}

impl Extremes {
    /// None yet, of so many test samples; `count` are kept of each kind.
    pub fn new(test_samples: usize, count: usize) -> Self {
        Self { count, helpful: vec![Vec::new(); test_samples], harmful: vec![Vec::new(); test_samples] }
    }

    /// Takes in influences [n, t], a column a test sample, of training samples of which `first` came before; the test
    /// samples are those from `of` on.
    pub fn add(&mut self, influences: MatRef<'_, f64>, first: usize, of: usize) {
        let count = self.count;
        let both = self.helpful.par_iter_mut().zip(&mut self.harmful).skip(of);
        both.zip(influences.par_col_iter()).for_each(|((helpful, harmful), column)| {
            for (index, &value) in column.iter().enumerate() {
                insert(helpful, count, (first + index, value), |a, b| a > b);
                insert(harmful, count, (first + index, value), |a, b| a < b);
            }
        });
    }
}

/// Keeps the `count` entries that come first by `before`; of equal ones those of the smaller number.
fn insert(
    entries: &mut Vec<(usize, f64)>,
    count: usize,
    entry: (usize, f64),
    before: impl Fn(f64, f64) -> bool,
) {
    if entries.len() == count && entries.last().is_none_or(|last| !before(entry.1, last.1)) {
        return;
    }
    let place = entries.partition_point(|other| !before(entry.1, other.1));
    entries.insert(place, entry);
    entries.truncate(count);
}

/// X with (N H + delta I) X = B, a column each, by conjugate gradients on an operator H of `samples` samples, without
/// the matrix. It is preconditioned by what is known of A, the leading eigenpairs of H in `known`, and delta
/// elsewhere: then it has to find its way among the eigenvalues that are left alone. It ends where the residual of
/// each column is `tolerance` of its b. With the iterations that it took.
///
/// # Errors
///
/// [`HessianError::NoConvergence`], and the operator's.
pub fn conjugate_gradients(
    operator: &dyn SymmetricOperator,
    samples: usize,
    delta: f64,
    known: &Posterior,
    right: MatRef<'_, f64>,
    tolerance: f64,
) -> Result<(Mat<f64>, usize), HessianError> {
    let (n, size, count) = (samples as f64, right.nrows(), right.ncols());
    let apply = |x: MatRef<'_, f64>| -> Result<Mat<f64>, HessianError> {
        let image = operator.product(x)?;
        Ok(Mat::from_fn(size, count, |i, j| n * image[(i, j)] + delta * x[(i, j)]))
    };
    // What is left is delta at the least, and the last known eigenvalue at the most: between them its root.
    let last = known.curvatures().last().copied().unwrap_or(0.0);
    let elsewhere = (delta * (delta + last)).sqrt();
    let precondition = |r: &Mat<f64>| {
        let mut along = product(known.vectors().transpose(), r.as_ref());
        for (i, curvature) in known.curvatures().iter().enumerate() {
            let weight = 1.0 / (curvature + delta) - 1.0 / elsewhere;
            along.row_mut(i).iter_mut().for_each(|x| *x *= weight);
        }
        let inside = product(known.vectors(), along.as_ref());
        Mat::from_fn(size, count, |i, j| inside[(i, j)] + r[(i, j)] / elsewhere)
    };
    let dots = |a: &Mat<f64>, b: &Mat<f64>| -> Vec<f64> {
        (0..count).map(|j| a.col(j).iter().zip(b.col(j).iter()).map(|(a, b)| a * b).sum()).collect()
    };
    let sizes: Vec<f64> = (0..count).map(|j| right.col(j).norm_l2()).collect();
    let mut x = Mat::<f64>::zeros(size, count);
    let mut residual = right.to_owned();
    let mut z = precondition(&residual);
    let mut direction = z.clone();
    let mut along = dots(&residual, &z);
    for iteration in 0..ITERATIONS {
        let done = (0..count).all(|j| residual.col(j).norm_l2() <= tolerance * sizes[j]);
        if done {
            return Ok((x, iteration));
        }
        let image = apply(direction.as_ref())?;
        let curvature = dots(&direction, &image);
        for j in 0..count {
            let step = if curvature[j] > 0.0 { along[j] / curvature[j] } else { 0.0 };
            for i in 0..size {
                x[(i, j)] += step * direction[(i, j)];
                residual[(i, j)] -= step * image[(i, j)];
            }
        }
        z = precondition(&residual);
        let next = dots(&residual, &z);
        for j in 0..count {
            let share = if along[j] > 0.0 { next[j] / along[j] } else { 0.0 };
            for i in 0..size {
                direction[(i, j)] = z[(i, j)] + share * direction[(i, j)];
            }
        }
        along = next;
    }
    Err(HessianError::NoConvergence { size })
}
