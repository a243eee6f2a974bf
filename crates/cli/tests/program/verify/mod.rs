//! Files that were altered, cut off, removed, or written by something else.

pub mod numbers;
mod places;

use std::{
    fs,
    path::{Path, PathBuf},
};

use kappa_run::write_sealed;

use crate::{Kappa, study::finished_study};

/// All files under `folder` that carry a checksum, or are in a list of them.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !path.ends_with(".lock") && !path.ends_with("SHA256SUMS") {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub fn verify(kappa: &Kappa, directory: &Path, more: &[&str]) -> (bool, String) {
    let directory = directory.to_str().unwrap();
    let output = kappa.run(&[&["verify", directory, "--backend", "flex"], more].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &stderr)
}

/// A run with a spectrum by each command that takes one.
fn run_with_spectra(kappa: &Kappa) -> PathBuf {
    let run = kappa.train(&["--set", "data.train=60", "--set", "network.hidden=4"]);
    for more in [&["--folded", "--bn-stats", "all", "--batch-size", "20"][..], &["--density", "--top", "3"]] {
        kappa.says(&[&["hessian", run.to_str().unwrap(), "--backend", "flex", "--quiet"], more].concat());
    }
    run
}

/// The folder, in that of a run, of what was found without H.
fn without_h(run: &Path) -> PathBuf {
    let folders = fs::read_dir(run.join("hessian")).unwrap().map(|entry| entry.unwrap().path());
    folders.into_iter().find(|folder| folder.join("matrix-free.json").is_file()).unwrap()
}

#[test]
fn what_was_not_touched_is_right_and_its_spectra_come_out_the_same() {
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    let (right, said) = verify(&kappa, &run, &[]);
    assert!(right, "{said}");
    assert_eq!(said.matches("40 eigenvalues, the same to the last bit").count(), 5, "{said}");
    // Three eigenvalues and a trace.
    assert!(said.contains("4 numbers without H, the same to the last bit"), "{said}");
    assert!(said.contains("6 records follow from their eigenvalues"), "{said}");
    assert!(said.contains(&format!("{} files are as they were written", files(&run).len() + 1)), "{said}");

    let study = finished_study(&kappa);
    let (right, said) = verify(&kappa, &study, &[]);
    assert!(right && said.contains("folded") && said.contains("18 eigenvalues, the same"), "{said}");
    assert!(said.contains("verdicts follow from the runs") && !said.contains("unfinished"), "{said}");
    // Of all in a folder, one after the other.
    let (right, said) = verify(&kappa, &kappa.outputs(), &["--no-spectrum"]);
    assert!(right && said.matches("files are as they were written").count() == 2, "{said}");
    let (right, said) = verify(&kappa, &run, &["--epoch", "1"]);
    assert!(!right && said.contains("has no spectrum of epoch 1"), "{said}");
    let (right, said) = verify(&kappa, kappa.folder.path(), &[]);
    assert!(!right && said.contains("is no run, study, spectrum or report of kappa's"), "{said}");
    let (right, said) = verify(&kappa, &kappa.folder.path().join("missing"), &[]);
    assert!(!right && said.contains("cannot read") && said.contains("missing"), "{said}");
}

