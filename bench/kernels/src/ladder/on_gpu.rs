//! A step on the GPU.

use burn::{
    cubecl::server::Handle,
    tensor::{DType, Tensor, TensorData},
};
use kappa_hessian::grams::class_pair_grams;

use super::{
    case::Case,
    steps::{Kernel, Step},
};
use crate::{error::BenchError, gpu::Gpu};

const ADD_PARTS: &str = include_str!("../../ladder/add_parts.wgsl");

/// A case's samples on the GPU.
pub struct OnGpu<'a> {
    gpu: &'a Gpu,
    case: &'a Case,
    features: Handle,
    probabilities: Handle,
    tensors: (Tensor<2>, Tensor<2>),
}

/// Sums that may not have been computed yet.
pub enum Sums {
    Buffer(Handle),
    Tensor(Tensor<3>),
}

impl<'a> OnGpu<'a> {
    pub fn new(gpu: &'a Gpu, case: &'a Case) -> Self {
        let tensor = |values: &[f32], columns| {
            let data = TensorData::new(values.to_vec(), [case.shape.samples, columns]);
            Tensor::from_data(data, (&gpu.device, DType::F32))
        };
        let buffer = |values: &[f32]| gpu.client.create_from_slice(bytemuck::cast_slice(values));
        let features = tensor(&case.features, case.shape.features);
        let probabilities = tensor(&case.probabilities, case.shape.classes);
        Self {
            gpu,
            case,
            features: buffer(&case.features),
            probabilities: buffer(&case.probabilities),
            tensors: (features, probabilities),
        }
    }

    /// Queues a step.
    pub fn queue(&self, step: &Step) -> Sums {
        match &step.kernel {
            Some(kernel) => Sums::Buffer(self.queue_kernel(kernel)),
            None => {
                let (features, probabilities) = self.tensors.clone();
                Sums::Tensor(class_pair_grams(features, probabilities, 0, self.case.shape.pairs()))
            }
        }
    }

    fn queue_kernel(&self, kernel: &Kernel) -> Handle {
        let (gpu, shape) = (self.gpu, &self.case.shape);
        let elements = shape.elements();
        let samples_per_part = shape.samples.div_ceil((kernel.parts)(shape));
        let parts = shape.samples.div_ceil(samples_per_part);
        let sizes =
            gpu.words(&[shape.samples, shape.features, shape.classes, shape.pairs(), samples_per_part]);
        let in_parts = gpu.client.empty(parts * elements * size_of::<f32>());
        let buffers = [&self.features, &self.probabilities, &in_parts, &sizes];
        gpu.launch(kernel.source, kernel.threads, (kernel.grid)(shape, parts), &buffers);
        if parts == 1 {
            return in_parts;
        }
        let sums = gpu.client.empty(elements * size_of::<f32>());
        let grid = [elements.div_ceil(256), 1, 1];
        gpu.launch(&[ADD_PARTS], [256, 1], grid, &[&in_parts, &sums, &gpu.words(&[elements, parts])]);
        sums
    }

    /// Reads a step's sums: [pairs, m, m].
    pub fn read(&self, sums: Sums) -> Result<Vec<f32>, BenchError> {
        match sums {
            Sums::Buffer(handle) => {
                let bytes = self.gpu.client.read_one(handle).map_err(BenchError::device)?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            }
            Sums::Tensor(tensor) => {
                let data = tensor.try_into_data().map_err(BenchError::device)?;
                data.try_into_vec().map_err(BenchError::device)
            }
        }
    }
}
