//! The operations, composed of burn's.

use burn::{
    backend::{
        Backend, TensorMetadata, backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, FloatDType, Scalar, Shape},
};

/// Operations of a training step. The default bodies are compositions of the backend's own.
#[backend_extension(
    Cube: cfg(feature = "wgpu"),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Autodiff,
    Fusion: cfg(feature = "wgpu")
)]
pub trait FusedOperations: Backend {
    /// z = x W + b: x [n, d], W [d, m], b \[m\] -> [n, m].
    #[fusion(default)]
    fn dense(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [units] = bias.shape().dims();
        let bias = Self::float_reshape(bias, Shape::new([1, units]));
        Self::float_add(Self::float_matmul(inputs, weight), bias)
    }

    /// dL/dW = x^T dL/dz and dL/db = sum_n dL/dz_n: x [n, d], dL/dz [n, m] -> [d, m], \[m\].
    #[fusion(default)]
    fn dense_gradients(
        inputs: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [_, units] = upstream.shape().dims();
        let weight = Self::float_matmul(Self::float_transpose(inputs), upstream.clone());
        (weight, Self::float_reshape(Self::float_sum_dim(upstream, 0), Shape::new([units])))
    }

    /// z = x W + b of inputs that are bytes, x = factor * byte + offset:
    /// [n, d], W [d, m], b \[m\] -> [n, m].
    #[fusion(default)]
    fn dense_of_bytes(
        bytes: IntTensor<Self>,
        scale: ByteScale,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::dense(scaled::<Self>(bytes, scale, weight.dtype()), weight, bias)
    }

    /// dL/dW and dL/db as [`Self::dense_gradients`] has them, of inputs that are bytes.
    #[fusion(default)]
    fn dense_of_bytes_gradients(
        bytes: IntTensor<Self>,
        scale: ByteScale,
        upstream: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        Self::dense_gradients(scaled::<Self>(bytes, scale, upstream.dtype()), upstream)
    }

    /// x = factor * byte + offset in `dtype`: [n, d] -> [n, d].
    #[fusion(default)]
    fn numbers_of_bytes(bytes: IntTensor<Self>, scale: ByteScale, dtype: DType) -> FloatTensor<Self> {
        scaled::<Self>(bytes, scale, dtype)
    }

    /// [`Self::dense`] of a piece of rows, on the thread that asks for it where a processor's cores
    /// compute.
    #[fusion(default)]
    fn dense_of_piece(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::dense(inputs, weight, bias)
    }

    /// [`Self::dense_gradients`], likewise.
    #[fusion(default)]
    fn dense_gradients_of_piece(
        inputs: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        Self::dense_gradients(inputs, upstream)
    }

    /// sum_n x_n and sum_n x_n h_n: x, h [n, m] -> [2, m].
    #[fusion(default)]
    fn sums_of_piece(x: FloatTensor<Self>, h: FloatTensor<Self>) -> FloatTensor<Self> {
        let products = Self::float_mul(x.clone(), h);
        Self::float_cat(vec![Self::float_sum_dim(x, 0), Self::float_sum_dim(products, 0)], 0)
    }

    /// x_n a + y_n b + c, each column for itself: x, y [n, m], a, b, c [1, m] -> [n, m].
    #[fusion(default)]
    fn blend_of_piece(
        x: FloatTensor<Self>,
        a: FloatTensor<Self>,
        y: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_add(Self::float_add(Self::float_mul(x, a), Self::float_mul(y, b)), c)
    }

    /// L = - sum_n sum_k y_nk log softmax(z_n)_k: z, y [n, K] -> \[1\].
    #[fusion(default)]
    fn cross_entropy(logits: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let logarithms = Self::log_softmax(logits, 1);
        Self::float_neg(Self::float_sum(Self::float_mul(logarithms, targets)))
    }

    /// dL/dz_n = softmax(z_n) sum_k y_nk - y_n, times what comes from above \[1\]: [n, K].
    #[fusion(default)]
    fn cross_entropy_gradient(
        logits: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let mass = Self::float_sum_dim(targets.clone(), 1);
        let probabilities = Self::softmax(logits, 1);
        let gradient = Self::float_sub(Self::float_mul(probabilities, mass), targets);
        Self::float_mul(gradient, Self::float_reshape(upstream, Shape::new([1, 1])))
    }

    /// sum_i x_i^2: any shape -> \[1\].
    #[fusion(default)]
    fn squared_norm(numbers: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum(Self::float_mul(numbers.clone(), numbers))
    }

    /// 2 x, times what comes from above \[1\]: of x's shape.
    #[fusion(default)]
    fn squared_norm_gradient(numbers: FloatTensor<Self>, upstream: FloatTensor<Self>) -> FloatTensor<Self> {
        let ones = numbers.shape().iter().map(|_| 1).collect::<Vec<_>>();
        let upstream = Self::float_reshape(upstream, Shape::from(ones));
        Self::float_mul(Self::float_mul_scalar(numbers, Scalar::from(2.0f32)), upstream)
    }

