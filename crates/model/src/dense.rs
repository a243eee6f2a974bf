//! A dense layer.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor, TensorData},
};
use kappa_fused::dense;

use crate::Role;

/// z = x W + b, and W either a parameter itself or, by weight norm, w = g v / |v| of each unit (Salimans
/// and Kingma 2016, eq. 2).
#[derive(Module, Debug)]
pub(crate) struct Dense {
    /// W, or the v of each unit: [in, out].
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    /// The g of each unit: [1, out].
    length: Option<Param<Tensor<2>>>,
}

impl Dense {
    /// A layer of `weights` [in, out] and `biases` \[out\].
    pub fn new(weights: Vec<f32>, biases: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let units = biases.len();
        Self::of(
            Tensor::from_data(TensorData::new(weights, shape), device),
            Tensor::from_data(TensorData::new(biases, [units]), device),
        )
    }

    /// The same of tensors.
    pub fn of(weight: Tensor<2>, bias: Tensor<1>) -> Self {
        Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias), length: None }
    }

    /// The same by weight norm, v being `weights` and g their lengths, so that W is `weights` as well.
    pub fn normalised(weights: Vec<f32>, biases: Vec<f32>, shape: [usize; 2], device: &Device) -> Self {
        let mut squares = vec![0.0; biases.len()];
        for row in weights.chunks_exact(biases.len().max(1)) {
            squares.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v).powi(2));
        }
        let lengths: Vec<f32> = squares.into_iter().map(|sum: f64| sum.sqrt() as f32).collect();
        let length = Tensor::from_data(TensorData::new(lengths, [1, biases.len()]), device);
        Self::new(weights, biases, shape, device).with_length(length)
    }

    /// Weight norm of these lengths: [1, out].
    pub fn with_length(mut self, length: Tensor<2>) -> Self {
        self.length = Some(Param::from_tensor(length));
        self
    }

    /// Inputs and outputs.
    pub fn dims(&self) -> [usize; 2] {
        self.weight.dims()
    }

    /// W: [in, out].
    pub fn weight(&self) -> Tensor<2> {
        let weight = self.weight.val();
        match &self.length {
            Some(length) => weight.clone() * (length.val() / lengths(weight)),
            None => weight,
        }
    }

    /// b: \[out\].
    pub fn bias(&self) -> Tensor<1> {
        self.bias.val()
    }

    /// v [in, out] and g [1, out], if it has weight norm.
    pub fn normalisation(&self) -> Option<(Tensor<2>, Tensor<2>)> {
        self.length.as_ref().map(|length| (self.weight.val(), length.val()))
    }

    /// W x + b: [n, in] -> [n, out].
    pub fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        dense(inputs, self.weight(), self.bias())
    }

    /// The same function without weight norm.
    pub fn effective(&self) -> Self {
        match self.length {
            Some(_) => Self::of(self.weight(), self.bias()),
            None => self.clone(),
        }
    }

    pub fn in_double_precision(&self) -> Self {
        let double = |tensor: Tensor<2>| tensor.cast(DType::F64);
        self.changed(double, |bias| bias.cast(DType::F64))
    }

    /// With other tensors in the place of v or W and g, and of b.
    pub fn changed(
        &self,
        matrix: impl Fn(Tensor<2>) -> Tensor<2>,
        bias: impl Fn(Tensor<1>) -> Tensor<1>,
    ) -> Self {
        let changed = Self::of(matrix(self.weight.val()), bias(self.bias.val()));
        match &self.length {
            Some(length) => changed.with_length(matrix(length.val())),
            None => changed,
        }
    }

    /// The parameters that move along a direction, a step further.
    pub fn moved(&self, [weight, length]: [Option<Tensor<2>>; 2], bias: Option<Tensor<1>>) -> Self {
        fn plus<const D: usize>(tensor: Tensor<D>, step: Option<Tensor<D>>) -> Tensor<D> {
            match step {
                Some(step) => tensor + step,
                None => tensor,
            }
        }
        let moved = Self::of(plus(self.weight.val(), weight), plus(self.bias.val(), bias));
        match &self.length {
            Some(own) => moved.with_length(plus(own.val(), length)),
            None => moved,
        }
    }

    /// A matrix parameter as it is stored: v or W, or g.
    pub fn matrix(&self, role: Role) -> Option<Tensor<2>> {
        match role {
            Role::Weight => Some(self.weight.val()),
            Role::Length => self.length.as_ref().map(Param::val),
            _ => None,
        }
    }
}

/// |v| of each column: [1, out].
pub(crate) fn lengths(weight: Tensor<2>) -> Tensor<2> {
    let [inputs, _] = weight.dims();
    let ones = Tensor::<2>::ones([1, inputs], (&weight.device(), weight.dtype()));
    ones.matmul(weight.clone() * weight).sqrt()
}
