//! Backends, each set up once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kappa::Chosen;
use kappa_run::Backend;
use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use crate::failure::{KappaError, failure};

/// By what they were asked for as.
static CHOSEN: Mutex<BTreeMap<String, Arc<Chosen>>> = Mutex::new(BTreeMap::new());

/// The device of the backend of that name, or of the best one for "auto".
pub fn chosen(name: &str) -> PyResult<Arc<Chosen>> {
    let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = chosen.get(name) {
        return Ok(known.clone());
    }
    let found = Arc::new(kappa::choose(named(name)?).map_err(|error| failure(&error))?);
    chosen.insert(name.to_owned(), found.clone());
    Ok(found)
}

fn named(name: &str) -> PyResult<Option<Backend>> {
    if name == "auto" {
        return Ok(None);
    }
    serde_json::from_value(serde_json::Value::from(name)).map(Some).map_err(|_| {
        let known = backends().join(", ");
        KappaError::new_err(format!("there is no backend `{name}`: it is auto, or one of {known}"))
    })
}

/// The names of the backends of this build.
#[pyfunction]
pub fn backends() -> Vec<String> {
    kappa::compiled_in().iter().map(ToString::to_string).collect()
}

/// What could compute: a dictionary each.
#[pyfunction]
pub fn devices(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let devices = PyList::empty(py);
    for backend in backends() {
        if backend != "wgpu" {
            let device = PyDict::new(py);
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            device.set_item("backend", backend)?;
            device.set_item("name", format!("CPU, {threads} threads"))?;
            device.set_item("software", false)?;
            devices.append(device)?;
        }
    }
    #[cfg(feature = "wgpu")]
    for adapter in py.detach(kappa::adapters) {
        let device = PyDict::new(py);
        device.set_item("backend", "wgpu")?;
        device.set_item("name", &adapter.info.name)?;
        device.set_item("software", adapter.is_software())?;
        devices.append(device)?;
    }
    Ok(devices)
}
