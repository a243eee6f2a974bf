//! A run directory: its names, and reading and writing what has them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kappa_model::{Kind, Place};

use crate::{
    EpochMetrics, InfluenceRecord, LaplaceRecord, Lock, MANIFEST_VERSION, Manifest, PosteriorAnswer,
    RunError,
    checksum::{read_sealed, write_sealed},
    epochs::{CHECKPOINTS, HESSIAN},
    json::{read_json, write_json},
    lock::LOCK,
    reading::is_there,
    write::{refuse_links, remove_partial_files},
};

const MANIFEST: &str = "run.json";
const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.csv";

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new directory under `root`, named by the configuration, the seed
    /// and the time, and writes manifest and configuration into it.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn create(root: &Path, manifest: &Manifest) -> Result<Self, RunError> {
        fs::create_dir_all(root).map_err(|source| RunError::write(root, source))?;
        let stem = format!(
            "{}-s{}-{}",
            manifest.config.name,
            manifest.config.seed,
            manifest.started().unwrap_or_default().strftime("%Y%m%d-%H%M%S")
        );
        Self::fill(make_new_folder(root, &stem)?, manifest)
    }

    /// Makes the directory `root/name`, in place of an unfinished run of that name.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn create_named(root: &Path, name: &str, manifest: &Manifest) -> Result<Self, RunError> {
        let path = root.join(name);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::write(&path, source));
            }
            _ => {}
        }
        fs::create_dir_all(&path).map_err(|source| RunError::write(&path, source))?;
        Self::fill(path, manifest)
    }

    /// Writes manifest and configuration into a new directory.
    fn fill(path: PathBuf, manifest: &Manifest) -> Result<Self, RunError> {
        let run = Self { path };
        let checkpoints = run.path.join(CHECKPOINTS);
        fs::create_dir(&checkpoints).map_err(|source| RunError::write(&checkpoints, source))?;
        run.write_config(manifest)?;
        run.write_manifest(manifest)?;
        Ok(run)
    }

    /// Writes the manifest's configuration beside it.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_config(&self, manifest: &Manifest) -> Result<(), RunError> {
        write_sealed(&self.path.join(CONFIG), manifest.config.to_toml()?.as_bytes())
    }

    /// The run directory at `path`.
    ///
    /// # Errors
    ///
    /// [`RunError::NotARun`] if it has no manifest, [`RunError::Link`] if part of it is a link.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        if !is_there(&path.join(MANIFEST)) {
            return Err(RunError::NotARun(path.to_owned()));
        }
        refuse_links(path, &[LOCK, CHECKPOINTS, HESSIAN, LaplaceRecord::NAME, InfluenceRecord::NAME])?;
        Ok(Self { path: path.to_owned() })
    }

    /// The run directory at `path`, if there is one: what cannot be used is not the same as
    /// nothing, and not to be replaced.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], without [`RunError::NotARun`].
    pub fn find(path: &Path) -> Result<Option<Self>, RunError> {
        match Self::open(path) {
            Err(RunError::NotARun(_)) => Ok(None),
            run => run.map(Some),
        }
    }

    /// The latest run of each kind of network under `root`, those without normalisation first.
    ///
    /// # Errors
    ///
    /// [`RunError::NoRun`] if there is none, or what is wrong with a manifest.
    pub fn latest(root: &Path) -> Result<Vec<(Self, Manifest)>, RunError> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(RunError::NoRun(root.to_owned()));
            }
            Err(source) => return Err(RunError::read(root, source)),
        };
        let mut latest: Vec<(Self, Manifest)> = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| RunError::read(root, source))?.path();
            let Some(run) = Self::find(&path)? else { continue };
            let manifest = run.manifest()?;
            match latest.iter_mut().find(|(_, other)| kind_of(other) == kind_of(&manifest)) {
                Some(other) if (other.1.started(), &other.0.path) < (manifest.started(), &run.path) => {
                    *other = (run, manifest);
                }
                Some(_) => {}
                None => latest.push((run, manifest)),
            }
        }
        if latest.is_empty() {
            return Err(RunError::NoRun(root.to_owned()));
        }
        latest.sort_by_key(|(_, manifest)| kind_of(manifest));
        Ok(latest)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its folder is called, by whatever path it was opened (`.`, say).
    pub fn name(&self) -> String {
        let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let found = named(&self.path).or_else(|| named(&fs::canonicalize(&self.path).ok()?));
        found.unwrap_or_default()
    }

    /// Keeps other processes from writing here, and removes what one that was killed has left
    /// half-written.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`] if another one does, [`RunError::Read`], [`RunError::Write`].
    pub fn lock(&self) -> Result<Lock, RunError> {
        let lock = Lock::of(&self.path)?;
        let answers = [CHECKPOINTS, HESSIAN, LaplaceRecord::NAME, InfluenceRecord::NAME];
        remove_partial_files(&self.path, &answers)?;
        Ok(lock)
    }

    /// Reads the manifest.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`], [`RunError::Malformed`] or [`RunError::UnknownVersion`].
    pub fn manifest(&self) -> Result<Manifest, RunError> {
        read_json(&self.path.join(MANIFEST), MANIFEST_VERSION)
    }

    /// Writes the manifest.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), RunError> {
        write_json(&self.path.join(MANIFEST), manifest)
    }

    /// Writes the metrics of all epochs so far.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_metrics(&self, metrics: &[EpochMetrics]) -> Result<(), RunError> {
        let path = self.path.join(METRICS);
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in metrics {
            writer.serialize(row).map_err(|error| RunError::malformed(&path, error))?;
        }
        let bytes = writer.into_inner().map_err(|error| RunError::malformed(&path, error))?;
        write_sealed(&path, &bytes)
    }

    /// Reads the metrics, in the order of their epochs.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`], [`RunError::Altered`] or [`RunError::NoChecksum`];
    /// [`RunError::Malformed`] with the line that is wrong.
    pub fn metrics(&self) -> Result<Vec<EpochMetrics>, RunError> {
        let path = self.path.join(METRICS);
        let bytes = read_sealed(&path)?;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        reader.deserialize().collect::<Result<_, _>>().map_err(|error| RunError::malformed(&path, error))
    }

    /// The metrics of all whole epochs of a run that was stopped, in order; none where it was
    /// stopped in the first. An epoch's row is written when everything else of it is there.
    ///
    /// # Errors
    ///
    /// As [`Self::metrics`], and [`RunError::Malformed`] if an epoch is missing.
    pub fn whole_epochs(&self) -> Result<Vec<EpochMetrics>, RunError> {
        let path = self.path.join(METRICS);
        if !is_there(&path) {
            return Ok(Vec::new());
        }
        let rows = self.metrics()?;
        match rows.iter().enumerate().find(|(epoch, row)| row.epoch != *epoch) {
            None => Ok(rows),
            Some((epoch, row)) => {
                let problem = format!("epoch {} stands where epoch {epoch} should", row.epoch);
                Err(RunError::malformed(&path, problem))
            }
        }
    }
}

