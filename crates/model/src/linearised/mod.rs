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
//! The samples come in pieces of rows, each small enough for a core's cache or a device's binding.
//! Without a batch's statistics a piece goes all the way up and down alone. With them it goes from one
//! normalisation to the next, where it waits for what all pieces have together: two sums over the rows.
//!
//! The way up at the point itself is in `forward`, a normalisation's part in `norm`, a product's way over the
//! pieces in `sweep`, squares of single samples' gradients in `squares`, what a direction is in `direction`.

mod direction;
mod forward;
mod norm;
mod squares;
mod sweep;
mod together;
mod weight;

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};
use kappa_fused::{ByteScale, DeviceError, piece};
use kappa_world::World;

pub use direction::{Direction, LayerDirection};
use norm::{NormPoint, Normalised};
use sweep::Sweep;
pub use together::together;
use weight::WeightPoint;

use crate::{Network, Place};

/// What goes into the first layer, [n, d].
#[derive(Debug, Clone)]
pub enum Inputs {
    /// As numbers.
    Numbers(Tensor<2>),
    /// As bytes, x = factor * byte + offset.
    Bytes(Tensor<2, Int>, ByteScale),
}

/// What a network's layers hand on for some samples, whose statistics are one.
#[derive(Debug, Clone)]
pub struct Linearised {
    /// Its weight matrices written out, where it has weight norm.
    network: Network,
    norms: Vec<Option<NormPoint>>,
    /// Of weight norm, the last layer's at the end.
    weights: Vec<Option<WeightPoint>>,
    pieces: Vec<PiecePoint>,
    /// The processes that have pieces of the same statistics.
    world: Arc<dyn World>,
}

/// Some of the rows.
#[derive(Debug, Clone)]
struct PiecePoint {
    inputs: Inputs,
    layers: Vec<LayerPoint>,
    logits: Tensor<2>,
}

/// A hidden layer at a point, of a piece.
#[derive(Debug, Clone)]
struct LayerPoint {
    /// [r > 0] of its ReLU: [n, m].
    mask: Tensor<2>,
    /// h of its normalisation: [n, m].
    normalised: Option<Normalised>,
    /// What it hands on: [n, m].
    outputs: Tensor<2>,
}

/// What comes from above to the layers, from dL/dlogits down to the lowest that is asked for.
#[derive(Debug, Clone)]
pub struct Upstreams {
    pieces: Vec<PieceUpstreams>,
    /// E[y-] and E[y- h] of each normalisation by a batch's statistics: [2, m].
    means: Vec<Option<Tensor<2>>>,
    /// W- of each layer, the last one's at the end, where weight norm needs it.
    weights: Vec<Option<Tensor<2>>>,
}

#[derive(Debug, Clone)]
struct PieceUpstreams {
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

impl Inputs {
    fn numbers(&self, dtype: DType) -> Tensor<2> {
        match self {
            Self::Numbers(numbers) => numbers.clone(),
            Self::Bytes(bytes, scale) => piece::numbers(bytes.clone(), *scale, dtype),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.dims()[0],
            Self::Bytes(bytes, _) => bytes.dims()[0],
        }
    }
}

impl Linearised {
    /// Of each piece, [n, K].
    pub fn logits(&self) -> Vec<Tensor<2>> {
        self.pieces.iter().map(|piece| piece.logits.clone()).collect()
    }

