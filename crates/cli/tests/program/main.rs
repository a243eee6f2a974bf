//! The program as its users meet it: what it prints, writes and returns.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod brought;
mod browser;
mod curvature;
mod disks;
mod example;
mod files;
mod kills;
mod layer;
mod mistakes;
mod places;
mod posterior;
mod pytorch;
mod stops;
mod study;
mod verify;
mod why;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use safetensors::{Dtype, SafeTensors};

struct Kappa {
    folder: tempfile::TempDir,
}

impl Kappa {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn outputs(&self) -> PathBuf {
        self.folder.path().join("outputs")
    }

    /// Runs kappa in a folder of its own.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kappa"))
            .current_dir(self.folder.path())
            .env_remove("KAPPA_LOG")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What it prints, if it succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains of: the exit status must not be 0, and there must be no backtrace.
    fn complains(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?} succeeded");
        assert!(stderr.contains("error: "), "{stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("stack backtrace"), "{stderr}");
        stderr
    }

    /// Trains the smoke configuration on the CPU and returns its run directory.
    fn train(&self, more: &[&str]) -> PathBuf {
        let config = config("smoke.toml");
        let arguments = [&["train", &config, "--backend", "flex", "--quiet"], more].concat();
        self.folder.path().join(self.says(&arguments).trim())
    }
}

fn config(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
    path.to_str().unwrap().to_owned()
}

/// An IDX set of 4 x 5 images in three classes.
fn write_idx(folder: &Path, train: u8, test: u8) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, count) in [("train", train), ("t10k", test)] {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 4, 0, 0, 0, 5];
        images.extend((0..u32::from(count) * 20).map(|i| (i * 97 % 251) as u8));
        std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
        labels.extend((0..count).map(|i| i % 3));
        std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn help_says_what_there_is() {
    let kappa = Kappa::new();
    let help = kappa.says(&["--help"]);
    for word in ["train", "hessian", "verify", "devices", "data", "batch normalisation", "Examples"] {
        assert!(help.contains(word), "{word}");
    }
    for (command, words) in [
        ("train", &["--set", "--backend", "--quiet", "--out", "Examples"][..]),
        ("hessian", &["--epoch", "--checkpoint", "--limit", "--save-matrix", "--precision", "lambda_min"]),
        ("laplace", &["marginal likelihood", "--newton", "optimum", "Examples"]),
        ("influence", &["for real", "mislabelled", "optimum", "Examples"]),
        ("study", &["paired seeds", "--set", "Examples"]),
        ("report", &["report.html", "without training"]),
        ("verify", &["checksum", "to the last bit", "--epoch"]),
        ("data", &["IDX"]),
        ("devices", &["adapters"]),
    ] {
        let help = kappa.says(&[command, "--help"]);
        for word in words {
            assert!(help.contains(word), "{command}: {word}");
        }
    }
}

#[test]
fn data_counts_and_checksums_mnist() {
    let text = Kappa::new().says(&["data"]);
    assert!(text.contains("10 classes, images of 28 x 28 pixels"), "{text}");
    assert!(text.contains("60000") && text.contains("ba891046e6505d7a"), "{text}");
}

#[test]
fn devices_lists_the_backends() {
    let text = Kappa::new().says(&["devices"]);
    assert!(text.contains("flex"), "{text}");
    #[cfg(feature = "wgpu")]
    if std::env::var_os("KAPPA_REQUIRE_GPU").is_some() {
        assert!(text.contains("type") && text.contains("driver") && text.contains("MiB"), "{text}");
    }
}

