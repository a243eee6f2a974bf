//! Whatever `kappa verify` may be called on, and what may lie there.

use std::{fs, path::Path};

use kappa_run::write_sealed;
use serde_json::Value;

use super::{
    numbers::{assert_named, edit},
    run_with_spectra, verify, without_h,
};
use crate::{Kappa, study::finished_study};

#[test]
fn what_was_killed_is_told_and_what_it_left_is_right() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "data.train=60", "--set", "network.hidden=4"]);
    // As a run is that was killed in its second epoch, while it wrote.
    edit(&run.join("run.json"), |manifest| {
        manifest["sessions"][0]["ended"] = Value::Null;
        manifest["sessions"][0]["exit"] = Value::Null;
    });
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let rows: Vec<&str> = metrics.lines().take(3).map(|row| row.rsplit_once(',').unwrap().0).collect();
    write_sealed(&run.join("metrics.csv"), format!("{}\n", rows.join("\n")).as_bytes()).unwrap();
    fs::write(run.join(".partial-metrics.csv-Xy12"), "epo").unwrap();
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(right, "{said}");
    assert!(said.contains("is unfinished (1 of 2 epochs: no process has said how it ended"), "{said}");
    assert!(
        said.contains("kappa train --resume") && said.contains(".partial-metrics.csv-Xy12 is half"),
        "{said}"
    );
    // What it holds is looked at all the same.
    fs::remove_file(run.join("checkpoints/epoch-0001.safetensors")).unwrap();
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(!right && said.contains("epoch 1 has no "), "{said}");

    let study = finished_study(&kappa);
    fs::remove_file(study.join("findings.json")).unwrap();
    let (right, said) = verify(&kappa, &study, &["--no-spectrum"]);
    assert!(right && said.contains("is unfinished (nothing was judged yet); `kappa study`"), "{said}");
}

