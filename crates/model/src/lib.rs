//! The network of the paper: one hidden layer of rectified linear units, then
//! a softmax layer, with or without batch normalisation between them.
//!
//! ```text
//! x [N, d]  --W1, b1-->  z [N, m]  --ReLU (, batch norm)-->  g [N, m]  --W2, b2-->  logits [N, K]
//!           preactivations         features_of                         logits
//! ```
//!
//! The features g are what the last layer sees, and with the logits all that its
//! Hessian depends on. The crate knows no loss, no data and no file.
//!
//! Batch norm is burn's: it normalises by the batch's own statistics, and updates
//! the running ones, if and only if the network's device records gradients; on a
//! plain device (`network.valid()`) it uses the running statistics.
#![deny(missing_docs)]

mod initialisation;
mod network;

pub use initialisation::Initialisation;
pub use network::{BatchNormSettings, NetworkShape, TwoLayerNet};
