//! The convex problem of a last layer: its loss, gradient and Hessian at any weights, and Newton's way to the
//! optimum of the loss with a prior.

use std::ops::ControlFlow;

use kappa_hessian::{
    Factor, Hessian, HessianError, Moved, Progress, Samples, Weights,
    faer::{Mat, MatMut, MatRef},
};

use crate::{Posterior, conjugate_gradients};

/// Steps of Newton's method after which the way to an optimum is given up.
pub const NEWTON_STEPS: usize = 200;
/// The decrement, in deviations of the posterior, below which one step more, which squares it, is the last.
const AT_OPTIMUM: f64 = 1e-8;
/// Its square over F below which what is left to be gained is rounding of F.
const ROUNDING: f64 = 1e-13;
/// Halvings of a step before it is taken to be rounding.
const HALVINGS: i32 = 40;
/// The decrement's square over F below which F, a sum of N terms, is flat but for rounding.
const FLAT: f64 = 1e-9;
/// The residual of a step by conjugate gradients, over the gradient: each step then gains that many digits.
const STEP_TOLERANCE: f64 = 1e-6;

/// Samples of a last layer with their labels.
#[derive(Debug, Clone)]
pub struct Problem {
    samples: Samples,
    labels: Vec<usize>,
}

/// A last layer at some weights.
#[derive(Debug, Clone)]
pub struct Point {
    /// The weights.
    pub weights: Weights,
    /// The samples, with the probabilities that these weights give them.
    pub samples: Samples,
    /// Their mean loss in nats.
    pub loss: f64,
    /// Its gradient, class by class: [K m].
    pub gradient: Vec<f64>,
    /// Steps of Newton's method that led here.
    pub steps: usize,
}

impl Point {
    /// |W|^2.
    pub fn square(&self) -> f64 {
        self.weights.elements.iter().map(|w| w * w).sum()
    }

    /// The gradient of F = sum_n l_n + delta/2 |W|^2, N grad L + delta W: [K m].
    pub fn slope(&self, delta: f64) -> Vec<f64> {
        let n = self.samples.count() as f64;
        self.gradient.iter().zip(&self.weights.elements).map(|(g, w)| n * g + delta * w).collect()
    }

    /// The weights less `length` times a step.
    pub(crate) fn moved(&self, step: &[f64], length: f64) -> Weights {
        let elements = self.weights.elements.iter().zip(step).map(|(w, s)| w - length * s).collect();
        Weights { elements, offsets: self.weights.offsets.clone() }
    }

    /// The exact Hessian of the mean loss here.
    ///
    /// # Errors
    ///
    /// [`HessianError`].
    pub fn hessian(&self) -> Result<Hessian, HessianError> {
        self.samples.hessian()
    }
}

impl Problem {
    /// `samples`, whose probabilities are not looked at, with a label each.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongLabels`], [`HessianError::NoSamples`].
    pub fn new(samples: Samples, labels: Vec<usize>) -> Result<Self, HessianError> {
        if samples.count() == 0 {
            return Err(HessianError::NoSamples);
        }
        // Asked for what it refuses.
        samples.check_labels(&labels)?;
        Ok(Self { samples, labels })
    }

    /// The labels.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Loss and gradient at some weights.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongWeights`], [`HessianError`] of the samples.
    pub fn at(&self, weights: Weights) -> Result<Point, HessianError> {
        let Moved { samples, loss, gradient } = self.samples.moved(&weights, &self.labels)?;
        Ok(Point { weights, samples, loss, gradient, steps: 0 })
    }

    /// The optimum of F = sum_n l_n + delta/2 |W|^2 by Newton's method with the exact Hessian, from `start`. F is
    /// strictly convex, so there is one. A step is halved until F falls by a quarter of what the gradient promises
    /// (Armijo's rule). `progress` is told of each step.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`] where it is not reached, [`HessianError::Stopped`], [`HessianError`].
    pub fn optimum(&self, start: Point, delta: f64, progress: &dyn Progress) -> Result<Point, HessianError> {
        self.descended(start, progress, self.value(delta), |point| {
            solved(&Factor::of(precision(&point.hessian()?, delta))?, &point.slope(delta))
        })
    }

