//! The GPU, and how a kernel is queued there.

use burn::{
    backend::{
        DispatchDevice,
        wgpu::{KernelSource, SourceKernel, SourceTemplate},
    },
    cubecl::{
        CubeCount, CubeDim, ExecutionMode,
        client::Client,
        prelude::KernelId,
        server::{Handle, KernelArguments},
    },
    tensor::{Device, wgpu::wgpu::DeviceType},
};

use crate::error::BenchError;

/// A GPU, as burn and as cubecl know it.
pub struct Gpu {
    pub device: Device,
    pub client: Client,
    /// The adapter and its driver.
    pub name: String,
    /// Whether it is a program on the CPU.
    pub software: bool,
}

/// WGSL, in pieces that stand one after the other.
type Text = &'static [&'static str];

struct Source(Text);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.concat())
    }

    fn id(&self) -> KernelId {
        // As kappa's own: no counter in every loop against loops without end.
        KernelId::new::<Self>().info(self.0).mode(ExecutionMode::Unchecked)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl Gpu {
    /// Of several adapters burn takes the most powerful one.
    pub fn open() -> Result<Self, BenchError> {
        let (device, setup) = Device::wgpu_options().init_with_setup()?;
        let info = setup.adapter.get_info();
        let software = info.device_type == DeviceType::Cpu;
        let kind = if software { "; a program on the CPU" } else { "" };
        let name = format!("{} ({:?}, {} {}{kind})", info.name, info.backend, info.driver, info.driver_info);
        let DispatchDevice::Cube(cube) = device.as_dispatch() else {
            return Err(BenchError::Device("it is not one of burn's wgpu backend".to_owned()));
        };
        Ok(Self { client: cube.client(), device, name, software })
    }

    /// Queues `grid` workgroups of `threads` invocations each of a WGSL kernel.
    pub fn launch(&self, source: Text, threads: [u32; 2], grid: [usize; 3], buffers: &[&Handle]) {
        let [x, y, z] = grid.map(|n| n as u32);
        let arguments = buffers.iter().fold(KernelArguments::new(), |arguments, &buffer| {
            arguments.with_buffer(buffer.clone().binding())
        });
        let kernel = SourceKernel::new(Source(source), CubeDim::new_2d(threads[0], threads[1]));
        self.client.launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
    }

    /// Numbers that a kernel is given.
    pub fn words(&self, values: &[usize]) -> Handle {
        let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
        self.client.create_from_slice(bytemuck::cast_slice(&values))
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    use super::Gpu;

    /// The GPU, for one test at a time. Without one the tests say so and pass, unless
    /// KAPPA_REQUIRE_GPU is set, as it is in CI: then that is a failure.
    pub fn gpu() -> Option<MutexGuard<'static, Gpu>> {
        static GPU: OnceLock<Option<Mutex<Gpu>>> = OnceLock::new();
        let open = || match Gpu::open() {
            Ok(gpu) => Some(Mutex::new(gpu)),
            Err(error) => {
                assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "{error}");
                eprintln!("skipped: {error}");
                None
            }
        };
        let gpu = GPU.get_or_init(open).as_ref()?;
        Some(gpu.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
