//! The network itself.

use burn::{
    module::{Module, Param, RunningState},
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};

use kappa_fused::{ByteScale, batch_norm, dense, dense_of_bytes, squared_norm};

use crate::initialisation::{Initialisation, Layer};

/// How wide the network's layers are, and whether it normalises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkShape {
    /// Inputs d: pixels per image.
    pub inputs: usize,
    /// Hidden units m: features of the last layer.
    pub hidden: usize,
    /// Classes K.
    pub classes: usize,
    /// Batch norm after the ReLU, if any.
    pub batch_norm: Option<BatchNormSettings>,
}

/// The two numbers of a batch norm layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormSettings {
    /// Added to the variance before its root is taken.
    pub epsilon: f64,
    /// The weight of the newest batch in the running statistics, in [0, 1].
    pub momentum: f64,
}

/// `logits = W2 norm(relu(W1 x + b1)) + b2`, with `norm` present or not.
///
/// The names of the fields are those of the checkpoint's tensors.
#[derive(Module, Debug)]
pub struct TwoLayerNet {
    /// W1, b1.
    hidden: Linear,
    /// Batch norm over the hidden units.
    norm: Option<BatchNorm>,
    /// W2, b2: the layer whose Hessian is taken.
    output: Linear,
}

impl TwoLayerNet {
    /// A network with weights drawn from `seed` and biases at zero, on `device`.
    ///
    /// The same seed gives the same weights whether there is batch norm or not.
    pub fn new(shape: &NetworkShape, initialisation: Initialisation, seed: u64, device: &Device) -> Self {
        let linear = |layer, fan_in: usize, fan_out: usize| {
            let drawn = initialisation.weights(layer, fan_in, fan_out, seed);
            // Drawn as [fan_out, fan_in], PyTorch's layout; burn keeps [fan_in, fan_out]. Transposed
            // here and not as a view, so that a network computes the same bits before it is saved
            // and after it is loaded.
            let weights =
                (0..fan_in).flat_map(|i| drawn.iter().skip(i).step_by(fan_in).copied()).collect::<Vec<f32>>();
            let weight = Tensor::<2>::from_data(TensorData::new(weights, [fan_in, fan_out]), device);
            Linear {
                weight: Param::from_tensor(weight),
                bias: Some(Param::from_tensor(Tensor::zeros([fan_out], device))),
            }
        };
        Self {
            hidden: linear(Layer::Hidden, shape.inputs, shape.hidden),
            norm: shape.batch_norm.map(|settings| norm(shape.hidden, settings, device)),
            output: linear(Layer::Output, shape.hidden, shape.classes),
        }
    }

    /// A network of this shape whose parameters are placeholders, to be replaced
    /// by those of a checkpoint.
    pub fn blank(shape: &NetworkShape, device: &Device) -> Self {
        Self {
            hidden: LinearConfig::new(shape.inputs, shape.hidden).init(device),
            norm: shape.batch_norm.map(|settings| norm(shape.hidden, settings, device)),
            output: LinearConfig::new(shape.hidden, shape.classes).init(device),
        }
    }

    /// z = W1 x + b1: [N, d] -> [N, m].
    pub fn preactivations(&self, inputs: Tensor<2>) -> Tensor<2> {
        affine(&self.hidden, inputs)
    }

    /// The same for images that are bytes, x = factor * byte + offset: [N, d] -> [N, m].
    pub fn preactivations_of_bytes(&self, bytes: Tensor<2, Int>, scale: ByteScale) -> Tensor<2> {
        let Linear { weight, bias } = &self.hidden;
        let bias = bias
            .as_ref()
            .map_or_else(|| Tensor::zeros([weight.dims()[1]], &weight.val().device()), |bias| bias.val());
        dense_of_bytes(bytes, scale, weight.val(), bias)
    }

    /// g = norm(relu(z)), or relu(z) without batch norm: [N, m] -> [N, m].
    ///
    /// With batch norm on a device that records gradients, the N rows are one
    /// batch, normalised by its own mean and (biased) variance.
    pub fn features_of(&self, preactivations: Tensor<2>) -> Tensor<2> {
        let activations = relu(preactivations);
        match &self.norm {
            Some(norm) if activations.device().is_autodiff() => normalised(norm, activations),
            Some(norm) => norm.forward(activations),
            None => activations,
        }
    }

    /// The last layer's input g for images x: [N, d] -> [N, m].
    pub fn features(&self, inputs: Tensor<2>) -> Tensor<2> {
        self.features_of(self.preactivations(inputs))
    }

    /// g as [`Self::features_of`] gives it when training, on any device: the N
    /// rows are one batch, normalised by its own mean and (biased) variance.
    pub fn features_of_batch(&self, preactivations: Tensor<2>) -> Tensor<2> {
        let activations = relu(preactivations.clone());
        let mean = activations.clone().mean_dim(0);
        let variance = (activations - mean.clone()).powi_scalar(2).mean_dim(0);
        self.clone().with_statistics(mean.squeeze_dim(0), variance.squeeze_dim(0)).features_of(preactivations)
    }

    /// The network with batch norm's running statistics replaced by `mean` [m] and
    /// `variance` [m]; without batch norm it stays as it is.
    pub fn with_statistics(mut self, mean: Tensor<1>, variance: Tensor<1>) -> Self {
        if let Some(norm) = &mut self.norm {
            norm.running_mean = RunningState::new(mean);
            norm.running_var = RunningState::new(variance);
        }
        self
    }

