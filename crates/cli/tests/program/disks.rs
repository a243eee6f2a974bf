//! Disks that are full or read-only: file systems of the test's own, in a mount namespace.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::{Kappa, config, kills::assert_same_study, write_idx};

/// Runs `script` where it may mount: `$KAPPA` is the program, the folder is kappa's own, with an
/// empty one `disk` in it. Says so where the system does not let it, which is a failure in CI.
fn with_mounts(kappa: &Kappa, script: &str) -> Option<Output> {
    fs::create_dir_all(kappa.folder.path().join("disk")).unwrap();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-euc"]).current_dir(kappa.folder.path());
        command
    };
    let allowed = unshare().arg("mount -t tmpfs -o size=64k tmpfs disk").status();
    if !allowed.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("KAPPA_REQUIRE_MOUNT").is_none(), "no file system can be mounted here");
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    Some(unshare().arg(script).env("KAPPA", env!("CARGO_BIN_EXE_kappa")).output().unwrap())
}

/// Runs a command on a disk that is full, gives it a little more room each time that it fails,
/// and runs it again. Then copies what is on the disk to `kept`, and returns the names of the
/// files that could not be written.
fn with_ever_more_room(kappa: &Kappa, before: &str, command: &str) -> Option<BTreeSet<String>> {
    let script = format!(
        "mount -t tmpfs -o size=512m tmpfs disk; {before}
         head -c 4096 /dev/zero > disk/filler
         size=$(du -sk disk | cut -f1); : > failures
         while mount -o remount,size=${{size}}k disk; ! {command} 2> failure > /dev/null; do
             echo \"status $?\" >> failures; cat failure >> failures
             if grep -q /report/ failure; then size=$((size + 64))
             else size=$((size + 4)); fi
             [ $size -lt 100000 ]
         done
         rm disk/filler; cp -r disk kept"
    );
    let output = with_mounts(kappa, &script)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let failures = fs::read_to_string(kappa.folder.path().join("failures")).unwrap();
    assert!(!failures.contains("panicked"), "{failures}");
    let mut refused = BTreeSet::new();
    for failure in failures.split("status ").skip(1) {
        let file = failure.split("error: cannot write ").nth(1).and_then(|rest| rest.lines().next());
        let file = file.unwrap_or_else(|| panic!("no file is named: {failure}"));
        assert!(failure.contains("No space left"), "{failure}");
        refused.insert(Path::new(file).file_name().unwrap().to_str().unwrap().to_owned());
    }
    println!("{} times no room, for {refused:?}", failures.matches("status ").count());
    Some(refused)
}

/// Settings of a study of four runs on 20 images.
const STUDY: &str = "--data tiny --backend flex --quiet --set seeds=1 --set grid.learning_rates=[0.001] \
     --set grid.l2=[0] --set sweep.widths=[3] --set sweep.learning_rates=[] --set sweep.l2=[] \
     --set recipe.data.train=20 --set recipe.data.validation=10 --set recipe.data.test=9 \
     --set recipe.training.epochs=2 --set recipe.network.hidden=30 --set whole.epochs=[0,2]";

#[test]
fn a_study_on_a_disk_that_is_full_again_and_again_ends_as_if_there_had_been_room() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let study = format!("$KAPPA study {} {STUDY}", config("paper.toml"));
    let Some(refused) = with_ever_more_room(&kappa, "", &format!("{study} --out disk")) else { return };
    for kind in [
        "study.toml",
        "run.json",
        "config.toml",
        "metrics.csv",
        "epoch-0000.safetensors",
        "epoch-0001.adam.safetensors",
        "spectra.safetensors",
        "spectra.json",
        "whole.json",
        "findings.json",
        "report.html",
    ] {
        assert!(refused.contains(kind), "{kind} is not among {refused:?}");
    }
    let folder = kappa.folder.path();
    let arguments = study.replace("$KAPPA ", "") + " --out reference";
    kappa.says(&arguments.split(' ').filter(|argument| !argument.is_empty()).collect::<Vec<_>>());
    assert_same_study(&folder.join("kept/paper"), &folder.join("reference/paper"));
    let said = kappa.says(&["verify", "kept/paper", "--backend", "flex"]);
    assert!(said.contains("the same to the last bit"), "{said}");
}

#[test]
fn a_hessian_without_room_costs_nothing_that_was_there() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let settings = STUDY.replace("recipe.", "").replace("--set seeds=1", "");
    let settings: String = settings
        .split("--set ")
        .filter(|setting| !["grid.", "sweep.", "whole."].iter().any(|of| setting.contains(of)))
        .collect::<Vec<_>>()
        .join("--set ");
    let before = format!("$KAPPA train {} {settings} --out disk", config("fc-bn.toml"));
    let hessian = "$KAPPA hessian --runs disk --data tiny --backend flex --quiet";
    // From nothing each time, so that each of the files is once the first that does not fit.
    let command = format!(
        "{{ rm -rf disk/*/hessian; {hessian} --folded --save-matrix --subsets && {hessian} --density --top 3; }}"
    );
    let Some(refused) = with_ever_more_room(&kappa, &before, &command) else { return };
    for kind in
        ["spectrum.safetensors", "gap.svg", "subsets.svg", "spectrum.json", "density.svg", "matrix-free.json"]
    {
        assert!(refused.contains(kind), "{kind} is not among {refused:?}");
    }
    let said = kappa.says(&["verify", "kept", "--data", "tiny", "--backend", "flex"]);
    // The spectrum, the folded one, and what was found without H.
    assert_eq!(said.matches("the same to the last bit").count(), 3, "{said}");
}

#[test]
fn on_a_read_only_disk_what_writes_fails_and_what_reads_works() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let study = format!("study {} {STUDY} --out disk", config("paper.toml"));
    let run = "disk/paper/runs/fc_lr1e-3_l2-0e0_m30_s0";
    let more = "--data tiny --backend flex --quiet";
    let script = format!(
        "mount -t tmpfs tmpfs disk; $KAPPA {study} > /dev/null; mount -o remount,ro disk
         find disk -type f | sort | xargs sha256sum > before
         try() {{ if $KAPPA \"$@\" > /dev/null; then echo \"$@ succeeded\"; else echo \"$@: $?\"; fi; }}
         try train {} --out disk --backend flex --quiet 2>&1
         try hessian {run} {more} 2>&1
         try train --resume {run} {more} 2>&1
         try {study} 2>&1
         try report disk/paper 2>&1
         $KAPPA verify disk/paper --data tiny --backend flex
         $KAPPA hessian {run} {more} --out elsewhere
         find disk -type f | sort | xargs sha256sum | cmp - before",
        config("smoke.toml")
    );
    let Some(output) = with_mounts(&kappa, &script) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("error: cannot write disk").count(), 5, "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 5, "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with(": 1")).count(), 5, "{said}");
    // A Hessian needs nothing there but to read it.
    assert_eq!(said.matches("writes elsewhere with --out").count(), 1, "{said}");
    assert!(kappa.folder.path().join("elsewhere/fc_lr1e-3_l2-0e0_m30_s0/spectrum.json").is_file());
    assert!(!said.contains("panicked") && said.contains("the same to the last bit"), "{said}");
}
