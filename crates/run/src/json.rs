//! JSON files that say which version of their schema they are.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    RunError,
    checksum::{Seal, state, write_sealed},
    reading::read,
};

/// Writes `value` with its checksum, whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunError> {
    write_sealed(path, &json_bytes(path, value)?)
}

/// `value` as it stands in the file at `path`, without the checksum.
pub(crate) fn json_bytes<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, RunError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RunError::malformed(path, error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads what was written with schema version `expected`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, expected: u32) -> Result<T, RunError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let bytes = read(path)?;
    let seal = state(path, &bytes);
    if seal == Seal::Wrong {
        return Err(RunError::Altered(path.to_owned()));
    }
    // The version first: earlier ones had no checksum.
    let version: Version =
        serde_json::from_slice(&bytes).map_err(|error| RunError::malformed(path, error))?;
    if version.schema_version != expected {
        let found = version.schema_version;
        return Err(RunError::UnknownVersion { path: path.to_owned(), found, expected });
    }
    if seal == Seal::None {
        return Err(RunError::NoChecksum(path.to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| RunError::malformed(path, error))
}
