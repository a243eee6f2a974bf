//! A `kappa why`'s directory: its trainings, and what they say.
//!
//! ```text
//! outputs/why/                        WhyDir
//!   why.toml                          WhyConfig, every value resolved
//!   trainings/fc_s0_lr1e-1.json       Training: the loss at each step, and what was measured
//!   why.json                          WhyFindings
//!   again/fashion-mnist/              the same once more, as [[again]] sets it
//!   report/                           report.md, report.html and their figures
//! ```

mod findings;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use findings::{
    Answer, Chain, Compared, Explains, Factors, Measure, Moved, Ordering, Part, Shares, Speeds, Statement,
    Tau, Told, WhyClaim, WhyFindings,
};

use crate::{
    Lock, RunError, WhyConfig,
    checksum::{read_sealed, seal, write_sealed},
    json::{read_json, write_json},
    lock::LOCK,
    reading::is_there,
    write::{refuse_links, remove_partial_files},
};

/// The version of the schemas of a training and of the findings.
pub const WHY_VERSION: u32 = 2;

pub(crate) const CONFIG: &str = "why.toml";
pub(crate) const TRAININGS: &str = "trainings";
pub(crate) const FINDINGS: &str = "why.json";
const REPORT: &str = "report";
const AGAIN: &str = "again";

/// A descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// [`WHY_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that trained.
    pub kappa_version: String,
    /// The arm or intervention.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Its learning rate.
    pub rate: f64,
    /// The training loss before each step, and after the last one; it ends before a loss that is not finite,
    /// and at one of a hundred times the first.
    pub losses: Vec<f64>,
    /// Why it ended.
    pub end: End,
    /// By how much the logarithm of the loss were to fall on the way to the last loss if the loss were linear
    /// in the parameters, of each tensor: the sum over the steps of rate d . g / L, where g is the gradient and
    /// d the direction of the step. Of a training that came there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub first_order: BTreeMap<String, f64>,
    /// What was measured on the way.
    pub measures: Vec<Measured>,
    /// lambda_i / lambda_1 of the last layer's ten leading eigenvalues, whenever an intervention may look at
    /// them; of a training at the matched rate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<usize, Vec<f64>>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The last loss was reached.
    Reached,
    /// All steps were taken.
    Steps,
    /// A loss was not finite, or a hundred times the first.
    Diverged,
}

/// What was measured of a network on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Steps taken before.
    pub step: usize,
    /// The training loss there.
    pub loss: f64,
    /// The numbers.
    pub values: BTreeMap<Measure, f64>,
    /// The share of the squared gradient that each tensor has.
    pub shares: BTreeMap<String, f64>,
}

/// A directory of trainings that say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyDir(PathBuf);

impl WhyDir {
    /// Opens or makes the directory of `config` under `root`.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherStudy`] if another configuration has it, [`RunError::Link`] if part of it is a link,
    /// [`RunError::Write`].
    pub fn create(root: &Path, config: &WhyConfig) -> Result<Self, RunError> {
        let path = root.join(&config.name);
        let (file, text) = (path.join(CONFIG), config.to_toml()?);
        match read_sealed(&file) {
            Ok(there) if there == seal(&file, text.as_bytes())? => {}
            Ok(_) => return Err(RunError::OtherStudy(path)),
            Err(RunError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let trainings = path.join(TRAININGS);
                fs::create_dir_all(&trainings).map_err(|source| RunError::write(&trainings, source))?;
                write_sealed(&file, text.as_bytes())?;
            }
            Err(error) => return Err(error),
        }
        refuse_links(&path, &[LOCK, TRAININGS, REPORT, AGAIN])?;
        Ok(Self(path))
    }

    /// Keeps other processes from working on it.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`] if one does, [`RunError::Write`].
    pub fn lock(&self) -> Result<Lock, RunError> {
        let lock = Lock::of(&self.0)?;
        remove_partial_files(&self.0, &[TRAININGS])?;
        Ok(lock)
    }

    /// The one at `path`.
    ///
    /// # Errors
    ///
    /// [`RunError`] if there is none.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let why = Self(path.to_owned());
        why.config()?;
        Ok(why)
    }

    /// Whether `path` is one.
    pub fn is_one(path: &Path) -> bool {
        is_there(&path.join(CONFIG))
    }

    /// What was run there.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn config(&self) -> Result<WhyConfig, RunError> {
        let file = self.0.join(CONFIG);
        read_sealed(&file)?;
        WhyConfig::load(&file, &[])
    }

    /// Where what is done again stands.
    pub fn again(&self) -> PathBuf {
        self.0.join(AGAIN)
    }

    /// Where its report goes.
    pub fn report(&self) -> PathBuf {
        self.0.join(REPORT)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn training_path(&self, name: &str) -> PathBuf {
        self.0.join(TRAININGS).join(format!("{name}.json"))
    }

    /// A training that was made, if it was.
    ///
    /// # Errors
    ///
    /// [`RunError`] if it cannot be read, or is altered.
    pub fn training(&self, name: &str) -> Result<Option<Training>, RunError> {
        let path = self.training_path(name);
        if is_there(&path) { read_json(&path, WHY_VERSION).map(Some) } else { Ok(None) }
    }

    /// Writes a training.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_training(&self, name: &str, training: &Training) -> Result<(), RunError> {
        write_json(&self.training_path(name), training)
    }

    /// Writes what was found.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_findings(&self, findings: &WhyFindings) -> Result<(), RunError> {
        write_json(&self.0.join(FINDINGS), findings)
    }

    /// What was found.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn findings(&self) -> Result<WhyFindings, RunError> {
        read_json(&self.0.join(FINDINGS), WHY_VERSION)
    }
}
