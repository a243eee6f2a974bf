//! A network at a point, and what the derivatives of any loss need of it there: forward over
//! reverse (Pearlmutter 1994, "Fast Exact Multiplication by the Hessian").
//!
//! While the parameters stand still, so do activations, masks and statistics: they are computed
//! once. With a dot for the derivative along a direction v of the parameters, and a bar for that
//! of the loss,
//!
//! ```text
//! forward    z = a W + b            z. = a. W + a W. + b.
//!            r = max(0, z)          r. = [z > 0] z.
//! reverse    a- = z- W^T            a-. = z-. W^T + z- W.^T
//!            W- = a^T z-            W-. = a.^T z- + a^T z-.          b-. = sum_n z-.
//! ```
//!
//! and the loss is known to whoever asks, by dL/dlogits and by what becomes of it along v. W-. and
//! the like are H v. The inputs have no tangent: of the first layer, where nearly all the work is,
//! there are two products, x W. and x^T z-. .
//!
//! A normalisation's part is in `norm`, what a direction is in `direction`.

mod direction;
mod norm;

use burn::tensor::{Int, Tensor, activation::relu};
use kappa_fused::{ByteScale, DeviceError, dense, dense_gradients, dense_of_bytes, dense_of_bytes_gradients};

pub use direction::{Direction, LayerDirection};
use norm::{NormPoint, NormTangent};

use crate::{
    Network, Pass, Place,
    network::{HiddenLayer, affine, bias},
};

/// What goes into the first layer, [n, d].
#[derive(Debug, Clone)]
pub enum Inputs {
    /// As numbers.
    Numbers(Tensor<2>),
    /// As bytes, x = factor * byte + offset.
    Bytes(Tensor<2, Int>, ByteScale),
}

/// What a network's layers hand on for some inputs.
#[derive(Debug, Clone)]
pub struct Linearised {
    network: Network,
    layers: Vec<LayerPoint>,
    logits: Tensor<2>,
}

/// A hidden layer at a point.
#[derive(Debug, Clone)]
struct LayerPoint {
    /// a, what it is given.
    inputs: Inputs,
    /// [r > 0] of its ReLU: [n, m].
    mask: Tensor<2>,
    norm: Option<NormPoint>,
    /// What it hands on: [n, m].
    outputs: Tensor<2>,
}

/// What becomes of the layers along a direction.
#[derive(Debug, Clone)]
pub struct Tangents {
    layers: Vec<LayerTangent>,
    /// The last layer's input: [n, m].
    features: Option<Tensor<2>>,
    logits: Tensor<2>,
}

#[derive(Debug, Clone, Default)]
struct LayerTangent {
    /// a. , absent where it is zero.
    inputs: Option<Tensor<2>>,
    norm: Option<NormTangent>,
}

/// What comes from above to the layers, from dL/dlogits down to the lowest that is asked for.
#[derive(Debug, Clone)]
pub struct Upstreams {
    /// Of the logits: [n, K].
    logits: Tensor<2>,
    /// Of hidden layers, those that were not come to being absent.
    layers: Vec<Option<LayerUpstream>>,
}

#[derive(Debug, Clone)]
struct LayerUpstream {
    /// Of what the normalisation hands on, or of the layer's outputs where there is none.
    norm: Tensor<2>,
    /// Of z.
    preactivations: Tensor<2>,
}

impl Tangents {
    /// Of the logits: J v, [n, K].
    pub fn logits(&self) -> Tensor<2> {
        self.logits.clone()
    }
}

impl Inputs {
    /// x W + b: W [d, m], b \[m\] -> [n, m].
    fn dense(&self, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
        match self {
            Self::Numbers(numbers) => dense(numbers.clone(), weight, bias),
            Self::Bytes(bytes, scale) => dense_of_bytes(bytes.clone(), *scale, weight, bias),
        }
    }

    /// x^T u and sum_n u_n: u [n, m] -> [d, m], \[m\].
    fn gradients(&self, upstream: Tensor<2>) -> (Tensor<2>, Tensor<1>) {
        match self {
            Self::Numbers(numbers) => dense_gradients(numbers.clone(), upstream),
            Self::Bytes(bytes, scale) => dense_of_bytes_gradients(bytes.clone(), *scale, upstream),
        }
    }
}

