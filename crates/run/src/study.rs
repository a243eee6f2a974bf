//! A study's directory: its runs, and the spectra of each.
//!
//! ```text
//! outputs/paper/                 StudyDir
//!   study.toml                   StudyConfig, every value resolved
//!   runs/fc_lr3e-4_l2-0e0_m100_s0/  RunDir, named by what it is
//!     spectra.json               RunSpectra: a row for each epoch and variant
//!     spectra.safetensors        eigenvalues [rows, K m] f64, largest first, in the rows' order
//!   verdicts.json                what the numbers say of each claim
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{RunDir, RunError, SavedTensor, StudyConfig, spectrum::write_tensors, write_atomically};

/// The version of `spectra.json`'s schema.
pub const SPECTRA_VERSION: u32 = 1;

const CONFIG: &str = "study.toml";
const RUNS: &str = "runs";
const SPECTRA: &str = "spectra";
const VERDICTS: &str = "verdicts.json";

/// The spectra of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpectra {
    /// [`SPECTRA_VERSION`].
    pub schema_version: u32,
    /// The arithmetic of the sums over samples: "f32" or "f64".
    pub precision: String,
    /// A row for each epoch and variant.
    pub rows: Vec<SpectraRow>,
}

/// One spectrum in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectraRow {
    /// Epochs of training.
    pub epoch: usize,
    /// What was probed. FC: "plain", or its features "centred", "standardised" or
    /// scaled to "unit_mean_square". FC+BN: the statistics, "running", "dataset" or "batch".
    pub variant: String,
    /// lambda_1 .. lambda_20, or as many as there are.
    pub top: Vec<f64>,
    /// The smallest eigenvalue.
    pub lambda_min: f64,
    /// The sum of the eigenvalues.
    pub trace: f64,
    /// How many eigenvalues there are.
    pub size: usize,
    /// How many are above rounding.
    pub rank: usize,
}

impl SpectraRow {
    /// lambda_`rank`, counted from 1.
    pub fn lambda(&self, rank: usize) -> Option<f64> {
        self.top.get(rank.checked_sub(1)?).copied()
    }

    /// lambda_1 / lambda_10, if there are ten and the tenth is not zero.
    pub fn kappa_prime(&self) -> Option<f64> {
        let (first, tenth) = (self.lambda(1)?, self.lambda(10)?);
        (tenth != 0.0).then(|| first / tenth)
    }
}

/// The directory of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyDir {
    path: PathBuf,
}

impl StudyDir {
    /// The directory of `config` under `root`: a new one, or the one in which an
    /// earlier call with the same configuration stopped.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherStudy`] if another configuration has it, [`RunError::Write`].
    pub fn create(root: &Path, config: &StudyConfig) -> Result<Self, RunError> {
        let path = root.join(&config.name);
        let file = path.join(CONFIG);
        let text = config.to_toml()?;
        match fs::read_to_string(&file) {
            Ok(there) if there == text => {}
            Ok(_) => return Err(RunError::OtherStudy(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let runs = path.join(RUNS);
                fs::create_dir_all(&runs).map_err(|source| RunError::write(&runs, source))?;
                write_atomically(&file, text.as_bytes())?;
            }
            Err(source) => return Err(RunError::read(&file, source)),
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its runs are.
    pub fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// Writes the verdicts.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_verdicts<T: Serialize>(&self, verdicts: &T) -> Result<(), RunError> {
        write_json(&self.path.join(VERDICTS), verdicts)
    }
}

impl RunDir {
    /// Writes the spectra, and all eigenvalues [rows, K m] row after row.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_spectra(&self, spectra: &RunSpectra, eigenvalues: &[f64]) -> Result<(), RunError> {
        let rows = spectra.rows.len();
        let tensor = SavedTensor {
            name: "eigenvalues",
            shape: vec![rows, eigenvalues.len() / rows.max(1)],
            width: size_of::<f64>(),
            bytes: eigenvalues.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        write_tensors(&self.path().join(SPECTRA).with_extension("safetensors"), &[tensor])?;
        write_json(&self.path().join(SPECTRA).with_extension("json"), spectra)
    }

    /// Reads the spectra, if they were written.
    ///
    /// # Errors
    ///
    /// [`RunError::Malformed`] or [`RunError::UnknownVersion`].
    pub fn spectra(&self) -> Result<Option<RunSpectra>, RunError> {
        let path = self.path().join(SPECTRA).with_extension("json");
        if !path.is_file() {
            return Ok(None);
        }
        let spectra: RunSpectra = read_json(&path)?;
        if spectra.schema_version != SPECTRA_VERSION {
            let found = spectra.schema_version;
            return Err(RunError::UnknownVersion { path, found, expected: SPECTRA_VERSION });
        }
        Ok(Some(spectra))
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RunError::malformed(path, error))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let bytes = fs::read(path).map_err(|source| RunError::read(path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| RunError::malformed(path, error))
}
