//! What `kappa verify` is called on.

use std::path::{Path, PathBuf};

use kappa_run::{
    Checksums, InfluenceRecord, LaplaceRecord, PosteriorAnswer, RunDir, RunError, Saved, StudyConfig,
    StudyDir, WhyDir, is_answer,
};

use crate::error::CliError;

/// The folders of answers in the directory of a run.
const ANSWERS: [&str; 3] = ["hessian", LaplaceRecord::NAME, InfluenceRecord::NAME];

/// A folder that kappa writes.
pub enum Place {
    Run(RunDir),
    Study(StudyDir, Box<StudyConfig>),
    /// What `kappa why` has.
    Why(WhyDir),
    /// What `kappa hessian` has left: of the run that it lies in, if it lies in one.
    Answer(Option<RunDir>),
    /// A report, or what else has a list of checksums.
    Report,
    /// What cannot be opened; its files say why.
    Unusable,
}

/// What was saved in one folder, and the run that this is or lies in.
pub struct Holding {
    pub run: Option<RunDir>,
    pub saved: Vec<Saved>,
}

impl Place {
    /// What is at `path`.
    fn of(path: &Path) -> Option<Self> {
        match StudyDir::open(path) {
            Ok((study, config)) => return Some(Self::Study(study, Box::new(config))),
            Err(RunError::NotAStudy(_)) => {}
            Err(_) => return Some(Self::Unusable),
        }
        if WhyDir::is_one(path) {
            return Some(WhyDir::open(path).map_or(Self::Unusable, Self::Why));
        }
        match RunDir::find(path) {
            Ok(Some(run)) => return Some(Self::Run(run)),
            Ok(None) => {}
            Err(_) => return Some(Self::Unusable),
        }
        if is_answer(path) {
            return Some(Self::Answer(run_around(path)));
        }
        Checksums::are_in(path).then_some(Self::Report)
    }

    /// All that was saved, run by run.
    pub fn holdings(&self, path: &Path) -> Result<Vec<Holding>, RunError> {
        let of_run = |run: RunDir| Ok(Holding { saved: run.saved()?, run: Some(run) });
        match self {
            Self::Run(run) => Ok(vec![of_run(run.clone())?]),
            Self::Study(study, _) => study.names()?.iter().map(|name| of_run(study.run(name)?)).collect(),
            Self::Answer(run) => Ok(vec![Holding { run: run.clone(), saved: Saved::in_folder(path)? }]),
            Self::Why(_) | Self::Report | Self::Unusable => Ok(Vec::new()),
        }
    }
}

/// The run that `folder` lies in, as one of its spectra.
pub fn run_around(folder: &Path) -> Option<RunDir> {
    let folder = folder.canonicalize().ok()?;
    let above = folder.parent().filter(|above| {
        above.file_name().and_then(|name| name.to_str()).is_some_and(|name| ANSWERS.contains(&name))
    })?;
    RunDir::open(above.parent()?).ok()
}

/// `directory`, if kappa writes such, or those right under it.
pub fn places(directory: &Path) -> Result<Vec<(PathBuf, Place)>, CliError> {
    if let Some(place) = Place::of(directory) {
        return Ok(vec![(directory.to_owned(), place)]);
    }
    let read = |source| RunError::Read { path: directory.to_owned(), source };
    let entries = std::fs::read_dir(directory).map_err(read)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut places: Vec<(PathBuf, Place)> = paths
        .map_err(read)?
        .into_iter()
        .filter_map(|path| Place::of(&path).map(|place| (path, place)))
        .collect();
    places.sort_by(|(a, _), (b, _)| a.cmp(b));
    match places.is_empty() {
        true => Err(RunError::NothingOfKappas(directory.to_owned()).into()),
        false => Ok(places),
    }
}
