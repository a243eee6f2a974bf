//! Where the answers of `kappa laplace` and `kappa influence` lie, and that none is put in the place of another
//! question's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    CheckRecord, Difference, INFLUENCE_VERSION, InfluenceRecord, LAPLACE_VERSION, LaplaceRecord, Place,
    RunError, SavedTensor, SpectrumSettings,
    json::{json_bytes, read_json},
    place::differences,
    reading::is_there,
    tensors::{read_tensors, tensor_bytes},
    write::Aside,
};

/// An answer about a last layer's posterior: what `kappa laplace` and `kappa influence` leave.
pub trait PosteriorAnswer: Serialize + DeserializeOwned {
    /// What was asked beside the layer.
    type Asked: PartialEq + Serialize;
    /// Its name: that of its files, and the beginning of its folder's.
    const NAME: &'static str;
    /// The version of its schema.
    const VERSION: u32;

    /// The last layer.
    fn settings(&self) -> &SpectrumSettings;
    /// What was asked beside.
    fn asked(&self) -> &Self::Asked;
    /// All that was checked, of the answer and of what went in.
    fn checks(&self) -> Vec<&CheckRecord>;
}

impl PosteriorAnswer for LaplaceRecord {
    type Asked = crate::LaplaceRequest;
    const NAME: &'static str = "laplace";
    const VERSION: u32 = LAPLACE_VERSION;

    fn settings(&self) -> &SpectrumSettings {
        &self.settings
    }

    fn asked(&self) -> &Self::Asked {
        &self.asked
    }

    fn checks(&self) -> Vec<&CheckRecord> {
        self.checks.iter().chain(&self.settings.input_checks).collect()
    }
}

impl PosteriorAnswer for InfluenceRecord {
    type Asked = crate::InfluenceRequest;
    const NAME: &'static str = "influence";
    const VERSION: u32 = INFLUENCE_VERSION;

    fn settings(&self) -> &SpectrumSettings {
        &self.settings
    }

    fn asked(&self) -> &Self::Asked {
        &self.asked
    }

    fn checks(&self) -> Vec<&CheckRecord> {
        self.checks.iter().chain(&self.settings.input_checks).collect()
    }
}

/// Refuses `folder` for the answer to what is `asked` of the layer of `settings`, if it holds one to another question,
/// or cannot be written in.
///
/// # Errors
///
/// [`RunError::OtherQuestion`], [`RunError::UnknownQuestion`], or [`RunError::Write`].
pub fn claim_answer<T: PosteriorAnswer>(
    folder: &Path,
    settings: &SpectrumSettings,
    asked: &T::Asked,
) -> Result<(), RunError> {
    crate::claim(folder, settings)?;
    let path = folder.join(format!("{}.json", T::NAME));
    if !is_there(&path) {
        return Ok(());
    }
    let unknown = |source| RunError::UnknownQuestion { folder: folder.to_owned(), source: Box::new(source) };
    let there: T = read_json(&path, T::VERSION).map_err(unknown)?;
    let mut found = differences(there.settings(), settings);
    if there.asked() != asked {
        let told = |asked: &T::Asked| serde_json::to_string(asked).unwrap_or_default();
        found.push(Difference { part: "question", there: told(there.asked()), asked: told(asked) });
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(RunError::OtherQuestion { folder: folder.to_owned(), differences: found }),
    }
}

/// Writes a record, its tensors and its figures (by their names) into `folder`, in place of an answer to the same
/// question.
///
/// # Errors
///
/// As [`claim_answer`].
pub fn write_answer<T: PosteriorAnswer>(
    folder: &Path,
    record: &T,
    tensors: &[SavedTensor],
    figures: &[(&str, String)],
) -> Result<(), RunError> {
    claim_answer::<T>(folder, record.settings(), record.asked())?;
    let mut files = Aside::new(folder)?;
    for (name, figure) in figures {
        files.add(&folder.join(name), figure.as_bytes())?;
    }
    let path = folder.join(format!("{}.safetensors", T::NAME));
    files.add(&path, &tensor_bytes(&path, tensors, &Default::default())?)?;
    let path = folder.join(format!("{}.json", T::NAME));
    files.add(&path, &json_bytes(&path, record)?)?;
    files.put()
}

/// The answer in `folder`, with its tensors; none if there is none.
///
/// # Errors
///
/// [`RunError`] names the file that cannot be used.
pub fn read_answer<T: PosteriorAnswer>(folder: &Path) -> Result<Option<(T, Vec<SavedTensor>)>, RunError> {
    let path = folder.join(format!("{}.json", T::NAME));
    if !is_there(&path) {
        return Ok(None);
    }
    let record = read_json(&path, T::VERSION)?;
    Ok(Some((record, read_tensors(&folder.join(format!("{}.safetensors", T::NAME)))?)))
}

/// The folders that hold such an answer: `folder` itself, or, of a run, those in it.
///
/// # Errors
///
/// [`RunError::Read`].
pub fn answer_folders<T: PosteriorAnswer>(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let name = format!("{}.json", T::NAME);
    let inside = folder.join(T::NAME);
    let mut folders = vec![folder.to_owned()];
    if inside.is_dir() {
        let read = |source| RunError::read(&inside, source);
        for entry in fs::read_dir(&inside).map_err(read)? {
            folders.push(entry.map_err(read)?.path());
        }
    }
    folders.retain(|folder| is_there(&folder.join(&name)));
    folders.sort();
    Ok(folders)
}

impl Place {
    /// The folder for an answer of this kind to what `settings` ask, with `question` beside; of a run it stands beside
    /// those of `kappa hessian`.
    pub fn of_answer<T: PosteriorAnswer>(&self, settings: &SpectrumSettings, question: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Epochs { folder, trained_on } => {
                let beside =
                    Self::Epochs { folder: folder.with_file_name(T::NAME), trained_on: trained_on.clone() };
                named(&beside.of(settings), "", question)
            }
            Self::Files(_) => named(&self.of(settings), T::NAME, question),
        }
    }
}

/// A folder whose name begins otherwise, and has a question more at its end.
fn named(folder: &Path, kind: &str, question: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = match name.strip_prefix("hessian-") {
        Some(rest) if !kind.is_empty() => format!("{kind}-{rest}"),
        _ => name.into_owned(),
    };
    folder.with_file_name(name + question)
}
