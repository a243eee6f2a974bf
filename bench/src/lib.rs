//! What kappa does in the benchmark (`just bench`), as a module of Python beside its peers.
//!
//! ```text
//! place      what is computed on
//! samples    a last layer: H, its eigenvalues, products without it, the whole call
//! network    a network: an epoch, products with the Hessian of all parameters
//! posterior  a last layer's posterior: its marginal likelihood, and what it says of other samples
//! square     a plain product
//! block      vectors, from Python and to it
//! ```
//!
//! Arrays come and go as bytes, outside of what is timed: a result is an object that is asked for its
//! numbers when the clock has stopped. Each method returns when the device has nothing left to do.

mod block;
mod network;
mod place;
mod posterior;
mod samples;
mod square;

use std::{error::Error, iter};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

/// As kappa itself: what is freed is kept for what is taken next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the benchmark's Python calls (`bench/peers/kappa.py`).
#[pymodule]
mod kappa_bench {
    #[pymodule_export]
    use crate::{
        block::{Block, Pairs},
        network::{Network, NetworkHessian, Trainer, images, last_layer},
        place::Place,
        posterior::{Classifier, Posterior},
        samples::{Hessian, Layer, Samples},
        square::Square,
    };

    /// The version of kappa.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}

/// An error with what caused it, in one line.
fn failed(error: impl Error) -> PyErr {
    let causes = iter::successors(error.source(), |&error| error.source());
    PyRuntimeError::new_err(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
}
