//! `--backend`: what is computed on.

use burn::tensor::{
    Device,
    wgpu::{WgpuInitError, wgpu::DeviceType},
};

/// A backend by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// burn's CPU backend
    Flex,
    /// burn's older CPU backend
    Ndarray,
    /// The GPU, through Vulkan, Metal or DirectX 12
    Wgpu,
}

/// A backend's device, with what is to be said of it beside times.
pub struct Chosen {
    pub backend: Backend,
    pub device: Device,
    /// The adapter and its driver, or the CPU's backend.
    pub name: String,
    /// Whether it is an adapter that is a program on the CPU.
    pub software: bool,
}

/// A backend that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "no GPU adapter was found: --backend flex computes on the CPU; on Linux a Vulkan driver is needed"
    )]
    NoAdapter,
    #[error("the GPU could not be initialised: {0}; --backend flex computes on the CPU")]
    Initialisation(String),
}

impl Backend {
    /// Its device; of several adapters burn takes the most powerful one.
    pub fn choose(self) -> Result<Chosen, DeviceError> {
        let cpu = |device, name: &str| Chosen {
            backend: self,
            device,
            name: format!("the CPU ({name})"),
            software: false,
        };
        Ok(match self {
            Self::Flex => cpu(Device::flex(), "flex"),
            #[allow(deprecated)] // the backend for portable testing
            Self::Ndarray => cpu(Device::ndarray(), "ndarray"),
            Self::Wgpu => {
                let made = Device::wgpu_options().init_with_setup();
                let (device, setup) = made.map_err(|error| match error {
                    WgpuInitError::AdapterUnavailable { .. } => DeviceError::NoAdapter,
                    other => DeviceError::Initialisation(other.to_string()),
                })?;
                let info = setup.adapter.get_info();
                Chosen {
                    backend: self,
                    device,
                    name: format!("{} ({:?}, {})", info.name, info.backend, info.driver),
                    software: info.device_type == DeviceType::Cpu,
                }
            }
        })
    }
}
