//! What goes wrong is told, with the way out, and nothing is lost.

use std::process::Command;

use crate::{Kappa, config, write_idx};

#[test]
fn mistakes_are_told_and_leave_nothing_behind() {
    let kappa = Kappa::new();
    let smoke = config("smoke.toml");
    let typo = kappa.folder.path().join("typo.toml");
    let text = std::fs::read_to_string(&smoke).unwrap();
    std::fs::write(&typo, text.replace("learning_rate", "learning_rat")).unwrap();
    std::fs::write(kappa.folder.path().join("beside.toml"), format!("epochs = 3\n{text}")).unwrap();
    let paper = config("paper.toml");

    for (arguments, told) in [
        (&["train", "no-such.toml"][..], "cannot read no-such.toml"),
        (&["train", "typo.toml"], "unknown field `learning_rat`"),
        (&["train", &smoke, "--set", "training.adam.learning_rate=-1"], "above 0"),
        (&["train", &smoke, "--set", "network.hiden=3"], "unknown field `hiden`"),
        (&["train", &smoke, "--set", "hidden=50"], "for `hidden`, did you mean `network.hidden`?"),
        (&["train", "beside.toml"], "for `epochs`, did you mean `training.epochs`?"),
        (
            &["train", &smoke, "--learning-rate", "3e-4"],
            "did you mean `--set training.adam.learning_rate=..` or `--set training.descent.learning_rate=..`?",
        ),
        (&["study", &paper, "--set", "hidden=50"], "did you mean `recipe.network.hidden`?"),
        (
            &["study", &paper, "--epochs=3"],
            "did you mean `--set recipe.training.epochs=..` or `--set whole.epochs=..`?",
        ),
        (&["train", &smoke, "--set", "data.train=60000"], "the set has 60000"),
        (&["train", &smoke, "--data", "nowhere"], "no file `train-images-idx3-ubyte`"),
        (&["hessian"], "just train-cpu"),
        (&["hessian", "nowhere"], "not a run directory"),
        (&["hessian", "--checkpoint", "nowhere.safetensors"], "cannot read nowhere.safetensors"),
        (&["hessian", "--checkpoint", "typo.toml"], "not a checkpoint of a network"),
        (&["data", "nowhere"], "no file `train-images-idx3-ubyte`"),
        (&["train", &smoke, "--backend", "cuda"], "[possible values: auto, wgpu, flex, ndarray]"),
        (&["train"], "required"),
    ] {
        let message = kappa.complains(arguments);
        assert!(message.contains(told), "{arguments:?}: {message}");
    }
    assert!(!kappa.outputs().exists(), "a mistake must not leave a run directory");
    let line = text.lines().position(|line| line.contains("learning_rate")).unwrap() + 1;
    assert!(kappa.complains(&["train", "typo.toml"]).contains(&format!("line {line}")));
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_an_error_and_no_bug() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let output = Command::new(env!("CARGO_BIN_EXE_kappa")).arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("error: ") && !message.contains("panicked"), "{message}");
}

#[test]
fn an_epoch_that_does_not_exist_is_told_with_those_that_do() {
    let kappa = Kappa::new();
    kappa.train(&[]);
    let message = kappa.complains(&["hessian", "--epoch", "30", "--backend", "flex"]);
    assert!(message.contains("no checkpoint of epoch 30; it has epochs 0 to 2"), "{message}");
}

#[test]
fn a_training_that_diverges_stops_and_keeps_what_was_good() {
    let kappa = Kappa::new();
    // All weights become infinite once Adam's step is 1000 and the penalty squares it.
    let smoke = config("smoke.toml");
    let message = kappa.complains(&[
        "train",
        &smoke,
        "--backend",
        "flex",
        "--set",
        "training.adam.learning_rate=1000",
        "--set",
        "training.l2=1000",
        "--set",
        "training.adam.epsilon=1e-30",
        "--set",
        "training.epochs=400",
        "--set",
        "training.adam.beta_2=0",
    ]);
    assert!(message.contains("diverged") && message.contains("learning rate"), "{message}");
    assert!(message.contains(" holds ") && message.contains(" in step "), "{message}");
    let run = std::fs::read_dir(kappa.outputs()).unwrap().next().unwrap().unwrap().path();
    assert!(run.join("checkpoints/epoch-0000.safetensors").is_file());
    let manifest = std::fs::read_to_string(run.join("run.json")).unwrap();
    assert!(manifest.contains("\"failed\": ") && manifest.contains(" in step "), "{manifest}");
}

