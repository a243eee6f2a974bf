//! Products on their way over the pieces: up with the tangents, and down with what becomes of what
//! comes from above.

use burn::tensor::{DType, Device, Tensor};
use kappa_fused::piece;

use super::{
    Direction, LayerDirection, Linearised, PiecePoint, Upstreams,
    direction::{in_parts, sums as added},
    gradient_of_layer,
    norm::{self, Moved, Shared},
    place, sum,
    together::together,
};
use crate::Place;

/// What of a piece's logits' tangents [n, K] is of dL/dlogits.
type Loss<'a> = &'a (dyn Fn(usize, Tensor<2>) -> Tensor<2> + Sync);

/// Some products at a point.
pub(super) struct Sweep<'a> {
    at: &'a Linearised,
    directions: &'a [Direction],
    upstreams: Option<&'a Upstreams>,
    loss: Loss<'a>,
    /// The lowest hidden layer that is named.
    lowest: usize,
    place: (Device, DType),
}

/// Where a piece is on its way.
#[derive(Clone, Copy, Default)]
enum At {
    /// It goes up through a hidden layer, or through the last one.
    Up(usize),
    /// It waits at a hidden layer's normalisation on its way up.
    UpNorm(usize),
    /// It goes down through a hidden layer.
    Down(usize),
    /// It waits there on its way down.
    DownNorm(usize),
    #[default]
    Done,
}

#[derive(Default)]
struct PieceState {
    at: At,
    vectors: Vec<VectorState>,
}

/// A piece along one direction.
#[derive(Default)]
struct VectorState {
    layers: Vec<LayerTangent>,
    /// a. of the layer above, absent where it is zero.
    below: Option<Tensor<2>>,
    /// What waits for what all pieces share: x. on the way up, y-. on the way down.
    waits: Option<Tensor<2>>,
    /// z-. of the layer above, on the way down.
    above: Option<Tensor<2>>,
}

#[derive(Default)]
struct LayerTangent {
    /// a. , absent where it is zero.
    inputs: Option<Tensor<2>>,
    /// h. , absent where it is zero.
    normalised: Option<Moved>,
}

/// What some pieces have come to, along each direction.
struct Outcome {
    found: Vec<Direction>,
    /// Their sums, where they wait for all pieces': [2, m].
    sums: Option<Vec<Tensor<2>>>,
}

/// What all pieces share, along each direction: of each hidden layer E[x.] and E[h x.], and E[y-.] and
/// E[y-. h + y- h.] of the one that they wait at on the way down.
struct Means {
    up: Vec<Option<Vec<Tensor<2>>>>,
    down: Option<Vec<Tensor<2>>>,
}

impl<'a> Sweep<'a> {
    pub fn new(
        at: &'a Linearised,
        directions: &'a [Direction],
        upstreams: Option<&'a Upstreams>,
        loss: Loss<'a>,
    ) -> Self {
        let lowest = directions.iter().map(Direction::lowest).min().unwrap_or(at.network.layers.len());
        Self { at, directions, upstreams, loss, lowest, place: place(&at.network) }
    }

    /// The products.
    pub fn run(&self) -> Vec<Direction> {
        let layers = self.at.network.layers.len();
        let nothing = || vec![Direction::of_nothing(layers); self.directions.len()];
        let start = |_: &PiecePoint| PieceState {
            at: At::Up(0),
            vectors: self.directions.iter().map(|_| VectorState::default()).collect(),
        };
        let mut states: Vec<PieceState> = self.at.pieces.iter().map(start).collect();
        let mut means = Means { up: vec![None; layers], down: None };
        let mut found = nothing();
        loop {
            let parts = in_parts(&self.place.0, &mut states, Outcome::plus, |index, state| {
                self.advance(index, state, &means)
            });
            let Some(outcome) = parts else { return found };
            found = added(found, outcome.found);
            let (Some(sums), Some(first)) = (outcome.sums, states.first()) else { return found };
            let mean = |index: usize| {
                let norm = self.at.norms[index].as_ref();
                sums.iter()
                    .filter_map(|own| Some(norm?.mean(together(&*self.at.world, own.clone()))))
                    .collect()
            };
            match first.at {
                At::UpNorm(index) => means.up[index] = Some(mean(index)),
                At::DownNorm(index) => means.down = Some(mean(index)),
                _ => return found,
            }
        }
    }

