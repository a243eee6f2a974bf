//! `--backend`: which device burn computes on. Nothing below asks again.

use kappa_run::{Backend, Precision};
use kappa_trainer::Machine;

use crate::provenance;

#[cfg(feature = "wgpu")]
pub use gpu::{Adapter, adapters};

/// A backend that is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// This build is without it.
    #[error("this build has no backend `{0}`; it has {list}", list = listed())]
    #[allow(dead_code)] // not with all backends compiled in
    NotCompiledIn(Backend),
    /// The device has failed.
    #[error("the device failed: {0}")]
    Failed(String),
    /// There is no GPU.
    #[cfg(feature = "wgpu")]
    #[error(
        "no GPU adapter was found: `just train-cpu`, or --backend flex, computes on the CPU. \
         `kappa devices` shows what is found; on Linux a Vulkan driver is needed"
    )]
    NoAdapter,
    /// There are fewer than processes.
    #[cfg(feature = "wgpu")]
    #[error(
        "process {rank} of this machine has no GPU: there are {cards}; begin as many processes on each machine, or \
         compute with --backend flex"
    )]
    NoCardForRank {
        /// The process on this machine, counted from 0.
        rank: usize,
        /// Graphics cards.
        cards: usize,
    },
    /// There is one that does not start.
    #[cfg(feature = "wgpu")]
    #[error("the GPU could not be initialised: {0}; --backend flex computes on the CPU")]
    Initialisation(String),
}

/// The backends of this build, by the names that --backend takes.
pub fn compiled_in() -> Vec<Backend> {
    vec![
        #[cfg(feature = "wgpu")]
        Backend::Wgpu,
        #[cfg(feature = "flex")]
        Backend::Flex,
        #[cfg(feature = "ndarray")]
        Backend::Ndarray,
    ]
}

/// The same, to be read.
pub fn listed() -> String {
    compiled_in().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A device, and the precision that sums are taken in on it unless told otherwise.
#[derive(Debug)]
pub struct Chosen {
    /// The device, and what it is.
    pub machine: Machine,
    /// f64 on a CPU, f32 on a GPU.
    pub precision: Precision,
}

/// The device of the backend that was `named`, or of the best one that there is: a GPU that is no program,
/// else the CPU.
///
/// # Errors
///
/// [`BackendError`].
pub fn choose(named: Option<Backend>) -> Result<Chosen, BackendError> {
    choose_among(named, None)
}

/// The same for a process of several on this machine, counted from 0: where there are several GPUs each has its own.
pub(crate) fn choose_among(named: Option<Backend>, rank: Option<usize>) -> Result<Chosen, BackendError> {
    match named {
        None => automatic(rank),
        Some(Backend::Wgpu) => wgpu(rank),
        Some(Backend::Flex) => flex(),
        Some(Backend::Ndarray) => ndarray(),
    }
}

fn automatic(rank: Option<usize>) -> Result<Chosen, BackendError> {
    #[cfg(feature = "wgpu")]
    if adapters().iter().any(|adapter| !adapter.is_software()) {
        return wgpu(rank);
    }
    flex().or_else(|_| ndarray()).or_else(|_| wgpu(rank))
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn cpu(backend: Backend, device: burn::tensor::Device) -> Chosen {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Chosen {
        machine: Machine {
            device,
            provenance: provenance::of(backend, format!("CPU, {threads} threads"), None),
        },
        precision: Precision::F64,
    }
}

#[cfg(feature = "flex")]
fn flex() -> Result<Chosen, BackendError> {
    Ok(cpu(Backend::Flex, burn::tensor::Device::flex()))
}

#[cfg(not(feature = "flex"))]
fn flex() -> Result<Chosen, BackendError> {
    Err(BackendError::NotCompiledIn(Backend::Flex))
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // the portable-testing backend: nothing else depends on it
fn ndarray() -> Result<Chosen, BackendError> {
    Ok(cpu(Backend::Ndarray, burn::tensor::Device::ndarray()))
}

#[cfg(not(feature = "ndarray"))]
fn ndarray() -> Result<Chosen, BackendError> {
    Err(BackendError::NotCompiledIn(Backend::Ndarray))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_rank: Option<usize>) -> Result<Chosen, BackendError> {
    Err(BackendError::NotCompiledIn(Backend::Wgpu))
}

#[cfg(feature = "wgpu")]
fn wgpu(rank: Option<usize>) -> Result<Chosen, BackendError> {
    gpu::choose(rank)
}

#[cfg(feature = "wgpu")]
mod gpu {
    use burn::tensor::{
        Device, DeviceKind,
        wgpu::{WgpuInitError, wgpu},
    };
    use kappa_run::{Backend, Precision};
    use kappa_trainer::Machine;

    use super::{BackendError, Chosen};
    use crate::provenance;

    /// An adapter, as its driver describes it.
    #[derive(Debug)]
    pub struct Adapter {
        /// What it is, and its driver.
        pub info: wgpu::AdapterInfo,
        /// What it can do.
        pub limits: wgpu::Limits,
    }

    impl Adapter {
        /// Whether it is a program on the CPU.
        pub fn is_software(&self) -> bool {
            self.info.device_type == wgpu::DeviceType::Cpu
        }
    }

    /// All adapters, of every graphics interface that computes.
    pub fn adapters() -> Vec<Adapter> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        burn::backend::read_sync(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
            .into_iter()
            .map(|adapter| Adapter { info: adapter.get_info(), limits: adapter.limits() })
            .collect()
    }

    /// The adapter that burn chooses, the most powerful one; of several graphics cards that of a process's rank.
    pub fn choose(rank: Option<usize>) -> Result<Chosen, BackendError> {
        let mut options = Device::wgpu_options();
        if let Some(rank) = rank {
            let is_card = |adapter: &Adapter| adapter.info.device_type == wgpu::DeviceType::DiscreteGpu;
            match adapters().into_iter().filter(is_card).count() {
                0 | 1 => {}
                cards if rank < cards => options = options.device_kind(DeviceKind::DiscreteGpu(rank)),
                cards => return Err(BackendError::NoCardForRank { rank, cards }),
            }
        }
        let (device, setup) = options.init_with_setup().map_err(|error| match error {
            WgpuInitError::AdapterUnavailable { .. } => BackendError::NoAdapter,
            other => BackendError::Initialisation(other.to_string()),
        })?;
        let info = setup.adapter.get_info();
        if info.device_type == wgpu::DeviceType::Cpu {
            tracing::warn!(
                "{} is a software adapter: it shows that the kernels work, and is slower than --backend flex",
                info.name
            );
        }
        Ok(Chosen {
            machine: Machine {
                device,
                provenance: provenance::of(
                    Backend::Wgpu,
                    format!("{} ({:?}, {})", info.name, info.backend, info.driver),
                    Some(format!("{} {}", info.driver, info.driver_info)),
                ),
            },
            precision: Precision::F32,
        })
    }
}
