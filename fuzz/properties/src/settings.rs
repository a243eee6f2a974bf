//! Configurations, and `--set`.

use std::{fs, path::Path};

use kappa_run::{Config, StudyConfig, WhyConfig};

use crate::choose;

const SMOKE: &str = include_str!("../../../configs/smoke.toml");

pub fn prepare(folder: &Path) {
    fs::write(folder.join("smoke.toml"), SMOKE).unwrap();
}

/// A configuration that is read is the same when it is written and read again.
pub fn check_toml(folder: &Path, input: &[u8]) {
    let Some((kind, bytes)) = choose(&["run", "study", "why"], input) else { return };
    let path = folder.join("input.toml");
    fs::write(&path, bytes).unwrap();
    match kind {
        "run" => {
            if let Ok(config) = Config::load(&path, &[]) {
                check_again(&config, &path);
            }
        }
        "study" => {
            if let Ok(config) = StudyConfig::load(&path, &[]) {
                fs::write(&path, config.to_toml().unwrap()).unwrap();
                assert_eq!(StudyConfig::load(&path, &[]).unwrap(), config);
            }
        }
        _ => {
            if let Ok(config) = WhyConfig::load(&path, &[]) {
                // What is done again is a configuration of its own, or refused.
                config.again.iter().for_each(|again| drop(config.again(again)));
                fs::write(&path, config.to_toml().unwrap()).unwrap();
                assert_eq!(WhyConfig::load(&path, &[]).unwrap(), config);
            }
        }
    }
}

/// What follows `--set` changes a valid configuration into a valid one, or is refused as it was
/// typed.
pub fn check_set(folder: &Path, input: &[u8]) {
    // An argument of the command line is text.
    let Ok(text) = std::str::from_utf8(input) else { return };
    let assignments: Vec<String> = text.split('\0').map(str::to_owned).collect();
    match Config::load(&folder.join("smoke.toml"), &assignments) {
        Ok(config) => check_again(&config, &folder.join("output.toml")),
        Err(error) => {
            let error = error.to_string();
            assert!(assignments.iter().any(|assignment| error.contains(assignment)), "{error}");
        }
    }
}

fn check_again(config: &Config, path: &Path) {
    fs::write(path, config.to_toml().unwrap()).unwrap();
    assert_eq!(&Config::load(path, &[]).unwrap(), config);
}
