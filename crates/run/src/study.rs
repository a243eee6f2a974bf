//! A study's directory: its runs, and the spectra of each.
//!
//! ```text
//! outputs/paper/                 StudyDir
//!   study.toml                   StudyConfig, every value resolved
//!   runs/fc_lr3e-4_l2-0e0_m100_s0/  RunDir, named by what it is
//!     spectra.json               RunSpectra: a row for each epoch and variant
//!     spectra.safetensors        eigenvalues [rows, K m] f64, largest first, in the rows' order
//!     whole.json                 RunWhole: a row for each epoch, statistics and parameters, if asked for
//!   findings.json                Findings: what the numbers say of each claim
//!   report/                      what `kappa report` draws and writes of all this
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    CheckRecord, FINDINGS_VERSION, Findings, Lock, Precision, Quantity, RunDir, RunError, SavedTensor,
    StudyConfig, Variant,
    checksum::{read_sealed, seal, write_sealed},
    json::{read_json, write_json},
    lock::LOCK,
    reading::is_there,
    tensors::read_doubles,
    write::{refuse_links, remove_partial_files},
    write_tensors,
};

/// The version of `spectra.json`'s schema.
pub const SPECTRA_VERSION: u32 = 6;

const CONFIG: &str = "study.toml";
const RUNS: &str = "runs";
const SPECTRA: &str = "spectra";
const EIGENVALUES: &str = "eigenvalues";
const FINDINGS: &str = "findings.json";
const REPORT: &str = "report";
/// What would be followed if it were a link.
const OWN: [&str; 3] = [LOCK, RUNS, REPORT];

/// The spectra of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpectra {
    /// [`SPECTRA_VERSION`].
    pub schema_version: u32,
    /// The arithmetic of the sums over samples.
    pub precision: Precision,
    /// Seconds that they took, from the first checkpoint to the last eigenvalue.
    pub seconds: f64,
    /// A row for each epoch and variant.
    pub rows: Vec<SpectraRow>,
}

/// One spectrum in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectraRow {
    /// Epochs of training.
    pub epoch: usize,
    /// What was probed.
    pub variant: Variant,
    /// lambda_1 .. lambda_20, or as many as there are.
    pub top: Vec<f64>,
    /// The smallest eigenvalue; what the structure of H makes zero is zero.
    pub lambda_min: f64,
    /// The sum of the eigenvalues.
    pub trace: f64,
    /// How many eigenvalues there are.
    pub size: usize,
    /// How many are above rounding.
    pub rank: usize,
    /// What a decomposition of all of H says, which knows nothing of its structure: of the network as
    /// it is, at the first and the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<PlainValues>,
    /// Hidden units that never fire on the split.
    pub silent: usize,
    /// The most influential sample, where it was looked for.
    pub influence: Option<Influence>,
    /// What was checked.
    pub checks: Vec<CheckRecord>,
}

/// The end of the spectrum by a decomposition of all of H.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlainValues {
    /// The smallest eigenvalue: rounding, of either sign.
    pub lambda_min: f64,
    /// How many are above rounding.
    pub rank: usize,
}

/// The sample that carries the largest share of lambda_1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Influence {
    /// Its index in the split.
    pub sample: usize,
    /// Its share: lambda_1 without it is at least (1 - share) lambda_1.
    pub share: f64,
    /// lambda_1 .. lambda_20 without it, computed where the share is at least a twentieth.
    pub top_without: Option<Vec<f64>>,
}

/// lambda_1 / lambda_10 of eigenvalues from the largest down, if there are ten and
/// the tenth is not zero.
pub fn kappa_prime(top: &[f64]) -> Option<f64> {
    let (first, tenth) = (top.first()?, top.get(9)?);
    (*tenth != 0.0).then(|| first / tenth)
}

impl SpectraRow {
    /// lambda_`rank`, counted from 1.
    pub fn lambda(&self, rank: usize) -> Option<f64> {
        self.top.get(rank.checked_sub(1)?).copied()
    }

    /// lambda_1 / lambda_10, if there are ten and the tenth is not zero.
    pub fn kappa_prime(&self) -> Option<f64> {
        kappa_prime(&self.top)
    }

    /// How many eigenvalues are zero up to rounding, by a decomposition that knows nothing of H's
    /// structure, if there was one.
    pub fn zeros(&self) -> Option<usize> {
        self.plain.map(|plain| self.size.saturating_sub(plain.rank))
    }

