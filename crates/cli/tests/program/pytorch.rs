//! A checkpoint of several hidden layers in PyTorch: a module loads it, and computes the same.

use std::process::Command;

use crate::{Kappa, config, example::python_with_torch, write_idx};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/pytorch.py");

#[test]
fn torch_loads_a_deep_network_and_computes_the_same() {
    let Some(python) = python_with_torch() else { return };
    for (kind, place) in [
        ("batch", "after"),
        ("batch", "before"),
        ("centre", "after"),
        ("scale", "before"),
        ("layer", "after"),
        ("weight", "after"),
    ] {
        let kappa = Kappa::new();
        write_idx(&kappa.folder.path().join("tiny"), 60, 9);
        let smoke = config("smoke.toml");
        let kind_setting = format!("network.normalisation.kind={kind}");
        let place_setting = format!("network.normalisation.place={place}");
        let mut train = vec!["train", &smoke, "--backend", "flex", "--quiet", "--data", "tiny"];
        for setting in [
            "data.train=50",
            "data.validation=10",
            "data.test=9",
            "network.hidden=[12, 7, 9]",
            kind_setting.as_str(),
            place_setting.as_str(),
            "training.batch_size=25",
        ] {
            train.extend(["--set", setting]);
        }
        let run = kappa.folder.path().join(kappa.says(&train).trim());
        kappa.says(&["hessian", "--backend", "flex", "--save-matrix", "--out", "here"]);
        let out = kappa.folder.path().join("here").join(run.file_name().unwrap());
        let output = Command::new(&python)
            .arg(SCRIPT)
            .arg(run.join("checkpoints/epoch-0002.safetensors"))
            .arg(out.join("spectrum.safetensors"))
            .arg(kappa.folder.path().join("tiny/train-images-idx3-ubyte"))
            .args([kind, place])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success() && said[0].contains("agree"), "{kind} {place}: {said:?}");
    }
}
