//! Checkpoints that people bring, and mini-batches of a single sample.

use std::{collections::HashMap, path::Path};

use safetensors::{Dtype, tensor::TensorView};

use crate::{Kappa, config, write_idx};

/// Units of the hidden layer.
const UNITS: usize = 4;

/// A network of 20 inputs and 3 classes whose last layer is zero, under anybody's names; batch
/// norm with gamma 1, beta 0, running mean `mean` and variance 1e-3, if it is `tracked`.
fn write(path: &Path, mean: f32, tracked: bool, metadata: &[(&str, &str)]) {
    let weights = (0..UNITS * 20).map(|i| (i * 37 % 23) as f32 / 16.0 - 0.6).collect::<Vec<f32>>();
    let mut tensors = vec![
        ("fc1.weight", vec![UNITS, 20], weights),
        ("bn1.weight", vec![UNITS], vec![1.0; UNITS]),
        ("bn1.bias", vec![UNITS], vec![0.0; UNITS]),
        ("fc2.weight", vec![3, UNITS], vec![0.0; 3 * UNITS]),
        ("fc2.bias", vec![3], vec![0.0; 3]),
    ];
    if tracked {
        tensors.push(("bn1.running_mean", vec![UNITS], vec![mean; UNITS]));
        tensors.push(("bn1.running_var", vec![UNITS], vec![1e-3; UNITS]));
    }
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    std::fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

fn spectrum(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("spectrum.json")).unwrap()).unwrap()
}

#[test]
fn of_two_checkpoints_that_differ_in_epsilon_lambda_1_differs_as_it_should() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    write_idx(&folder.join("tiny"), 60, 9);
    write(&folder.join("torchs.safetensors"), 0.0, true, &[]);
    write(&folder.join("keras.safetensors"), 0.0, true, &[("norm.eps", "0.001")]);
    // The probabilities are 1/3 and features are relu(z) / sqrt(variance + epsilon): H goes by the
    // inverse of variance + epsilon, the variance being what f32 has for 1e-3.
    let variance = f64::from(1e-3f32);
    let ratio = (variance + 1e-3) / (variance + 1e-5);
    assert!((ratio - 2e-3 / 1.01e-3).abs() < 1e-7);
    // A root, a quotient and a product of each feature, squared, and sums of 60 of them: some 100
    // units of rounding.
    for (forward, bound) in [("f64", 100.0 * f64::EPSILON), ("f32", 100.0 * f64::from(f32::EPSILON))] {
        let lambda_1 = |file: &str, out: &str, more: &[&str]| -> f64 {
            let arguments = [
                &[
                    "hessian",
                    "--checkpoint",
                    file,
                    "--data",
                    "tiny",
                    "--backend",
                    "flex",
                    "--forward",
                    forward,
                ][..],
                &["--out", out],
                more,
            ];
            kappa.says(&arguments.concat());
            spectrum(&folder.join(out))["spectrum"]["top"][0].as_f64().unwrap()
        };
        let out = |name: &str| format!("{name}-{forward}");
        let torchs = lambda_1("torchs.safetensors", &out("torchs"), &[]);
        let keras = lambda_1("keras.safetensors", &out("keras"), &[]);
        let given = lambda_1("torchs.safetensors", &out("given"), &["--bn-epsilon", "1e-3"]);
        assert!((torchs / keras / ratio - 1.0).abs() < bound, "{forward}: {torchs} {keras} {ratio}");
        assert_eq!(given, keras);
    }
    assert_eq!(spectrum(&folder.join("torchs-f32"))["settings"]["epsilon"], 1e-5);
    let given = &spectrum(&folder.join("given-f32"))["settings"];
    assert_eq!((&given["epsilon"], &given["interpretation"]["epsilon"]), (&1e-3.into(), &1e-3.into()));
}

