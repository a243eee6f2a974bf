//! Whether what lies in a directory is what kappa wrote there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;

use crate::{
    CURVATURE_VERSION, Config, CurvatureRecord, Exit, FINDINGS_VERSION, Findings, INFLUENCE_VERSION,
    InfluenceRecord, LAPLACE_VERSION, LaplaceRecord, MANIFEST_VERSION, MATRIX_FREE_VERSION, Manifest,
    MatrixFreeRecord, RunDir, RunError, RunSpectra, RunWhole, SPECTRA_VERSION, SPECTRUM_VERSION,
    SpectrumRecord, StudyConfig, StudyDir, Training, WHOLE_VERSION, WHY_VERSION, WhyConfig, WhyFindings,
    checksum::read_sealed,
    json::read_json,
    lock::LOCK,
    reading::refuse_other_kinds,
    shown,
    sums::{Checksums, Listed, SUMS},
    whole::WHOLE,
    why,
    write::PARTIAL,
};

/// The files of a directory, by what their checksums and schemas say.
#[derive(Debug, Default)]
pub struct CheckedFiles {
    /// How many are as they were written.
    pub right: usize,
    /// What is wrong with the others.
    pub wrong: Vec<RunError>,
    /// Files that kappa does not write.
    pub unknown: Vec<PathBuf>,
    /// What writes that were killed have left; the next call that goes on there removes it.
    pub half_written: Vec<PathBuf>,
    /// Runs and studies that have not come to their end. What they hold may be right all the same.
    pub unfinished: Vec<Unfinished>,
}

/// A run or a study that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its directory.
    pub path: PathBuf,
    /// How far it is, and what is known of why: "2 of 30 epochs: it was stopped".
    pub why: String,
    /// Whether it is a study.
    pub is_study: bool,
}

impl CheckedFiles {
    /// Reads every file under `folder`, that of a run or of a study.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`] if a folder cannot be listed.
    pub fn of(folder: &Path) -> Result<Self, RunError> {
        let mut checked = Self::default();
        checked.add_folder(folder)?;
        Ok(checked)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), RunError> {
        if let Ok(run) = RunDir::open(folder)
            && let Err(error @ RunError::UnknownVersion { .. }) = run.manifest()
        {
            // Of another version's other files nothing is known.
            self.wrong.push(error);
            return Ok(());
        }
        let listed = match Checksums::check(folder) {
            Ok(listed) => listed,
            Err(error) => {
                self.wrong.push(error);
                Vec::new()
            }
        };
        let mut in_list = Vec::new();
        for Listed { path, result } in listed {
            self.add(result);
            in_list.push(path);
        }
        let read = |source| RunError::read(folder, source);
        let mut entries = fs::read_dir(folder).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type().map_err(read)?);
            if in_list.contains(&path) {
                continue;
            }
            let is_partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
            match (refuse_other_kinds(&path), checked(&path)) {
                (Ok(()), _) if is_partial => self.half_written.push(path),
                (Ok(()), Some(result)) => self.add(result),
                (Ok(()), None) => self.unknown.push(path),
                // A folder is wrong only where a file should be.
                (Err(_), None) if kind.is_dir() => {
                    if !in_list.iter().any(|file| file.starts_with(&path)) {
                        self.add_folder(&path)?;
                    }
                }
                (Err(error), _) => self.wrong.push(error),
            }
        }
        self.wrong.extend(misfits(folder));
        self.unfinished.extend(unfinished(folder));
        Ok(())
    }

    fn add(&mut self, result: Result<(), RunError>) {
        match result {
            Ok(()) => self.right += 1,
            Err(error) => self.wrong.push(error),
        }
    }
}

/// What has not come to its end in `folder`, if it is a run's or a study's and can be read.
fn unfinished(folder: &Path) -> Option<Unfinished> {
    let path = folder.to_owned();
    if let Ok((study, _)) = StudyDir::open(folder) {
        let is_unfinished = matches!(study.findings(), Err(RunError::Unfinished(_)));
        let why = "nothing was judged yet".to_owned();
        return is_unfinished.then_some(Unfinished { path, why, is_study: true });
    }
    let run = RunDir::open(folder).ok()?;
    let manifest = run.manifest().ok().filter(|manifest| !manifest.is_finished())?;
    let exit = manifest.sessions.last().and_then(|session| session.exit.as_ref());
    let how = match exit {
        None => "no process has said how it ended: it was killed, or is still at work".to_owned(),
        Some(Exit::Failed(problem)) => format!("it failed: {problem}"),
        Some(_) => "it was stopped".to_owned(),
    };
    let done = run.whole_epochs().unwrap_or_default().last().map_or(0, |row| row.epoch);
    let why = format!("{done} of {} epochs: {how}", manifest.config.training.epochs);
    Some(Unfinished { path, why, is_study: false })
}

