//! The network itself.

use burn::{
    module::{Module, Param, RunningState},
    nn::{BatchNorm, Linear},
    tensor::{DType, Device, Int, Tensor, TensorData, activation::relu},
};
use kappa_fused::{ByteScale, dense, dense_of_bytes, squared_norm};

use crate::{
    Initialisation, Kind, Layer, NetworkShape, Normalisation, Pass, Place, RunningVariance,
    normalisation::{affine_map, begin, in_double_precision, magnitudes_of, normalised},
    shape::transposed,
};

/// `logits = W norm(relu(.. W1 x + b1 ..)) + b`, with any number of hidden layers, and `norm`
/// present or not, after the ReLU or before it.
#[derive(Module, Debug)]
pub struct Network {
    /// The hidden layers, the first one first.
    pub(crate) layers: Vec<HiddenLayer>,
    /// The layer whose Hessian is taken.
    pub(crate) output: Linear,
}

/// A dense layer with its ReLU and its normalisation.
#[derive(Module, Debug)]
pub(crate) struct HiddenLayer {
    pub(crate) linear: Linear,
    pub(crate) norm: Option<BatchNorm>,
    #[module(skip)]
    pub(crate) place: Place,
    #[module(skip)]
    pub(crate) running_variance: RunningVariance,
}

impl HiddenLayer {
    /// What its normalisation sees of z = W x + b, [n, m] -> [n, m].
    fn before_norm(&self, preactivations: Tensor<2>) -> Tensor<2> {
        match self.place {
            Place::After => relu(preactivations),
            Place::Before => preactivations,
        }
    }

    /// norm(relu(z)), or relu(norm(z)), of z = W x + b: [n, m] -> [n, m].
    fn activations(&self, preactivations: Tensor<2>, pass: Pass) -> Tensor<2> {
        let inputs = self.before_norm(preactivations);
        let outputs = match &self.norm {
            Some(norm) => normalised(norm, self.running_variance, inputs, pass),
            None => inputs,
        };
        match self.place {
            Place::After => outputs,
            Place::Before => relu(outputs),
        }
    }
}

impl Network {
    /// A network with weights drawn from `seed` and biases at zero, on `device`.
    ///
    /// The same seed gives the same weights whatever the normalisation is.
    pub fn new(shape: &NetworkShape, initialisation: Initialisation, seed: u64, device: &Device) -> Self {
        let drawn = |layer, fan_in: usize, fan_out: usize| {
            // Drawn as [fan_out, fan_in], PyTorch's layout; burn keeps [fan_in, fan_out]. Transposed
            // here and not as a view, so that a network computes the same bits before it is saved
            // and after it is loaded.
            let weights = transposed(&initialisation.weights(layer, fan_in, fan_out, seed), fan_in);
            linear(weights, vec![0.0; fan_out], [fan_in, fan_out], device)
        };
        let layers = shape.hidden.iter().enumerate().map(|(index, &width)| HiddenLayer {
            linear: drawn(Layer::Hidden(index), shape.fan_in(index), width),
            norm: begin(&shape.normalisation, width, device),
            place: shape.normalisation.place,
            running_variance: shape.normalisation.running_variance,
        });
        Self { layers: layers.collect(), output: drawn(Layer::Output, shape.features(), shape.classes) }
    }

    /// z = W1 x + b1: [N, d] -> [N, m1].
    pub fn preactivations(&self, inputs: Tensor<2>) -> Tensor<2> {
        match self.layers.first() {
            Some(first) => affine(&first.linear, inputs),
            None => inputs,
        }
    }

    /// The same for images that are bytes, x = factor * byte + offset: [N, d] -> [N, m1].
    pub fn preactivations_of_bytes(&self, bytes: Tensor<2, Int>, scale: ByteScale) -> Tensor<2> {
        let first = self.layers.first().map_or(&self.output, |layer| &layer.linear);
        dense_of_bytes(bytes, scale, first.weight.val(), bias(first))
    }

    /// The last layer's input g of z = W1 x + b1: [N, m1] -> [N, m].
    pub fn features(&self, preactivations: Tensor<2>, pass: Pass) -> Tensor<2> {
        self.activations(preactivations, self.layers.len(), pass)
    }