    /// What comes to the layers from dL/dlogits of each piece [n, K], down to the lowest that `wanted`
    /// names.
    pub fn pull_back(&self, upstreams: Vec<Tensor<2>>, wanted: &Direction) -> Upstreams {
        let (device, _) = place(&self.network);
        let layers = self.network.layers.len();
        let start = |logits| PieceUpstreams { logits, layers: vec![None; layers] };
        let mut pieces: Vec<PieceUpstreams> = upstreams.into_iter().map(start).collect();
        let mut means = vec![None; layers];
        for index in (wanted.lowest()..layers).rev() {
            let (norm, place) = (self.norms[index].as_ref(), self.network.layers[index].place());
            let weight = self.weight_above(index);
            let sums = piece::map(&device, &mut pieces, |number, upstreams| {
                let layer = &self.pieces[number].layers[index];
                let above = match upstreams.layers.get(index + 1) {
                    Some(above) => above.as_ref()?.preactivations.clone(),
                    None => upstreams.logits.clone(),
                };
                let outputs = above.matmul(weight.clone().transpose());
                let handed = match place {
                    Place::After => outputs,
                    Place::Before => outputs * layer.mask.clone(),
                };
                let sums = match (norm, &layer.normalised) {
                    (Some(norm), Some(normalised)) if norm.by_batch() => {
                        Some(norm::sums(handed.clone(), normalised.h.clone()))
                    }
                    _ => None,
                };
                let found = LayerUpstream { preactivations: handed.clone(), norm: handed };
                upstreams.layers[index] = Some(found);
                sums
            });
            let sum = sums.into_iter().flatten().reduce(|sum, part| sum + part);
            let sum = sum.map(|own| together(&*self.world, own));
            means[index] = norm.zip(sum).map(|(norm, sum)| norm.mean(sum));
            piece::map(&device, &mut pieces, |number, upstreams| {
                let layer = &self.pieces[number].layers[index];
                let Some(found) = &mut upstreams.layers[index] else { return };
                let mut seen = found.norm.clone();
                if let (Some(norm), Some(normalised)) = (norm, &layer.normalised) {
                    seen = norm.pull_back(seen, normalised, means[index].as_ref());
                }
                if place == Place::After {
                    seen = seen * layer.mask.clone();
                }
                found.preactivations = seen;
            });
        }
        let mut upstreams = Upstreams { pieces, means, weights: vec![None; layers + 1] };
        if self.weights.iter().any(Option::is_some) {
            let found = self.gradient_of_weights(&upstreams, wanted);
            let hidden = found.hidden.into_iter().map(|layer| layer.weight);
            upstreams.weights = hidden.chain([found.output.weight]).collect();
        }
        upstreams
    }

    /// The gradient with respect to what `wanted` names, from what came to the layers.
    pub fn gradient(&self, upstreams: &Upstreams, wanted: &Direction) -> Direction {
        let found = self.gradient_of_weights(upstreams, wanted);
        self.each_layer(found, wanted, |point, found, wanted, _| point.pull_back(found, wanted))
    }

    /// What `change` makes of each layer of `found` that has weight norm, from what is wanted of it.
    fn each_layer(
        &self,
        found: Direction,
        wanted: &Direction,
        change: impl Fn(&WeightPoint, LayerDirection, &LayerDirection, usize) -> LayerDirection,
    ) -> Direction {
        let change = |index: usize, found, wanted: &LayerDirection| match &self.weights[index] {
            Some(point) => change(point, found, wanted, index),
            None => found,
        };
        let last = self.weights.len() - 1;
        let hidden = found.hidden.into_iter().zip(&wanted.hidden).enumerate();
        Direction {
            hidden: hidden.map(|(index, (found, wanted))| change(index, found, wanted)).collect(),
            output: change(last, found.output, &wanted.output),
        }
    }

    /// The same with respect to W itself, wherever weight norm's v or g is wanted.
    fn gradient_of_weights(&self, upstreams: &Upstreams, wanted: &Direction) -> Direction {
        let (device, dtype) = place(&self.network);
        let pieces = self.pieces.iter().zip(&upstreams.pieces);
        Direction::sum_in_parts(&device, &mut pieces.collect::<Vec<_>>(), |_, (piece, upstreams)| {
            let mut found = Direction::of_nothing(self.network.layers.len());
            for (index, upstream) in upstreams.layers.iter().enumerate() {
                let (Some(upstream), Some(wanted)) = (upstream, wanted.hidden.get(index)) else { continue };
                let inputs = piece.inputs_of(index, dtype);
                let mut layer = gradient_of_layer(&inputs, upstream.preactivations.clone(), wanted);
                if let Some(normalised) = &piece.layers[index].normalised {
                    let sums = norm::sums(upstream.norm.clone(), normalised.h.clone());
                    norm::add_gradients(&mut layer, wanted, sums);
                }
                found.hidden[index] = layer;
            }
            let features = piece.inputs_of(piece.layers.len(), dtype);
            found.output = gradient_of_layer(&features, upstreams.logits.clone(), &wanted.output);
            vec![found]
        })
        .pop()
        .unwrap_or_else(|| Direction::of_nothing(self.network.layers.len()))
    }