    /// The network with running statistics of its own: those of a clone are one with the
    /// original's, and change with them.
    pub fn with_own_statistics(self) -> Self {
        let statistics =
            self.norm.as_ref().map(|norm| (norm.running_mean.value_sync(), norm.running_var.value_sync()));
        match statistics {
            Some((mean, variance)) => self.with_statistics(mean, variance),
            None => self,
        }
    }

    /// The network with `momentum` as the weight of the newest batch in batch norm's running
    /// statistics; without batch norm it stays as it is.
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        if let Some(norm) = &mut self.norm {
            norm.momentum = momentum;
        }
        self
    }

    /// The same function of the images without batch norm: normalising by statistics that
    /// do not depend on the batch is affine, g = s a + o ([`Self::normalisation`]), and
    /// goes into the next layer,
    ///
    /// ```text
    /// W2' = W2 diag(s),    b2' = b2 + W2 o .
    /// ```
    ///
    /// Its features are the activations a = relu(W1 x + b1). Without batch norm the
    /// network stays as it is.
    pub fn folded(&self) -> Self {
        let Some((scale, offset)) = self.normalisation() else { return self.clone() };
        // burn keeps W2 as [m, K].
        let weight = self.output.weight.val();
        let shift = offset.unsqueeze_dim::<2>(0).matmul(weight.clone()).squeeze_dim::<1>(0);
        let bias = self.output.bias.as_ref().map_or_else(|| shift.clone(), |bias| bias.val() + shift.clone());
        let output = Linear {
            weight: Param::from_tensor(weight * scale.unsqueeze_dim(1)),
            bias: Some(Param::from_tensor(bias)),
        };
        Self { hidden: self.hidden.clone(), norm: None, output }
    }

    /// s [m] and o [m] of g = s a + o, batch norm by its running statistics:
    /// s = gamma / sqrt(sigma^2 + epsilon), o = beta - s mu. `None` without batch norm.
    pub fn normalisation(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        let norm = self.norm.as_ref()?;
        let deviation = norm.running_var.value_sync().add_scalar(norm.epsilon).sqrt();
        let scale = norm.gamma.val() / deviation;
        let offset = norm.beta.val() - scale.clone() * norm.running_mean.value_sync();
        Some((scale, offset))
    }

    /// sum_i |W2_ki g_i| + |b2_k|, the size of what is added up for each logit:
    /// [N, m] -> [N, K]. Rounding is to be measured by it.
    pub fn logit_magnitudes(&self, features: Tensor<2>) -> Tensor<2> {
        let mut magnitudes = features.abs().matmul(self.output.weight.val().abs());
        if let Some(bias) = &self.output.bias {
            magnitudes = magnitudes + bias.val().abs().unsqueeze_dim(0);
        }
        magnitudes
    }

    /// W2 [K, m], class by class, and b2 [K].
    pub fn output_parameters(&self) -> (Tensor<2>, Tensor<1>) {
        let [_, classes] = self.output.weight.dims();
        let bias = self.output.bias.as_ref().map(|bias| bias.val());
        let bias = bias.unwrap_or_else(|| Tensor::zeros([classes], &self.output.weight.val().device()));
        (self.output.weight.val().transpose(), bias)
    }

    /// W2 g + b2: [N, m] -> [N, K].
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        affine(&self.output, features)
    }

    /// sum W1^2 + sum W2^2, a tensor of one element: what an L2 penalty weighs.
    pub fn squared_weights(&self) -> Tensor<1> {
        squared_norm(self.hidden.weight.val()) + squared_norm(self.output.weight.val())
    }

    /// The network's shape.
    pub fn shape(&self) -> NetworkShape {
        let [inputs, hidden] = self.hidden.weight.dims();
        let [_, classes] = self.output.weight.dims();
        NetworkShape {
            inputs,
            hidden,
            classes,
            batch_norm: self
                .norm
                .as_ref()
                .map(|norm| BatchNormSettings { epsilon: norm.epsilon, momentum: norm.momentum }),
        }
    }
}

/// Batch norm in training, as burn's module does it: by the batch's statistics, of which
/// the running ones take their part.
fn normalised(norm: &BatchNorm, inputs: Tensor<2>) -> Tensor<2> {
    let (outputs, mean, variance) = batch_norm(inputs, norm.gamma.val(), norm.beta.val(), norm.epsilon);
    for (running, newest) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let kept = running.value_sync().to_device(&newest.device()).mul_scalar(1.0 - norm.momentum);
        running.update(kept.add(newest.detach().mul_scalar(norm.momentum)).detach());
    }
    outputs
}

/// W x + b: [n, d] -> [n, m].
fn affine(layer: &Linear, inputs: Tensor<2>) -> Tensor<2> {
    match &layer.bias {
        Some(bias) => dense(inputs, layer.weight.val(), bias.val()),
        None => layer.forward(inputs),
    }
}

fn norm(features: usize, settings: BatchNormSettings, device: &Device) -> BatchNorm {
    BatchNormConfig::new(features)
        .with_epsilon(settings.epsilon)
        .with_momentum(settings.momentum)
        .init(device)
}
