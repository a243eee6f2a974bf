//! What a training step does most, as single operations.
//!
//! burn composes a step of many small operations, each with a tensor of its own to
//! allocate, fill and forget; for a batch of 128 that costs more than the two matrix
//! products that are the step. Here those that cost most are one operation each,
//! declared once ([`FusedOperations`]), with their gradients written down
//! (`autodiff`) and registered in burn's autodiff like any of its own:
//!
//! ```text
//! dense          z = x W + b, and the same of x = factor * byte + offset
//! cross_entropy  L = - sum_n sum_k y_nk log softmax(z_n)_k
//! batch_norm     y = gamma (x - mu) / sqrt(v + epsilon) + beta, by the batch's mu and v
//! squared_norm   sum_i x_i^2
//! Adam           burn's Adam, one pass over parameter, gradient and both moments
//! ```
//!
//! Every backend has them, composed of burn's operations ([`FusedOperations`]'s default
//! bodies); flex has its own (`flex/`), which give the same bits on any number of
//! threads. What goes through many layers at once goes in pieces of rows that stay in a
//! processor's cache ([`piece`]). The tests hold each against burn's plain composition and its autodiff.
#![deny(missing_docs)]
// NdArray is deprecated in favour of Flex; it is kept as a second, independent CPU backend.
#![allow(deprecated)]

mod adam;
mod autodiff;
mod device;
#[cfg(feature = "flex")]
mod flex;
mod operations;
pub mod piece;
mod registers;

pub use adam::{Adam, ContinuedAdam, Moments};
pub use device::DeviceError;
pub use operations::{ByteScale, FusedOperations};
pub use registers::clear_upper_halves;

use burn::tensor::{Int, Tensor};
use operations::dispatch;

/// z = x W + b: x [n, d], W [d, m], b \[m\] -> [n, m].
pub fn dense(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    dispatch::dense(inputs, weight, bias)
}

/// z = x W + b of inputs that are bytes, x = factor * byte + offset: bytes [n, d],
/// W [d, m], b \[m\] -> [n, m].
///
/// The inputs as numbers, four times the bytes, are held only in pieces where the backend
/// can do with them.
pub fn dense_of_bytes(
    bytes: Tensor<2, Int>,
    scale: ByteScale,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<2> {
    dispatch::dense_of_bytes(bytes, scale, weight, bias)
}

/// x^T u and sum_n u_n, what [`dense`] hands back to W [d, m] and b \[m\] of what comes from above:
/// x [n, d], u [n, m].
pub fn dense_gradients(inputs: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
    dispatch::dense_gradients(inputs, upstream)
}

/// The same of inputs that are bytes.
pub fn dense_of_bytes_gradients(
    bytes: Tensor<2, Int>,
    scale: ByteScale,
    upstream: Tensor<2>,
) -> (Tensor<2>, Tensor<1>) {
    dispatch::dense_of_bytes_gradients(bytes, scale, upstream)
}

/// - sum_n sum_k y_nk log softmax(z_n)_k, in nats: logits z [n, K] and targets y
///   [n, K], which are constants -> \[1\].
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    dispatch::cross_entropy(logits, targets)
}

/// Batch norm by the batch's own statistics: x [n, m], gamma \[m\], beta \[m\] ->
/// y [n, m], with the mean \[m\] and the (biased) variance \[m\] of each feature, which
/// gradients do not go through.
pub fn batch_norm(
    inputs: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
    dispatch::normalise_batch(inputs, gamma, beta, epsilon)
}

/// sum_i x_i^2, of a tensor of any shape -> \[1\].
pub fn squared_norm<const D: usize>(numbers: Tensor<D>) -> Tensor<1> {
    dispatch::squared_norm(numbers)
}
