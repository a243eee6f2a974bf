//! A step on the device.

use burn::{
    cubecl::server::Handle,
    tensor::{DType, Tensor, TensorData},
};
use kappa_hessian::grams::class_pair_grams;

use super::{
    case::Case,
    steps::{Computation, Kernel, Step},
};
use crate::{
    adapter::{Adapter, AdapterError},
    kernel::launch,
};

const ADD_PARTS: &str = include_str!("../../ladder/add_parts.wgsl");
/// Workgroups along one dimension of a grid, at most.
const GRID: usize = 65_535;

/// A case's samples on the device.
pub struct OnDevice<'a> {
    adapter: &'a Adapter,
    case: &'a Case,
    features: Handle,
    probabilities: Handle,
    tensors: (Tensor<2>, Tensor<2>),
}

impl<'a> OnDevice<'a> {
    pub fn new(adapter: &'a Adapter, case: &'a Case) -> Self {
        let tensor = |values: &[f32], columns| {
            let data = TensorData::new(values.to_vec(), [case.shape.samples, columns]);
            Tensor::from_data(data, (&adapter.device, DType::F32))
        };
        let buffer = |values: &[f32]| adapter.client.create_from_slice(bytemuck::cast_slice(values));
        Self {
            adapter,
            case,
            features: buffer(&case.features),
            probabilities: buffer(&case.probabilities),
            tensors: (
                tensor(&case.features, case.shape.features),
                tensor(&case.probabilities, case.shape.classes),
            ),
        }
    }

    /// Queues a step.
    pub fn queue(&self, step: &Step) -> Sums {
        match &step.computation {
            Computation::Kernel(kernel) => Sums::Buffer(self.queue_kernel(kernel)),
            Computation::Kappa => {
                let (features, probabilities) = self.tensors.clone();
                Sums::Tensor(class_pair_grams(features, probabilities, 0, self.case.shape.pairs()))
            }
        }
    }

    fn queue_kernel(&self, kernel: &Kernel) -> Handle {
        let (client, shape) = (&self.adapter.client, &self.case.shape);
        let words = |values: &[usize]| {
            let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
            client.create_from_slice(bytemuck::cast_slice(&values))
        };
        let elements = shape.elements();
        let samples_per_part = shape.samples.div_ceil((kernel.parts)(shape));
        let parts = shape.samples.div_ceil(samples_per_part);
        let sizes = words(&[shape.samples, shape.features, shape.classes, shape.pairs(), samples_per_part]);
        let in_parts = client.empty(parts * elements * size_of::<f32>());
        let grid = (kernel.grid)(shape, parts);
        let buffers = [&self.features, &self.probabilities, &in_parts, &sizes];
        launch(client, kernel.source, kernel.threads, grid, &buffers);
        if parts == 1 {
            return in_parts;
        }
        let sums = client.empty(elements * size_of::<f32>());
        let groups = elements.div_ceil(256);
        let grid = [groups.min(GRID), groups.div_ceil(GRID), 1];
        launch(client, ADD_PARTS, [256, 1], grid, &[&in_parts, &sums, &words(&[elements, parts])]);
        sums
    }

    /// Reads a step's sums: [pairs, m, m].
    pub fn read(&self, sums: Sums) -> Result<Vec<f32>, AdapterError> {
        match sums {
            Sums::Buffer(handle) => {
                let bytes = self.adapter.client.read_one(handle);
                let bytes = bytes.map_err(|error| AdapterError::Failed(error.to_string()))?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            }
            Sums::Tensor(tensor) => {
                let data = tensor.try_into_data().map_err(|error| AdapterError::Failed(error.to_string()))?;
                data.try_to_vec().map_err(|error| AdapterError::Failed(format!("{error:?}")))
            }
        }
    }
}

/// Sums that may not have been computed yet.
pub enum Sums {
    Buffer(Handle),
    Tensor(Tensor<3>),
}
