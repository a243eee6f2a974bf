//! The class pairs' Gram matrices as WGSL kernels, for burn's wgpu backend.
//!
//! The kernels themselves are in `shaders/`; here they are given their buffers
//! and grids. Both stay inside the limits that every WebGPU adapter has: 128 MiB
//! a binding, 256 invocations and 16 KiB a workgroup, 8 storage buffers, 65,535
//! workgroups along a dimension of the grid.

use burn::{
    backend::TensorMetadata,
    backend::wgpu::{CubeBackend, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous},
    cubecl::{
        CubeCount, CubeDim,
        prelude::KernelId,
        server::{Handle, KernelArguments},
    },
    tensor::{DType, Shape},
};

use super::{ClassPairGrams, cpu};

/// Elements along a side of a tile; `TILE` in class_pair_grams.wgsl.
const TILE: usize = 32;
/// The fewest samples for which a part of their own is worth it.
const SAMPLES_PER_PART: usize = 1024;
/// What the parts may take, half of the smallest maximal binding.
const PARTS_BYTES: usize = 64 << 20;
/// Workgroups along one dimension of a grid, at most.
const GRID: usize = 65_535;

struct Kernel {
    name: &'static str,
    source: &'static str,
}

const CLASS_PAIR_GRAMS: Kernel =
    Kernel { name: "class_pair_grams", source: include_str!("../../../../shaders/class_pair_grams.wgsl") };
const SUM_PARTS: Kernel =
    Kernel { name: "sum_parts", source: include_str!("../../../../shaders/sum_parts.wgsl") };

impl KernelSource for Kernel {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.source)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.name)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl ClassPairGrams for CubeBackend {
    fn class_pair_grams(
        features: CubeTensor,
        probabilities: CubeTensor,
        first_pair: usize,
        pairs: usize,
    ) -> CubeTensor {
        if features.dtype != DType::F32 {
            // WGSL has no f64: what is asked for in f64 is computed in f64, on the host.
            return cpu::class_pair_grams::<Self>(features, probabilities, first_pair, pairs);
        }
        let features = into_contiguous(features);
        let probabilities = into_contiguous(probabilities);
        let [samples, m] = features.shape().dims();
        let [_, classes] = probabilities.shape().dims();
        let elements = pairs * m * m;
        let word = size_of::<f32>();
        let parts = samples.div_ceil(SAMPLES_PER_PART).min(PARTS_BYTES / (elements * word)).max(1);
        let tiles = m.div_ceil(TILE) * (m.div_ceil(TILE) + 1) / 2;

        let client = features.client.clone();
        let launch = |kernel: Kernel, grid: [usize; 3], threads: CubeDim, buffers: Vec<Handle>| {
            let [x, y, z] = grid.map(|n| n as u32);
            let bindings = buffers
                .into_iter()
                .fold(KernelArguments::new(), |bindings, buffer| bindings.with_buffer(buffer.binding()));
            client.launch(Box::new(SourceKernel::new(kernel, threads)), CubeCount::Static(x, y, z), bindings);
        };
        let words = |values: &[usize]| {
            let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
            client.create_from_slice(bytemuck::cast_slice(&values))
        };

        let in_parts = client.empty(parts * elements * word);
        launch(
            CLASS_PAIR_GRAMS,
            [tiles, pairs, parts],
            CubeDim::new_2d(8, 8),
            vec![
                features.handle.clone(),
                probabilities.handle,
                in_parts.clone(),
                words(&[samples, m, classes, first_pair, samples.div_ceil(parts)]),
            ],
        );
        let sums = client.empty(elements * word);
        let groups = elements.div_ceil(256);
        launch(
            SUM_PARTS,
            [groups.min(GRID), groups.div_ceil(GRID), 1],
            CubeDim::new_1d(256),
            vec![in_parts, sums.clone(), words(&[elements, parts])],
        );
        CubeTensor::new_contiguous(
            client.clone(),
            features.device,
            Shape::new([pairs, m, m]),
            sums,
            features.dtype,
        )
    }
}
