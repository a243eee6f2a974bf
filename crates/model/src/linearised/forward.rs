//! The way up at the point itself: what the layers hand on, with masks and statistics.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, activation::relu};
use kappa_fused::piece;
use kappa_world::{Alone, World};

use super::{
    Inputs, LayerPoint, Linearised, PiecePoint,
    norm::{self, NormPoint},
    place,
    together::{count_of_all, together},
    weight::WeightPoint,
};
use crate::{Network, Pass, Place, network::HiddenLayer};

/// A piece on its way up at the point itself.
struct Growing {
    inputs: Inputs,
    layers: Vec<LayerPoint>,
    /// What the normalisation of the layer that is begun sees.
    seen: Option<Tensor<2>>,
    /// The logits.
    point: Option<Tensor<2>>,
}

impl Growing {
    fn handed_on(&self, dtype: DType) -> Tensor<2> {
        self.layers.last().map_or_else(|| self.inputs.numbers(dtype), |layer| layer.outputs.clone())
    }

    fn begin(&mut self, layer: &HiddenLayer, dtype: DType) {
        self.seen = Some(piece::dense(self.handed_on(dtype), layer.linear.weight(), layer.linear.bias()));
        if layer.place() == Place::After {
            self.seen = self.seen.take().map(relu);
        }
    }

    fn end(&mut self, layer: &HiddenLayer, norm: Option<&NormPoint>) {
        let Some(seen) = self.seen.take() else { return };
        let positive = |z: &Tensor<2>| z.clone().greater_elem(0.0).float().cast(z.dtype());
        let normalised = norm.map(|norm| norm.normalised(seen.clone()));
        let handed = match (norm, &normalised) {
            (Some(norm), Some(normalised)) => norm.outputs(normalised),
            _ => seen.clone(),
        };
        let (mask, outputs) = match layer.place() {
            // Of a rectified number as of the number itself.
            Place::After => (positive(&seen), handed),
            Place::Before => (positive(&handed), relu(handed)),
        };
        self.layers.push(LayerPoint { mask, normalised, outputs });
    }
}

impl Linearised {
    /// `network`, which must not record gradients, with these inputs, [n, d] each. By [`Pass::Batch`]
    /// its statistics are those of all of them together, and functions of its parameters. How the inputs
    /// are cut changes rounding, and nothing else.
    pub fn new(network: &Network, pieces: impl IntoIterator<Item = Inputs>, pass: Pass) -> Self {
        Self::among(network, pieces, pass, Arc::new(Alone))
    }

    /// The same with the inputs of all processes of `world`, whose own these are: each has some, and statistics are
    /// of all of them. What is computed of it is of the own ones, to be added up.
    pub fn among(
        network: &Network,
        pieces: impl IntoIterator<Item = Inputs>,
        pass: Pass,
        world: Arc<dyn World>,
    ) -> Self {
        let (device, dtype) = place(network);
        let linears = network.layers.iter().map(|layer| &layer.linear).chain([&network.output]);
        let weights = linears.map(WeightPoint::new).collect();
        let network = &network.with_effective_weights();
        let start = |inputs: Inputs| Growing { point: None, inputs, layers: Vec::new(), seen: None };
        let mut growing: Vec<Growing> = pieces.into_iter().map(start).collect();
        let rows: usize = growing.iter().map(|piece| piece.inputs.rows()).sum();
        let rows = count_of_all(&*world, rows, pass);
        let mut norms = Vec::with_capacity(network.layers.len());
        for layer in &network.layers {
            piece::map(&device, &mut growing, |_, piece| piece.begin(layer, dtype));
            let sum = |of: &(dyn Fn(Tensor<2>) -> Tensor<2> + Sync), growing: &mut [Growing]| {
                let sums = piece::map(&device, growing, |_, piece| piece.seen.clone().map(of));
                let own = sums.into_iter().flatten().reduce(|sum, part| sum + part);
                own.map(|own| together(&*world, own))
            };
            let like = Tensor::<2>::zeros([1, layer.linear.dims()[1]], (&device, dtype));
            let point = layer.norm.as_ref().and_then(|norm| match pass {
                Pass::Training | Pass::Batch if norm.settings().has_statistics() => {
                    let mean = sum(&norm::sum_of_rows, &mut growing)?.div_scalar(rows as f64);
                    let squares = |seen: Tensor<2>| {
                        let centred = seen - mean.clone();
                        norm::sum_of_rows(centred.clone() * centred)
                    };
                    let variance = sum(&squares, &mut growing)?.div_scalar(rows as f64);
                    Some(NormPoint::by_statistics_of(norm, &like, rows, mean.clone(), variance))
                }
                _ => Some(NormPoint::by_running_statistics(norm, &like)),
            });
            piece::map(&device, &mut growing, |_, piece| piece.end(layer, point.as_ref()));
            norms.push(point);
        }
        piece::map(&device, &mut growing, |_, piece| {
            let features = piece.handed_on(dtype);
            let logits = piece::dense(features, network.output.weight(), network.output.bias());
            piece.point = Some(logits);
        });
        let point = |piece: Growing| {
            Some(PiecePoint { inputs: piece.inputs, layers: piece.layers, logits: piece.point? })
        };
        let pieces = growing.into_iter().filter_map(point).collect();
        Self { network: network.clone(), norms, weights, pieces, world }
    }
}