    /// Batch norm by the batch's own statistics (Ioffe and Szegedy 2015, algorithm 1), each
    /// feature for itself,
    ///
    /// ```text
    /// mu = 1/n sum_n x_n,    v = 1/n sum_n (x_n - mu)^2
    /// y_n = gamma (x_n - mu) / sqrt(v + epsilon) + beta
    /// ```
    ///
    /// x [n, m], gamma, beta \[m\] -> y [n, m], mu \[m\], v \[m\].
    #[fusion(default)]
    fn normalise_batch(
        inputs: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [units] = gamma.shape().dims();
        let row = |tensor| Self::float_reshape(tensor, Shape::new([1, units]));
        let flat = |tensor| Self::float_reshape(tensor, Shape::new([units]));
        let mean = Self::float_mean_dim(inputs.clone(), 0);
        let centred = Self::float_sub(inputs, mean.clone());
        let variance = Self::float_mean_dim(Self::float_mul(centred.clone(), centred.clone()), 0);
        let deviation = Self::float_sqrt(Self::float_add_scalar(variance.clone(), Scalar::from(epsilon)));
        let scaled = Self::float_mul(Self::float_div(centred, deviation), row(gamma));
        (Self::float_add(scaled, row(beta)), flat(mean), flat(variance))
    }

    /// Its gradients (the same, section 3): with h = (x - mu) / sqrt(v + epsilon),
    ///
    /// ```text
    /// dL/dbeta = sum_n dL/dy_n,    dL/dgamma = sum_n h_n dL/dy_n
    /// dL/dx_n = gamma / sqrt(v + epsilon) (dL/dy_n - (dL/dbeta + h_n dL/dgamma) / n)
    /// ```
    ///
    /// returned as dL/dx [n, m], dL/dgamma \[m\], dL/dbeta \[m\].
    #[fusion(default)]
    fn normalise_batch_gradients(
        inputs: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        upstream: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [samples, units] = inputs.shape().dims();
        let row = |tensor| Self::float_reshape(tensor, Shape::new([1, units]));
        let flat = |tensor| Self::float_reshape(tensor, Shape::new([units]));
        let deviation = Self::float_sqrt(Self::float_add_scalar(row(variance), Scalar::from(epsilon)));
        let normalised = Self::float_div(Self::float_sub(inputs, row(mean)), deviation.clone());
        let of_beta = Self::float_sum_dim(upstream.clone(), 0);
        let of_gamma = Self::float_sum_dim(Self::float_mul(normalised.clone(), upstream.clone()), 0);
        let shared = Self::float_add(of_beta.clone(), Self::float_mul(normalised, of_gamma.clone()));
        let mean = Self::float_mul_scalar(shared, Scalar::from(1.0 / samples as f64));
        let scale = Self::float_div(row(gamma), deviation);
        (Self::float_mul(Self::float_sub(upstream, mean), scale), flat(of_gamma), flat(of_beta))
    }

    /// A step of Adam (Kingma and Ba 2015, algorithm 1), bias corrections folded into
    /// `rate` and `epsilon`:
    ///
    /// ```text
    /// m <- beta_1 m + (1 - beta_1) g,    v <- beta_2 v + (1 - beta_2) g^2
    /// theta <- theta - rate * (correction * m) / (sqrt(v) + epsilon)
    /// ```
    ///
    /// returns theta, m, v.
    #[fusion(default)]
    fn adam_step(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamFactors,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let AdamFactors { beta_1, beta_2, correction, epsilon, rate } = factors;
        let times = |tensor, factor: f32| Self::float_mul_scalar(tensor, Scalar::from(factor));
        let square = Self::float_mul(gradient.clone(), gradient.clone());
        let moment_1 = Self::float_add(times(moment_1, beta_1), times(gradient, 1.0 - beta_1));
        let moment_2 = Self::float_add(times(moment_2, beta_2), times(square, 1.0 - beta_2));
        let root = Self::float_add_scalar(Self::float_sqrt(moment_2.clone()), Scalar::from(epsilon));
        let update = Self::float_div(times(moment_1.clone(), correction), root);
        (Self::float_sub(parameter, times(update, rate)), moment_1, moment_2)
    }
}

/// factor * byte + offset, in the arithmetic of the layer: [n, d].
fn scaled<B: Backend>(
    bytes: IntTensor<B>,
    ByteScale { factor, offset }: ByteScale,
    dtype: DType,
) -> FloatTensor<B> {
    let pixels = B::int_into_float(bytes, FloatDType::from(dtype));
    let scaled = B::float_mul_scalar(pixels, Scalar::from(factor));
    if offset == 0.0 { scaled } else { B::float_add_scalar(scaled, Scalar::from(offset)) }
}

/// What a byte is as an input: factor * byte + offset, rounded to the arithmetic of the layer that
/// it goes into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByteScale {
    /// Of the byte.
    pub factor: f64,
    /// What 0 is.
    pub offset: f64,
}

