//! Runs that are stopped, in whatever way but a kill (`kills`), and go on.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::{Kappa, config, write_idx};

/// Arguments of a training on 20 images.
pub fn training(kappa: &Kappa, epochs: usize, out: &str) -> Vec<String> {
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let config = config("fc-bn.toml");
    let mut arguments: Vec<String> =
        ["train", &config, "--data", "tiny", "--backend", "flex", "--quiet", "--out", out]
            .map(str::to_owned)
            .into();
    for setting in [
        "data.train=20",
        "data.validation=10",
        "data.test=9",
        "network.hidden=6",
        "network.normalisation.momentum=0.3",
        "training.batch_size=8",
        &format!("training.epochs={epochs}"),
    ] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    arguments
}

pub fn spawn(kappa: &Kappa, arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The one run directory under `root`, once it can be gone on from.
pub fn run_under(root: &Path) -> Option<PathBuf> {
    let run = fs::read_dir(root).ok()?.next()?.unwrap().path();
    run.join("run.json").is_file().then_some(run)
}

/// All that must not depend on where a run was stopped, by its name in the run directory.
fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    // Seconds are the second and third column, and the last is the checksum of all.
    let timeless = metrics.lines().map(|line| {
        let columns: Vec<&str> = line.split(',').collect();
        [&columns[..1], &columns[3..columns.len() - 1]].concat().join(",")
    });
    contents.insert("metrics.csv".to_owned(), timeless.collect::<Vec<_>>().join("\n").into_bytes());
    for entry in fs::read_dir(run.join("checkpoints")).unwrap() {
        let entry = entry.unwrap();
        contents.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    contents.insert("config.toml".to_owned(), fs::read(run.join("config.toml")).unwrap());
    contents
}

pub fn assert_same(found: &Path, expected: &Path) {
    let (found, expected) = (contents(found), contents(expected));
    let names = |contents: &BTreeMap<String, Vec<u8>>| contents.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &found {
        assert!(bytes == &expected[name], "{name} differs");
    }
}

/// A long run, once it has a whole epoch.
fn long_run(kappa: &Kappa) -> (Child, PathBuf) {
    let process = spawn(kappa, &training(kappa, 3000, "outputs"));
    let two_epochs = || {
        let run = run_under(&kappa.outputs())?;
        run.join("checkpoints/epoch-0002.safetensors").is_file().then_some(run)
    };
    let run = loop {
        match two_epochs() {
            Some(run) => break run,
            None => sleep(Duration::from_millis(2)),
        }
    };
    (process, run)
}

#[test]
fn a_second_process_is_refused_and_a_killed_one_leaves_no_lock() {
    let kappa = Kappa::new();
    let (mut first, run) = long_run(&kappa);
    let resume = ["train", "--resume", run.to_str().unwrap(), "--backend", "flex", "--quiet"];
    let refused = kappa.complains(&resume);
    assert!(refused.contains("in use by another kappa"), "{refused}");
    let hessian = ["hessian", run.to_str().unwrap(), "--epoch", "1", "--backend", "flex", "--quiet"];
    let refused = kappa.complains(&hessian);
    assert!(refused.contains("in use by another kappa") && refused.contains("--out"), "{refused}");
    kappa.says(&[&hessian[..], &["--out", "elsewhere"]].concat());
    first.kill().unwrap();
    first.wait().unwrap();
    // It goes on, as far as it is let.
    let before = fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count();
    let mut second = spawn(&kappa, &resume.map(str::to_owned));
    while fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() <= before {
        assert!(second.try_wait().unwrap().is_none(), "it ended");
        sleep(Duration::from_millis(2));
    }
    second.kill().unwrap();
    second.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_whole_epochs_and_exits_with_130() {
    let kappa = Kappa::new();
    let (process, run) = long_run(&kappa);
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains(&format!("kappa train --resume {}", "outputs")), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // As many checkpoints as rows: nothing of the epoch that was not finished.
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() - 1;
    assert!(run.join(format!("checkpoints/epoch-{:04}.safetensors", rows - 1)).is_file());
    assert!(!run.join(format!("checkpoints/epoch-{rows:04}.safetensors")).exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_where_nothing_can_be_kept_ends_the_program_at_once() {
    let kappa = Kappa::new();
    let mut arguments = training(&kappa, 1, "outputs");
    arguments.retain(|argument| argument != "--quiet");
    // Wide, so that the Hessian takes a while.
    arguments.extend(["--set", "network.hidden=700", "--hessian"].map(str::to_owned));
    let mut process = Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("Hessian in")), "it never came to the Hessian");
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(130));
    let run = run_under(&kappa.outputs()).unwrap();
    assert!(!run.join("hessian/epoch-0001/spectrum.json").exists());
}

#[test]
fn a_finished_run_does_not_go_on() {
    let kappa = Kappa::new();
    let run = kappa.train(&[]);
    let message = kappa.complains(&["train", "--resume", run.to_str().unwrap(), "--backend", "flex"]);
    assert!(message.contains("is finished") && message.contains("--set training.epochs=N"), "{message}");
    let message = kappa.complains(&["train", "--resume", "nowhere"]);
    assert!(message.contains("not a run directory"), "{message}");
}

#[test]
fn a_run_goes_on_beyond_its_end_as_if_it_had_been_meant_to_go_there() {
    let kappa = Kappa::new();
    for (epochs, out) in [(4, "reference"), (2, "prolonged")] {
        assert!(spawn(&kappa, &training(&kappa, epochs, out)).wait().unwrap().success());
    }
    let [reference, run] =
        ["reference", "prolonged"].map(|root| run_under(&kappa.folder.path().join(root)).unwrap());
    let resume = |setting: &'static str| {
        ["train", "--resume", run.to_str().unwrap(), "--set", setting, "--backend", "flex", "--quiet"]
    };
    let before = contents(&run);
    for (setting, told) in [
        ("training.epochs=2", "has 2 epochs already"),
        ("seed=1", "training.epochs alone can"),
        ("training.l2=1", "training.epochs alone can"),
        ("training.epochs=many", "epochs"),
    ] {
        let message = kappa.complains(&resume(setting));
        assert!(message.contains(told), "{setting}: {message}");
        assert!(before == contents(&run), "{setting} changed something");
    }
    kappa.says(&resume("training.epochs=4"));
    assert_same(&run, &reference);
    let manifest = crate::study::json(&run.join("run.json"));
    assert_eq!(manifest["config"]["training"]["epochs"], 4);
    assert_eq!(manifest["sessions"][0]["epochs"], serde_json::Value::Null);
    assert_eq!(manifest["sessions"][1]["epochs"], 4);
    kappa.says(&["verify", run.to_str().unwrap(), "--data", "tiny", "--backend", "flex"]);
}

