//! What `kappa influence` leaves: its record, its arrays, a table of the most helpful and harmful training samples, and
//! pictures of them.

use std::path::Path;

use kappa_run::{Checksums, InfluenceRecord, SavedTensor, npy_bytes, write_answer};

use crate::{
    ReportError,
    figures::images::{Picture, grid},
};

/// Test samples that are shown, and training samples of each kind beside one.
const SHOWN: (usize, usize) = (8, 4);
/// Training samples that are shown of those that are hardest to explain without them.
const SUSPECTS: usize = 10;

/// The images that samples were made of.
#[derive(Debug, Clone, Copy)]
pub struct SampleImages<'a> {
    /// Rows and columns.
    pub size: [usize; 2],
    /// A byte a pixel, image after image, of the training samples and of the test samples;
    pub pixels: [&'a [u8]; 2],
    /// and their labels.
    pub labels: [&'a [u8]; 2],
}

/// Influences, as they were found.
#[derive(Debug, Clone, Copy)]
pub struct FoundInfluences<'a> {
    /// In short.
    pub record: &'a InfluenceRecord,
    /// The arrays.
    pub tensors: &'a [SavedTensor],
    /// All influences [T, N], if they are to be saved too.
    pub table: Option<&'a [f32]>,
}

/// Writes influences into `folder`: `influence.json`, `influence.safetensors`, `influence.csv` with the most helpful and
/// harmful training samples of each test sample, `self-influences.npy` and, if there are all, `influences.npy`; and
/// pictures where there are images.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_influence(
    folder: &Path,
    found: FoundInfluences<'_>,
    images: Option<SampleImages<'_>>,
) -> Result<(), ReportError> {
    let FoundInfluences { record, tensors, table } = found;
    let most = Most::of(tensors);
    let pictures = match images {
        Some(images) => {
            vec![("influence.svg", most.pictures(images)?), ("suspects.svg", suspects(record, images)?)]
        }
        None => Vec::new(),
    };
    write_answer(folder, record, tensors, &pictures)?;
    let mut files = Checksums::default();
    files.write_file(folder, "influence.csv", most.table().as_bytes())?;
    let own = tensors.iter().find(|tensor| tensor.name == "self_influences");
    if let Some(own) = own {
        files.write_file(folder, "self-influences.npy", &npy_bytes("<f8", &own.shape, &own.bytes))?;
    }
    if let Some(table) = table {
        let shape = [record.test_samples, record.settings.samples];
        let bytes: Vec<u8> = table.iter().flat_map(|x| x.to_le_bytes()).collect();
        files.write_file(folder, "influences.npy", &npy_bytes("<f4", &shape, &bytes))?;
    }
    Ok(files.write(folder)?)
}

/// Of each test sample the training samples at both ends.
struct Most {
    /// Helpful, harmful: sample and influence, some of each test sample.
    ends: [Vec<Vec<(usize, f64)>>; 2],
}

impl Most {
    fn of(tensors: &[SavedTensor]) -> Self {
        let end = |name: &str| {
            let tensor = |what: &str| tensors.iter().find(|tensor| tensor.name == format!("{name}.{what}"));
            let samples = tensor("samples").and_then(SavedTensor::integers).unwrap_or_default();
            let influences = tensor("influences").and_then(SavedTensor::doubles).unwrap_or_default();
            let each = tensor("samples").and_then(|tensor| tensor.shape.last().copied()).unwrap_or(0).max(1);
            let pairs: Vec<(usize, f64)> = samples.into_iter().zip(influences).collect();
            pairs.chunks(each).map(<[_]>::to_vec).collect()
        };
        Self { ends: [end("helpful"), end("harmful")] }
    }

    /// A row for each pair.
    fn table(&self) -> String {
        let mut table = "test_sample,kind,rank,training_sample,influence\n".to_owned();
        let [helpful, harmful] = &self.ends;
        for (test, ends) in helpful.iter().zip(harmful).enumerate() {
            for (kind, entries) in [("helpful", ends.0), ("harmful", ends.1)] {
                for (rank, (sample, influence)) in entries.iter().enumerate() {
                    table.push_str(&format!("{test},{kind},{},{sample},{influence:e}\n", rank + 1));
                }
            }
        }
        table
    }

    /// The test samples that depend most on a single training sample, and those beside.
    fn pictures(&self, images: SampleImages<'_>) -> Result<String, ReportError> {
        let [helpful, harmful] = &self.ends;
        let largest = |test: usize| {
            let ends = [helpful.get(test), harmful.get(test)].into_iter().flatten();
            ends.filter_map(|entries| entries.first()).map(|entry| entry.1.abs()).fold(0.0, f64::max)
        };
        let mut tests: Vec<usize> = (0..helpful.len()).collect();
        tests.sort_by(|&a, &b| largest(b).total_cmp(&largest(a)));
        let (rows, each) = SHOWN;
        let of_test = |&test: &usize| {
            let own = images.picture(1, test, [format!("test {test}"), images.word(1, test)]);
            let beside = |entries: &[(usize, f64)]| {
                let pictures = entries.iter().take(each).filter_map(|&(sample, influence)| {
                    let words = [format!("{influence:+.3} nats"), images.word(0, sample)];
                    images.picture(0, sample, words)
                });
                pictures.collect::<Vec<_>>()
            };
            let helpful = beside(helpful.get(test).map_or(&[], Vec::as_slice));
            let harmful = beside(harmful.get(test).map_or(&[], Vec::as_slice));
            let row: Vec<Picture<'_>> = own.into_iter().chain(helpful).chain(harmful).collect();
            row
        };
        let headings =
            [(0, "test sample"), (1, "without these its loss is larger"), (1 + each, "and smaller")];
        grid(images.size, &headings, &tests.iter().take(rows).map(of_test).collect::<Vec<_>>())
    }
}

/// The training samples that are hardest to explain without them.
fn suspects(record: &InfluenceRecord, images: SampleImages<'_>) -> Result<String, ReportError> {
    let picture = |suspect: &kappa_run::SuspectRecord| {
        let words = [
            format!("says {}, seems {}", suspect.label, suspect.likeliest),
            format!("no. {}", suspect.sample),
        ];
        images.picture(0, suspect.sample, words)
    };
    let all: Vec<Picture<'_>> = record.suspects.iter().filter_map(picture).collect();
    let mut rows: Vec<Vec<Picture<'_>>> = Vec::new();
    for picture in all {
        match rows.last_mut() {
            Some(row) if row.len() < SUSPECTS => row.push(picture),
            _ => rows.push(vec![picture]),
        }
    }
    grid(images.size, &[(0, "training samples that are hardest to explain without them")], &rows)
}

impl<'a> SampleImages<'a> {
    fn picture(&self, of: usize, index: usize, words: [String; 2]) -> Option<Picture<'a>> {
        let size = self.size[0] * self.size[1];
        Some(Picture { pixels: self.pixels[of].get(index * size..(index + 1) * size)?, words })
    }

    fn word(&self, of: usize, index: usize) -> String {
        self.labels[of].get(index).map_or_else(String::new, |label| format!("label {label}"))
    }
}