/// Reads `path` as what its name says, or says that kappa writes nothing of that name.
fn checked(path: &Path) -> Option<Result<(), RunError>> {
    let name = path.file_name()?.to_str()?;
    let tensors = |bytes: Vec<u8>| match SafeTensors::deserialize(&bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(RunError::malformed(path, error)),
    };
    Some(match name {
        "run.json" => read_json::<Manifest>(path, MANIFEST_VERSION).map(drop),
        "spectra.json" => read_json::<RunSpectra>(path, SPECTRA_VERSION).map(drop),
        WHOLE => read_json::<RunWhole>(path, WHOLE_VERSION).map(drop),
        "spectrum.json" => read_json::<SpectrumRecord>(path, SPECTRUM_VERSION).map(drop),
        "matrix-free.json" => read_json::<MatrixFreeRecord>(path, MATRIX_FREE_VERSION).map(drop),
        "curvature.json" => read_json::<CurvatureRecord>(path, CURVATURE_VERSION).map(drop),
        "laplace.json" => read_json::<LaplaceRecord>(path, LAPLACE_VERSION).map(drop),
        "influence.json" => read_json::<InfluenceRecord>(path, INFLUENCE_VERSION).map(drop),
        "findings.json" => read_json::<Findings>(path, FINDINGS_VERSION).map(drop),
        why::FINDINGS => read_json::<WhyFindings>(path, WHY_VERSION).map(drop),
        why::CONFIG => read_sealed(path).and_then(|_| WhyConfig::load(path, &[])).map(drop),
        "config.toml" => read_sealed(path).and_then(|_| Config::load(path, &[])).map(drop),
        "study.toml" => read_sealed(path).and_then(|_| StudyConfig::load(path, &[])).map(drop),
        "metrics.csv" => RunDir::open(path.parent()?).and_then(|run| run.whole_epochs()).map(drop),
        name if name.starts_with("spectra") && name.ends_with(".csv") => read_sealed(path).map(drop),
        LOCK | SUMS => Ok(()),
        _ => match path.extension()?.to_str()? {
            "safetensors" => read_sealed(path).and_then(tensors),
            "svg" => read_sealed(path).map(drop),
            "json" if path.parent()?.ends_with(why::TRAININGS) => {
                read_json::<Training>(path, WHY_VERSION).map(drop)
            }
            _ => return None,
        },
    })
}

/// What does not fit together in the run at `folder`, if there is one, of what can be read.
fn misfits(folder: &Path) -> Vec<RunError> {
    let Ok(run) = RunDir::open(folder) else { return Vec::new() };
    let mut wrong = Vec::new();
    let mut misfit =
        |name: &str, problem: String| wrong.push(RunError::malformed(&folder.join(name), problem));
    let (manifest, rows) = (run.manifest().ok(), run.whole_epochs().unwrap_or_default());
    if let Some(manifest) = &manifest {
        let config = folder.join("config.toml");
        let config = read_sealed(&config).and_then(|_| Config::load(&config, &[]));
        if config.is_ok_and(|config| config != manifest.config) {
            misfit("config.toml", "it differs from the configuration in run.json".to_owned());
        }
        let epochs = manifest.config.training.epochs.get();
        if manifest.is_finished() && rows.len() != epochs + 1 {
            let problem = format!("{} rows in a finished run of {epochs} epochs and epoch 0", rows.len());
            misfit("metrics.csv", problem);
        }
    }
    for row in &rows {
        let optimizer = manifest.as_ref().map(|manifest| &manifest.config.training.optimizer);
        let state = optimizer.and_then(|optimizer| optimizer.state(&run, row.epoch));
        for path in [Some(run.checkpoint_path(row.epoch)), state].into_iter().flatten() {
            if !path.is_file() {
                misfit("metrics.csv", format!("epoch {} has no {}", row.epoch, shown(path)));
            }
        }
    }
    if let Ok(Some(spectra)) = run.spectra() {
        let eigenvalues = run.eigenvalues().unwrap_or_default();
        if spectra.rows.len() != eigenvalues.len() {
            let problem =
                format!("{} rows, and {} in spectra.safetensors", spectra.rows.len(), eigenvalues.len());
            misfit("spectra.json", problem);
        }
    }
    wrong
}