#[test]
fn descent_goes_on_with_its_momentum_and_has_no_state_without() {
    let kappa = Kappa::new();
    for (momentum, stable, files) in [("0.9", 38.0, 3 + 2 * 2), ("0.0", 20.0, 3 + 2)] {
        let setting = format!("training.descent.momentum={momentum}");
        let run = |epochs: &'static str| {
            kappa.train(&[
                "--set",
                "training.optimizer=descent",
                "--set",
                "training.descent.learning_rate=0.1",
                "--set",
                &setting,
                "--set",
                epochs,
                "--set",
                "data.train=300",
            ])
        };
        let (whole, run) = (run("training.epochs=4"), run("training.epochs=2"));
        assert_eq!(contents(&run).len(), files, "{momentum}");
        let path = run.to_str().unwrap();
        kappa.says(&[
            "train",
            "--resume",
            path,
            "--set",
            "training.epochs=4",
            "--backend",
            "flex",
            "--quiet",
        ]);
        assert_same(&run, &whole);
        let said = kappa.says(&["hessian", path, "--directions", "--backend", "flex", "--full"]);
        assert!(said.contains("gradient") && !said.contains("Adam"), "{said}");
        let said = kappa.says(&["hessian", path, "--parameters", "all", "--backend", "flex"]);
        assert!(
            said.contains(&format!("descent is stable up to               {stable:.1}"))
                && !said.contains("Adam"),
            "{said}"
        );
        kappa.says(&["verify", path, "--backend", "flex"]);
    }
}