impl Linearised {
    /// `network`, which must not record gradients, with these inputs [n, d]. By [`Pass::Batch`] its
    /// statistics are those of the inputs, and functions of its parameters.
    pub fn new(network: &Network, inputs: Inputs, pass: Pass) -> Self {
        let mut layers: Vec<LayerPoint> = Vec::new();
        let mut inputs = inputs;
        for layer in &network.layers {
            let point = LayerPoint::new(layer, inputs, pass);
            inputs = Inputs::Numbers(point.outputs.clone());
            layers.push(point);
        }
        let logits = inputs.dense(network.output.weight.val(), bias(&network.output));
        Self { network: network.clone(), layers, logits }
    }

    /// [n, K]
    pub fn logits(&self) -> Tensor<2> {
        self.logits.clone()
    }

    /// The last layer's input: [n, m].
    pub fn features(&self) -> Option<Tensor<2>> {
        self.layers.last().map(|layer| layer.outputs.clone())
    }

    /// Of how many units and samples the ReLU's argument is positive here and not there, or the other way.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if that cannot be read.
    pub fn kinks_between(&self, other: &Self) -> Result<usize, DeviceError> {
        let mut kinks = 0.0;
        for (here, there) in self.layers.iter().zip(&other.layers) {
            let differ = (here.mask.clone() - there.mask.clone()).abs().sum();
            kinks += differ.try_into_data().map_err(DeviceError::new)?.iter::<f64>().sum::<f64>();
        }
        Ok(kinks as usize)
    }

    /// What becomes of the layers along `direction`.
    pub fn push_forward(&self, direction: &Direction) -> Tangents {
        let mut below = None;
        let mut layers = Vec::with_capacity(self.layers.len());
        for ((point, layer), along) in self.layers.iter().zip(&self.network.layers).zip(&direction.hidden) {
            let (tangent, above) = point.push_forward(layer, along, below);
            layers.push(tangent);
            below = above;
        }
        let outputs = &self.network.output;
        let features = self.layers.last().map(|layer| Inputs::Numbers(layer.outputs.clone()));
        let through = below.clone().map(|below| below.matmul(outputs.weight.val()));
        let own = features.and_then(|features| along_layer(&features, &direction.output, self.logits.dims()));
        let logits = sum(through, own).unwrap_or_else(|| self.logits.zeros_like());
        Tangents { layers, features: below, logits }
    }

    /// What comes to the layers from dL/dlogits [n, K], down to the lowest that `wanted` names.
    pub fn pull_back(&self, upstream: Tensor<2>, wanted: &Direction) -> Upstreams {
        let lowest = wanted.lowest();
        let mut layers = vec![None; self.layers.len()];
        let mut above = upstream.clone();
        let mut weight = self.network.output.weight.val();
        for (index, point) in self.layers.iter().enumerate().rev().take_while(|(index, _)| *index >= lowest) {
            let outputs = above.matmul(weight.transpose());
            let found = point.pull_back(&self.network.layers[index], outputs);
            above = found.preactivations.clone();
            weight = self.network.layers[index].linear.weight.val();
            layers[index] = Some(found);
        }
        Upstreams { logits: upstream, layers }
    }

    /// The gradient with respect to what `wanted` names, from what came to the layers.
    pub fn gradient(&self, upstreams: &Upstreams, wanted: &Direction) -> Direction {
        let mut hidden = vec![LayerDirection::default(); self.layers.len()];
        for (index, point) in self.layers.iter().enumerate() {
            if let (Some(upstream), Some(wanted)) = (&upstreams.layers[index], wanted.hidden.get(index)) {
                hidden[index] = point.gradient(upstream, wanted);
            }
        }
        let output = match self.layers.last() {
            Some(last) => {
                let features = Inputs::Numbers(last.outputs.clone());
                gradient_of_layer(&features, upstreams.logits.clone(), &wanted.output)
            }
            None => LayerDirection::default(),
        };
        Direction { hidden, output }
    }

