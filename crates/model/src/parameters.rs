//! A network's parameters on the host, by the table of its shape.

use burn::{
    module::Module,
    tensor::{Device, Element, Tensor, TensorData},
};
use kappa_fused::DeviceError;

use crate::{Layer, Network, NetworkShape, Parameter, Role, dense::Dense, network::HiddenLayer, norm::Norm};

impl Network {
    /// All tensors that make up the network, in the table's order, each as PyTorch lays it out,
    /// as numbers of one type.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if they cannot be read.
    pub fn parameters<T: Element>(&self) -> Result<Vec<(Parameter, Vec<T>)>, DeviceError> {
        // `valid` brings the running statistics up to date: in a network that trains they lag
        // one batch behind.
        let network = self.valid();
        let table = network.shape().parameters().into_iter();
        table.map(|parameter| Ok((parameter.clone(), network.values(&parameter)?))).collect()
    }

    fn values<T: Element>(&self, parameter: &Parameter) -> Result<Vec<T>, DeviceError> {
        let (linear, norm) = match parameter.layer {
            Layer::Hidden(index) => (&self.layers[index].linear, self.layers[index].norm.as_ref()),
            Layer::Output => (&self.output, None),
        };
        if let Some(matrix) = linear.matrix(parameter.role) {
            return Ok(parameter.to_pytorchs_layout(&numbers(matrix)?));
        }
        let vector = match parameter.role {
            Role::Bias => Some(linear.bias()),
            role => norm.and_then(|norm| norm.tensor(role)),
        };
        vector.map_or_else(|| Ok(Vec::new()), numbers)
    }

    /// A network of `shape` on `device`, whose tensors are what `values` says of each, as
    /// PyTorch lays it out: as many numbers as [`Parameter::shape`] has elements.
    ///
    /// # Errors
    ///
    /// The first that `values` returns.
    pub fn from_parameters<E>(
        shape: &NetworkShape,
        device: &Device,
        mut values: impl FnMut(&Parameter) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let mut read: Vec<(Parameter, Vec<f32>)> = Vec::new();
        for parameter in shape.parameters() {
            let values = parameter.to_burns_layout(&values(&parameter)?);
            read.push((parameter, values));
        }
        let mut take = |layer: Layer, role: Role| {
            let place = read.iter().position(|(row, _)| (row.layer, row.role) == (layer, role));
            place.map(|place| read.swap_remove(place).1).unwrap_or_default()
        };
        let mut dense = |layer, fan_in: usize, units: usize| {
            let weights = take(layer, Role::Weight);
            let dense = Dense::new(weights, take(layer, Role::Bias), [fan_in, units], device);
            let length = take(layer, Role::Length);
            match length.is_empty() {
                true => dense,
                false => dense.with_length(Tensor::from_data(TensorData::new(length, [1, units]), device)),
            }
        };
        let linears: Vec<_> = (0..shape.hidden.len())
            .map(|index| dense(Layer::Hidden(index), shape.fan_in(index), shape.hidden[index]))
            .collect();
        let output = dense(Layer::Output, shape.features(), shape.classes);
        let layers = linears.into_iter().enumerate().map(|(index, linear)| {
            let norm = Norm::of(&shape.normalisation, |role| {
                let values = take(Layer::Hidden(index), role);
                let length = values.len();
                Tensor::<1>::from_data(TensorData::new(values, [length]), device)
            });
            HiddenLayer { linear, norm, normalisation: shape.normalisation }
        });
        Ok(Self { layers: layers.collect(), output })
    }
}

/// A tensor's elements, row by row.
fn numbers<T: Element, const D: usize>(tensor: Tensor<D>) -> Result<Vec<T>, DeviceError> {
    let data = tensor.try_into_data().map_err(DeviceError::new)?;
    Ok(data.iter::<T>().collect())
}