    /// Takes a piece on until it has to wait or is done.
    fn advance(&self, index: usize, state: &mut PieceState, means: &Means) -> Outcome {
        let mut piece = Hot { point: &self.at.pieces[index], dtype: self.place.1, inputs: None };
        let layers = self.at.network.layers.len();
        let mut found = vec![Direction::of_nothing(layers); self.directions.len()];
        let below = |layer: usize| if layer > self.lowest { At::Down(layer - 1) } else { At::Done };
        loop {
            match state.at {
                At::Up(layer) if layer == layers => {
                    for (number, vector) in state.vectors.iter_mut().enumerate() {
                        found[number].output = self.turn(index, number, vector, &mut piece);
                    }
                    state.at = below(layer);
                }
                At::Up(layer) => {
                    let mut sums = Vec::new();
                    for (vector, direction) in state.vectors.iter_mut().zip(self.directions) {
                        sums.extend(self.begin_up(layer, vector, direction, &mut piece));
                    }
                    state.at = At::UpNorm(layer);
                    if !sums.is_empty() {
                        return Outcome { found, sums: Some(sums) };
                    }
                }
                At::UpNorm(layer) => {
                    for (number, vector) in state.vectors.iter_mut().enumerate() {
                        let shared = means.up[layer].as_ref().and_then(|means| means.get(number));
                        self.end_up(layer, vector, &self.directions[number], shared, &piece);
                    }
                    state.at = At::Up(layer + 1);
                }
                At::Down(layer) => {
                    let mut sums = Vec::new();
                    for (number, vector) in state.vectors.iter_mut().enumerate() {
                        let found = &mut found[number].hidden[layer];
                        sums.extend(self.begin_down(index, layer, vector, &self.directions[number], found));
                    }
                    state.at = At::DownNorm(layer);
                    if self.by_batch(layer) {
                        return Outcome { found, sums: Some(sums) };
                    }
                }
                At::DownNorm(layer) => {
                    for (number, vector) in state.vectors.iter_mut().enumerate() {
                        let linear = self.end_down((index, layer, number), vector, means, &mut piece);
                        let hidden = &mut found[number].hidden[layer];
                        (hidden.weight, hidden.bias) = (linear.weight, linear.bias);
                    }
                    state.at = below(layer);
                }
                At::Done => {
                    state.vectors.clear();
                    return Outcome { found, sums: None };
                }
            }
        }
    }

    fn by_batch(&self, layer: usize) -> bool {
        self.at.norms[layer].as_ref().is_some_and(norm::NormPoint::by_batch)
    }

    /// Up to what a hidden layer's normalisation sees; the sums that it waits for, if it does.
    fn begin_up(
        &self,
        index: usize,
        vector: &mut VectorState,
        direction: &Direction,
        piece: &mut Hot<'_>,
    ) -> Option<Tensor<2>> {
        let (layer, point) = (&self.at.network.layers[index], &piece.point.layers[index]);
        let below = vector.below.take();
        let through = below.clone().map(|below| below.matmul(layer.linear.weight()));
        vector.layers.push(LayerTangent { inputs: below, normalised: None });
        let shape = point.mask.dims();
        let mask = point.mask.clone();
        let preactivations = sum(through, piece.along_layer(index, &direction.hidden[index], shape));
        let seen = match layer.place() {
            Place::After => preactivations.map(|tangent| tangent * mask),
            Place::Before => preactivations,
        };
        vector.waits = seen.clone();
        let normalised = point.normalised.as_ref().filter(|_| self.by_batch(index));
        Some(norm::sums(seen?, normalised?.h.clone()))
    }

