//! The GPU that burn chooses, what it says of itself, and how work on it is timed.

use std::time::Instant;

use burn::{
    backend::DispatchDevice,
    cubecl::client::Client,
    tensor::{
        Device,
        wgpu::{WgpuInitError, wgpu},
    },
};
use serde::Serialize;

/// A GPU that is not to be had, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("no GPU could be initialised: {0}; on Linux a Vulkan driver is needed")]
    Initialisation(#[from] WgpuInitError),
    #[error("the device is not one of burn's wgpu backend")]
    NotWgpu,
    #[error("the GPU failed: {0}")]
    Failed(String),
}

/// What the adapter says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    pub name: String,
    pub api: String,
    pub driver: String,
    /// Whether it is a program on the CPU.
    pub software: bool,
}

/// A device, as burn and as cubecl know it.
pub struct Adapter {
    pub device: Device,
    pub client: Client,
    pub description: Description,
}

impl Adapter {
    /// The adapter that burn chooses: the most powerful one.
    pub fn open() -> Result<Self, AdapterError> {
        let (device, setup) = Device::wgpu_options().init_with_setup()?;
        let DispatchDevice::Cube(cube) = device.as_dispatch() else {
            return Err(AdapterError::NotWgpu);
        };
        let client = cube.client();
        let info = setup.adapter.get_info();
        let description = Description {
            name: info.name,
            api: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info),
            software: info.device_type == wgpu::DeviceType::Cpu,
        };
        Ok(Self { device, client, description })
    }

    /// Returns when everything that was queued is done.
    pub fn wait(&self) -> Result<(), AdapterError> {
        self.device.sync().map_err(|error| AdapterError::Failed(error.to_string()))
    }

    /// Seconds from queueing `work` to its end: once to warm up, then `repeats` times.
    /// What it returns is kept until then, since a tensor that nobody holds any more
    /// need not be computed.
    pub fn time<T>(&self, repeats: usize, mut work: impl FnMut() -> T) -> Result<Timing, AdapterError> {
        let mut once = || {
            let start = Instant::now();
            let _result = work();
            self.wait()?;
            Ok(start.elapsed().as_secs_f64())
        };
        once()?;
        let seconds = (0..repeats).map(|_| once()).collect::<Result<_, AdapterError>>()?;
        Ok(Timing::of(seconds))
    }
}

/// Seconds of a few repeats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timing {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Timing {
    /// The upper median, for an even number of repeats.
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(seconds.len() / 2), min: at(0), max: at(seconds.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

    use super::*;

    /// The adapter, for one test at a time. Without one the tests say so and pass, unless
    /// KAPPA_REQUIRE_GPU is set, as it is in CI: then that is a failure.
    pub fn adapter() -> Option<MutexGuard<'static, Adapter>> {
        static ADAPTER: OnceLock<Option<Mutex<Adapter>>> = OnceLock::new();
        let open = || match Adapter::open() {
            Ok(adapter) => Some(Mutex::new(adapter)),
            Err(error) => {
                assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "{error}");
                eprintln!("skipped: {error}");
                None
            }
        };
        let adapter = ADAPTER.get_or_init(open).as_ref()?;
        Some(adapter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[test]
    fn a_timing_is_the_middle_and_the_ends() {
        let timing = Timing::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(timing, Timing { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Timing::of(vec![5.0]), Timing { median: 5.0, min: 5.0, max: 5.0 });
    }
}
