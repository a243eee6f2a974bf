//! Errors, as the program tells them.

use std::error::Error;

use pyo3::{PyErr, create_exception, exceptions::PyValueError};

create_exception!(
    kappa,
    KappaError,
    PyValueError,
    "What kappa was given, or what it works on, will not do. The message says what and where."
);

/// What the program would say of an error, without what to type.
pub fn failure(error: &dyn Error) -> PyErr {
    KappaError::new_err(kappa::message(error))
}