    /// On from there to what it hands on.
    fn end_up(
        &self,
        index: usize,
        vector: &mut VectorState,
        direction: &Direction,
        shared: Option<&Tensor<2>>,
        piece: &Hot<'_>,
    ) {
        let point = &piece.point.layers[index];
        let seen = vector.waits.take();
        let handed = match (&self.at.norms[index], &point.normalised) {
            (Some(norm), Some(normalised)) => {
                let moved = seen.map(|seen| norm.push_forward(seen, normalised, shared));
                if let Some(layer) = vector.layers.last_mut() {
                    layer.normalised = moved.clone();
                }
                norm.outputs_along(&direction.hidden[index], normalised, moved.map(|moved| moved.h))
            }
            _ => seen,
        };
        vector.below = match self.at.network.layers[index].place() {
            Place::After => handed,
            Place::Before => handed.map(|tangent| tangent * point.mask.clone()),
        };
    }

    /// Through the last layer, up and down again.
    fn turn(
        &self,
        index: usize,
        number: usize,
        vector: &mut VectorState,
        piece: &mut Hot<'_>,
    ) -> LayerDirection {
        let (outputs, along) = (&self.at.network.output, &self.directions[number].output);
        let layers = self.at.network.layers.len();
        let through = vector.below.clone().map(|below| below.matmul(outputs.weight()));
        let shape = piece.point.logits.dims();
        let logits = sum(through, piece.along_layer(layers, along, shape));
        let logits = logits.unwrap_or_else(|| piece.point.logits.zeros_like());
        let upstream_along = (self.loss)(index, logits);
        let mut found = piece.gradient(layers, upstream_along.clone(), along);
        if let (Some(weight), Some(below), Some(upstreams)) =
            (found.weight.clone(), &vector.below, self.upstreams)
        {
            let logits = upstreams.pieces[index].logits.clone();
            found.weight = Some(weight + piece::dense_gradients(below.clone(), logits).0);
        }
        vector.above = Some(upstream_along);
        found
    }

    /// Down to a hidden layer's normalisation: what becomes of gamma- and beta- ; the sums that it waits
    /// for, if it does.
    fn begin_down(
        &self,
        piece: usize,
        index: usize,
        vector: &mut VectorState,
        direction: &Direction,
        found: &mut LayerDirection,
    ) -> Option<Tensor<2>> {
        let point = &self.at.pieces[piece].layers[index];
        let upstreams = self.upstreams.map(|upstreams| &upstreams.pieces[piece]);
        let above = direction.hidden.get(index + 1).unwrap_or(&direction.output);
        // a-. = z-. W^T + z- W.^T
        let through = vector.above.take().map(|along| along.matmul(self.at.weight_above(index).transpose()));
        let upstream_above = upstreams.and_then(|upstreams| match upstreams.layers.get(index + 1) {
            Some(above) => above.as_ref().map(|above| above.preactivations.clone()),
            None => Some(upstreams.logits.clone()),
        });
        let turned = upstream_above.zip(above.weight.clone());
        let turned = turned.map(|(upstream, along)| upstream.matmul(along.transpose()));
        let outputs = sum(through, turned)?;
        let handed = match self.at.network.layers[index].place() {
            Place::After => outputs,
            Place::Before => outputs * point.mask.clone(),
        };
        vector.waits = Some(handed.clone());
        let normalised = point.normalised.as_ref()?.h.clone();
        let along = &direction.hidden[index];
        if !self.by_batch(index) && along.gain.is_none() && along.shift.is_none() {
            return None;
        }
        let mut sums = norm::sums(handed, normalised);
        // y-. h + y- h.
        let upstream = upstreams.and_then(|upstreams| upstreams.layers[index].as_ref());
        if let (Some(upstream), Some(moved)) = (upstream, &vector.layers[index].normalised) {
            let moved = norm::sums(upstream.norm.clone(), moved.h.clone()).slice(1..2);
            sums = Tensor::cat(vec![sums.clone().slice(0..1), sums.slice(1..2) + moved], 0);
        }
        norm::add_gradients(found, along, sums.clone());
        self.by_batch(index).then_some(sums)
    }