    /// What becomes of the gradient with respect to what `direction` names along it: H v, from what
    /// comes to the layers (`upstreams`), what becomes of the layers (`tangents`), and what becomes of
    /// dL/dlogits [n, K].
    pub fn gradient_along(
        &self,
        direction: &Direction,
        upstreams: &Upstreams,
        tangents: &Tangents,
        upstream_along: Tensor<2>,
    ) -> Direction {
        let lowest = direction.lowest();
        let mut hidden = vec![LayerDirection::default(); self.layers.len()];
        let outputs = &self.network.output;
        let mut output = LayerDirection::default();
        if let Some(last) = self.layers.last() {
            let features = Inputs::Numbers(last.outputs.clone());
            let through = through_inputs(&tangents.features, &upstreams.logits);
            output = gradient_of_layer(&features, upstream_along.clone(), &direction.output);
            output.weight = output.weight.map(|weight| add(weight, through));
        }
        let mut above = upstreams.logits.clone();
        let mut above_along = upstream_along;
        let (mut weight, mut weight_along) = (outputs.weight.val(), direction.output.weight.clone());
        for (index, point) in self.layers.iter().enumerate().rev().take_while(|(index, _)| *index >= lowest) {
            let Some(upstream) = &upstreams.layers[index] else { break };
            // a-. = z-. W^T + z- W.^T
            let of_outputs = above_along.matmul(weight.transpose());
            let outputs_along =
                add(of_outputs, weight_along.map(|along| above.clone().matmul(along.transpose())));
            let (layer, along) = (&self.network.layers[index], &direction.hidden[index]);
            let tangent = &tangents.layers[index];
            let (found, preactivations) =
                point.gradient_along(layer, along, upstream, tangent, outputs_along);
            hidden[index] = found;
            above = upstream.preactivations.clone();
            above_along = preactivations;
            (weight, weight_along) = (layer.linear.weight.val(), along.weight.clone());
        }
        Direction { hidden, output }
    }
}

impl LayerPoint {
    fn new(layer: &HiddenLayer, inputs: Inputs, pass: Pass) -> Self {
        let preactivations = match &inputs {
            Inputs::Numbers(numbers) => affine(&layer.linear, numbers.clone()),
            bytes => bytes.dense(layer.linear.weight.val(), bias(&layer.linear)),
        };
        let of_relu = |z: &Tensor<2>| z.clone().greater_elem(0.0).float().cast(z.dtype());
        let point = |seen: Tensor<2>| layer.norm.as_ref().map(|norm| NormPoint::new(norm, seen, pass));
        match layer.place {
            Place::After => {
                let mask = of_relu(&preactivations);
                let rectified = relu(preactivations);
                let norm = point(rectified.clone());
                let outputs = norm.as_ref().map_or(rectified, NormPoint::outputs);
                Self { inputs, mask, norm, outputs }
            }
            Place::Before => {
                let norm = point(preactivations.clone());
                let normalised = norm.as_ref().map_or(preactivations, NormPoint::outputs);
                Self { inputs, mask: of_relu(&normalised), norm, outputs: relu(normalised) }
            }
        }
    }

    /// Its own tangents, and that of what it hands on, from that of what it is given.
    fn push_forward(
        &self,
        layer: &HiddenLayer,
        along: &LayerDirection,
        below: Option<Tensor<2>>,
    ) -> (LayerTangent, Option<Tensor<2>>) {
        let through = below.clone().map(|below| below.matmul(layer.linear.weight.val()));
        let preactivations = sum(through, along_layer(&self.inputs, along, self.outputs.dims()));
        let masked = |tangent: Option<Tensor<2>>| tangent.map(|tangent| tangent * self.mask.clone());
        let seen = match layer.place {
            Place::After => masked(preactivations),
            Place::Before => preactivations,
        };
        let (norm, handed) = match &self.norm {
            None => (None, seen),
            Some(point) => {
                let (tangent, outputs) = point.push_forward(along, seen);
                (Some(tangent), outputs)
            }
        };
        let outputs = match layer.place {
            Place::After => handed,
            Place::Before => masked(handed),
        };
        (LayerTangent { inputs: below, norm }, outputs)
    }