/// The numbers of one step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamFactors {
    /// The first moment's decay.
    pub beta_1: f32,
    /// The second moment's decay.
    pub beta_2: f32,
    /// sqrt(1 - beta_2^t) / (1 - beta_1^t).
    pub correction: f32,
    /// epsilon * sqrt(1 - beta_2^t).
    pub epsilon: f32,
    /// The learning rate.
    pub rate: f32,
}

#[cfg(feature = "ndarray")]
impl FusedOperations for burn::backend::NdArray {}
#[cfg(feature = "wgpu")]
impl FusedOperations for burn::backend::wgpu::CubeBackend {}

/// The operations on tensors of whatever device they are on.
pub(crate) mod dispatch {
    use super::{AdamFactors, ByteScale, FusedOperations};
    use burn::{
        backend::Dispatch,
        tensor::{DType, Int, Tensor},
    };

    pub fn dense(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
        Tensor::from_dispatch(<Dispatch as FusedOperations>::dense(
            inputs.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
        ))
    }

    pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        Tensor::from_dispatch(<Dispatch as FusedOperations>::cross_entropy(
            logits.into_dispatch(),
            targets.into_dispatch(),
        ))
    }

    pub fn squared_norm<const D: usize>(numbers: Tensor<D>) -> Tensor<1> {
        Tensor::from_dispatch(<Dispatch as FusedOperations>::squared_norm(numbers.into_dispatch()))
    }

    pub fn normalise_batch(
        inputs: Tensor<2>,
        gamma: Tensor<1>,
        beta: Tensor<1>,
        epsilon: f64,
    ) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
        let [gamma, beta] = [gamma, beta].map(Tensor::into_dispatch);
        let (outputs, mean, variance) =
            <Dispatch as FusedOperations>::normalise_batch(inputs.into_dispatch(), gamma, beta, epsilon);
        (Tensor::from_dispatch(outputs), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
    }

    pub fn dense_of_bytes(
        bytes: Tensor<2, Int>,
        scale: ByteScale,
        weight: Tensor<2>,
        bias: Tensor<1>,
    ) -> Tensor<2> {
        Tensor::from_dispatch(<Dispatch as FusedOperations>::dense_of_bytes(
            bytes.into_dispatch(),
            scale,
            weight.into_dispatch(),
            bias.into_dispatch(),
        ))
    }

    pub fn dense_gradients(inputs: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        let (inputs, upstream) = (inputs.into_dispatch(), upstream.into_dispatch());
        let (weight, bias) = <Dispatch as FusedOperations>::dense_gradients(inputs, upstream);
        (Tensor::from_dispatch(weight), Tensor::from_dispatch(bias))
    }

    pub fn dense_of_bytes_gradients(
        bytes: Tensor<2, Int>,
        scale: ByteScale,
        upstream: Tensor<2>,
    ) -> (Tensor<2>, Tensor<1>) {
        let (bytes, upstream) = (bytes.into_dispatch(), upstream.into_dispatch());
        let (weight, bias) = <Dispatch as FusedOperations>::dense_of_bytes_gradients(bytes, scale, upstream);
        (Tensor::from_dispatch(weight), Tensor::from_dispatch(bias))
    }

    pub fn numbers_of_bytes(bytes: Tensor<2, Int>, scale: ByteScale, dtype: DType) -> Tensor<2> {
        let bytes = bytes.into_dispatch();
        Tensor::from_dispatch(<Dispatch as FusedOperations>::numbers_of_bytes(bytes, scale, dtype))
    }

    pub fn dense_of_piece(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
        Tensor::from_dispatch(<Dispatch as FusedOperations>::dense_of_piece(
            inputs.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
        ))
    }

    pub fn dense_gradients_of_piece(inputs: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        let (inputs, upstream) = (inputs.into_dispatch(), upstream.into_dispatch());
        let (weight, bias) = <Dispatch as FusedOperations>::dense_gradients_of_piece(inputs, upstream);
        (Tensor::from_dispatch(weight), Tensor::from_dispatch(bias))
    }

    pub fn sums_of_piece(x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        let (x, h) = (x.into_dispatch(), h.into_dispatch());
        Tensor::from_dispatch(<Dispatch as FusedOperations>::sums_of_piece(x, h))
    }

    pub fn blend_of_piece(x: [Tensor<2>; 2], y: [Tensor<2>; 2], c: Tensor<2>) -> Tensor<2> {
        let ([x, a], [y, b]) = (x.map(Tensor::into_dispatch), y.map(Tensor::into_dispatch));
        Tensor::from_dispatch(<Dispatch as FusedOperations>::blend_of_piece(x, a, y, b, c.into_dispatch()))
    }

    /// theta, m and v after the step, from those before it and the gradient.
    pub fn adam_step<const D: usize>(tensors: [Tensor<D>; 4], factors: AdamFactors) -> [Tensor<D>; 3] {
        let [parameter, gradient, moment_1, moment_2] = tensors.map(Tensor::into_dispatch);
        let (parameter, moment_1, moment_2) =
            <Dispatch as FusedOperations>::adam_step(parameter, gradient, moment_1, moment_2, factors);
        [parameter, moment_1, moment_2].map(Tensor::from_dispatch)
    }
}
