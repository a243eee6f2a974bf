//! Leaving a sample out for real, and how far a prediction of it can be from the truth.
//!
//! Along a direction V a softmax's third derivative is below its second times the range of the logits V g: no
//! sample's range can make the Hessian change by more than exp(range) (Bach 2010, "Self-concordant analysis for
//! logistic regression", of a softmax Sun and Tran-Dinh 2019, "Generalized self-concordant functions"). Let B be the
//! Hessian of what is left of F at W, d its step to the optimum, d_N = B^-1 grad l_n the Newton step that is the
//! prediction, and r the largest range of d g over the samples. Then the mean Hessian M on the way has
//!
//! ```text
//! phi(-r) B <= M <= phi(r) B,     M d = B d_N,     phi(x) = (e^x - 1) / x,
//! |d - d_N|_B <= (1 / phi(-r) - 1) |d_N|_B .
//! ```
//!
//! With rho the largest deviation under B^-1 of a difference of two logits of any sample, r <= rho |d|_B, and so
//!
//! ```text
//! 1 - exp(-rho |d|_B) <= rho |d_N|_B =: s,      rho |d|_B <= -ln(1 - s)      if s < 1 .
//! ```
//!
//! For a test sample's loss the step's error counts with its gradient, and the loss's own curvature with an eighth of
//! the squared range of its logits (Hoeffding's lemma: a variance within a range r is r^2 / 4 at the most).

use kappa_hessian::{Factor, HessianError, Progress, Weights, logit_gradients, loss_of_logits};

use crate::{
    Point, Problem,
    problem::{precision, solved},
    softmax,
};

/// How far predictions can be from the truth.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The largest deviation of a difference of two logits over the training samples.
    pub spread: f64,
}

impl Problem {
    /// The optimum of F without the sample `index`, from `point`, by Newton's method with the exact Hessian of what is
    /// left.
    ///
    /// # Errors
    ///
    /// As [`Problem::optimum`]; [`HessianError::NoSamples`] if it is the only one.
    pub fn left_out(
        &self,
        point: &Point,
        delta: f64,
        index: usize,
        progress: &dyn Progress,
    ) -> Result<Point, HessianError> {
        let label = self.labels().get(index).copied().unwrap_or(0);
        let g = point.samples.features_of(index)?;
        let all = self.value(delta);
        let value = |point: &Point| all(point) - loss_of_logits(&point.weights.logits(&g), label);
        let start = Point { steps: 0, ..point.clone() };
        self.descended(start, progress, value, |here| {
            let p = softmax(&here.weights.logits(&g));
            let own = gradient_of(&g, &p, label, here.samples.classes());
            let slope: Vec<f64> = here.slope(delta).iter().zip(own).map(|(slope, own)| slope - own).collect();
            solved(&Factor::of(precision(&here.hessian()?.without(&g, &p)?, delta))?, &slope)
        })
    }
}

/// grad l = (p - y) (x) g: [K m].
fn gradient_of(g: &[f64], p: &[f64], label: usize, classes: usize) -> Vec<f64> {
    let errors = logit_gradients(p.to_vec(), &[label], classes);
    errors.into_iter().flat_map(|error| g.iter().map(move |g| error * g)).collect()
}

impl Reach {
    /// How far the effect of leaving out a training sample of `self_influence` and `leverage` on the loss of a test
    /// sample, of a gradient of squared `length` and logits of `spread`, can be from its prediction. None where it
    /// is so large a step that nothing can be said.
    pub fn bound(&self, self_influence: f64, leverage: f64, length: f64, spread: f64) -> Option<f64> {
        // B is A - H_n, which is (1 - leverage) A at the least.
        let root = (1.0 - leverage).sqrt();
        let rho = self.spread / root;
        let predicted = self_influence.max(0.0).sqrt();
        let s = rho * predicted;
        if !(s < 1.0 && root > 0.0) {
            return None;
        }
        let range = -(-s).ln_1p();
        // 1 / phi(-r) - 1 = r / (1 - e^-r) - 1 .
        let error = if s > 0.0 { range / s - 1.0 } else { 0.0 };
        let step = if rho > 0.0 { range / rho } else { predicted };
        let of_step = length.max(0.0).sqrt() / root * error * predicted;
        let of_test = (spread / root * step).powi(2) / 8.0;
        Some(of_step + of_test)
    }
}

/// The losses of samples of features [n, m], row by row, under weights: one each.
pub fn losses(features: &[f64], labels: &[usize], weights: &Weights) -> Vec<f64> {
    let logits = weights.logits(features);
    let samples = logits.chunks_exact(weights.offsets.len()).zip(labels);
    samples.map(|(z, &label)| loss_of_logits(z, label)).collect()
}
