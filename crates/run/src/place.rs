//! Where an answer lies: the name of its folder says all that was asked, and no answer is put in
//! the place of the answer to another question.
//!
//! ```text
//! epoch-0030                              the whole training split, in f64, checked
//! epoch-0030-test-limit100-bias           the first 100 of the test split, with the bias
//! epoch-0030-data-fashion-mnist-dc8a3b12  on other images than it was trained on
//! hessian-G-5c9a11e0                      of files: the first one's name, a checksum of all
//! ```
//!
//! A name follows from the question alone, never from the machine: f32 is in it, f64 is not.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use kappa_model::Statistics;

use crate::{
    CURVATURE_VERSION, CurvatureRecord, FileChecksum, Interpretation, MATRIX_FREE_VERSION, MatrixFreeRecord,
    Precision, Request, RunError, SPECTRUM_VERSION, Scaling, SpectrumRecord, SpectrumSettings, Split,
    checksum::digest, epochs::epoch_name, json::read_json,
};

/// What the set of images is called that kappa brings itself.
const OWN_IMAGES: &str = "mnist";
/// The label that leaves a sample out if no other is named.
const USUALLY_IGNORED: i64 = -100;
/// Characters of a checksum that a name holds.
const SHORT: usize = 8;
/// Bytes of a name at the most; file systems take 255.
const LONGEST: usize = 180;
/// Characters that a name takes over from a file.
const TAKEN: usize = 40;

/// Where the answers of one call go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into this folder. What one call may ask in turn, each of a network's statistics, and folded
    /// too, goes into folders beside it: `DIR-dataset`, `DIR-folded`.
    Folder(PathBuf),
    /// Of a run: into a folder each inside this one, named by epoch and question.
    Epochs {
        /// The folder.
        folder: PathBuf,
        /// The images of its training, which need not be named.
        trained_on: Vec<FileChecksum>,
    },
    /// Of files that belong to no run: into a folder each inside this one, named by the files and
    /// the question.
    Files(PathBuf),
}

impl Place {
    /// The folder for the answer to what `settings` ask.
    pub fn of(&self, settings: &SpectrumSettings) -> PathBuf {
        match self {
            Self::Folder(folder) => {
                let mut name = folder.file_name().unwrap_or_default().to_owned();
                name.push(ending(&in_turn(settings)));
                folder.with_file_name(name)
            }
            Self::Epochs { folder, .. } => {
                let epoch = epoch_name(settings.epoch.unwrap_or(0));
                folder.join(short_enough(epoch + &self.question(settings)))
            }
            Self::Files(folder) => {
                let stem = Path::new(&settings.source).file_stem().unwrap_or_default().to_string_lossy();
                let mut inputs: Vec<&str> = settings.files.iter().map(|file| file.sha256.as_str()).collect();
                let scores = settings.scores.map(|scores| scores.to_string());
                inputs.extend(scores.as_deref());
                let name = format!("hessian-{}-{}", plain(&stem), short(&inputs));
                folder.join(short_enough(name + &self.question(settings)))
            }
        }
    }

    /// The files, without the ends of their names, for what the answers to one question are over
    /// the epochs of a run: `spectra`, `spectra-test`. None but for a run.
    pub fn over_epochs(&self, settings: &SpectrumSettings) -> Option<PathBuf> {
        match self {
            Self::Epochs { folder, .. } => {
                Some(folder.join(short_enough("spectra".to_owned() + &self.question(settings))))
            }
            Self::Folder(_) | Self::Files(_) => None,
        }
    }

