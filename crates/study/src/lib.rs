//! The experiment.
//!
//! So far it is a [`probe`]: a trained network and a split go in, the exact
//! Hessian of the mean loss with respect to the last layer comes out, with its
//! spectrum and where the time went.
//!
//! ```text
//! for each chunk of the split:  g = network.features(x),  p = softmax(network.logits(g))
//!                               H += sum_n (diag(p_n) - p_n p_n^T) (x) g_n g_n^T
//! H -> faer -> Spectrum
//! ```
#![deny(missing_docs)]

mod probe;

pub use probe::{Precision, Probe, ProbeError, ProbeOptions, ProbedInputs, probe};