/// What runs are told apart by where only the latest is wanted.
fn kind_of(manifest: &Manifest) -> (Kind, Place) {
    let normalisation = manifest.config.network.normalisation;
    (normalisation.kind, normalisation.place)
}

/// Makes `root/stem`, or `root/stem-2`, .. where that is taken.
fn make_new_folder(root: &Path, stem: &str) -> Result<PathBuf, RunError> {
    let mut path = root.join(stem);
    let mut number = 1;
    loop {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                number += 1;
                path = root.join(format!("{stem}-{number}"));
            }
            Err(source) => return Err(RunError::write(&path, source)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Config, Provenance, Session};
    use jiff::Timestamp;

    pub(crate) fn manifest(name: &str, batch_norm: bool, second: i64) -> Manifest {
        let norm = if batch_norm { "normalisation.kind = \"batch\"" } else { "" };
        let config: Config = toml::from_str(&format!(
            "name = \"{name}\"\n[data]\ntrain = 2\nvalidation = 1\ntest = 1\n[network]\nhidden = 2\n{norm}\n\
             [training]\nepochs = 1\nbatch_size = 1\n[training.adam]\nlearning_rate = 0.1"
        ))
        .unwrap();
        Manifest {
            schema_version: MANIFEST_VERSION,
            config,
            data: "made up".to_owned(),
            inputs: 4,
            classes: 2,
            data_files: Vec::new(),
            sessions: vec![Session {
                with: Provenance::default(),
                epochs: None,
                started: Timestamp::from_second(1_800_000_000 + second).unwrap(),
                ended: None,
                exit: None,
            }],
        }
    }

    fn rows(count: usize) -> Vec<EpochMetrics> {
        (0..count)
            .map(|epoch| EpochMetrics {
                epoch,
                seconds: 0.1,
                training_seconds: 1.0 / 3.0,
                objective: (epoch > 0).then_some(2.5e-8),
                train_loss: 1e-300,
                train_accuracy: 0.5,
                validation_loss: f64::MAX,
                validation_accuracy: 0.25,
                test_loss: 2.25,
                test_accuracy: 0.0,
            })
            .collect()
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let manifest = manifest("fc", false, 0);
        let run = RunDir::create(root.path(), &manifest).unwrap();
        assert_eq!(run.manifest().unwrap(), manifest);
        let rows = rows(3);
        run.write_metrics(&rows).unwrap();
        assert_eq!(run.metrics().unwrap(), rows);
    }

    #[test]
    fn two_runs_of_one_second_get_two_directories() {
        let root = tempfile::tempdir().unwrap();
        let one = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        let two = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn the_latest_run_of_each_network_is_found() {
        let root = tempfile::tempdir().unwrap();
        for (name, norm, second) in
            [("b", true, 5), ("z", false, 1), ("a", false, 3), ("z", false, 2), ("c", true, 4)]
        {
            RunDir::create(root.path(), &manifest(name, norm, second)).unwrap();
        }
        std::fs::create_dir(root.path().join("something else")).unwrap();
        let names: Vec<_> = RunDir::latest(root.path())
            .unwrap()
            .into_iter()
            .map(|(_, manifest)| (manifest.config.network_label(), manifest.config.name))
            .collect();
        assert_eq!(names, [("FC", "a".to_owned()), ("FC+BN", "b".to_owned())]);
    }

    #[test]
    fn a_folder_without_a_run_is_told() {
        let root = tempfile::tempdir().unwrap();
        for path in [root.path().to_owned(), root.path().join("missing")] {
            let message = RunDir::latest(&path).unwrap_err().to_string();
            assert!(message.contains("no run in"), "{message}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let mut manifest = manifest("fc", false, 0);
        manifest.schema_version = 99;
        let run = RunDir::create(root.path(), &manifest).unwrap();
        let message = run.manifest().unwrap_err().to_string();
        assert!(message.contains("run.json") && message.contains("version 99"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_inside_a_run_is_refused_by_name_and_nothing_is_written_through_it() {
        let root = tempfile::tempdir().unwrap();
        for name in [LOCK, CHECKPOINTS, HESSIAN, "hessian/epoch-0001"] {
            let run = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
            let (place, elsewhere) = (run.path().join(name), tempfile::tempdir().unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            let _ = fs::remove_dir(&place);
            std::os::unix::fs::symlink(elsewhere.path(), &place).unwrap();
            let message = RunDir::open(run.path()).unwrap_err().to_string();
            assert!(message.contains(&*place.to_string_lossy()), "{message}");
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
        // A file that is a link is replaced, and what it led to is left alone.
        let run = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        let target = root.path().join("target");
        fs::write(&target, "kept").unwrap();
        fs::remove_file(run.path().join(MANIFEST)).unwrap();
        std::os::unix::fs::symlink(&target, run.path().join(MANIFEST)).unwrap();
        run.write_manifest(&manifest("fc", false, 1)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    }

    #[test]
    fn a_run_has_the_name_of_its_folder_by_whatever_path_it_was_opened() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create_named(root.path(), "one", &manifest("fc", false, 0)).unwrap();
        assert_eq!(run.name(), "one");
        let around = RunDir::open(&run.path().join("checkpoints/..")).unwrap();
        assert_eq!(around.name(), "one");
    }

    #[test]
    fn a_missing_epoch_is_told() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), &manifest("fc", false, 0)).unwrap();
        assert_eq!(run.whole_epochs().unwrap(), []);
        let row = |epoch| EpochMetrics { epoch, ..rows(1)[0] };
        run.write_metrics(&[row(0), row(2)]).unwrap();
        let message = run.whole_epochs().unwrap_err().to_string();
        assert!(message.contains("epoch 2 stands where epoch 1 should"), "{message}");
    }
}