#[test]
fn what_was_assumed_and_what_cannot_be_right_are_told_with_what_to_type() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    write_idx(&folder.join("tiny"), 60, 9);
    write(&folder.join("x.safetensors"), -0.25, true, &[]);
    let hessian = ["hessian", "--checkpoint", "x.safetensors", "--data", "tiny", "--backend", "flex"];
    let told = |more: &[&str]| {
        let output = kappa.run(&[&hessian[..], more].concat());
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{err}");
        (out, err)
    };
    let (out, err) = told(&[]);
    for line in [
        "`fc1` [4, 20] as `hidden`, without a bias",
        "`bn1`",
        "`fc2`",
        "after the ReLU (assumed",
        "1e-5 (assumed",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(err.contains("--bn-place before") && err.matches("warning").count() == 1, "{err}");
    let (out, err) = told(&["--bn-place", "before", "--bn-epsilon", "1e-3"]);
    assert!(out.contains("batch norm before the ReLU, epsilon 1e-3") && err.is_empty(), "{out}{err}");
    assert!(out.contains("bn-before-bn-epsilon1e-3"), "the question is in the folder's name: {out}");
    // The same question again, and it is computed again from its record.
    told(&["--bn-place", "before", "--bn-epsilon", "1e-3"]);
    let answers = std::fs::read_dir(folder.join("outputs")).unwrap().map(|entry| entry.unwrap().path());
    let answer = answers.into_iter().find(|path| path.to_str().unwrap().contains("bn-before")).unwrap();
    let verified = kappa.says(&["verify", answer.to_str().unwrap(), "--data", "tiny", "--backend", "flex"]);
    assert!(verified.contains("computed again"), "{verified}");

    write(&folder.join("x.safetensors"), 0.0, false, &[]);
    let message = kappa.complains(&hessian);
    assert!(message.contains("no running statistics") && message.contains("--bn-stats dataset"), "{message}");
    let (_, err) = told(&["--bn-stats", "dataset"]);
    assert!(err.contains("layer norm"), "{err}");
    told(&["--bn-stats", "batch", "--batch-size", "20"]);
}

#[test]
fn batch_norm_on_a_single_sample_is_refused_before_anything_begins() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    write_idx(&folder.join("tiny"), 60, 9);
    let smoke = config("smoke.toml");
    let train = |set: &[&str]| {
        let mut arguments = vec!["train", &smoke, "--backend", "flex", "--quiet", "--data", "tiny"];
        let sizes =
            ["data.train=50", "data.validation=10", "data.test=9", "network.normalisation.kind=batch"];
        for setting in sizes.iter().chain(set) {
            arguments.extend(["--set", setting]);
        }
        arguments.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for size in ["7", "1"] {
        let arguments = train(&[&format!("training.batch_size={size}")]);
        let message = kappa.complains(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            message.contains("single sample") && message.contains("--set training.batch_size"),
            "{message}"
        );
        assert!(size == "1" || message.contains("6 and 8 leave none"), "{message}");
    }
    assert!(!kappa.outputs().exists(), "nothing was begun");
    write(&folder.join("x.safetensors"), 0.0, true, &[]);
    let hessian = ["hessian", "--checkpoint", "x.safetensors", "--data", "tiny", "--backend", "flex"];
    // 60 = 59 + 1
    let message = kappa.complains(&[&hessian[..], &["--bn-stats", "batch", "--batch-size", "59"]].concat());
    assert!(message.contains("single sample") && message.contains("58 and 60 leave none"), "{message}");
}

#[test]
fn an_unbiased_running_variance_is_kept_by_a_run_that_goes_on() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 60, 9);
    let trained = |epochs: &str, variance: &str| {
        let variance = format!("network.normalisation.running_variance={variance}");
        let sizes = ["data.train=50", "data.validation=10", "data.test=9", "training.batch_size=25"];
        let mut more = vec!["--data", "tiny"];
        for setting in sizes.iter().chain(&["network.normalisation.kind=batch", epochs, &variance]) {
            more.extend(["--set", setting]);
        }
        kappa.train(&more)
    };
    let last = |run: &Path| std::fs::read(run.join("checkpoints/epoch-0002.safetensors")).unwrap();
    let whole = trained("training.epochs=2", "unbiased");
    let prolonged = trained("training.epochs=1", "unbiased");
    let resume = ["train", "--resume", prolonged.to_str().unwrap(), "--backend", "flex", "--quiet"];
    kappa.says(&[&resume[..], &["--set", "training.epochs=2"]].concat());
    assert_eq!(last(&prolonged), last(&whole));
    assert_ne!(last(&trained("training.epochs=2", "biased")), last(&whole));
}
