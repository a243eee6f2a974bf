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
        CubeCount, CubeDim, ExecutionMode,
        prelude::KernelId,
        server::{Handle, KernelArguments},
    },
    tensor::{DType, Shape},
};

use super::{
    ClassPairGrams, cpu,
    launch::{GRID, INVOCATIONS, LaunchPlan, Limits},
};

/// Invocations of a workgroup of sum_parts.wgsl.
const ELEMENTS: usize = 256;

struct Kernel {
    name: &'static str,
    source: &'static str,
    /// Constants of the source, each with the value that takes its own's place.
    constants: Vec<(&'static str, usize)>,
}

impl Kernel {
    fn class_pair_grams(plan: &LaunchPlan) -> Self {
        Self {
            name: "class_pair_grams",
            source: include_str!("../../../../shaders/class_pair_grams.wgsl"),
            constants: plan.constants().to_vec(),
        }
    }

    fn sum_parts() -> Self {
        Self {
            name: "sum_parts",
            source: include_str!("../../../../shaders/sum_parts.wgsl"),
            constants: Vec::new(),
        }
    }

    /// The source, valid WGSL as it stands in its file, with the constants' values.
    fn text(&self) -> String {
        let mut text = String::with_capacity(self.source.len());
        for line in self.source.lines() {
            let constant = self.constants.iter().find(|(name, _)| line.starts_with(&declaration(name)));
            match constant {
                Some((name, value)) => text.push_str(&format!("{}{value}u;", declaration(name))),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

fn declaration(name: &str) -> String {
    format!("const {name}: u32 = ")
}

impl KernelSource for Kernel {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.text())
    }

    fn id(&self) -> KernelId {
        // Checked would put a counter into every loop, against loops without end; ours end.
        KernelId::new::<Self>().info((self.name, self.constants.clone())).mode(ExecutionMode::Unchecked)
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
        let word = size_of::<f32>();

        let client = features.client.clone();
        let properties = client.properties();
        let limits = Limits {
            workgroup_bytes: properties.hardware.max_shared_memory_size,
            binding_bytes: usize::try_from(properties.memory.max_page_size).unwrap_or(usize::MAX),
        };
        let plan = LaunchPlan::new(samples, m, pairs, limits);

        let launch = |kernel: Kernel, grid: [usize; 3], threads: usize, buffers: Vec<Handle>| {
            let [x, y, z] = grid.map(|n| n as u32);
            let bindings = buffers
                .into_iter()
                .fold(KernelArguments::new(), |bindings, buffer| bindings.with_buffer(buffer.binding()));
            let kernel = SourceKernel::new(kernel, CubeDim::new_1d(threads as u32));
            client.launch(Box::new(kernel), CubeCount::Static(x, y, z), bindings);
        };
        let words = |values: &[usize]| {
            let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
            client.create_from_slice(bytemuck::cast_slice(&values))
        };

        let parts = client.empty(plan.parts * plan.part_elements * word);
        launch(
            Kernel::class_pair_grams(&plan),
            [plan.regions * plan.chunks, plan.parts, 1],
            INVOCATIONS,
            vec![
                features.handle.clone(),
                probabilities.handle,
                parts.clone(),
                words(&[
                    samples,
                    m,
                    classes,
                    first_pair,
                    pairs,
                    plan.samples_per_part,
                    plan.tile,
                    plan.chunks,
                    plan.items,
                ]),
            ],
        );
        let elements = pairs * m * m;
        let sums = client.empty(elements * word);
        let groups = elements.div_ceil(ELEMENTS);
        launch(
            Kernel::sum_parts(),
            [groups.min(GRID), groups.div_ceil(GRID), 1],
            ELEMENTS,
            vec![parts, sums.clone(), words(&[pairs, m, plan.parts])],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_constants_take_their_values() {
        let plan = LaunchPlan::new(7, 3, 1, Limits { workgroup_bytes: 32 << 10, binding_bytes: 128 << 20 });
        let kernel = Kernel::class_pair_grams(&plan);
        for (name, value) in plan.constants() {
            let declared =
                |text: &str| text.lines().filter(|line| line.starts_with(&declaration(name))).count();
            assert_eq!(declared(kernel.source), 1, "{name}");
            assert!(kernel.text().contains(&format!("const {name}: u32 = {value}u;\n")), "{name}");
        }
        let replaced = kernel
            .source
            .lines()
            .zip(kernel.text().lines())
            .filter(|(before, after)| before != after)
            .count();
        assert!(replaced <= plan.constants().len());
    }
}
