//! Work in pieces of rows.
//!
//! Where a processor's cores compute, a piece goes through all that there is to do with it on one
//! thread, while it is in that core's cache, and threads take pieces side by side. A device of its own
//! takes larger ones, one after another, each small enough for any adapter to bind. How rows are cut
//! depends on shapes and the kind of device alone, and what pieces give is handed back in their order, so
//! whoever adds it up in that order gets the same bits on any number of threads.

use burn::{
    backend::DispatchDevice,
    tensor::{DType, Device, Int, Tensor},
};
use rayon::prelude::*;

use crate::{ByteScale, operations::dispatch};

/// Bytes of a piece's widest tensor, of what a second-level cache holds beside weights and what else
/// belongs to the piece.
const CACHED_BYTES: usize = 1 << 20;
/// Rows of a piece in a cache, at the least: with fewer, products are slower.
const LEAST_CACHED: usize = 64;
/// Bytes of a piece's widest tensor on other devices: half of the smallest maximal binding of a WebGPU
/// adapter (128 MiB).
const BOUND_BYTES: usize = 64 << 20;
/// Rows of a piece, at the most.
const MOST_ROWS: usize = 8192;

/// The rows of a piece whose widest tensor has `width` columns.
pub fn rows(device: &Device, width: usize, dtype: DType) -> usize {
    let row = dtype.size() * width.max(1);
    if computes_on_cores(device) {
        (CACHED_BYTES / row).clamp(LEAST_CACHED, MOST_ROWS)
    } else {
        (BOUND_BYTES / row).clamp(1, MOST_ROWS)
    }
}

/// What `of` makes of each item and its index, in their order.
pub fn map<T: Send, R: Send>(
    device: &Device,
    items: &mut [T],
    of: impl Fn(usize, &mut T) -> R + Sync,
) -> Vec<R> {
    if computes_on_cores(device) {
        items.par_iter_mut().enumerate().map(|(index, item)| of(index, item)).collect()
    } else {
        items.iter_mut().enumerate().map(|(index, item)| of(index, item)).collect()
    }
}

/// x = factor * byte + offset: [n, d] -> [n, d].
pub fn numbers(bytes: Tensor<2, Int>, scale: ByteScale, dtype: DType) -> Tensor<2> {
    dispatch::numbers_of_bytes(bytes, scale, dtype)
}

/// z = x W + b: x [n, d], W [d, m], b \[m\] -> [n, m], on the thread that asks for it.
pub fn dense(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    dispatch::dense_of_piece(inputs, weight, bias)
}

/// x^T u and sum_n u_n: x [n, d], u [n, m] -> [d, m], \[m\], likewise.
pub fn dense_gradients(inputs: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
    dispatch::dense_gradients_of_piece(inputs, upstream)
}

/// sum_n x_n and sum_n x_n h_n: x, h [n, m] -> [2, m].
pub fn sums(x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
    dispatch::sums_of_piece(x, h)
}

/// x_n a + y_n b + c, each column for itself: (x [n, m], a [1, m]), (y, b), c [1, m] or zero -> [n, m].
pub fn blend([(x, a), (y, b)]: [(Tensor<2>, Tensor<2>); 2], c: Option<Tensor<2>>) -> Tensor<2> {
    let c = c.unwrap_or_else(|| a.zeros_like());
    dispatch::blend_of_piece([x, a], [y, b], c)
}

fn computes_on_cores(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => true,
        _ => false,
    }
}
