//! The answers that a run or a folder holds, whichever command has left them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    CURVATURE_VERSION, CurvatureRecord, MATRIX_FREE_VERSION, MatrixFreeRecord, Precision, RunDir, RunError,
    SPECTRUM_VERSION, SpectraRow, SpectrumRecord, SpectrumSettings, WholeRow, epochs::HESSIAN,
    json::read_json, reading::is_there, tensors::read_doubles, whole::WHOLE,
};

const SPECTRUM: &str = "spectrum.json";
const EIGENVALUES: &str = "spectrum.safetensors";
const MATRIX_FREE: &str = "matrix-free.json";
const CURVATURE: &str = "curvature.json";

/// An answer that was saved, with all that it says.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    /// A row of a study's spectra.
    Row {
        /// What the row says.
        row: SpectraRow,
        /// The arithmetic of the sums over samples.
        precision: Precision,
        /// All eigenvalues, largest first.
        eigenvalues: Vec<f64>,
    },
    /// A row of a study's Hessians of more than the last layer.
    Whole {
        /// What the row says.
        row: Box<WholeRow>,
        /// The arithmetic.
        precision: Precision,
        /// Images that the loss is the mean over.
        samples: usize,
    },
    /// A whole spectrum by `kappa hessian`.
    Spectrum {
        /// Its folder.
        folder: PathBuf,
        /// What it says.
        record: Box<SpectrumRecord>,
        /// All eigenvalues, largest first.
        eigenvalues: Vec<f64>,
    },
    /// What was found without the matrix.
    MatrixFree {
        /// Its folder.
        folder: PathBuf,
        /// What it says.
        record: Box<MatrixFreeRecord>,
    },
    /// Of other parameters of a network than its last layer's weights.
    Curvature {
        /// Its folder.
        folder: PathBuf,
        /// What it says.
        record: Box<CurvatureRecord>,
    },
}

/// Whether `kappa hessian` has left an answer in `folder`.
pub fn is_answer(folder: &Path) -> bool {
    [SPECTRUM, MATRIX_FREE, CURVATURE, "laplace.json", "influence.json"]
        .iter()
        .any(|name| is_there(&folder.join(name)))
}

impl Saved {
    /// The answers in `folder`: a spectrum, what was found without the matrix, what is of
    /// other parameters.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file that cannot be used.
    pub fn in_folder(folder: &Path) -> Result<Vec<Self>, RunError> {
        let mut saved = Vec::new();
        let path = folder.join(SPECTRUM);
        if is_there(&path) {
            let record = Box::new(read_json::<SpectrumRecord>(&path, SPECTRUM_VERSION)?);
            let (_, eigenvalues) = read_doubles(&folder.join(EIGENVALUES), "eigenvalues")?;
            saved.push(Self::Spectrum { folder: folder.to_owned(), record, eigenvalues });
        }
        let path = folder.join(MATRIX_FREE);
        if is_there(&path) {
            let record = Box::new(read_json::<MatrixFreeRecord>(&path, MATRIX_FREE_VERSION)?);
            saved.push(Self::MatrixFree { folder: folder.to_owned(), record });
        }
        let path = folder.join(CURVATURE);
        if is_there(&path) {
            let record = Box::new(read_json::<CurvatureRecord>(&path, CURVATURE_VERSION)?);
            saved.push(Self::Curvature { folder: folder.to_owned(), record });
        }
        Ok(saved)
    }

    /// What a study's row is of, or the name of its folder.
    pub fn name(&self) -> String {
        match self {
            Self::Row { row, .. } => row.variant.to_string(),
            Self::Whole { row, .. } => row.name(),
            Self::Spectrum { folder, .. }
            | Self::MatrixFree { folder, .. }
            | Self::Curvature { folder, .. } => {
                folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }

    /// The epoch that it is of, where that is known.
    pub fn epoch(&self) -> Option<usize> {
        match self {
            Self::Row { row, .. } => Some(row.epoch),
            Self::Whole { row, .. } => Some(row.point.epoch),
            Self::Spectrum { record, .. } => record.settings.epoch,
            Self::MatrixFree { record, .. } => record.settings.epoch,
            Self::Curvature { record, .. } => record.settings.epoch,
        }
    }

    /// How `kappa hessian` took it; none of a study's.
    pub fn settings(&self) -> Option<&SpectrumSettings> {
        match self {
            Self::Row { .. } | Self::Whole { .. } => None,
            Self::Spectrum { record, .. } => Some(&record.settings),
            Self::MatrixFree { record, .. } => Some(&record.settings),
            Self::Curvature { record, .. } => Some(&record.settings),
        }
    }

    /// The file in which its numbers stand, of the answers in `run` or in a folder of their own.
    pub fn file(&self, run: &Path) -> PathBuf {
        match self {
            Self::Row { .. } => run.join("spectra.json"),
            Self::Whole { .. } => run.join(WHOLE),
            Self::Spectrum { folder, .. } => folder.join(SPECTRUM),
            Self::MatrixFree { folder, .. } => folder.join(MATRIX_FREE),
            Self::Curvature { folder, .. } => folder.join(CURVATURE),
        }
    }
}

impl RunDir {
    /// All answers that this run holds: those of a study first, then those of `kappa hessian`.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file that cannot be used.
    pub fn saved(&self) -> Result<Vec<Saved>, RunError> {
        let mut saved = Vec::new();
        if let Some(spectra) = self.spectra()? {
            let precision = spectra.precision;
            let rows = spectra.rows.into_iter().zip(self.eigenvalues()?);
            saved.extend(rows.map(|(row, eigenvalues)| Saved::Row { row, precision, eigenvalues }));
        }
        if let Some(whole) = self.whole()? {
            let (precision, samples) = (whole.precision, whole.samples);
            let rows = whole.rows.into_iter().map(Box::new);
            saved.extend(rows.map(|row| Saved::Whole { row, precision, samples }));
        }
        let folder = self.path().join(HESSIAN);
        if !folder.is_dir() {
            return Ok(saved);
        }
        let read = |source| RunError::read(&folder, source);
        let mut entries =
            fs::read_dir(&folder).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            saved.extend(Saved::in_folder(&entry.path())?);
        }
        Ok(saved)
    }
}