#[test]
fn every_file_that_is_altered_or_cut_off_is_named() {
    let kappa = Kappa::new();
    let study = finished_study(&kappa);
    let run = run_with_spectra(&kappa);
    let mut kinds = std::collections::BTreeSet::new();
    for file in [
        files(&run),
        files(&study.join("report")),
        vec![study.join("study.toml"), study.join("findings.json")],
    ]
    .concat()
    {
        kinds.insert(file.extension().unwrap().to_owned());
        let bytes = fs::read(&file).unwrap();
        let mut altered = bytes.clone();
        altered[bytes.len() / 2] ^= 1;
        let directory = if file.starts_with(&run) { &run } else { &study };
        for damage in [&altered[..], &bytes[..bytes.len() - 1], &bytes[..bytes.len() / 2], b""] {
            fs::write(&file, damage).unwrap();
            let (right, said) = verify(&kappa, directory, &["--no-spectrum"]);
            let named = said.lines().any(|line| {
                line.contains("WRONG: ") && line.contains(&*file.file_name().unwrap().to_string_lossy())
            });
            assert!(!right && named, "{}: {said}", file.display());
        }
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert!(verify(&kappa, &run, &["--no-spectrum"]).0 && verify(&kappa, &study, &["--no-spectrum"]).0);
}

#[test]
fn what_is_altered_is_used_by_no_command() {
    let kappa = Kappa::new();
    let study = finished_study(&kappa);
    let run = run_with_spectra(&kappa);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (run_name, study_name) = (text(&run), text(&study));
    let hessian = ["hessian", &run_name, "--backend", "flex"];
    let checkpoint = text(&run.join("checkpoints/epoch-0002.safetensors"));
    let from_file = ["hessian", "--checkpoint", &checkpoint, "--backend", "flex"];
    let report = ["report", &study_name];
    let in_study = |name: &str| study.join("runs/fc_lr1e-4_l2-0e0_m6_s0").join(name);
    for (file, command) in [
        (run.join("run.json"), &hessian[..]),
        (run.join("checkpoints/epoch-0002.safetensors"), &hessian),
        (run.join("checkpoints/epoch-0002.safetensors"), &from_file),
        (run.join("checkpoints/epoch-0002.adam.safetensors"), &[&hessian[..], &["--directions"]].concat()),
        (study.join("study.toml"), &report),
        (study.join("findings.json"), &report),
        (in_study("metrics.csv"), &report),
        (in_study("spectra.json"), &report),
        (in_study("spectra.safetensors"), &report),
    ] {
        let bytes = fs::read(&file).unwrap();
        let mut altered = bytes.clone();
        // In the numbers, where the format would not see it: digits in text, the last byte of data.
        let place = match bytes.iter().rposition(u8::is_ascii_digit) {
            Some(digit) if file.extension().unwrap() != "safetensors" => digit,
            _ => bytes.len() - 1,
        };
        altered[place] ^= 1;
        fs::write(&file, altered).unwrap();
        let message = kappa.complains(command);
        assert!(message.contains(&*file.to_string_lossy()), "{message}");
        assert!(message.contains("is not as kappa wrote it"), "{message}");
        fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn a_spectrum_that_its_checkpoint_does_not_give_is_found_by_computing_it_again() {
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    let file = run.join("hessian/epoch-0002/spectrum.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    // Without its checksum, so that it can get another: the metadata and the padding go.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    let (_, tensors) = header.split_once("},").unwrap();
    let header = format!("{{{}", tensors.trim_end());
    let mut data = bytes.split_off(8 + length);
    let lambda_1 = f64::from_le_bytes(data[..8].try_into().unwrap());
    data[..8].copy_from_slice(&(1.001 * lambda_1).to_le_bytes());
    let forged = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    write_sealed(&file, &forged).unwrap();
    // Its checksum is right, and lambda_1 is another one than in the record beside it.
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(!right && said.contains("spectrum.top[0] is "), "{said}");
    let (right, said) = verify(&kappa, &run, &[]);
    assert!(!right, "{said}");
    let line = said.lines().find(|line| line.contains("epoch-0002 ")).unwrap();
    assert!(line.contains("WRONG") && line.contains("1.0e-3 lambda_1 apart"), "{said}");
}

#[test]
fn what_is_missing_or_another_version_or_not_kappas_is_told() {
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    fs::write(run.join("notes.txt"), "mine").unwrap();
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(right && said.contains("notes.txt is not kappa's"), "{said}");

    fs::remove_file(run.join("checkpoints/epoch-0001.safetensors")).unwrap();
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(!right && said.contains("epoch 1 has no ") && said.contains("epoch-0001.safetensors"), "{said}");

    let json = fs::read_to_string(run.join("run.json")).unwrap();
    let other = json.replace("\"schema_version\": 3", "\"schema_version\": 99");
    let (body, _) = other.rsplit_once(",\n  \"sha256\"").unwrap();
    write_sealed(&run.join("run.json"), format!("{body}\n}}\n").as_bytes()).unwrap();
    let message = kappa.complains(&["hessian", run.to_str().unwrap()]);
    assert!(message.contains("run.json has schema version 99"), "{message}");
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(!right && said.matches("WRONG: ").count() == 1 && said.contains("version 99"), "{said}");
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "data.train=60"]);
    let elsewhere = kappa.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, run.join("hessian")).unwrap();
    let message = kappa.complains(&["hessian", run.to_str().unwrap(), "--backend", "flex"]);
    assert!(message.contains("hessian is a link"), "{message}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

    let study = finished_study(&kappa);
    fs::remove_dir_all(study.join("report")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, study.join("report")).unwrap();
    let message = kappa.complains(&["report", study.to_str().unwrap()]);
    assert!(message.contains("report is a link"), "{message}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
