//! How a network is built, and the one table of its parameters.

use crate::{Kind, Normalisation};

/// How many layers of which width a network has, and how it normalises: all that its
/// parameters' names and shapes follow from.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkShape {
    /// Inputs d: pixels per image.
    pub inputs: usize,
    /// Hidden units of each layer, the first layer's first; at least one layer.
    pub hidden: Vec<usize>,
    /// Classes K.
    pub classes: usize,
    /// What is done to the hidden units.
    pub normalisation: Normalisation,
}

/// The layer that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A hidden layer, counted from 0.
    Hidden(usize),
    /// The last layer, whose outputs are the logits.
    Output,
}

/// What a parameter is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// W, or the v of w = g v / |v| by weight norm: [out, in].
    Weight,
    /// The g of weight norm: [out, 1].
    Length,
    /// b, \[out\].
    Bias,
    /// gamma of a normalisation, \[out\].
    Gain,
    /// beta of a normalisation, \[out\].
    Shift,
    /// The running mean of batch norm, \[out\]; not trained.
    RunningMean,
    /// The running variance of batch norm, \[out\]; not trained.
    RunningVariance,
}

/// One row of the table: a tensor of the network and what it is called where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its layer.
    pub layer: Layer,
    /// What it is to its layer.
    pub role: Role,
    /// Its name in PyTorch, and in a checkpoint: `hidden.weight`, or `hidden.0.weight` in a
    /// network of several hidden layers, as nn.ModuleList names them.
    pub name: String,
    /// Its shape in PyTorch, and in a checkpoint. burn has weights transposed.
    pub shape: Vec<usize>,
}

impl Parameter {
    /// Whether it is trained.
    pub fn is_trained(&self) -> bool {
        !matches!(self.role, Role::RunningMean | Role::RunningVariance)
    }

    /// Its shape in burn, which has weights as [in, out] where PyTorch has [out, in].
    pub fn burns_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape.reverse();
        shape
    }

    /// Its elements as burn lays them out, from those as PyTorch does.
    pub fn to_burns_layout<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match self.shape[..] {
            [_, columns] => transposed(values, columns),
            _ => values.to_vec(),
        }
    }

    /// Its elements as PyTorch lays them out, from those as burn does.
    pub fn to_pytorchs_layout<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match self.shape[..] {
            [rows, _] => transposed(values, rows),
            _ => values.to_vec(),
        }
    }

    /// Its path in burn's module.
    pub fn path(&self) -> String {
        let field = match self.role {
            Role::Weight => "linear.weight",
            Role::Length => "linear.length",
            Role::Bias => "linear.bias",
            Role::Gain => "norm.gamma",
            Role::Shift => "norm.beta",
            Role::RunningMean => "norm.running_mean",
            Role::RunningVariance => "norm.running_var",
        };
        match (self.layer, self.role) {
            (Layer::Hidden(index), _) => format!("layers.{index}.{field}"),
            (Layer::Output, Role::Weight) => "output.weight".to_owned(),
            (Layer::Output, Role::Length) => "output.length".to_owned(),
            (Layer::Output, _) => "output.bias".to_owned(),
        }
    }
}

impl NetworkShape {
    /// Features m of the last layer: the width of the last hidden one.
    pub fn features(&self) -> usize {
        self.hidden.last().copied().unwrap_or(self.inputs)
    }

    /// Inputs of the hidden layer `index`.
    pub(crate) fn fan_in(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.hidden[before],
            None => self.inputs,
        }
    }

    /// The table of all tensors that make up the network: layer by layer, the output's last.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut table = Vec::new();
        let several = self.hidden.len() > 1;
        for (index, &width) in self.hidden.iter().enumerate() {
            let place = if several { format!(".{index}") } else { String::new() };
            let layer = Layer::Hidden(index);
            table.extend(self.dense(layer, &format!("hidden{place}"), width, self.fan_in(index)));
            for &(role, name) in self.normalisation.kind.tensors() {
                table.push(Parameter {
                    layer,
                    role,
                    name: format!("norm{place}.{name}"),
                    shape: vec![width],
                });
            }
        }
        table.extend(self.dense(Layer::Output, "output", self.classes, self.features()));
        table
    }

    /// The rows of a dense layer.
    fn dense(&self, layer: Layer, name: &str, out: usize, fan_in: usize) -> Vec<Parameter> {
        let row =
            |role, member: &str, shape| Parameter { layer, role, name: format!("{name}.{member}"), shape };
        let bias = row(Role::Bias, "bias", vec![out]);
        match self.normalisation.kind {
            // As torch.nn.utils.parametrizations.weight_norm names g and v.
            Kind::Weight => vec![
                bias,
                row(Role::Length, "parametrizations.weight.original0", vec![out, 1]),
                row(Role::Weight, "parametrizations.weight.original1", vec![out, fan_in]),
            ],
            _ => vec![row(Role::Weight, "weight", vec![out, fan_in]), bias],
        }
    }
}

/// The transpose of a matrix of `columns` columns, row by row.
pub(crate) fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(hidden: &[usize], kind: Kind) -> Vec<String> {
        let normalisation = Normalisation { kind, ..Normalisation::default() };
        let shape = NetworkShape { inputs: 5, hidden: hidden.to_vec(), classes: 3, normalisation };
        shape.parameters().into_iter().map(|parameter| parameter.name).collect()
    }

    #[test]
    fn one_hidden_layer_has_no_numbers_and_several_have() {
        assert_eq!(names(&[4], Kind::None), ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]);
        let deep = names(&[4, 2], Kind::Batch);
        for name in ["hidden.0.weight", "norm.0.running_var", "hidden.1.bias", "norm.1.weight", "output.bias"]
        {
            assert!(deep.contains(&name.to_owned()), "{name} in {deep:?}");
        }
        assert_eq!(deep.len(), 2 * 6 + 2);
    }

    #[test]
    fn shapes_are_pytorchs() {
        let normalisation = Normalisation::default();
        let shape = NetworkShape { inputs: 5, hidden: vec![4, 2], classes: 3, normalisation };
        let shapes: Vec<Vec<usize>> = shape.parameters().into_iter().map(|row| row.shape).collect();
        assert_eq!(shapes, [vec![4, 5], vec![4], vec![2, 4], vec![2], vec![3, 2], vec![3]]);
        assert_eq!(shape.features(), 2);
    }
}
