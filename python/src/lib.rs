//! The engine as a Python module, `kappa._kappa`: what the package beside it calls.
//!
//! ```text
//! arrays    arrays of others, read where they lie
//! devices   backends, each set up once
//! watch     a computation on a thread of its own: progress, Ctrl-C, panics
//! requests  what is asked, from what Python says
//! layer     a last layer in arrays: its answer, its products
//! posterior a last layer's posterior in arrays, and the influence of its samples
//! network   a trained network on its images: its answer
//! run       a run's directory, read
//! answer    what was measured, or read from a folder
//! failure   errors, as the program tells them
//! ```
//!
//! Nothing is computed here, and nothing is decided: a function takes arrays and a request, calls what
//! the program calls, and gives back what that gives.

mod answer;
mod arrays;
mod devices;
mod failure;
mod layer;
mod network;
mod posterior;
mod requests;
mod run;
mod watch;

use pyo3::prelude::*;

/// As the program: what is freed is kept for what is taken next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the package `kappa` calls; for its users that package is there.
#[pymodule]
mod _kappa {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::{
        answer::{Answer, load},
        devices::{backends, devices},
        failure::KappaError,
        layer::{LayerOperator, measure_layer},
        network::measure_network,
        posterior::{
            InfluenceAnswer, LaplaceAnswer, influence_layer, laplace_layer, load_influence, load_laplace,
        },
        run::StoredRun,
    };

    /// The version of kappa.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The program: does what `arguments` say, its name first, and returns the exit status.
    #[pyfunction]
    fn program(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
        py.detach(|| kappa::program(&arguments))
    }
}