    /// The same without the matrix, each step by conjugate gradients that know the eigenpairs of `known`.
    ///
    /// # Errors
    ///
    /// As [`Self::optimum`].
    pub fn optimum_matrix_free(
        &self,
        start: Point,
        delta: f64,
        known: &Posterior,
        progress: &dyn Progress,
    ) -> Result<Point, HessianError> {
        let count = self.samples.count();
        self.descended(start, progress, self.value(delta), |point| {
            let slope = point.slope(delta);
            let right = MatRef::from_column_major_slice(&slope, slope.len(), 1);
            let (step, _) = conjugate_gradients(&point.samples, count, delta, known, right, STEP_TOLERANCE)?;
            let step: Vec<f64> = step.col(0).iter().copied().collect();
            let length = length(&slope, &step);
            Ok((step, length))
        })
    }

    /// F = sum_n l_n + delta/2 |W|^2.
    pub(crate) fn value(&self, delta: f64) -> impl Fn(&Point) -> f64 + use<> {
        let n = self.samples.count() as f64;
        move |point| n * point.loss + 0.5 * delta * point.square()
    }

    /// Newton's method on a convex `value` with steps A^-1 g, and sqrt(g' A^-1 g), by `step`.
    pub(crate) fn descended(
        &self,
        start: Point,
        progress: &dyn Progress,
        value: impl Fn(&Point) -> f64,
        step: impl Fn(&Point) -> Result<(Vec<f64>, f64), HessianError>,
    ) -> Result<Point, HessianError> {
        let (mut point, mut before) = (start, f64::INFINITY);
        for _ in 0..NEWTON_STEPS {
            let (step, decrement) = step(&point)?;
            let here = value(&point);
            if is_last(decrement, before, here) {
                let next = self.at(point.moved(&step, 1.0))?;
                return Ok(Point { steps: point.steps + 1, ..next });
            }
            before = decrement;
            if progress.advance(1) == ControlFlow::Break(()) {
                return Err(HessianError::Stopped);
            }
            let taken = (0..HALVINGS).find_map(|halving| {
                let length = 0.5f64.powi(halving);
                match self.at(point.moved(&step, length)) {
                    Ok(next) if value(&next) <= here - 0.25 * length * decrement * decrement => {
                        Some(Ok(next))
                    }
                    // So near that F itself no longer tells: the full step is right there.
                    Ok(next) if decrement * decrement < FLAT * here.abs().max(1.0) => Some(Ok(next)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                }
            });
            let steps = point.steps + 1;
            point = Point { steps, ..taken.ok_or(HessianError::NoConvergence { size: step.len() })?? };
        }
        Err(HessianError::NoConvergence { size: self.samples.size() })
    }
}

/// Whether the step of a `decrement`, with the one `before` it and F = `value`, leaves nothing but rounding.
fn is_last(decrement: f64, before: f64, value: f64) -> bool {
    let is_rounding = decrement * decrement <= ROUNDING * value.abs().max(1.0);
    decrement <= AT_OPTIMUM || (is_rounding && decrement > 0.5 * before)
}

/// sqrt(s' A^-1 s) with s the gradient of F at `point`, whose Hessian is `hessian`, by Cholesky's factor: how far its
/// weights are from the optimum in deviations of the posterior.
///
/// # Errors
///
/// [`HessianError`].
pub fn decrement(hessian: &Hessian, point: &Point, delta: f64) -> Result<f64, HessianError> {
    let factor = Factor::of(precision(hessian, delta))?;
    Ok(solved(&factor, &point.slope(delta))?.1)
}

/// A = N H + delta I.
pub fn precision(hessian: &Hessian, delta: f64) -> Mat<f64> {
    let (n, size) = (hessian.samples() as f64, hessian.size());
    let elements = hessian.elements();
    Mat::from_fn(size, size, |i, j| n * elements[j * size + i] + if i == j { delta } else { 0.0 })
}

/// A^-1 g, and sqrt(g' A^-1 g).
pub(crate) fn solved(factor: &Factor, slope: &[f64]) -> Result<(Vec<f64>, f64), HessianError> {
    let mut step = slope.to_vec();
    factor.solve(MatMut::from_column_major_slice_mut(&mut step, slope.len(), 1))?;
    let length = length(slope, &step);
    Ok((step, length))
}

/// sqrt(g' s), where rounding may make of nothing a little less; of what is no number none.
fn length(slope: &[f64], step: &[f64]) -> f64 {
    let square: f64 = slope.iter().zip(step).map(|(g, s)| g * s).sum();
    if square < 0.0 { 0.0 } else { square.sqrt() }
}
