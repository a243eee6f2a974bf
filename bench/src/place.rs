//! What is computed on.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use kappa_run::Backend;
use pyo3::prelude::*;

use crate::failed;

/// A backend's device.
#[pyclass(unsendable)]
pub struct Place(pub kappa::Chosen);

#[pymethods]
impl Place {
    /// The GPU, or the CPU.
    #[new]
    fn new(gpu: bool) -> PyResult<Self> {
        let backend = if gpu { Backend::Wgpu } else { Backend::Flex };
        kappa::choose(Some(backend)).map(Self).map_err(failed)
    }

    /// What it is, and its driver.
    #[getter]
    fn name(&self) -> &str {
        &self.0.machine.provenance.device
    }

    /// The threads of everything on the CPU, the caller's among them, as in kappa itself. Once, and
    /// before anything computes.
    #[staticmethod]
    fn set_threads(threads: NonZeroUsize) -> PyResult<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
        pool.use_current_thread().build_global().map_err(failed)
    }
}

impl Place {
    pub fn device(&self) -> Device {
        self.0.machine.device.clone()
    }
}

/// What `work` comes to, when `device` has nothing left to do.
pub fn done<T>(device: &Device, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let result = work()?;
    device.sync().map_err(failed)?;
    Ok(result)
}