    /// The number that claims are about.
    pub fn number(&self, quantity: Quantity) -> Option<f64> {
        match quantity {
            Quantity::Lambda1 => self.lambda(1),
            Quantity::KappaPrime => self.kappa_prime(),
        }
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
    /// [`RunError::OtherStudy`] if another configuration has it, [`RunError::Link`] if part of it
    /// is a link, [`RunError::Write`].
    pub fn create(root: &Path, config: &StudyConfig) -> Result<Self, RunError> {
        let path = root.join(&config.name);
        let file = path.join(CONFIG);
        let text = config.to_toml()?;
        match read_sealed(&file) {
            Ok(there) if there == seal(&file, text.as_bytes())? => {}
            Ok(_) => return Err(RunError::OtherStudy(path)),
            Err(RunError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let runs = path.join(RUNS);
                fs::create_dir_all(&runs).map_err(|source| RunError::write(&runs, source))?;
                write_sealed(&file, text.as_bytes())?;
            }
            Err(error) => return Err(error),
        }
        refuse_links(&path, &OWN)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps other processes from working on this study.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`] if one does, [`RunError::Write`].
    pub fn lock(&self) -> Result<Lock, RunError> {
        let lock = Lock::of(&self.path)?;
        remove_partial_files(&self.path, &[REPORT])?;
        Ok(lock)
    }

    /// Where its runs are.
    pub fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// The study at `path`, with its configuration.
    ///
    /// # Errors
    ///
    /// [`RunError::NotAStudy`] if it has no study.toml, [`RunError::Altered`],
    /// [`RunError::NoChecksum`], [`RunError::Link`] or [`RunError::Config`].
    pub fn open(path: &Path) -> Result<(Self, StudyConfig), RunError> {
        let file = path.join(CONFIG);
        if !is_there(&file) {
            return Err(RunError::NotAStudy(path.to_owned()));
        }
        read_sealed(&file)?;
        refuse_links(path, &OWN)?;
        Ok((Self { path: path.to_owned() }, StudyConfig::load(&file, &[])?))
    }

    /// The run of that name.
    ///
    /// # Errors
    ///
    /// [`RunError::NotARun`] if there is none, or the name leads elsewhere.
    pub fn run(&self, name: &str) -> Result<RunDir, RunError> {
        let path = self.runs().join(name);
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(_)), None) => RunDir::open(&path),
            _ => Err(RunError::NotARun(path)),
        }
    }

    /// The names of its runs, in alphabetical order.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`].
    pub fn names(&self) -> Result<Vec<String>, RunError> {
        let runs = self.runs();
        let read = |source| RunError::read(&runs, source);
        let entries = fs::read_dir(&runs).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        let mut names: Vec<String> =
            entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| self.run(name).is_ok());
        names.sort_unstable();
        Ok(names)
    }

    /// Where its report goes.
    pub fn report(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    /// Writes what was found.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_findings(&self, findings: &Findings) -> Result<(), RunError> {
        write_json(&self.path.join(FINDINGS), findings)
    }

    /// Reads what was found.
    ///
    /// # Errors
    ///
    /// [`RunError::Unfinished`] if the study has not come to its end,
    /// [`RunError::Malformed`] or [`RunError::UnknownVersion`].
    pub fn findings(&self) -> Result<Findings, RunError> {
        let path = self.path.join(FINDINGS);
        if !is_there(&path) {
            return Err(RunError::Unfinished(self.path.clone()));
        }
        read_json(&path, FINDINGS_VERSION)
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
        let shape = vec![rows, eigenvalues.len() / rows.max(1)];
        let tensor = SavedTensor::of_doubles(EIGENVALUES, shape, eigenvalues);
        let path = self.path().join(SPECTRA).with_extension("safetensors");
        write_tensors(&path, &[tensor], &BTreeMap::new())?;
        write_json(&self.path().join(SPECTRA).with_extension("json"), spectra)
    }

    /// Reads the spectra, if they were written.
    ///
    /// # Errors
    ///
    /// [`RunError::Malformed`] or [`RunError::UnknownVersion`].
    pub fn spectra(&self) -> Result<Option<RunSpectra>, RunError> {
        let path = self.path().join(SPECTRA).with_extension("json");
        if is_there(&path) { read_json(&path, SPECTRA_VERSION).map(Some) } else { Ok(None) }
    }

    /// Reads all eigenvalues of every row of [`Self::spectra`], largest first.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`], [`RunError::Altered`], [`RunError::NoChecksum`] or
    /// [`RunError::Malformed`].
    pub fn eigenvalues(&self) -> Result<Vec<Vec<f64>>, RunError> {
        let path = self.path().join(SPECTRA).with_extension("safetensors");
        let (shape, values) = read_doubles(&path, EIGENVALUES)?;
        match shape[..] {
            [_, size @ (1..)] => Ok(values.chunks_exact(size).map(<[f64]>::to_vec).collect()),
            _ => Err(RunError::malformed(&path, format!("eigenvalues are {shape:?}, not [rows, size]"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_file_does_not_lead_out_of_the_study() {
        let root = tempfile::tempdir().unwrap();
        let study = StudyDir { path: root.path().join("study") };
        for place in [study.runs().join("inside"), root.path().join("outside")] {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("run.json"), "").unwrap();
        }
        assert!(study.run("inside").is_ok());
        let outside = root.path().join("outside");
        for name in
            ["../../outside", "./../../outside", outside.to_str().unwrap(), "..", ".", "", "inside/../inside"]
        {
            assert!(matches!(study.run(name), Err(RunError::NotARun(_))), "{name}");
        }
    }
}