    /// On from there to the layer's parameters, and to what becomes of what comes to z.
    fn end_down(
        &self,
        (piece, index, number): (usize, usize, usize),
        vector: &mut VectorState,
        means: &Means,
        hot: &mut Hot<'_>,
    ) -> LayerDirection {
        let point = &hot.point.layers[index];
        let along = &self.directions[number].hidden[index];
        let upstreams = self.upstreams.and_then(|upstreams| upstreams.pieces[piece].layers[index].as_ref());
        let tangent = std::mem::take(&mut vector.layers[index]);
        let Some(mut seen) = vector.waits.take() else { return LayerDirection::default() };
        if let (Some(norm), Some(normalised)) = (&self.at.norms[index], &point.normalised) {
            let shared = Shared {
                tangent: means.up[index].as_ref().and_then(|means| means.get(number)),
                upstream: self.upstreams.and_then(|upstreams| upstreams.means[index].as_ref()),
                upstream_along: means
                    .down
                    .as_ref()
                    .filter(|_| norm.by_batch())
                    .and_then(|means| means.get(number)),
            };
            let upstream = upstreams.map(|upstream| (upstream.norm.clone(), tangent.normalised));
            seen = norm.pull_back_along(along, seen, normalised, upstream, shared);
        }
        if self.at.network.layers[index].place() == Place::After {
            seen = seen * point.mask.clone();
        }
        let mut found = hot.gradient(index, seen.clone(), along);
        if let (Some(weight), Some(inputs), Some(upstream)) =
            (found.weight.clone(), tangent.inputs, upstreams)
        {
            // a.^T z-
            found.weight = Some(weight + piece::dense_gradients(inputs, upstream.preactivations.clone()).0);
        }
        vector.above = Some(seen);
        found
    }
}

/// A piece while a core has it.
struct Hot<'a> {
    point: &'a PiecePoint,
    dtype: DType,
    /// What goes into the first layer, once it was asked for: it is wanted on the way up and on the
    /// way down, along each direction.
    inputs: Option<Tensor<2>>,
}

impl Hot<'_> {
    fn inputs_of(&mut self, index: usize) -> Tensor<2> {
        if index > 0 {
            return self.point.inputs_of(index, self.dtype);
        }
        let inputs = || self.point.inputs_of(0, self.dtype);
        self.inputs.get_or_insert_with(inputs).clone()
    }

    /// a W. + b. : [n, m], or nothing where neither is named.
    fn along_layer(
        &mut self,
        index: usize,
        along: &LayerDirection,
        [rows, units]: [usize; 2],
    ) -> Option<Tensor<2>> {
        match (&along.weight, &along.bias) {
            (None, None) => None,
            (None, Some(bias)) => Some(bias.clone().unsqueeze_dim::<2>(0).expand([rows, units])),
            (Some(weight), bias) => {
                let none = || Tensor::zeros([units], (&weight.device(), weight.dtype()));
                let bias = bias.clone().unwrap_or_else(none);
                Some(piece::dense(self.inputs_of(index), weight.clone(), bias))
            }
        }
    }

    /// The gradient of a layer's weight and bias, where they are named, from what comes to its outputs.
    fn gradient(&mut self, index: usize, upstream: Tensor<2>, wanted: &LayerDirection) -> LayerDirection {
        if !wanted.names_matrix() && wanted.bias.is_none() {
            return LayerDirection::default();
        }
        gradient_of_layer(&self.inputs_of(index), upstream, wanted)
    }
}

impl Outcome {
    fn plus(self, other: Self) -> Self {
        let sums = self.sums.zip(other.sums);
        let add =
            |(a, b): (Vec<Tensor<2>>, Vec<Tensor<2>>)| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
        Self { found: added(self.found, other.found), sums: sums.map(add) }
    }
}
