//! What is asked, from what Python says: a request's fields by their names on disk.

use kappa_run::{Precision, Request};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::failure::KappaError;

/// The request for a whole spectrum, but for the fields in `changes`, a JSON object.
pub fn request(precision: Precision, changes: &str) -> PyResult<Request> {
    let changes: Map<String, Value> = serde_json::from_str(changes).map_err(wrong)?;
    let precision = match changes.get("precision") {
        Some(given) => serde_json::from_value(given.clone()).map_err(wrong)?,
        None => precision,
    };
    let mut request = serde_json::to_value(Request::new(precision)).map_err(wrong)?;
    if let Some(fields) = request.as_object_mut() {
        fields.extend(changes);
    }
    serde_json::from_value(request).map_err(wrong)
}

/// What is asked beside, all of it in `fields`, a JSON object.
pub fn question<T: DeserializeOwned>(fields: &str) -> PyResult<T> {
    let fields: Value = serde_json::from_str(fields).map_err(wrong)?;
    serde_json::from_value(fields).map_err(wrong)
}

fn wrong(error: serde_json::Error) -> PyErr {
    KappaError::new_err(format!("this cannot be asked: {error}"))
}