#[test]
fn a_run_leaves_its_story_and_the_hessian_its_spectrum() {
    let kappa = Kappa::new();
    let run = kappa.train(&[]);
    for file in ["run.json", "config.toml", "metrics.csv", "checkpoints/epoch-0002.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let metrics = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
    assert!(metrics.starts_with("epoch,seconds,"), "{metrics}");

    let text =
        kappa.says(&["hessian", "--epoch", "2", "--limit", "700", "--save-matrix", "--backend", "flex"]);
    for row in ["FC+BN", "lambda_1", "lambda_10", "kappa'", "exact zeros", "16 of 160", "11 passed", " -> "] {
        assert!(text.contains(row), "{row} in {text}");
    }
    assert!((10..=15).contains(&text.lines().count()), "what one came for, and not more: {text}");
    let full = kappa.says(&["hessian", "--limit", "700", "--full", "--out", "full", "--backend", "flex"]);
    for row in ["lambda_2", "trace", "rank r", "eigenvalues", "residual", "PASS", "sums over samples"] {
        assert!(full.contains(row) && !text.contains(row), "{row} in {full}");
    }
    let folder = run.join("hessian/epoch-0002-limit700-matrix");
    let json = std::fs::read(folder.join("spectrum.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["schema_version"], 6);
    assert_eq!(json["settings"]["samples"], 700);
    assert_eq!(json["settings"]["statistics"], "running");

    let bytes = std::fs::read(folder.join("spectrum.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let doubles = |name: &str| -> Vec<f64> {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F64);
        view.data().chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let (eigenvalues, hessian) = (doubles("eigenvalues"), doubles("hessian"));
    let (features, probabilities) = (doubles("features"), doubles("probabilities"));
    assert_eq!((eigenvalues.len(), hessian.len()), (160, 160 * 160));
    assert_eq!((features.len(), probabilities.len()), (700 * 16, 700 * 10));
    assert!(eigenvalues.is_sorted_by(|a, b| a >= b), "largest first");
    // The saved matrix is the one that the saved features and probabilities give, in the
    // class-major index: H[k m + i, l m + j] = mean (p_k [k = l] - p_k p_l) g_i g_j.
    for (row, column) in [(0, 0), (17, 3), (159, 159), (35, 150)] {
        let (k, i, l, j) = (row / 16, row % 16, column / 16, column % 16);
        let expected: f64 = features
            .chunks(16)
            .zip(probabilities.chunks(10))
            .map(|(g, p)| (if k == l { p[k] } else { 0.0 } - p[k] * p[l]) * g[i] * g[j] / 700.0)
            .sum();
        let found = hessian[row * 160 + column];
        // 700 additions in f64, and p (1 - p) against sums of products of probabilities.
        assert!((found - expected).abs() < 1e-12, "{row} {column}: {found} {expected}");
    }
    // trace = sum of the eigenvalues = |spectrum.json's trace|.
    let trace: f64 = eigenvalues.iter().sum();
    assert!((trace - json["spectrum"]["trace"].as_f64().unwrap()).abs() < 1e-12 * trace);
}

#[test]
fn run_json_says_who_computed_with_what_and_how_it_ended() {
    let kappa = Kappa::new();
    let session = |run: &Path| {
        let json = study::json(&run.join("run.json"));
        assert_eq!(json["sessions"].as_array().unwrap().len(), 1);
        json["sessions"][0].clone()
    };
    let found = session(&kappa.train(&["--set", "data.train=100"]));
    assert_eq!(found["kappa_version"], env!("CARGO_PKG_VERSION"));
    // Outside a repository no commit is known.
    let in_git = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"]).output();
    if in_git.is_ok_and(|git| git.status.success()) {
        let commit = found["git_commit"].as_str().unwrap().trim_end_matches("-dirty");
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    }
    for name in ["burn", "faer", "wgpu", "rand_chacha"] {
        assert!(found["crates"][name].as_str().is_some_and(|version| version.contains('.')), "{found}");
    }
    assert_eq!((&found["backend"], &found["driver"]), (&"flex".into(), &serde_json::Value::Null));
    assert_eq!(found["exit"], "finished");
    assert!(found["started"].as_str() < found["ended"].as_str(), "{found}");
    #[cfg(feature = "wgpu")]
    if std::env::var_os("KAPPA_REQUIRE_GPU").is_some() {
        let smoke = config("smoke.toml");
        let settings = ["--set", "data.train=100", "--set", "training.epochs=1", "--quiet", "--out", "gpu"];
        let run = kappa.says(&[&["train", &smoke, "--backend", "wgpu"], &settings[..]].concat());
        let found = session(&kappa.folder.path().join(run.trim()));
        assert!(found["driver"].as_str().is_some_and(|driver| driver.len() > 3), "{found}");
    }
}

#[test]
fn a_network_of_several_hidden_layers_is_trained_and_measured() {
    let kappa = Kappa::new();
    let deep = ["--set", "network.hidden=[12, 20, 8]", "--set", "network.normalisation.place=before"];
    let run = kappa.train(&deep);
    let text = kappa.says(&["hessian", "--bn-stats", "all", "--folded", "--backend", "flex", "--full"]);
    assert!(text.contains("10 x 8") && text.contains("FC+BN before ReLU folded"), "{text}");
    assert!(text.contains("folding") && !text.contains("FAIL"), "{text}");
    // What is folded into the layer before the ReLU leaves the features as they are, to rounding:
    // of 784 and some dozen terms 4 sqrt(784) + 8 roundings of 6e-8 add up, and the square doubles it.
    let lambda_1 = |folder: &str| {
        let json = study::json(&run.join("hessian").join(folder).join("spectrum.json"));
        json["spectrum"]["top"][0].as_f64().unwrap()
    };
    let (plain, folded) = (lambda_1("epoch-0002"), lambda_1("epoch-0002-folded"));
    assert!((plain / folded - 1.0).abs() < 1e-4, "{plain} {folded}");
    let names = std::fs::read(run.join("checkpoints/epoch-0002.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&names).unwrap();
    for name in ["hidden.0.weight", "norm.2.running_var", "output.bias"] {
        assert!(file.tensor(name).is_ok(), "{name}");
    }
    // As a checkpoint of nothing that is known, it says where its normalisation stands.
    let alone = kappa.folder.path().join("alone.safetensors");
    std::fs::copy(run.join("checkpoints/epoch-0002.safetensors"), &alone).unwrap();
    kappa.says(&[
        "hessian",
        "--checkpoint",
        "alone.safetensors",
        "--limit",
        "2000",
        "--out",
        "here",
        "--backend",
        "flex",
    ]);
    let again = study::json(&kappa.folder.path().join("here/spectrum.json"));
    assert_eq!(again["spectrum"]["top"][0].as_f64().unwrap(), plain, "the first 2000 are the training split");
}

#[test]
fn a_checkpoint_needs_no_run() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "network.hidden=7"]);
    let alone = kappa.folder.path().join("alone.safetensors");
    std::fs::rename(run.join("checkpoints/epoch-0002.safetensors"), &alone).unwrap();
    std::fs::remove_dir_all(kappa.outputs()).unwrap();
    let text = kappa.says(&[
        "hessian",
        "--checkpoint",
        "alone.safetensors",
        "--limit",
        "100",
        "--split",
        "test",
        "--out",
        "here",
        "--backend",
        "flex",
        "--bias",
    ]);
    assert!(text.contains("10 x 8") && text.contains("100 (test)"), "{text}");
    assert!(kappa.folder.path().join("here/spectrum.json").is_file());
    assert!(!kappa.outputs().exists());
    let message = kappa.complains(&["hessian", "--checkpoint", "alone.safetensors", "--split", "validation"]);
    assert!(message.contains("train or test"), "{message}");
}

#[test]
fn any_image_size_and_number_of_classes_will_do() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 30, 9);
    let text = kappa.says(&["data", "tiny"]);
    assert!(text.contains("3 classes, images of 4 x 5 pixels"), "{text}");
    kappa.train(&[
        "--data",
        "tiny",
        "--set",
        "data.train=20",
        "--set",
        "data.validation=10",
        "--set",
        "data.test=9",
        "--set",
        "training.batch_size=7",
    ]);
    let text = kappa.says(&["hessian", "--backend", "flex"]);
    assert!(text.contains("3 x 16") && text.contains("20 (train)"), "{text}");
    // The set is gone or altered: the run says which images it was trained on.
    write_idx(&kappa.folder.path().join("tiny"), 31, 9);
    let message = kappa.complains(&["hessian", "--backend", "flex"]);
    assert!(message.contains("train-images-idx3-ubyte") && message.contains("--data"), "{message}");
    let message = kappa.complains(&["hessian", "--backend", "flex", "--data", "missing"]);
    assert!(message.contains("no file `train-images-idx3-ubyte`"), "{message}");
}

#[test]
fn quiet_is_quiet_and_progress_goes_to_terminals_only() {
    let kappa = Kappa::new();
    let smoke = config("smoke.toml");
    let output = kappa.run(&["train", &smoke, "--backend", "flex"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("epoch  2/2"));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("left"), "no bar without a terminal");
    let output = kappa.run(&["train", &smoke, "--backend", "flex", "--quiet"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "the run directory alone");
}

#[test]
fn batch_norm_is_probed_by_each_of_its_statistics_side_by_side() {
    let kappa = Kappa::new();
    let run = kappa.train(&[]);
    let text = kappa.says(&["hessian", "--bn-stats", "all", "--batch-size", "50", "--backend", "flex"]);
    assert!(text.lines().any(|line| line.contains("statistics") && line.contains("batch 50")), "{text}");
    let lambda_1 = |folder: &str| {
        let json = study::json(&run.join("hessian").join(folder).join("spectrum.json"));
        json["spectrum"]["top"][0].as_f64().unwrap()
    };
    let all = ["epoch-0002", "epoch-0002-batch50", "epoch-0002-dataset"].map(lambda_1);
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");

    // One batch of all samples is the data set.
    kappa.says(&["hessian", "--bn-stats", "batch", "--batch-size", "1000000", "--backend", "flex"]);
    // Both are means of the same f32 numbers, in another order.
    assert!((lambda_1("epoch-0002-batch1000000") / all[2] - 1.0).abs() < 1e-5);

    let checkpoint = run.join("checkpoints/epoch-0002.safetensors");
    let checkpoint = checkpoint.to_str().unwrap();
    let message = kappa.complains(&["hessian", "--checkpoint", checkpoint, "--bn-stats", "all"]);
    assert!(message.contains("--batch-size"), "{message}");
}

#[test]
fn the_digits_that_are_claimed_of_a_network_in_f32_are_those_that_it_has_in_f64() {
    let kappa = Kappa::new();
    let run = kappa.train(&["--set", "network.hidden=[20, 12]"]);
    for forward in ["f32", "f64"] {
        let asked = ["hessian", run.to_str().unwrap(), "--backend", "flex", "--forward", forward];
        kappa.says(&[&asked[..], &["--bn-stats", "all", "--folded"]].concat());
    }
    for kind in ["", "-dataset", "-batch100", "-folded", "-dataset-folded"] {
        let [single, double] = ["", "-forward-f64"].map(|forward| {
            study::json(&run.join(format!("hessian/epoch-0002{forward}{kind}/spectrum.json")))
        });
        for (name, key) in [("lambda_1", "/top/0"), ("lambda_10", "/top/9"), ("kappa_prime", "/kappa_prime")]
        {
            let [found, exact] =
                [&single, &double].map(|record| record["spectrum"].pointer(key).unwrap().as_f64().unwrap());
            let [claimed, known] = [&single, &double]
                .map(|record| record["evidence"][format!("known_digits_of_{name}")].as_u64().unwrap() as i32);
            // f64 has 9 digits more than f32, of which rounding takes as many from both.
            assert!(known >= claimed + 7 && claimed >= 3, "{kind} {name}: {claimed} and {known}");
            let apart = (found / exact - 1.0).abs();
            assert!(
                apart > 0.0 && apart <= 10f64.powi(-claimed),
                "{kind} {name}: {found} and {exact}, {claimed}"
            );
        }
    }
}

#[test]
fn without_batch_norm_there_is_one_spectrum_whatever_the_statistics() {
    let kappa = Kappa::new();
    let fc = config("fc.toml");
    let mut train = vec!["train", &fc, "--backend", "flex", "--quiet"];
    for setting in ["data.train=200", "data.validation=20", "data.test=20", "training.epochs=1"] {
        train.extend(["--set", setting]);
    }
    kappa.says(&train);
    let text = kappa.says(&["hessian", "--bn-stats", "all", "--backend", "flex"]);
    assert_eq!(text.lines().filter(|line| line.contains(" -> ")).count(), 1, "{text}");
    assert!(!text.contains("statistics"), "{text}");
}
