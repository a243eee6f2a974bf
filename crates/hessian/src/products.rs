//! What a product of H with directions costs most: the sum over samples, as one operation.
//!
//! ```text
//! sum_n w_n g_n^T,    w_n = S_n u_n = p_n (u_n - p_n . u_n),    u_n = V g_n
//! ```
//!
//! Every backend has it, composed of its own operations. Flex has its own, which goes through the
//! samples some at a time, so that u_n and w_n stay in a core's cache between the two products.

// NdArray is deprecated in favour of Flex; it is kept as a second, independent CPU backend.
#![allow(deprecated)]

use burn::{
    backend::{Backend, TensorMetadata, backend_extension, tensor::FloatTensor},
    tensor::{IntDType, Shape, Tensor},
};

#[cfg(feature = "flex")]
mod cpu;

/// A backend that multiplies samples' curvature with directions.
#[backend_extension(
    Cube: cfg(feature = "wgpu"),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Fusion: cfg(feature = "wgpu")
)]
pub trait CurvedProducts: Backend {
    /// sum_n (S_n u_n) g_n^T for u_n = V g_n of k directions V, one after the other.
    ///
    /// - `features`: [N, m]
    /// - `probabilities`: [N, K], or of one logit p (1 - p), [N, 1]
    /// - `directions`: [k K, m]
    /// - returns: [k K, m]
    #[fusion(default)]
    fn curved_product(
        features: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        directions: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ([samples, classes], [columns, _]) = (probabilities.shape().dims(), directions.shape().dims());
        let along = Self::float_matmul(features.clone(), Self::float_transpose(directions));
        let curved = if classes == 1 {
            Self::float_mul(along, probabilities)
        } else {
            let each = Shape::new([samples, columns / classes, classes]);
            let u = Self::float_reshape(along, each);
            let p = Self::float_reshape(probabilities, Shape::new([samples, 1, classes]));
            // S_n ignores what all classes share; without u of the likeliest class the mean is as
            // small as it can be, and cancels nothing where that class is all but certain.
            let likeliest = Self::float_argmax(p.clone(), 2, IntDType::I32);
            let likeliest = Self::int_expand(likeliest, Shape::new([samples, columns / classes, 1]));
            let shared = Self::float_gather(2, u.clone(), likeliest);
            let u = Self::float_sub(u, shared);
            let mean = Self::float_sum_dim(Self::float_mul(p.clone(), u.clone()), 2);
            Self::float_reshape(Self::float_mul(p, Self::float_sub(u, mean)), Shape::new([samples, columns]))
        };
        Self::float_matmul(Self::float_transpose(curved), features)
    }
}

#[cfg(feature = "ndarray")]
impl CurvedProducts for burn::backend::NdArray {}
#[cfg(feature = "wgpu")]
impl CurvedProducts for burn::backend::wgpu::CubeBackend {}

#[cfg(feature = "flex")]
impl CurvedProducts for burn::backend::Flex {
    fn curved_product(
        features: FloatTensor<Self>,
        probabilities: FloatTensor<Self>,
        directions: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        cpu::curved_product(features, probabilities, directions)
    }
}

/// [`CurvedProducts::curved_product`] on tensors of whatever device they are on, all of one type.
pub(crate) fn curved_product(
    features: Tensor<2>,
    probabilities: Tensor<2>,
    directions: Tensor<2>,
) -> Tensor<2> {
    Tensor::from_dispatch(<burn::backend::Dispatch as CurvedProducts>::curved_product(
        features.into_dispatch(),
        probabilities.into_dispatch(),
        directions.into_dispatch(),
    ))
}