    /// What becomes along each of `directions`, which name the same parameters, of the gradient with
    /// respect to what they name: H v.
    ///
    /// `upstreams` is what came to the layers at the point itself; without it the products are with the
    /// Gauss-Newton matrix. `loss` makes of a piece's number and of what becomes of its logits along a
    /// direction [n, K] what becomes of dL/dlogits [n, K].
    pub fn products(
        &self,
        directions: &[Direction],
        upstreams: Option<&Upstreams>,
        loss: impl Fn(usize, Tensor<2>) -> Tensor<2> + Sync,
    ) -> Vec<Direction> {
        if self.weights.iter().all(Option::is_none) {
            return Sweep::new(self, directions, upstreams, &loss).run();
        }
        let along_weights: Vec<Direction> = directions
            .iter()
            .map(|along| {
                let hidden = along.clone();
                self.each_layer(hidden, along, |point, _, along, _| point.push_forward(along))
            })
            .collect();
        let found = Sweep::new(self, &along_weights, upstreams, &loss).run();
        let back = |(found, along): (Direction, &Direction)| {
            self.each_layer(found, along, |point, found, along, index| {
                let gradient = upstreams.and_then(|upstreams| upstreams.weights[index].as_ref());
                point.pull_back_along(found, along, gradient)
            })
        };
        found.into_iter().zip(directions).map(back).collect()
    }

    /// The number of pairs of a sample and a hidden unit whose ReLU lets something through here and
    /// nothing in `other`, or the other way round: kinks on the way from one point to the other. It is
    /// of the same shape and samples in the same pieces; what only one of them has is not counted.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if a device cannot be read.
    pub fn kinks_between(&self, other: &Self) -> Result<usize, DeviceError> {
        let (device, _) = place(&self.network);
        let mut pairs: Vec<_> = self.pieces.iter().zip(&other.pieces).collect();
        let counts = piece::map(&device, &mut pairs, |_, (here, there)| {
            let layers = here.layers.iter().zip(&there.layers);
            let layers = layers.filter(|(here, there)| here.mask.dims() == there.mask.dims());
            let counts = layers.map(|(here, there)| {
                let differ =
                    here.mask.clone().greater_elem(0.5).not_equal(there.mask.clone().greater_elem(0.5));
                differ.int().sum()
            });
            counts.reduce(|sum, count| sum + count)
        });
        let mut kinks = 0;
        for count in counts.into_iter().flatten() {
            let count = count.try_into_data().map_err(DeviceError::new)?;
            kinks += count.iter::<i64>().sum::<i64>() as usize;
        }
        Ok(kinks)
    }

    /// W of the layer that hidden layer `index` hands its outputs to.
    fn weight_above(&self, index: usize) -> Tensor<2> {
        let above = self.network.layers.get(index + 1).map_or(&self.network.output, |above| &above.linear);
        above.weight()
    }
}

impl PiecePoint {
    /// What goes into hidden layer `index`, or into the last layer.
    fn inputs_of(&self, index: usize, dtype: DType) -> Tensor<2> {
        match index {
            0 => self.inputs.numbers(dtype),
            _ => self.layers[index - 1].outputs.clone(),
        }
    }
}

/// Where a network lies, and in which arithmetic.
fn place(network: &Network) -> (Device, DType) {
    let weight = network.output.weight();
    (weight.device(), weight.dtype())
}

/// The gradient of a dense layer's parameters from what comes to its outputs.
fn gradient_of_layer(inputs: &Tensor<2>, upstream: Tensor<2>, wanted: &LayerDirection) -> LayerDirection {
    match (wanted.names_matrix(), &wanted.bias) {
        (false, None) => LayerDirection::default(),
        (false, Some(_)) => {
            let bias = norm::sum_of_rows(upstream).squeeze_dim(0);
            LayerDirection { bias: Some(bias), ..Default::default() }
        }
        (true, bias) => {
            let (weight, found) = piece::dense_gradients(inputs.clone(), upstream);
            let bias = bias.as_ref().map(|_| found);
            LayerDirection { weight: Some(weight), bias, ..Default::default() }
        }
    }
}

/// The sum of what there is.
fn sum<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
