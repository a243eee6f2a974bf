//! What runs, studies and `kappa why` leave: metrics, manifests, spectra, findings, trainings.
//!
//! An input gets its checksum before it is read: without, nothing would come further than that.

use std::{fs, path::Path};

use kappa_run::{
    InfluenceRecord, LaplaceRecord, PosteriorAnswer, RunDir, RunError, SavedTensor, StudyConfig, StudyDir,
    WhyConfig, WhyDir, read_answer, write_answer, write_sealed, write_tensors,
};

use crate::choose;

const PAPER: &str = include_str!("../../../configs/paper.toml");
const WHY_CONFIG: &str = include_str!("../../../configs/why.toml");
const STUDY: &str = "study";
const WHY: &str = "why";
const ANSWERS: &str = "answers";

/// A study, a `kappa why`, and something to tell a run directory by.
pub fn prepare(folder: &Path) {
    let config = folder.join("config.toml");
    fs::write(&config, PAPER).unwrap();
    let mut config = StudyConfig::load(&config, &[]).unwrap();
    config.name = STUDY.to_owned();
    StudyDir::create(folder, &config).unwrap();
    let file = folder.join("config.toml");
    fs::write(&file, WHY_CONFIG).unwrap();
    let mut config = WhyConfig::load(&file, &[]).unwrap();
    config.name = WHY.to_owned();
    WhyDir::create(folder, &config).unwrap();
    fs::write(folder.join("run.json"), "").unwrap();
    let answers = folder.join(ANSWERS);
    fs::create_dir(&answers).unwrap();
    for name in [LaplaceRecord::NAME, InfluenceRecord::NAME] {
        let tensors = [SavedTensor::of_doubles("losses", vec![1], &[1.0])];
        write_tensors(&answers.join(format!("{name}.safetensors")), &tensors, &Default::default()).unwrap();
    }
}

/// An answer about a posterior that is read is the same when it is written and read again.
fn check_answer<T: PosteriorAnswer + PartialEq + std::fmt::Debug>(folder: &Path) -> Result<(), RunError> {
    let Some((record, tensors)) = read_answer::<T>(&folder.join(ANSWERS))? else { return Ok(()) };
    let again = folder.join("again");
    let _ = fs::remove_dir_all(&again);
    write_answer(&again, &record, &tensors, &[]).unwrap();
    // Debug, since what is not a number is not equal to itself.
    assert_eq!(format!("{:?}", read_answer::<T>(&again).unwrap().unwrap().0), format!("{record:?}"));
    Ok(())
}

/// Puts `body` at `path`, with a checksum if it has a place for one.
fn put(path: &Path, body: &[u8]) {
    if write_sealed(path, body).is_err() {
        fs::write(path, body).unwrap();
    }
}

/// Metrics that are read are the same when they are written and read again.
pub fn check_csv(folder: &Path, input: &[u8]) {
    put(&folder.join("metrics.csv"), input);
    let run = RunDir::open(folder).unwrap();
    match run.metrics() {
        Ok(rows) if rows.is_empty() => {}
        Ok(rows) => {
            run.write_metrics(&rows).unwrap();
            // Debug, since what is not a number is not equal to itself.
            assert_eq!(format!("{:?}", run.metrics().unwrap()), format!("{rows:?}"));
        }
        Err(error) => assert!(error.to_string().contains("metrics.csv"), "{error}"),
    }
}

/// The same of manifests, findings, Hessians of whole networks, posteriors, influences, and what a `kappa why` keeps;
/// spectra are read.
pub fn check_json(folder: &Path, input: &[u8]) {
    let names = [
        "run.json",
        "spectra.json",
        "findings.json",
        "whole.json",
        "why.json",
        "trained.json",
        "laplace.json",
        "influence.json",
    ];
    let Some((name, bytes)) = choose(&names, input) else { return };
    let (study, why) = (folder.join(STUDY), folder.join(WHY));
    let path = match name {
        "findings.json" => study.join(name),
        "why.json" => why.join(name),
        "trained.json" => why.join("trainings").join(name),
        "laplace.json" | "influence.json" => folder.join(ANSWERS).join(name),
        _ => folder.join(name),
    };
    put(&path, &[bytes, b"\n}\n"].concat());
    let run = RunDir::open(folder).unwrap();
    let error = match name {
        "run.json" => run.manifest().map(|manifest| {
            run.write_manifest(&manifest).unwrap();
            assert_eq!(run.manifest().unwrap(), manifest);
        }),
        "spectra.json" => run.spectra().map(|_| ()),
        "whole.json" => run.whole().map(|whole| {
            let Some(whole) = whole else { return };
            run.write_whole(&whole).unwrap();
            assert_eq!(run.whole().unwrap(), Some(whole));
        }),
        "why.json" => WhyDir::open(&why).and_then(|why| {
            let findings = why.findings()?;
            why.write_findings(&findings).unwrap();
            assert_eq!(why.findings().unwrap(), findings);
            Ok(())
        }),
        "laplace.json" => check_answer::<LaplaceRecord>(folder),
        "influence.json" => check_answer::<InfluenceRecord>(folder),
        "trained.json" => WhyDir::open(&why).and_then(|why| {
            let Some(training) = why.training("trained")? else { return Ok(()) };
            why.write_training("trained", &training).unwrap();
            assert_eq!(why.training("trained").unwrap(), Some(training));
            Ok(())
        }),
        _ => StudyDir::open(&study).and_then(|(study, _)| {
            let findings = study.findings()?;
            study.write_findings(&findings).unwrap();
            assert_eq!(study.findings().unwrap(), findings);
            Ok(())
        }),
    };
    if let Err(error) = error {
        assert!(error.to_string().contains(name), "{error}");
    }
}