#[test]
fn a_network_that_is_not_finite_has_no_spectrum_and_its_epoch_is_named() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "training.adam.learning_rate=1e-3"]);
    let checkpoint = run.join("checkpoints/epoch-0001.safetensors");
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    // Without its checksum it could be from anywhere.
    let digits = bytes.windows(8).position(|bytes| bytes == b"\"sha256\"").unwrap();
    bytes[digits + 1] = b'x';
    let elsewhere = kappa.folder.path().join("epoch-0001.safetensors");
    std::fs::write(&elsewhere, bytes).unwrap();
    let message =
        kappa.complains(&["hessian", "--checkpoint", elsewhere.to_str().unwrap(), "--backend", "flex"]);
    assert!(message.contains("epoch-0001.safetensors") && message.contains("learning rate"), "{message}");
}

#[cfg(feature = "wgpu")]
#[test]
fn a_network_that_a_gpu_has_no_buffers_for_is_told_with_the_ways_out() {
    let kappa = Kappa::new();
    let smoke = config("smoke.toml");
    // W1 is 205 MB, and software adapters bind 128 MiB; a large GPU may well train it.
    let mut arguments = vec!["train", &smoke, "--backend", "wgpu"];
    for setting in
        ["network.hidden=65536", "data.train=20", "data.validation=5", "data.test=5", "training.epochs=1"]
    {
        arguments.extend(["--set", setting]);
    }
    let output = kappa.run(&arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("panicked"), "{message}");
    if !output.status.success() && !message.contains("no GPU adapter") {
        assert_eq!(output.status.code(), Some(1));
        assert!(message.contains("the device failed: can't allocate buffer of size: 205520896"), "{message}");
        assert!(message.contains("network.hidden") && message.contains("--backend flex"), "{message}");
        let run = std::fs::read_dir(kappa.outputs()).unwrap().next().unwrap().unwrap().path();
        let manifest = std::fs::read_to_string(run.join("run.json")).unwrap();
        assert!(manifest.contains("\"failed\": ") && manifest.contains("205520896"), "{manifest}");
    }
}

#[test]
fn a_checkpoint_for_other_images_is_told() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let run = kappa.train(&[]);
    let checkpoint = run.join("checkpoints/epoch-0000.safetensors");
    let message = kappa.complains(&[
        "hessian",
        "--checkpoint",
        checkpoint.to_str().unwrap(),
        "--data",
        "tiny",
        "--backend",
        "flex",
    ]);
    assert!(message.contains("784 inputs") && message.contains("20 pixels"), "{message}");
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_without_an_adapter_names_the_way_out_and_with_a_software_one_warns() {
    let kappa = Kappa::new();
    let smoke = config("smoke.toml");
    let arguments =
        ["train", &smoke, "--backend", "wgpu", "--set", "data.train=200", "--set", "training.epochs=1"];
    // No driver: the Vulkan loader is pointed at a manifest that is not there.
    let output = Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent.json")
        .args(arguments)
        .output()
        .unwrap();
    // macOS and Windows find their adapters without these variables.
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("just train-cpu"), "{stderr}");
    }
    let devices = kappa.says(&["devices"]);
    if devices.contains("software") && !devices.contains("Gpu") {
        let output = kappa.run(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.contains("software adapter"), "{stderr}");
        // SPIR-V has no exponential of 64 bits.
        let message = kappa.complains(&["hessian", "--backend", "wgpu", "--forward", "f64"]);
        assert!(message.contains("double precision") && message.contains("--backend flex"), "{message}");
        assert!(kappa.says(&["train", &smoke]).starts_with("flex"), "auto leaves it aside");
    }
}

/// It ended with status 0, and without its table.
#[cfg(target_os = "linux")]
#[test]
fn a_table_that_cannot_be_written_is_a_failure_and_what_was_computed_is_kept() {
    let kappa = Kappa::new();
    let run = kappa.train(&[]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(["hessian", "--backend", "flex"])
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("could be") && message.contains("No space left on device"), "{message}");
    assert!(run.join("hessian/epoch-0002/spectrum.json").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kappa")).arg("--help").stdout(full).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_does_not_end_a_training() {
    // A regression: the first line that could not be written was a panic.
    let kappa = Kappa::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(["train", &config("smoke.toml"), "--backend", "flex"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    let run = std::fs::read_dir(kappa.outputs()).unwrap().next().unwrap().unwrap().path();
    assert!(run.join("checkpoints/epoch-0002.safetensors").is_file());
}
