//! `spectra.csv` and `spectra.svg` in a run's `hessian/`: the answers to one question over the
//! epochs, side by side.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    CURVATURE_VERSION, CurvatureRecord, Place, RunError, SPECTRUM_VERSION, SpectrumRecord, SpectrumSettings,
    json::read_json, place::beside_the_epoch, write::Aside,
};

/// A row of `spectra.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochSpectrum {
    /// Epochs of training.
    pub epoch: usize,
    /// The largest eigenvalue.
    pub lambda_1: Option<f64>,
    /// The tenth.
    pub lambda_10: Option<f64>,
    /// lambda_1 / lambda_10.
    pub kappa_prime: Option<f64>,
    /// The sum of all.
    pub trace: f64,
    /// How many stand above rounding; absent where not all were computed.
    pub rank: Option<usize>,
    /// The decimal digits of lambda_1 that are known; absent where nothing was checked.
    pub digits: Option<u32>,
    /// The smallest, of a Hessian that can have negative ones.
    pub lambda_min: Option<f64>,
}

impl EpochSpectrum {
    /// What `record` says in a row.
    pub fn of(record: &SpectrumRecord) -> Self {
        let spectrum = &record.spectrum;
        Self {
            epoch: record.settings.epoch.unwrap_or(0),
            lambda_1: spectrum.top.first().copied(),
            lambda_10: spectrum.top.get(9).copied(),
            kappa_prime: spectrum.kappa_prime,
            trace: spectrum.trace,
            rank: Some(spectrum.rank),
            digits: record.evidence.as_ref().map(|evidence| evidence.known_digits_of_lambda_1),
            lambda_min: None,
        }
    }

    /// The same of a network's Hessian.
    pub fn of_network(record: &CurvatureRecord) -> Self {
        let curvature = &record.curvature;
        Self {
            epoch: record.settings.epoch.unwrap_or(0),
            lambda_1: curvature.lambda_1(),
            lambda_10: curvature.largest.eigenvalues.get(9).copied(),
            kappa_prime: curvature.kappa_prime,
            trace: curvature.trace.value,
            rank: None,
            digits: record.evidence.as_ref().map(|evidence| evidence.known_digits_of_lambda_1),
            lambda_min: curvature.lambda_min(),
        }
    }
}

/// The spectra that lie in `place` of those of the `epochs` that have one, if it answers the
/// question of `settings`.
///
/// # Errors
///
/// [`RunError`] names the file that cannot be used.
pub fn spectra_over_epochs(
    place: &Place,
    epochs: &[usize],
    settings: &SpectrumSettings,
) -> Result<Vec<EpochSpectrum>, RunError> {
    let mut rows = Vec::new();
    for &epoch in epochs {
        let of_epoch = SpectrumSettings { epoch: Some(epoch), ..settings.clone() };
        let folder = place.of(&of_epoch);
        let answer = match settings.request.is_of_network() {
            false => read_if_there::<SpectrumRecord>(&folder.join("spectrum.json"), SPECTRUM_VERSION)?
                .map(|record| (EpochSpectrum::of(&record), record.settings)),
            true => read_if_there::<CurvatureRecord>(&folder.join("curvature.json"), CURVATURE_VERSION)?
                .map(|record| (EpochSpectrum::of_network(&record), record.settings)),
        };
        let Some((row, there)) = answer else { continue };
        if there.epoch == Some(epoch) && beside_the_epoch(&there, settings).is_empty() {
            rows.push(row);
        }
    }
    Ok(rows)
}

fn read_if_there<T: DeserializeOwned>(file: &Path, version: u32) -> Result<Option<T>, RunError> {
    file.exists().then(|| read_json(file, version)).transpose()
}

/// Writes `rows` and a `plot` of them as `stem.csv` and `stem.svg`.
///
/// # Errors
///
/// [`RunError::Write`].
pub fn write_over_epochs(stem: &Path, rows: &[EpochSpectrum], plot: &str) -> Result<(), RunError> {
    let named = |end: &str| {
        let mut name = stem.as_os_str().to_owned();
        name.push(end);
        std::path::PathBuf::from(name)
    };
    let (table, picture) = (named(".csv"), named(".svg"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|error| RunError::malformed(&table, error))?;
    }
    let bytes = writer.into_inner().map_err(|error| RunError::malformed(&table, error))?;
    let mut files = Aside::new(stem.parent().unwrap_or(Path::new(".")))?;
    files.add(&picture, plot.as_bytes())?;
    files.add(&table, &bytes)?;
    files.put()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checksum::read_sealed,
        place::tests::{record, run},
        write_spectrum,
    };

    #[test]
    fn a_table_has_a_row_for_each_epoch_whose_answer_lies_there_and_for_no_other_question() {
        let root = tempfile::tempdir().unwrap();
        let place = run(root.path());
        for epoch in [0, 2] {
            let mut record = record();
            record.settings.epoch = Some(epoch);
            record.spectrum.top = (0..12).map(|rank| (epoch + 12 - rank) as f64).collect();
            write_spectrum(&place.of(&record.settings), &record, &[], "<svg/>", None).unwrap();
        }
        let mut other = record();
        other.settings.request.bias = true;
        other.settings.epoch = Some(1);
        write_spectrum(&place.of(&other.settings), &other, &[], "<svg/>", None).unwrap();

        let settings = record().settings;
        let rows = spectra_over_epochs(&place, &[0, 1, 2, 3], &settings).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.epoch, row.lambda_1, row.lambda_10)).collect();
        assert_eq!(found, [(0, Some(12.0), Some(3.0)), (2, Some(14.0), Some(5.0))]);

        let stem = place.over_epochs(&settings).unwrap();
        write_over_epochs(&stem, &rows, "<svg/>").unwrap();
        let bytes = read_sealed(&root.path().join("spectra.csv")).unwrap();
        assert!(bytes.starts_with(
            b"epoch,lambda_1,lambda_10,kappa_prime,trace,rank,digits,lambda_min,sha256\n0,12.0,3.0,"
        ));
        let read: Vec<EpochSpectrum> =
            csv::Reader::from_reader(&bytes[..]).deserialize().collect::<Result<_, _>>().unwrap();
        assert_eq!(read, rows);
        assert!(read_sealed(&root.path().join("spectra.svg")).is_ok());
    }
}