#[test]
fn every_folder_that_kappa_writes_is_verified() {
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    let again = |folder: &Path, count: usize| {
        let (right, said) = verify(&kappa, folder, &[]);
        assert!(right, "{}: {said}", folder.display());
        assert_eq!(said.matches("the same to the last bit").count(), count, "{}: {said}", folder.display());
        said
    };
    // Of a run: one answer, and all of them.
    again(&run.join("hessian/epoch-0002-dataset"), 1);
    again(&run.join("hessian"), 6);
    let run_name = run.to_str().unwrap();
    let quiet = ["--backend", "flex", "--quiet"];
    kappa.says(&[&["hessian", run_name, "--limit", "50", "--out", "elsewhere"], &quiet[..]].concat());
    again(&kappa.folder.path().join("elsewhere"), 1);
    let answer = kappa.folder.path().join("elsewhere").join(run.file_name().unwrap());
    assert_named(
        &kappa,
        &answer,
        &answer.join("spectrum.json"),
        &["/spectrum/kappa_prime"],
        &["--no-spectrum"],
    );

    // Of a checkpoint, which may be gone, and of arrays, which kappa has not saved.
    fs::copy(run.join("checkpoints/epoch-0002.safetensors"), kappa.folder.path().join("alone.safetensors"))
        .unwrap();
    let checkpoint = ["hessian", "--checkpoint", "alone.safetensors", "--limit", "70", "--out", "one"];
    kappa.says(&[&checkpoint, &quiet[..]].concat());
    let one = kappa.folder.path().join("one");
    let said = again(&one, 1);
    assert!(said.contains("from alone.safetensors"), "{said}");
    fs::remove_file(kappa.folder.path().join("alone.safetensors")).unwrap();
    let said = again(&one, 0);
    assert!(said.contains("alone.safetensors is not there"), "{said}");
    let bytes = fs::read(one.join("spectrum.safetensors")).unwrap();
    fs::write(one.join("spectrum.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    let (right, said) = verify(&kappa, &one, &[]);
    assert!(!right && said.contains("spectrum.safetensors is not as kappa wrote it"), "{said}");

    let study = finished_study(&kappa);
    let said = again(&study.join("report"), 0);
    // Fourteen figures have a PNG.
    let files = if cfg!(feature = "png") { 46 } else { 32 };
    assert!(said.contains(&format!("{files} files are as they were written")), "{said}");
    fs::write(study.join("report/report.md"), "other").unwrap();
    let (right, said) = verify(&kappa, &study.join("report"), &[]);
    assert!(!right && said.contains("report.md is not as kappa wrote it"), "{said}");
}

#[cfg(unix)]
#[test]
fn what_is_no_ordinary_file_is_refused_by_name_before_it_is_opened() {
    use std::os::unix::fs::symlink;
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    let study = finished_study(&kappa);
    // What would never end, or never begin, if it were opened.
    let link = |path: &Path| symlink("/dev/zero", path).unwrap();
    let nowhere = |path: &Path| symlink("nowhere", path).unwrap();
    let pipe =
        |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let folder = |path: &Path| fs::create_dir(path).unwrap();
    type Make<'a> = (&'a str, &'a dyn Fn(&Path));
    let kinds: [Make; 4] =
        [("is a link", &link), ("is a link", &nowhere), ("is a named pipe", &pipe), ("is a folder", &folder)];
    let without_h = without_h(&run).join("matrix-free.json");
    let without_h = without_h.strip_prefix(&run).unwrap().to_owned();
    let in_run = [
        "run.json",
        "config.toml",
        "metrics.csv",
        "checkpoints/epoch-0001.safetensors",
        "checkpoints/epoch-0002.adam.safetensors",
        "hessian/epoch-0002/spectrum.json",
        "hessian/epoch-0002/spectrum.safetensors",
        without_h.to_str().unwrap(),
        "hessian/epoch-0002/gap.svg",
    ];
    let in_study = ["study.toml", "findings.json", "report/SHA256SUMS", "report/report.md"];
    let places = in_run.map(|name| (&run, name)).into_iter().chain(in_study.map(|name| (&study, name)));
    for (directory, name) in places {
        let path = directory.join(name);
        let bytes = fs::read(&path).unwrap();
        for (told, make) in &kinds {
            fs::remove_file(&path).unwrap();
            make(&path);
            let (right, said) = verify(&kappa, directory, &[]);
            let named = said
                .lines()
                .any(|line| line.contains("WRONG: ") && line.contains(&format!("{} {told}", path.display())));
            assert!(!right && named, "{name}, {told}: {said}");
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                fs::remove_dir(&path).unwrap();
                fs::write(&path, &bytes).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
        }
    }
    // A pipe that is nobody's business is none of kappa's either, and is not passed over.
    pipe(&run.join("pipe"));
    let (right, said) = verify(&kappa, &run, &["--no-spectrum"]);
    assert!(!right && said.contains("pipe is a named pipe, and no file"), "{said}");
    fs::remove_file(run.join("pipe")).unwrap();

    // And by whatever else reads.
    let checkpoint = run.join("checkpoints/epoch-0002.safetensors");
    for (told, make) in &kinds[..3] {
        fs::remove_file(&checkpoint).unwrap();
        make(&checkpoint);
        let message = kappa.complains(&["hessian", run.to_str().unwrap(), "--backend", "flex"]);
        assert!(message.contains(told), "{message}");
    }
    for (told, make) in &kinds {
        let findings = study.join("findings.json");
        let _ = fs::remove_file(&findings);
        make(&findings);
        let message = kappa.complains(&["report", study.to_str().unwrap()]);
        assert!(message.contains(told) && message.contains("findings.json"), "{message}");
    }
    // What somebody names may be a link, and still no device.
    link(&kappa.folder.path().join("zeros.safetensors"));
    let message = kappa.complains(&["hessian", "--checkpoint", "zeros.safetensors", "--backend", "flex"]);
    assert!(message.contains("zeros.safetensors is a device"), "{message}");
    let message = kappa.complains(&["train", "/dev/zero", "--backend", "flex"]);
    assert!(message.contains("no configuration is that long"), "{message}");
}

#[cfg(unix)]
#[test]
fn names_cannot_forge_a_line_or_speak_to_the_terminal() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "data.train=60", "--set", "network.hidden=4"]);
    fs::write(run.join("a\n  WRONG: \u{1b}[31mb.svg"), "").unwrap();
    fs::write(run.join("notes\n  all is well\u{1b}[2J"), "").unwrap();
    let renamed = run.with_file_name("run\u{1b}[1m\n2");
    fs::rename(&run, &renamed).unwrap();
    let (right, said) = verify(&kappa, &renamed, &["--no-spectrum"]);
    assert!(!right && !said.contains('\u{1b}'), "{said:?}");
    assert!(said.contains("a\\n  WRONG: \\u{1b}[31mb.svg has no checksum"), "{said}");
    assert!(said.contains("notes\\n  all is well\\u{1b}[2J is not kappa's"), "{said}");
    assert!(said.contains("run\\u{1b}[1m\\n2\n"), "{said}");
    assert!(!said.lines().any(|line| line.starts_with("  all is well")), "{said}");
    let message = kappa.complains(&["hessian", "no\u{1b}[2J\nerror: run", "--backend", "flex"]);
    assert!(message.contains("no\\u{1b}[2J\\nerror: run is not a run directory"), "{message}");
    let files =
        ["hessian", "--features", "no\u{1b}[2J\nall is well.npy", "--logits", "Z.npy", "--backend", "flex"];
    let message = kappa.complains(&files);
    assert!(message.contains("cannot read no\\u{1b}[2J\\nall is well.npy"), "{message}");
    let message = kappa.complains(&["data", "no\nall is well"]);
    assert!(message.contains("in no\\nall is well"), "{message}");
}