    /// What is asked for, as the end of a name: what nobody has to ask for is not in it.
    fn question(&self, settings: &SpectrumSettings) -> String {
        let request = &settings.request;
        let mut parts = Vec::new();
        parts.extend(request.is_of_network().then(|| request.parameters.to_string().replace(',', "+")));
        parts.extend(request.blocks.then(|| "blocks".to_owned()));
        parts.extend(settings.split().filter(|&split| split != Split::Train).map(|split| split.to_string()));
        parts.extend(request.limit.map(|limit| format!("limit{limit}")));
        // Of a network both are one.
        let doubles = request.forward == Precision::F64 && !request.is_of_network();
        parts.extend(doubles.then(|| format!("forward-{}", request.forward)));
        parts.extend((request.precision == Precision::F32).then(|| request.precision.to_string()));
        parts.extend(request.bias.then(|| "bias".to_owned()));
        // Of a run both follow from its configuration.
        if settings.epoch.is_none() {
            let scaling = settings.scaling.filter(|&scaling| scaling != Scaling::Unit);
            parts.extend(scaling.map(|scaling| scaling.to_string()));
            parts.extend((settings.l2 > 0.0).then(|| format!("l2-{:e}", settings.l2)));
        }
        parts.extend(read_as(&settings.interpretation));
        parts.extend(in_turn(settings));
        let ignored = settings.ignored.filter(|ignored| ignored.label != USUALLY_IGNORED);
        parts.extend(ignored.map(|ignored| format!("ignore{}", ignored.label)));
        parts.extend(request.top.map(|top| format!("top{top}")));
        parts.extend(request.density.map(|density| format!("density{}x{}", density.probes, density.steps)));
        parts.extend(request.subsets.map(|repeats| format!("subsets{repeats}")));
        parts.extend((request.is_random() && request.seed != 0).then(|| format!("seed{}", request.seed)));
        parts.extend(request.directions.then(|| "directions".to_owned()));
        let overlaps = Some(&request.overlap_with).filter(|epochs| !epochs.is_empty());
        parts.extend(overlaps.map(|epochs| format!("overlap{}", joined(epochs, "-"))));
        parts.extend(request.keep_matrix.then(|| "matrix".to_owned()));
        parts.extend((!request.verify).then(|| "unverified".to_owned()));
        let data = settings.data.as_ref().filter(|data| !self.is_usual(data, settings));
        parts.extend(data.map(|data| format!("data-{}-{}", plain(data), short_of(&settings.data_files))));
        ending(&parts)
    }

    /// Whether the images are those that are taken if none are named.
    fn is_usual(&self, data: &str, settings: &SpectrumSettings) -> bool {
        match self {
            Self::Epochs { trained_on, .. } => same_contents(trained_on, &settings.data_files),
            Self::Folder(_) | Self::Files(_) => data == OWN_IMAGES,
        }
    }
}

/// What of a question differs from that of an answer that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What part of the question.
    pub part: &'static str,
    /// What it was of the answer that is there.
    pub there: String,
    /// What it is of the one that is asked for.
    pub asked: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} there, {} asked for", self.part, self.there, self.asked)
    }
}

/// Refuses `folder` for the answer to what `asked` says, before anything is computed, if it holds
/// an answer that would be lost, or cannot be written in.
///
/// An answer may be replaced by one to the same question that says all that it says: to it more may
/// be asked (a matrix, directions, subsets, checks), and nothing may be missing.
///
/// # Errors
///
/// [`RunError::OtherQuestion`], [`RunError::UnknownQuestion`], or [`RunError::Write`].
pub fn claim(folder: &Path, asked: &SpectrumSettings) -> Result<(), RunError> {
    refuse_other_question(folder, asked)?;
    // Where it will be made, if it is not there.
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    // A file without a name: nothing is left of it, whatever happens.
    tempfile::tempfile_in(there).map_err(|source| RunError::write(folder, source))?;
    Ok(())
}

/// Refuses `folder` for the answer to what `asked` says, if an answer there would be lost.
pub(crate) fn refuse_other_question(folder: &Path, asked: &SpectrumSettings) -> Result<(), RunError> {
    for there in answers(folder)? {
        let differences = differences(&there, asked);
        if !differences.is_empty() {
            return Err(RunError::OtherQuestion { folder: folder.to_owned(), differences });
        }
    }
    Ok(())
}

