//! Processes that are killed, at any moment and inside each kind of write, and what goes on from
//! what they have left.
//!
//! The network is tiny, so that most of an epoch is its writes: that is where a process
//! that is killed at a random moment mostly dies.

use std::{fs, path::Path, thread::sleep, time::Instant};

use crate::{
    Kappa, config,
    stops::{assert_same, run_under, spawn, training},
    study::TINY,
    write_idx,
};

const KILLS: usize = 50;

#[test]
fn a_run_killed_at_fifty_moments_has_the_bytes_of_one_that_was_not() {
    let kappa = Kappa::new();
    let reference = training(&kappa, 12, "reference");
    let start = Instant::now();
    assert!(spawn(&kappa, &reference).wait().unwrap().success());
    let whole = start.elapsed();
    let reference = run_under(&kappa.folder.path().join("reference")).unwrap();

    let (mut kills, mut runs, mut epochs) = (0, 0, Vec::new());
    // Moments without a pattern, over all of the time that a run takes.
    let mut state = 12_345u32;
    let mut moment = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        whole.mul_f64(f64::from(state >> 8) / f64::from(1u32 << 24))
    };
    while kills < KILLS {
        runs += 1;
        let out = format!("killed-{runs}");
        let root = kappa.folder.path().join(&out);
        let first = training(&kappa, 12, &out);
        loop {
            let mut process = spawn(&kappa, &on_or_anew(&first, &root));
            if kills < KILLS {
                sleep(moment());
            }
            let ended =
                if kills < KILLS { process.try_wait().unwrap() } else { Some(process.wait().unwrap()) };
            match ended {
                Some(status) => {
                    assert!(status.success(), "{status} after {kills} kills");
                    break;
                }
                None => {
                    process.kill().unwrap();
                    process.wait().unwrap();
                    kills += 1;
                    epochs.push(run_under(&root).map_or(0, |run| {
                        fs::read_to_string(run.join("metrics.csv")).map_or(0, |text| text.lines().count())
                    }));
                }
            }
            // Killed between its last write and its end.
            if run_under(&root).is_some_and(|run| is_finished(&run)) {
                break;
            }
        }
        assert_same(&run_under(&root).unwrap(), &reference);
    }
    epochs.sort_unstable();
    println!("{KILLS} kills over {runs} runs; rows of metrics there when killed: {epochs:?}");
    assert!(epochs.first() < epochs.last(), "every kill came at the same place: {epochs:?}");
}

/// Whether something under `folder` is half-written, whose name begins so.
fn is_half_written(folder: &Path, beginning: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with(beginning)
            || is_half_written(&entry.path(), beginning)
    })
}

/// Kills kappa while it writes a file called `name` under `root`, and says how often it had to
/// be begun for that: a write may be over before the signal comes.
fn kill_inside_a_write(kappa: &Kappa, arguments: impl Fn() -> Vec<String>, root: &Path, name: &str) -> usize {
    let beginning = format!(".partial-{name}-");
    for attempt in 1..=200 {
        let mut process = spawn(kappa, &arguments());
        while !is_half_written(root, &beginning) && process.try_wait().unwrap().is_none() {}
        process.kill().unwrap();
        process.wait().unwrap();
        if is_half_written(root, &beginning) {
            return attempt;
        }
    }
    panic!("never killed inside the writing of {name}");
}

/// Goes on with the run under `root`, or begins it if there is none yet.
fn on_or_anew(first: &[String], root: &Path) -> Vec<String> {
    match run_under(root).filter(|run| !is_finished(run)) {
        Some(run) => {
            let run = run.to_str().unwrap();
            ["train", "--resume", run, "--backend", "flex", "--quiet"].map(str::to_owned).into()
        }
        None => {
            let _ = fs::remove_dir_all(root);
            first.to_vec()
        }
    }
}

fn is_finished(run: &Path) -> bool {
    fs::read_to_string(run.join("run.json")).is_ok_and(|text| text.contains("\"exit\": \"finished\""))
}