    /// The outputs of the first `count` hidden layers, one at the least: [N, m1] -> [N, m_count].
    fn activations(&self, preactivations: Tensor<2>, count: usize, pass: Pass) -> Tensor<2> {
        let mut preactivations = preactivations;
        for (index, layer) in self.layers.iter().enumerate().take(count) {
            let activations = layer.activations(preactivations, pass);
            preactivations = match self.layers.get(index + 1) {
                Some(next) if index + 1 < count => affine(&next.linear, activations),
                _ => return activations,
            };
        }
        preactivations
    }

    /// What the normalisation of hidden layer `index` sees, those before it by their running
    /// statistics: z = W1 x + b1 [N, m1] -> [N, m_index].
    pub fn normalisation_inputs(&self, preactivations: Tensor<2>, index: usize) -> Tensor<2> {
        let layer = &self.layers[index];
        let preactivations = match index {
            0 => preactivations,
            _ => affine(&layer.linear, self.activations(preactivations, index, Pass::Running)),
        };
        layer.before_norm(preactivations)
    }

    /// W g + b of the last layer: [N, m] -> [N, K].
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        affine(&self.output, features)
    }

    /// The network of magnitudes: |W|, |b|, and |s| and |o| of each normalisation by its running
    /// statistics, x -> s x + o. Given |x|, its preactivations, features and logits are the sizes
    /// of all that is added up on the way to this network's, by which their rounding is to be
    /// measured.
    pub fn magnitudes(&self) -> Self {
        let absolute = |layer: &Linear| Linear {
            weight: Param::from_tensor(layer.weight.val().abs()),
            bias: Some(Param::from_tensor(bias(layer).abs())),
        };
        let layers = self.layers.iter().map(|layer| HiddenLayer {
            linear: absolute(&layer.linear),
            norm: layer.norm.as_ref().map(magnitudes_of),
            place: layer.place,
            running_variance: layer.running_variance,
        });
        Self { layers: layers.collect(), output: absolute(&self.output) }
    }

    /// The same parameters in double precision, on a device that has it: what the network is in
    /// exact arithmetic, but for the rounding of f64.
    pub fn in_double_precision(&self) -> Self {
        let double = |layer: &Linear| Linear {
            weight: Param::from_tensor(layer.weight.val().cast(DType::F64)),
            bias: Some(Param::from_tensor(bias(layer).cast(DType::F64))),
        };
        let layers = self.layers.iter().map(|layer| HiddenLayer {
            linear: double(&layer.linear),
            norm: layer.norm.as_ref().map(in_double_precision),
            place: layer.place,
            running_variance: layer.running_variance,
        });
        Self { layers: layers.collect(), output: double(&self.output) }
    }

    /// W [K, m] of the last layer, class by class, and its b \[K\].
    pub fn output_parameters(&self) -> (Tensor<2>, Tensor<1>) {
        (self.output.weight.val().transpose(), bias(&self.output))
    }

    /// The sum over all weight matrices of their squares, a tensor of one element: what an L2
    /// penalty weighs.
    pub fn squared_weights(&self) -> Tensor<1> {
        let hidden = self.layers.iter().map(|layer| squared_norm(layer.linear.weight.val()));
        let output = squared_norm(self.output.weight.val());
        match hidden.reduce(|sum, square| sum + square) {
            Some(hidden) => hidden + output,
            None => output,
        }
    }

    /// The network with the running statistics of hidden layer `index` replaced by `mean` \[m\]
    /// and `variance` \[m\]; a layer without any stays as it is.
    pub fn with_statistics(mut self, index: usize, mean: Tensor<1>, variance: Tensor<1>) -> Self {
        if let Some(norm) = self.layers.get_mut(index).and_then(|layer| layer.norm.as_mut()) {
            norm.running_mean = RunningState::new(mean);
            norm.running_var = RunningState::new(variance);
        }
        self
    }

    /// The network whose batch norm after or before the ReLU of hidden layer `index` adds `epsilon` to
    /// the variance; a layer without any stays as it is.
    pub fn with_epsilon(mut self, index: usize, epsilon: f64) -> Self {
        if let Some(norm) = self.layers.get_mut(index).and_then(|layer| layer.norm.as_mut()) {
            norm.epsilon = epsilon;
        }
        self
    }

    /// The network with running statistics of its own: those of a clone are one with the
    /// original's, and change with them.
    pub fn with_own_statistics(mut self) -> Self {
        for norm in self.layers.iter_mut().filter_map(|layer| layer.norm.as_mut()) {
            norm.running_mean = RunningState::new(norm.running_mean.value_sync());
            norm.running_var = RunningState::new(norm.running_var.value_sync());
        }
        self
    }

    /// The network whose running statistics take their part of a batch as `settings` say, by
    /// momentum and running variance; without batch norm it stays as it is.
    pub fn with_updates(mut self, settings: &Normalisation) -> Self {
        for layer in &mut self.layers {
            if let Some(norm) = &mut layer.norm {
                norm.momentum = settings.momentum;
                layer.running_variance = settings.running_variance;
            }
        }
        self
    }

    /// s \[m\] and o \[m\] of g = s a + o, the features as a map of the last hidden layer's
    /// activations a: batch norm by its running statistics. `None` where nothing stands
    /// between the ReLU and the output layer.
    pub fn feature_map(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        let last = self.layers.last().filter(|layer| layer.place == Place::After)?;
        last.norm.as_ref().map(affine_map)
    }

    /// The same function of the images without batch norm: normalising by statistics that
    /// do not depend on the batch is affine, x -> s x + o, and goes into a layer beside it,
    ///
    /// ```text
    /// after the ReLU, into the next layer:     W' = W diag(s),    b' = b + W o
    /// before it, into the layer itself:        W' = diag(s) W,    b' = s b + o .
    /// ```
    ///
    /// Without batch norm the network stays as it is.
    pub fn folded(&self) -> Self {
        let mut folded = self.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let Some((scale, offset)) = layer.norm.as_ref().map(affine_map) else { continue };
            folded.layers[index].norm = None;
            match layer.place {
                Place::Before => {
                    let linear = &mut folded.layers[index].linear;
                    // burn keeps W as [in, out].
                    *linear = Linear {
                        weight: Param::from_tensor(linear.weight.val() * scale.clone().unsqueeze_dim(0)),
                        bias: Some(Param::from_tensor(bias(linear) * scale + offset)),
                    };
                }
                Place::After => {
                    let next = match folded.layers.get_mut(index + 1) {
                        Some(next) => &mut next.linear,
                        None => &mut folded.output,
                    };
                    let weight = next.weight.val();
                    let shift = offset.unsqueeze_dim::<2>(0).matmul(weight.clone()).squeeze_dim::<1>(0);
                    *next = Linear {
                        bias: Some(Param::from_tensor(bias(next) + shift)),
                        weight: Param::from_tensor(weight * scale.unsqueeze_dim(1)),
                    };
                }
            }
        }
        folded
    }

    /// The network's shape.
    pub fn shape(&self) -> NetworkShape {
        let [features, classes] = self.output.weight.dims();
        let first = self.layers.first();
        let normalisation = first.and_then(|layer| Some((layer, layer.norm.as_ref()?)));
        NetworkShape {
            inputs: first.map_or(features, |layer| layer.linear.weight.dims()[0]),
            hidden: self.layers.iter().map(|layer| layer.linear.weight.dims()[1]).collect(),
            classes,
            normalisation: match normalisation {
                None => Normalisation::default(),
                Some((layer, norm)) => Normalisation {
                    kind: Kind::Batch,
                    place: layer.place,
                    epsilon: norm.epsilon,
                    momentum: norm.momentum,
                    running_variance: layer.running_variance,
                },
            },
        }
    }
}

/// W x + b: [n, d] -> [n, m].
pub(crate) fn affine(layer: &Linear, inputs: Tensor<2>) -> Tensor<2> {
    dense(inputs, layer.weight.val(), bias(layer))
}

/// b, zero where there is none.
pub(crate) fn bias(layer: &Linear) -> Tensor<1> {
    match &layer.bias {
        Some(bias) => bias.val(),
        None => {
            let weight = layer.weight.val();
            Tensor::zeros([weight.dims()[1]], (&weight.device(), weight.dtype()))
        }
    }
}

/// A layer of `weights` [in, out] and `biases` \[out\].
pub(crate) fn linear(weights: Vec<f32>, biases: Vec<f32>, shape: [usize; 2], device: &Device) -> Linear {
    let units = biases.len();
    Linear {
        weight: Param::from_tensor(Tensor::<2>::from_data(TensorData::new(weights, shape), device)),
        bias: Some(Param::from_tensor(Tensor::<1>::from_data(TensorData::new(biases, [units]), device))),
    }
}
