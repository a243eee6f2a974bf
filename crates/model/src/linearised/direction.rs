//! A direction in the space of a network's parameters: a tensor for each of them, or none for
//! those that stand still.

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_fused::{DeviceError, piece};

use super::sum;

use crate::{Layer, Network, Parameter, Role, dense::Dense};

/// A tensor for each parameter that is named, laid out as burn has it.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Of each hidden layer, the first one first.
    pub hidden: Vec<LayerDirection>,
    /// Of the last layer.
    pub output: LayerDirection,
}

/// Of one layer.
#[derive(Debug, Clone, Default)]
pub struct LayerDirection {
    /// Along W, or along the v of weight norm: [in, out].
    pub weight: Option<Tensor<2>>,
    /// Along the g of weight norm: [1, out].
    pub length: Option<Tensor<2>>,
    /// Along b: \[out\].
    pub bias: Option<Tensor<1>>,
    /// Along gamma: \[out\].
    pub gain: Option<Tensor<1>>,
    /// Along beta: \[out\].
    pub shift: Option<Tensor<1>>,
}

impl Direction {
    /// The direction of a network of `hidden` hidden layers whose `parameters` are `vector`, one after
    /// the other, each flattened as PyTorch lays it out; the others stand still.
    pub fn from_vector(
        hidden: usize,
        parameters: &[Parameter],
        vector: &[f64],
        (device, dtype): (&Device, DType),
    ) -> Self {
        let mut direction =
            Self { hidden: vec![LayerDirection::default(); hidden], output: LayerDirection::default() };
        let mut rest = vector;
        for parameter in parameters {
            let (values, after) = rest.split_at(parameter.shape.iter().product::<usize>().min(rest.len()));
            rest = after;
            let values = parameter.to_burns_layout(values);
            let vector = |values: Vec<f64>| {
                let data = TensorData::new(values, [parameter.shape[0]]).convert_dtype(dtype);
                Tensor::<1>::from_data(data, (device, dtype))
            };
            let layer = match parameter.layer {
                Layer::Hidden(index) => &mut direction.hidden[index],
                Layer::Output => &mut direction.output,
            };
            let matrix = |values: Vec<f64>| {
                let data = TensorData::new(values, parameter.burns_shape()).convert_dtype(dtype);
                Tensor::<2>::from_data(data, (device, dtype))
            };
            match parameter.role {
                Role::Weight => layer.weight = Some(matrix(values)),
                Role::Length => layer.length = Some(matrix(values)),
                Role::Bias => layer.bias = Some(vector(values)),
                Role::Gain => layer.gain = Some(vector(values)),
                Role::Shift => layer.shift = Some(vector(values)),
                // Not trained: nothing is differentiated with respect to them.
                Role::RunningMean | Role::RunningVariance => {}
            }
        }
        direction
    }

    /// The elements of what it names, in the order of `parameters`, each flattened as PyTorch lays it
    /// out; those that it does not name are left out.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if they cannot be read.
    pub fn to_vector(&self, parameters: &[Parameter]) -> Result<Vec<f64>, DeviceError> {
        let mut vector = Vec::new();
        for parameter in parameters {
            let layer = match parameter.layer {
                Layer::Hidden(index) => &self.hidden[index],
                Layer::Output => &self.output,
            };
            let flat = match parameter.role {
                Role::Weight => layer.weight.clone().map(numbers),
                Role::Length => layer.length.clone().map(numbers),
                Role::Bias => layer.bias.clone().map(numbers),
                Role::Gain => layer.gain.clone().map(numbers),
                Role::Shift => layer.shift.clone().map(numbers),
                Role::RunningMean | Role::RunningVariance => None,
            };
            if let Some(flat) = flat {
                vector.extend(parameter.to_pytorchs_layout(&flat?));
            }
        }
        Ok(vector)
    }

