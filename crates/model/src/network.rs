//! The network itself.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, activation::relu},
};
use kappa_fused::{ByteScale, dense_of_bytes, squared_norm};

use crate::{
    Initialisation, Kind, Layer, NetworkShape, Normalisation, Pass, Place, Role, dense::Dense, norm::Norm,
    shape::transposed,
};

/// `logits = W norm(relu(.. W1 x + b1 ..)) + b`, with any number of hidden layers, and `norm`
/// present or not, after the ReLU or before it; or with weight matrices that are normalised.
#[derive(Module, Debug)]
pub struct Network {
    /// The hidden layers, the first one first.
    pub(crate) layers: Vec<HiddenLayer>,
    /// The layer whose Hessian is taken.
    pub(crate) output: Dense,
}

/// A dense layer with its ReLU and its normalisation.
#[derive(Module, Debug)]
pub(crate) struct HiddenLayer {
    pub(crate) linear: Dense,
    pub(crate) norm: Option<Norm>,
    #[module(skip)]
    pub(crate) normalisation: Normalisation,
}

impl HiddenLayer {
    pub(crate) fn place(&self) -> Place {
        self.normalisation.place
    }

    /// What its normalisation sees of z = W x + b, [n, m] -> [n, m].
    fn before_norm(&self, preactivations: Tensor<2>) -> Tensor<2> {
        match self.place() {
            Place::After => relu(preactivations),
            Place::Before => preactivations,
        }
    }

    /// norm(relu(z)), or relu(norm(z)), of z = W x + b: [n, m] -> [n, m].
    fn activations(&self, preactivations: Tensor<2>, pass: Pass) -> Tensor<2> {
        let inputs = self.before_norm(preactivations);
        let outputs = match &self.norm {
            Some(norm) => norm.forward(inputs, pass),
            None => inputs,
        };
        match self.place() {
            Place::After => outputs,
            Place::Before => relu(outputs),
        }
    }

    /// The same layer, its parts changed.
    fn changed(&self, linear: impl Fn(&Dense) -> Dense, norm: impl Fn(&Norm) -> Norm) -> Self {
        Self {
            linear: linear(&self.linear),
            norm: self.norm.as_ref().map(norm),
            normalisation: self.normalisation,
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
            let (biases, size) = (vec![0.0; fan_out], [fan_in, fan_out]);
            match shape.normalisation.kind {
                Kind::Weight => Dense::normalised(weights, biases, size, device),
                _ => Dense::new(weights, biases, size, device),
            }
        };
        let layers = shape.hidden.iter().enumerate().map(|(index, &width)| HiddenLayer {
            linear: drawn(Layer::Hidden(index), shape.fan_in(index), width),
            norm: Norm::begin(&shape.normalisation, width, device),
            normalisation: shape.normalisation,
        });
        Self { layers: layers.collect(), output: drawn(Layer::Output, shape.features(), shape.classes) }
    }

    /// z = W1 x + b1: [N, d] -> [N, m1].
    pub fn preactivations(&self, inputs: Tensor<2>) -> Tensor<2> {
        match self.layers.first() {
            Some(first) => first.linear.forward(inputs),
            None => inputs,
        }
    }

