//! The spectra that a run directory holds, whichever command has left them.

use std::fs;

use crate::{
    Precision, RunDir, RunError, SPECTRUM_VERSION, SpectrumRecord, SpectrumSettings, epochs::HESSIAN,
    json::read_json, tensors::read_doubles,
};

/// A spectrum with all its eigenvalues.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSpectrum {
    /// The variant of a study's spectra, or the folder of `kappa hessian`'s.
    pub name: String,
    /// Epochs of training.
    pub epoch: usize,
    /// The arithmetic of the sums over samples.
    pub precision: Precision,
    /// All eigenvalues, largest first.
    pub eigenvalues: Vec<f64>,
    /// How `kappa hessian` took it; absent of a study's.
    pub settings: Option<SpectrumSettings>,
}

impl RunDir {
    /// All spectra of this run: those of a study first, then those of `kappa hessian`.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file that cannot be used.
    pub fn saved_spectra(&self) -> Result<Vec<SavedSpectrum>, RunError> {
        let mut saved = Vec::new();
        if let Some(spectra) = self.spectra()? {
            for (row, eigenvalues) in spectra.rows.into_iter().zip(self.eigenvalues()?) {
                let (name, epoch, precision) = (row.variant.to_string(), row.epoch, spectra.precision);
                saved.push(SavedSpectrum { name, epoch, precision, eigenvalues, settings: None });
            }
        }
        let folder = self.path().join(HESSIAN);
        if !folder.is_dir() {
            return Ok(saved);
        }
        let read = |source| RunError::read(&folder, source);
        let mut entries =
            fs::read_dir(&folder).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let record = path.join("spectrum.json");
            if !record.is_file() {
                continue;
            }
            let settings = read_json::<SpectrumRecord>(&record, SPECTRUM_VERSION)?.settings;
            let Some(epoch) = settings.epoch else { continue };
            let (_, eigenvalues) = read_doubles(&path.join("spectrum.safetensors"), "eigenvalues")?;
            let precision = settings.request.precision;
            saved.push(SavedSpectrum { name, epoch, precision, eigenvalues, settings: Some(settings) });
        }
        Ok(saved)
    }
}