    /// A direction in which all `hidden` hidden layers and the last one stand still.
    pub fn of_nothing(hidden: usize) -> Self {
        Self { hidden: vec![LayerDirection::default(); hidden], output: LayerDirection::default() }
    }

    /// The sum of two, what one of them does not name being the other's.
    pub fn plus(self, other: Self) -> Self {
        let hidden = self.hidden.into_iter().zip(other.hidden).map(|(a, b)| a.plus(b));
        Self { hidden: hidden.collect(), output: self.output.plus(other.output) }
    }

    /// The sums of what `of` makes of each item and its index, added in an order that depends on their
    /// number alone.
    pub fn sum_in_parts<T: Send>(
        device: &Device,
        items: &mut [T],
        of: impl Fn(usize, &mut T) -> Vec<Self> + Sync,
    ) -> Vec<Self> {
        in_parts(device, items, sums, of).unwrap_or_default()
    }

    /// The lowest hidden layer that it names a parameter of, or their number if it names none.
    pub fn lowest(&self) -> usize {
        self.hidden.iter().position(LayerDirection::names_any).unwrap_or(self.hidden.len())
    }
}

impl Network {
    /// The network `step` times `direction` away, in its own precision.
    pub fn moved(&self, direction: &Direction, step: f64) -> Self {
        let mut moved = self.clone().with_own_statistics();
        for (layer, along) in moved.layers.iter_mut().zip(&direction.hidden) {
            layer.linear = along.moved(&layer.linear, step);
            layer.norm = layer.norm.take().map(|norm| {
                norm.changed(|role, tensor| {
                    let along = match role {
                        Role::Gain => along.gain.clone(),
                        Role::Shift => along.shift.clone(),
                        _ => None,
                    };
                    match along {
                        Some(along) => tensor + along * step,
                        None => tensor,
                    }
                })
            });
        }
        moved.output = direction.output.moved(&moved.output, step);
        moved
    }
}

/// Items of a part: what is made of them is added up before that of the parts is.
const PART: usize = 4;

/// What `plus` makes of what `of` makes of each item and its index, part by part.
pub(super) fn in_parts<T: Send, R: Send>(
    device: &Device,
    items: &mut [T],
    plus: impl Fn(R, R) -> R + Sync,
    of: impl Fn(usize, &mut T) -> R + Sync,
) -> Option<R> {
    let mut parts: Vec<&mut [T]> = items.chunks_mut(PART).collect();
    let found = piece::map(device, &mut parts, |part, items| {
        let items = items.iter_mut().enumerate();
        items.map(|(index, item)| of(part * PART + index, item)).reduce(&plus)
    });
    found.into_iter().flatten().reduce(plus)
}

/// One by one.
pub(super) fn sums(a: Vec<Direction>, b: Vec<Direction>) -> Vec<Direction> {
    a.into_iter().zip(b).map(|(a, b)| a.plus(b)).collect()
}

impl LayerDirection {
    fn plus(self, other: Self) -> Self {
        Self {
            weight: sum(self.weight, other.weight),
            length: sum(self.length, other.length),
            bias: sum(self.bias, other.bias),
            gain: sum(self.gain, other.gain),
            shift: sum(self.shift, other.shift),
        }
    }

    fn moved(&self, layer: &Dense, step: f64) -> Dense {
        let [weight, length] =
            [&self.weight, &self.length].map(|along| along.clone().map(|along| along * step));
        layer.moved([weight, length], self.bias.clone().map(|along| along * step))
    }

    fn names_any(&self) -> bool {
        self.names_matrix() || self.bias.is_some() || self.gain.is_some() || self.shift.is_some()
    }

    /// Whether it names a parameter of the layer's weight matrix.
    pub(super) fn names_matrix(&self) -> bool {
        self.weight.is_some() || self.length.is_some()
    }
}

/// A tensor's elements, row by row.
fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>, DeviceError> {
    Ok(tensor.try_into_data().map_err(DeviceError::new)?.iter::<f64>().collect())
}