    /// The same for images that are bytes, x = factor * byte + offset: [N, d] -> [N, m1].
    pub fn preactivations_of_bytes(&self, bytes: Tensor<2, Int>, scale: ByteScale) -> Tensor<2> {
        let first = self.layers.first().map_or(&self.output, |layer| &layer.linear);
        dense_of_bytes(bytes, scale, first.weight(), first.bias())
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
                Some(next) if index + 1 < count => next.linear.forward(activations),
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
            _ => layer.linear.forward(self.activations(preactivations, index, Pass::Running)),
        };
        layer.before_norm(preactivations)
    }

    /// W g + b of the last layer: [N, m] -> [N, K].
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.output.forward(features)
    }

    /// The network of magnitudes: |W|, |b|, and |s| and |o| of each normalisation by its running
    /// statistics, x -> s x + o. Given |x|, its preactivations, features and logits are the sizes
    /// of all that is added up on the way to this network's, by which their rounding is to be
    /// measured.
    pub fn magnitudes(&self) -> Self {
        self.changed(|dense| dense.effective().changed(Tensor::abs, Tensor::abs), Norm::magnitudes)
    }

    /// The same parameters in double precision, on a device that has it: what the network is in
    /// exact arithmetic, but for the rounding of f64.
    pub fn in_double_precision(&self) -> Self {
        self.changed(Dense::in_double_precision, Norm::in_double_precision)
    }

    /// The same function with weight matrices that are not normalised; others stay as they are.
    pub(crate) fn with_effective_weights(&self) -> Self {
        self.changed(Dense::effective, Norm::clone)
    }

    fn changed(&self, linear: impl Fn(&Dense) -> Dense, norm: impl Fn(&Norm) -> Norm) -> Self {
        let layers = self.layers.iter().map(|layer| layer.changed(&linear, &norm));
        Self { layers: layers.collect(), output: linear(&self.output) }
    }

    /// W [K, m] of the last layer, class by class, and its b \[K\].
    pub fn output_parameters(&self) -> (Tensor<2>, Tensor<1>) {
        (self.output.weight().transpose(), self.output.bias())
    }

    /// The sum over all weight matrices of their squares, a tensor of one element: what an L2
    /// penalty weighs.
    pub fn squared_weights(&self) -> Tensor<1> {
        let hidden = self.layers.iter().map(|layer| squared_norm(layer.linear.weight()));
        let output = squared_norm(self.output.weight());
        match hidden.reduce(|sum, square| sum + square) {
            Some(hidden) => hidden + output,
            None => output,
        }
    }

    /// The network with the running statistics of hidden layer `index` replaced by `mean` \[m\]
    /// and `variance` \[m\]; a layer without any stays as it is.
    pub fn with_statistics(self, index: usize, mean: Tensor<1>, variance: Tensor<1>) -> Self {
        self.with_norms(|layer, norm| {
            if layer != index {
                return norm;
            }
            norm.changed(|role, tensor| match role {
                Role::RunningMean => mean.clone(),
                Role::RunningVariance => variance.clone(),
                _ => tensor,
            })
        })
    }

    /// The network whose normalisation after or before the ReLU of hidden layer `index` adds `epsilon`
    /// to the variance; a layer without any stays as it is.
    pub fn with_epsilon(mut self, index: usize, epsilon: f64) -> Self {
        if let Some(layer) = self.layers.get_mut(index) {
            layer.normalisation.epsilon = epsilon;
        }
        self.with_norms(|layer, norm| {
            if layer == index { norm.with_settings(|settings| settings.epsilon = epsilon) } else { norm }
        })
    }

    /// The network with running statistics of its own: those of a clone are one with the
    /// original's, and change with them.
    pub fn with_own_statistics(self) -> Self {
        self.with_norms(|_, norm| norm.with_own_statistics())
    }

    /// The network whose running statistics take their part of a batch as `settings` say, by
    /// momentum and running variance; without batch norm it stays as it is.
    pub fn with_updates(mut self, settings: &Normalisation) -> Self {
        let change = |own: &mut Normalisation| {
            own.momentum = settings.momentum;
            own.running_variance = settings.running_variance;
        };
        self.layers
            .iter_mut()
            .filter(|layer| layer.norm.is_some())
            .for_each(|layer| change(&mut layer.normalisation));
        self.with_norms(|_, norm| norm.with_settings(change))
    }

    fn with_norms(mut self, change: impl Fn(usize, Norm) -> Norm) -> Self {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.norm = layer.norm.take().map(|norm| change(index, norm));
        }
        self
    }

    /// s \[m\] and o \[m\] of g = s a + o, the features as a map of the last hidden layer's
    /// activations a: a normalisation by its running statistics. `None` where nothing of the
    /// kind stands between the ReLU and the output layer.
    pub fn feature_map(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        let last = self.layers.last().filter(|layer| layer.place() == Place::After)?;
        last.norm.as_ref().and_then(Norm::affine_map)
    }

    /// The same function of the images without normalisation: one by statistics that
    /// do not depend on the batch is affine, x -> s x + o, and goes into a layer beside it,
    ///
    /// ```text
    /// after the ReLU, into the next layer:     W' = W diag(s),    b' = b + W o
    /// before it, into the layer itself:        W' = diag(s) W,    b' = s b + o ,
    /// ```
    ///
    /// and weights that are normalised are written out. Layer norm is no such map: a network with it
    /// stays as it is, as does one without any.
    pub fn folded(&self) -> Self {
        let mut folded = self.with_effective_weights();
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.normalisation.kind != Kind::Layer {
                folded.layers[index].normalisation.kind = Kind::None;
            }
            let Some((scale, offset)) = layer.norm.as_ref().and_then(Norm::affine_map) else { continue };
            folded.layers[index].norm = None;
            let place = layer.place();
            let beside = match place {
                Place::Before => &mut folded.layers[index].linear,
                Place::After if index + 1 < self.layers.len() => &mut folded.layers[index + 1].linear,
                Place::After => &mut folded.output,
            };
            let (weight, bias) = (beside.weight(), beside.bias());
            // W is [in, out].
            *beside = match place {
                Place::Before => Dense::of(weight * scale.clone().unsqueeze_dim(0), bias * scale + offset),
                Place::After => {
                    let shift = offset.unsqueeze_dim::<2>(0).matmul(weight.clone()).squeeze_dim::<1>(0);
                    Dense::of(weight * scale.unsqueeze_dim(1), bias + shift)
                }
            };
        }
        folded
    }

    /// The same function where a normalisation stands behind a ReLU and all of its s are above zero: of
    /// s relu(z) + o = relu(s z) + o the scale goes into the layer itself, and the offset into the next one,
    ///
    /// ```text
    /// W1' = diag(s) W1,   b1' = s b1,   b' = b + W o .
    /// ```
    ///
    /// What cannot be folded so stays as it is.
    pub fn folded_into_own_layers(&self) -> Self {
        let mut folded = self.with_effective_weights();
        for (index, layer) in self.layers.iter().enumerate() {
            let map =
                layer.norm.as_ref().filter(|_| layer.place() == Place::After).and_then(Norm::affine_map);
            let Some((scale, offset)) = map else { continue };
            folded.layers[index].norm = None;
            folded.layers[index].normalisation.kind = Kind::None;
            let own = &mut folded.layers[index].linear;
            *own = Dense::of(own.weight() * scale.clone().unsqueeze_dim(0), own.bias() * scale);
            let next = match index + 1 < self.layers.len() {
                true => &mut folded.layers[index + 1].linear,
                false => &mut folded.output,
            };
            let shift = offset.unsqueeze_dim::<2>(0).matmul(next.weight()).squeeze_dim::<1>(0);
            *next = Dense::of(next.weight(), next.bias() + shift);
        }
        folded
    }

    /// The network's shape.
    pub fn shape(&self) -> NetworkShape {
        let [features, classes] = self.output.dims();
        let first = self.layers.first();
        let normalisation = first.map(|layer| layer.normalisation);
        NetworkShape {
            inputs: first.map_or(features, |layer| layer.linear.dims()[0]),
            hidden: self.layers.iter().map(|layer| layer.linear.dims()[1]).collect(),
            classes,
            // Without one there is nothing to be set.
            normalisation: normalisation.filter(|settings| settings.kind != Kind::None).unwrap_or_default(),
        }
    }
}
