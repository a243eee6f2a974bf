//! JSON files that say which version of their schema they are.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{RunError, write_atomically};

/// Writes `value`, whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RunError::malformed(path, error))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Reads what was written with schema version `expected`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, expected: u32) -> Result<T, RunError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let bytes = fs::read(path).map_err(|source| RunError::read(path, source))?;
    let version: Version =
        serde_json::from_slice(&bytes).map_err(|error| RunError::malformed(path, error))?;
    if version.schema_version != expected {
        let found = version.schema_version;
        return Err(RunError::UnknownVersion { path: path.to_owned(), found, expected });
    }
    serde_json::from_slice(&bytes).map_err(|error| RunError::malformed(path, error))
}
