//! What a last layer's Hessian is for: error bars on what a trained classifier says, and the training samples
//! that made it say so.
//!
//! The loss of a last layer is convex in its weights. With a Gaussian prior of precision delta on each,
//!
//! ```text
//! F(W) = sum_n l_n(W) + delta/2 |W|^2,        A = N H + delta I, the Hessian of F
//! ```
//!
//! where l_n is the cross-entropy of sample n and H the Hessian of the mean loss. Laplace's method (MacKay 1992,
//! "A practical Bayesian framework for backpropagation networks"; of a last layer Kristiadi et al. 2020, "Being
//! Bayesian, even just a bit, fixes overconfidence in ReLU networks") takes exp(-F) for a Gaussian about its optimum,
//! of covariance A^-1; an influence function (Koh and Liang 2017, "Understanding black-box predictions via influence
//! functions") takes a Newton step with A towards the optimum without a sample. Both are of the optimum, so the first
//! thing here is [`Problem`], which says how far from it weights are and goes there.
//!
//! ```
//! use kappa_hessian::{Samples, Weights, burn::tensor::Device};
//! use kappa_posterior::{Posterior, Problem, probit};
//!
//! let features: Vec<f64> = (0..40).map(|i| f64::from(i).sin()).collect();
//! let labels: Vec<usize> = (0..20).map(|i| usize::from(i % 3 == 0)).collect();
//! let samples = Samples::from_logits(2, 2, &features, &[0.0; 40], &Device::flex())?;
//!
//! let problem = Problem::new(samples, labels)?;
//! let start = problem.at(Weights { elements: vec![0.0; 4], offsets: vec![0.0; 2] })?;
//! let delta = 0.5;
//! let optimum = problem.optimum(start, delta, &())?;
//! let posterior = Posterior::whole(&optimum)?;
//! assert!(posterior.decrement(&optimum, delta) < 1e-6, "deviations of the posterior from its optimum");
//!
//! // The covariance of the logits of features [0.3, -1], and what it makes of their probabilities.
//! let covariance = posterior.covariances(&[0.3, -1.0], delta);
//! let logits = optimum.weights.logits(&[0.3, -1.0]);
//! assert!(probit(&logits, &covariance)[0] < 1.0);
//! # Ok::<(), kappa_hessian::HessianError>(())
//! ```
//!
//! ```text
//! problem      the convex problem: loss, gradient and Hessian at any weights, Newton's way to its optimum
//! posterior    the Gaussian about it: marginal likelihood
//! covariances  of logits under it; directions: its eigenvectors as they meet samples
//! predictive   probabilities under it: probit, samples, the Laplace bridge
//! scores       how good probabilities are
//! cheaper      what a diagonal and a Kronecker product make of it
//! influence    what leaving out a sample does to others' losses
//! left_out     the same by solving again, and how far the two can be apart
//! ```
#![deny(missing_docs)]

mod cheaper;
mod covariances;
mod directions;
mod influence;
mod left_out;
mod posterior;
mod predictive;
mod problem;
mod scores;

pub use cheaper::{Diagonal, Kronecker};
pub use covariances::{Covariances, Predictive};
pub use influence::{Extremes, Influence, Projected, conjugate_gradients};
pub use left_out::{Reach, losses};
pub use posterior::{Bounds, Posterior, best_delta, contrast_variance};
pub use predictive::{bridge, probit, probit_of_contrasts, sampled, softmax};
pub use problem::{NEWTON_STEPS, Point, Problem, decrement, precision};
pub use scores::{Bin, Scores, auroc, entropy};