#[test]
fn a_training_killed_inside_each_kind_of_write_has_the_bytes_of_one_that_was_not() {
    let kappa = Kappa::new();
    assert!(spawn(&kappa, &training(&kappa, 4, "reference")).wait().unwrap().success());
    let reference = run_under(&kappa.folder.path().join("reference")).unwrap();
    for name in [
        "config.toml",
        "run.json",
        "epoch-0000.safetensors",
        "epoch-0002.safetensors",
        // Whole, and then shortened.
        "epoch-0002.adam.safetensors",
        "metrics.csv",
    ] {
        let out = format!("killed-in-{name}");
        let root = kappa.folder.path().join(&out);
        let first = training(&kappa, 4, &out);
        let attempts = kill_inside_a_write(&kappa, || on_or_anew(&first, &root), &root, name);
        println!("{name}: killed inside its write, attempt {attempts}");
        assert!(spawn(&kappa, &on_or_anew(&first, &root)).wait().unwrap().success(), "{name}");
        assert_same(&run_under(&root).unwrap(), &reference);
        assert!(!is_half_written(&root, ".partial-"), "{name}: something is left");
    }
}

#[test]
fn a_study_killed_inside_each_kind_of_write_ends_in_the_same_findings() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    assert!(spawn(&kappa, &study("reference")).wait().unwrap().success());
    for name in
        ["study.toml", "spectra.safetensors", "spectra.json", "whole.json", "findings.json", "report.html"]
    {
        let out = format!("killed-in-{name}");
        let root = kappa.folder.path().join(&out);
        let begin = || {
            // What is finished is not written again: from the start, if it was over too soon.
            let _ = fs::remove_dir_all(&root);
            study(&out)
        };
        let attempts = kill_inside_a_write(&kappa, begin, &root, name);
        println!("{name}: killed inside its write, attempt {attempts}");
        assert!(spawn(&kappa, &study(&out)).wait().unwrap().success(), "{name}");
        assert_same_study(&root.join("paper"), &kappa.folder.path().join("reference/paper"));
        assert!(root.join("paper/report/SHA256SUMS").is_file());
        assert!(!is_half_written(&root, ".partial-"), "{name}: something is left");
    }
}

/// Arguments of a study of `paper.toml` on 20 images.
fn study(out: &str) -> Vec<String> {
    let paper = config("paper.toml");
    let mut arguments = vec!["study", &paper, "--data", "tiny", "--backend", "flex", "--quiet", "--out", out];
    for setting in TINY {
        arguments.extend(["--set", setting]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// The same findings, and runs and spectra of the same bytes.
pub fn assert_same_study(found: &Path, expected: &Path) {
    let findings = |study: &Path| -> serde_json::Value {
        without_times(serde_json::from_slice(&fs::read(study.join("findings.json")).unwrap()).unwrap())
    };
    let (left, right) = (findings(found), findings(expected));
    assert!(left == right, "{left}\n{right}");
    for run in fs::read_dir(expected.join("runs")).unwrap() {
        let run = run.unwrap();
        let other = found.join("runs").join(run.file_name());
        assert_same(&other, &run.path());
        let spectra = |run: &Path| fs::read(run.join("spectra.safetensors")).ok();
        assert!(spectra(&other) == spectra(&run.path()), "{:?}", run.file_name());
    }
}

#[test]
fn a_study_that_was_killed_ends_in_the_same_findings() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let start = Instant::now();
    assert!(spawn(&kappa, &study("reference")).wait().unwrap().success());
    let whole = start.elapsed();
    let mut kills = 0;
    for fifth in 1..=5 {
        let mut process = spawn(&kappa, &study("killed"));
        sleep(whole.mul_f64(f64::from(fifth) / 12.0));
        kills += usize::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(kills > 0, "it was never killed");
    assert!(spawn(&kappa, &study("killed")).wait().unwrap().success());
    let directory = |out: &str| kappa.folder.path().join(out).join("paper");
    assert_same_study(&directory("killed"), &directory("reference"));
}

/// Findings without what is judged of seconds: claims (2) and (3), and so the checksum.
fn without_times(mut findings: serde_json::Value) -> serde_json::Value {
    findings.as_object_mut().unwrap().remove("sha256");
    for point in findings["points"].as_array_mut().unwrap() {
        let verdicts = point["verdicts"].as_array_mut().unwrap();
        verdicts.retain(|verdict| verdict["claim"] != 2 && verdict["claim"] != 3);
    }
    findings
}
