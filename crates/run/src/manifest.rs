//! `run.json`: what ran, on what, from when to when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Config;

/// The version of the manifest's schema.
pub const MANIFEST_VERSION: u32 = 1;

/// What a run directory says of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that trained.
    pub kappa_version: String,
    /// "FC" or "FC+BN".
    pub network: String,
    /// The configuration, every value resolved.
    pub config: Config,
    /// What the data set is called.
    pub data: String,
    /// Inputs d: pixels an image.
    pub inputs: usize,
    /// Classes K.
    pub classes: usize,
    /// The files that were read, with the SHA-256 of their unpacked bytes.
    pub data_files: Vec<FileChecksum>,
    /// The backend that trained.
    pub backend: String,
    /// The adapter or processor it ran on.
    pub device: String,
    /// When the run began.
    pub started: Timestamp,
    /// When it went on after it had been stopped, each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Timestamp>,
    /// When its last epoch was saved; absent while it runs, and if it was stopped.
    pub finished: Option<Timestamp>,
}

/// A data file and its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChecksum {
    /// The file's name.
    pub file: String,
    /// SHA-256 of its unpacked bytes, in hexadecimal.
    pub sha256: String,
}
