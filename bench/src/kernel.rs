//! A WGSL kernel of this crate, queued as burn queues its own.

use burn::{
    backend::wgpu::{KernelSource, SourceKernel, SourceTemplate},
    cubecl::{
        CubeCount, CubeDim, ExecutionMode,
        client::Client,
        prelude::KernelId,
        server::{Handle, KernelArguments},
    },
};

struct Source(&'static str);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0)
    }

    fn id(&self) -> KernelId {
        // As kappa's own: no counter in every loop against loops without end.
        KernelId::new::<Self>().info(self.0).mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// Queues `grid` workgroups of `threads` invocations each.
pub fn launch(
    client: &Client,
    source: &'static str,
    threads: [usize; 2],
    grid: [usize; 3],
    buffers: &[&Handle],
) {
    let [x, y, z] = grid.map(|n| n as u32);
    let [width, height] = threads.map(|n| n as u32);
    let arguments = buffers
        .iter()
        .fold(KernelArguments::new(), |arguments, buffer| arguments.with_buffer((*buffer).clone().binding()));
    let kernel = SourceKernel::new(Source(source), CubeDim::new_2d(width, height));
    client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
}