#[test]
fn a_run_that_was_stopped_can_be_told_another_end() {
    let kappa = Kappa::new();
    let (mut first, run) = long_run(&kappa);
    first.kill().unwrap();
    first.wait().unwrap();
    let epochs = fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() + 1;
    let setting = format!("training.epochs={epochs}");
    let run = run.to_str().unwrap();
    kappa.says(&["train", "--resume", run, "--set", &setting, "--backend", "flex", "--quiet"]);
    assert!(spawn(&kappa, &training(&kappa, epochs, "reference")).wait().unwrap().success());
    assert_same(Path::new(run), &run_under(&kappa.folder.path().join("reference")).unwrap());
}

#[test]
fn a_run_does_not_go_on_with_other_images() {
    let kappa = Kappa::new();
    let (mut first, run) = long_run(&kappa);
    first.kill().unwrap();
    first.wait().unwrap();
    write_idx(&kappa.folder.path().join("other"), 31, 9);
    let run = run.to_str().unwrap();
    let message = kappa.complains(&["train", "--resume", run, "--data", "other", "--backend", "flex"]);
    assert!(message.contains("other data"), "{message}");
}

/// Runs kappa where no file can be longer than so many blocks of 512 bytes.
#[cfg(unix)]
fn with_files_up_to(kappa: &Kappa, blocks: usize, arguments: &[String]) -> std::process::Output {
    // A write beyond the limit would end a process that does not see to the signal.
    let script = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .current_dir(kappa.folder.path())
        .args(["-c", &script, env!("CARGO_BIN_EXE_kappa")])
        .args(arguments)
        .output()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn a_write_that_fails_is_told_and_costs_nothing_that_was_there() {
    let kappa = Kappa::new();
    // So wide that a checkpoint is longer than run.json, so long that metrics.csv is longest.
    let training = |out: &str| {
        let mut arguments = training(&kappa, 100, out);
        arguments.extend(["--set", "network.hidden=40"].map(str::to_owned));
        arguments
    };
    assert!(spawn(&kappa, &training("reference")).wait().unwrap().success());
    let reference = run_under(&kappa.folder.path().join("reference")).unwrap();
    let mut refused = std::collections::BTreeSet::new();
    for blocks in 0.. {
        let out = format!("limited-{blocks}");
        let root = kappa.folder.path().join(&out);
        let output = with_files_up_to(&kappa, blocks, &training(&out));
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.code(), Some(1), "{blocks} blocks: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let file = stderr.split("cannot write ").nth(1).and_then(|rest| rest.lines().next());
        let file = file.unwrap_or_else(|| panic!("{blocks} blocks: {stderr}"));
        assert!(stderr.contains("because: ") && !stderr.contains("panicked"), "{stderr}");
        refused.insert(Path::new(file).file_name().unwrap().to_str().unwrap().to_owned());
        // With room again it goes on, or begins, if it had not.
        let Some(run) = run_under(&root) else { continue };
        let resume = ["train", "--resume", run.to_str().unwrap(), "--backend", "flex", "--quiet"];
        kappa.says(&resume);
        assert_same(&run, &reference);
    }
    // Every kind of file was the one that could not be written.
    for kind in
        ["config.toml", "run.json", "metrics.csv", "epoch-0000.safetensors", "epoch-0001.adam.safetensors"]
    {
        assert!(refused.contains(kind), "{kind} is not among {refused:?}");
    }
}

#[test]
fn a_directory_that_vanishes_ends_the_run_with_an_error() {
    let kappa = Kappa::new();
    let (process, run) = long_run(&kappa);
    // It may write into the directory while that is being removed.
    while fs::remove_dir_all(&run).is_err() && run.exists() {}
    let output = process.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: cannot ") && stderr.contains(run.file_name().unwrap().to_str().unwrap()));
    assert!(!stderr.contains("panicked"), "{stderr}");
}