/// The questions that what is in `folder` answers.
fn answers(folder: &Path) -> Result<Vec<SpectrumSettings>, RunError> {
    let unknown = |source| RunError::UnknownQuestion { folder: folder.to_owned(), source: Box::new(source) };
    let [spectrum, matrix_free, curvature] =
        ["spectrum.json", "matrix-free.json", "curvature.json"].map(|name| folder.join(name));
    let mut answers = Vec::new();
    if spectrum.exists() {
        let record: SpectrumRecord = read_json(&spectrum, SPECTRUM_VERSION).map_err(unknown)?;
        answers.push(record.settings);
    }
    if matrix_free.exists() {
        let record: MatrixFreeRecord = read_json(&matrix_free, MATRIX_FREE_VERSION).map_err(unknown)?;
        answers.push(record.settings);
    }
    if curvature.exists() {
        let record: CurvatureRecord = read_json(&curvature, CURVATURE_VERSION).map_err(unknown)?;
        answers.push(record.settings);
    }
    Ok(answers)
}

/// What of the question `asked` would make another answer than is `there`, or a smaller one.
pub(crate) fn differences(there: &SpectrumSettings, asked: &SpectrumSettings) -> Vec<Difference> {
    let mut differences = beside_the_epoch(there, asked);
    let mut compare = |part, there: String, asked: String| {
        if there != asked {
            differences.push(Difference { part, there, asked });
        }
    };
    compare("epoch", or_none(there.epoch), or_none(asked.epoch));
    compare("files", listed(&there.files), listed(&asked.files));
    differences
}

/// As [`differences`], but for the epoch and its checkpoint.
pub(crate) fn beside_the_epoch(there: &SpectrumSettings, asked: &SpectrumSettings) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |part, there: String, asked: String| {
        if there != asked {
            differences.push(Difference { part, there, asked });
        }
    };
    let (before, now) = (&there.request, &asked.request);
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    compare("answer", kind(before), kind(now));
    compare("parameters", before.parameters.to_string(), now.parameters.to_string());
    compare("scores", or_none(there.scores), or_none(asked.scores));
    let images = |settings: &SpectrumSettings| {
        or_none(settings.data.as_ref().map(|data| format!("{data} ({})", short_of(&settings.data_files))))
    };
    compare("images", images(there), images(asked));
    compare("split", or_none(there.split()), or_none(asked.split()));
    let limit = |request: &Request| request.limit.map_or("all".to_owned(), |limit| limit.to_string());
    compare("samples", limit(before), limit(now));
    compare("scaling", or_none(there.scaling), or_none(asked.scaling));
    compare("forward pass", before.forward.to_string(), now.forward.to_string());
    compare("precision", before.precision.to_string(), now.precision.to_string());
    compare("bias", yes(before.bias), yes(now.bias));
    compare("statistics", or_none(there.statistics), or_none(asked.statistics));
    compare("epsilon of batch norm", or_none(there.epsilon), or_none(asked.epsilon));
    let said = |settings: &SpectrumSettings| match read_as(&settings.interpretation) {
        parts if parts.is_empty() => "as it is".to_owned(),
        parts => parts.join(", "),
    };
    compare("checkpoint read", said(there), said(asked));
    compare("folded", yes(before.folded), yes(now.folded));
    let ignored = |settings: &SpectrumSettings| or_none(settings.ignored.map(|ignored| ignored.label));
    compare("ignored label", ignored(there), ignored(asked));
    compare("L2", there.l2.to_string(), asked.l2.to_string());
    // What may be added, and must not be dropped.
    if let Some(repeats) = before.subsets {
        compare("subsets", repeats.to_string(), or_none(now.subsets));
    }
    if before.is_random() {
        compare("seed", before.seed.to_string(), now.seed.to_string());
    }
    if before.blocks {
        compare("blocks", yes(true), yes(now.blocks));
    }
    if before.directions {
        compare("directions", yes(true), yes(now.directions));
    }
    if before.overlap_with.iter().any(|epoch| !now.overlap_with.contains(epoch)) {
        let overlaps = |request: &Request| match request.overlap_with.as_slice() {
            [] => "none".to_owned(),
            epochs => joined(epochs, ","),
        };
        compare("overlap with epochs", overlaps(before), overlaps(now));
    }
    if before.keep_matrix {
        compare("saved matrix", yes(true), yes(now.keep_matrix));
    }
    if before.verify {
        compare("checks", yes(true), yes(now.verify));
    }
    differences
}

