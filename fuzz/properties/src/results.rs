//! What runs and studies leave: metrics, manifests, spectra, findings.
//!
//! An input gets its checksum before it is read: without, nothing would come further than that.

use std::{fs, path::Path};

use kappa_run::{RunDir, StudyConfig, StudyDir, write_sealed};

use crate::choose;

const PAPER: &str = include_str!("../../../configs/paper.toml");
const STUDY: &str = "study";

/// A study, and something to tell a run directory by.
pub fn prepare(folder: &Path) {
    let config = folder.join("config.toml");
    fs::write(&config, PAPER).unwrap();
    let mut config = StudyConfig::load(&config, &[]).unwrap();
    config.name = STUDY.to_owned();
    StudyDir::create(folder, &config).unwrap();
    fs::write(folder.join("run.json"), "").unwrap();
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

/// The same of manifests, findings and Hessians of whole networks; spectra are read.
pub fn check_json(folder: &Path, input: &[u8]) {
    let names = ["run.json", "spectra.json", "findings.json", "whole.json"];
    let Some((name, bytes)) = choose(&names, input) else { return };
    let study = folder.join(STUDY);
    let path = if name == "findings.json" { study.join(name) } else { folder.join(name) };
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