    fn pull_back(&self, layer: &HiddenLayer, outputs: Tensor<2>) -> LayerUpstream {
        let masked = |upstream: Tensor<2>| upstream * self.mask.clone();
        let through = |upstream: &Tensor<2>| match &self.norm {
            None => upstream.clone(),
            Some(point) => point.pull_back(upstream.clone()),
        };
        match layer.place {
            Place::After => {
                let preactivations = masked(through(&outputs));
                LayerUpstream { norm: outputs, preactivations }
            }
            Place::Before => {
                let norm = masked(outputs);
                LayerUpstream { preactivations: through(&norm), norm }
            }
        }
    }

    fn gradient(&self, upstream: &LayerUpstream, wanted: &LayerDirection) -> LayerDirection {
        let linear = gradient_of_layer(&self.inputs, upstream.preactivations.clone(), wanted);
        match &self.norm {
            None => linear,
            Some(point) => point.gradient(upstream.norm.clone(), wanted, linear),
        }
    }

    /// What becomes of its parameters' gradient, and of what comes to z.
    fn gradient_along(
        &self,
        layer: &HiddenLayer,
        along: &LayerDirection,
        upstream: &LayerUpstream,
        tangent: &LayerTangent,
        outputs_along: Tensor<2>,
    ) -> (LayerDirection, Tensor<2>) {
        let masked = |upstream: Tensor<2>| upstream * self.mask.clone();
        let handed = match layer.place {
            Place::After => outputs_along,
            Place::Before => masked(outputs_along),
        };
        let (of_norm, seen) = match (&self.norm, &tangent.norm) {
            (Some(point), Some(tangent)) => {
                let (found, seen) = point.gradient_along(along, upstream.norm.clone(), tangent, handed);
                (found, seen)
            }
            _ => (LayerDirection::default(), handed),
        };
        let preactivations = match layer.place {
            Place::After => masked(seen),
            Place::Before => seen,
        };
        let mut found = gradient_of_layer(&self.inputs, preactivations.clone(), along);
        let through = through_inputs(&tangent.inputs, &upstream.preactivations);
        found.weight = found.weight.map(|weight| add(weight, through));
        (LayerDirection { gain: of_norm.gain, shift: of_norm.shift, ..found }, preactivations)
    }
}

/// a W. + b. : [n, m], or nothing where neither is named.
fn along_layer(inputs: &Inputs, along: &LayerDirection, [rows, units]: [usize; 2]) -> Option<Tensor<2>> {
    match (&along.weight, &along.bias) {
        (None, None) => None,
        (None, Some(bias)) => Some(bias.clone().unsqueeze_dim::<2>(0).expand([rows, units])),
        (Some(weight), bias) => {
            let none = || Tensor::zeros([units], (&weight.device(), weight.dtype()));
            Some(inputs.dense(weight.clone(), bias.clone().unwrap_or_else(none)))
        }
    }
}

/// The gradient of a dense layer's parameters from what comes to its outputs.
fn gradient_of_layer(inputs: &Inputs, upstream: Tensor<2>, wanted: &LayerDirection) -> LayerDirection {
    match (&wanted.weight, &wanted.bias) {
        (None, None) => LayerDirection::default(),
        (None, Some(_)) => LayerDirection { bias: Some(norm::sum_of_rows(upstream)), ..Default::default() },
        (Some(_), bias) => {
            let (weight, found) = inputs.gradients(upstream);
            let bias = bias.as_ref().map(|_| found);
            LayerDirection { weight: Some(weight), bias, ..Default::default() }
        }
    }
}

/// a.^T z- : what becomes of a weight's gradient through what its layer is given.
fn through_inputs(inputs: &Option<Tensor<2>>, upstream: &Tensor<2>) -> Option<Tensor<2>> {
    inputs.clone().map(|inputs| dense_gradients(inputs, upstream.clone()).0)
}

fn sum(a: Option<Tensor<2>>, b: Option<Tensor<2>>) -> Option<Tensor<2>> {
    match (a, b) {
        (Some(a), b) => Some(add(a, b)),
        (None, b) => b,
    }
}

fn add(a: Tensor<2>, b: Option<Tensor<2>>) -> Tensor<2> {
    match b {
        Some(b) => a + b,
        None => a,
    }
}