/// What kind of answer it is: of the whole spectrum, or some of it without H.
fn kind(request: &Request) -> String {
    let whole = if request.is_of_network() { "both ends of the spectrum" } else { "the whole spectrum" };
    let top = request.top.map(|top| format!("the {top} largest eigenvalues"));
    let density = request.density.map(|density| {
        format!("the density by {} random vectors of {} steps", density.probes, density.steps)
    });
    let parts: Vec<String> = top.into_iter().chain(density).collect();
    if parts.is_empty() { whole.to_owned() } else { parts.join(" and ") }
}

/// What was said of a checkpoint: `bn-before`, `bn-epsilon1e-3`, `renamed-5c9a11e0`.
fn read_as(interpretation: &Interpretation) -> Vec<String> {
    let place = interpretation.place.map(|place| match place {
        kappa_model::Place::After => "bn-after".to_owned(),
        kappa_model::Place::Before => "bn-before".to_owned(),
    });
    let epsilon = interpretation.epsilon.map(|epsilon| format!("bn-epsilon{epsilon:e}"));
    let names: Vec<&str> = interpretation.rename.iter().map(String::as_str).collect();
    let renamed = (!names.is_empty()).then(|| format!("renamed-{}", short(&names)));
    place.into_iter().chain(epsilon).chain(renamed).collect()
}

/// What one call may ask in turn: `dataset`, or `batch128` and `folded`.
fn in_turn(settings: &SpectrumSettings) -> Vec<String> {
    let statistics = match settings.statistics {
        None | Some(Statistics::Running) => None,
        Some(Statistics::Batch(size)) => Some(format!("batch{size}")),
        Some(Statistics::Dataset) => Some("dataset".to_owned()),
    };
    statistics.into_iter().chain(settings.request.folded.then(|| "folded".to_owned())).collect()
}

/// `-test-limit100`, or nothing.
fn ending(parts: &[String]) -> String {
    parts.iter().map(|part| format!("-{part}")).collect()
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or("none".to_owned(), |value| value.to_string())
}

fn joined(epochs: &[usize], between: &str) -> String {
    epochs.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

/// "G.npy (5c9a11e0), Z.npy (00b1f4d2)"; the names alone would not tell them apart.
fn listed(files: &[FileChecksum]) -> String {
    let each = files.iter().map(|file| {
        let digits: String = file.sha256.chars().take(SHORT).collect();
        format!("{} ({digits})", file.file)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn same_contents(some: &[FileChecksum], others: &[FileChecksum]) -> bool {
    some.iter().map(|file| &file.sha256).eq(others.iter().map(|file| &file.sha256))
}

/// The first digits of the SHA-256 of the files' checksums.
pub fn short_of(files: &[FileChecksum]) -> String {
    short(&files.iter().map(|file| file.sha256.as_str()).collect::<Vec<_>>())
}

fn short(words: &[&str]) -> String {
    digest(&[words.join("\n").as_bytes()]).chars().take(SHORT).collect()
}

/// What of a file's name can stand in any file's name, and on any screen.
fn plain(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '=');
    name.chars().take(TAKEN).map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// `name`, or its beginning and a checksum of all of it.
fn short_enough(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let start: String = name.chars().take(LONGEST - SHORT - 1).collect();
    format!("{start}-{}", short(&[&name]))
}

#[cfg(test)]
pub(crate) mod tests;
