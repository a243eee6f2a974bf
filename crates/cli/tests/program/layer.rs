//! A last layer from anywhere: files in, proof out; and what `kappa hessian` tells
//! beyond the spectrum.

use std::path::Path;

use crate::{Kappa, study::json};

/// Numbers without structure in -1 .. 1, as f32.
fn draw(count: usize, start: f64) -> Vec<f32> {
    (0..count)
        .map(|i| (2.0 * (start + 0.618_033_988_7 * i as f64 * (i % 7 + 1) as f64).fract() - 1.0) as f32)
        .collect()
}

pub fn npy(path: &Path, shape: &str, descr: &str, bytes: &[u8]) {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}

const SAMPLES: usize = 90;
const FEATURES: usize = 12;
const CLASSES: usize = 7;

/// G.npy, Z.npy, W.npy and y.npy in the folder of `kappa`.
pub fn write_layer(kappa: &Kappa) -> (Vec<f32>, Vec<f32>) {
    let folder = kappa.folder.path();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let features = draw(SAMPLES * FEATURES, 0.1);
    let weights = draw(CLASSES * FEATURES, 0.3);
    let logit = |g: &[f32], w: &[f32]| g.iter().zip(w).map(|(g, w)| g * w).sum::<f32>() + 0.5;
    let logits: Vec<f32> =
        features.chunks(FEATURES).flat_map(|g| weights.chunks(FEATURES).map(move |w| logit(g, w))).collect();
    npy(&folder.join("G.npy"), &format!("({SAMPLES}, {FEATURES})"), "<f4", &bytes(&features));
    npy(&folder.join("Z.npy"), &format!("({SAMPLES}, {CLASSES})"), "<f4", &bytes(&logits));
    npy(
        &folder.join("W.npy"),
        &format!("({CLASSES}, {FEATURES})"),
        "<f4",
        &bytes(&draw(CLASSES * FEATURES, 0.3)),
    );
    let labels: Vec<u8> = (0..SAMPLES).map(|n| (n % CLASSES) as u8).collect();
    npy(&folder.join("y.npy"), &format!("({SAMPLES},)"), "|u1", &labels);
    (features, logits)
}

/// P.npy: a softmax in f32, which nobody has divided by its sum.
fn write_probabilities(kappa: &Kappa) {
    let rows = draw(SAMPLES * CLASSES, 0.2);
    let softmax = |z: &[f32]| {
        let sum: f32 = z.iter().map(|z| (5.0 * z).exp()).sum();
        z.iter().flat_map(|z| ((5.0 * z).exp() / sum).to_le_bytes()).collect::<Vec<_>>()
    };
    let bytes: Vec<u8> = rows.chunks(CLASSES).flat_map(softmax).collect();
    npy(&kappa.folder.path().join("P.npy"), &format!("({SAMPLES}, {CLASSES})"), "<f4", &bytes);
}

const LAYER: [&str; 7] = ["hessian", "--features", "G.npy", "--logits", "Z.npy", "--backend", "flex"];

pub fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    LAYER.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn any_last_layer_is_measured_and_proven() {
    let kappa = Kappa::new();
    let (features, logits) = write_layer(&kappa);
    let text = kappa.says(&with(&[
        "--labels",
        "y.npy",
        "--weights",
        "W.npy",
        "--directions",
        "--full",
        "--out",
        "here",
    ]));
    for row in [
        "G",
        "7 x 12",
        "residual",
        "PASS",
        "of the gradient",
        "loss in nats",
        "- H| / |H|",
        "digits known of l_1",
    ] {
        assert!(text.contains(row), "{row} in {text}");
    }
    assert!(!text.contains("FAIL") && !text.contains("SKIPPED"), "{text}");
    let found = json(&kappa.folder.path().join("here/spectrum.json"));
    assert_eq!(found["evidence"]["passed"], true);
    assert_eq!(found["evidence"]["checks"].as_array().unwrap().len(), 11);
    assert_eq!(found["spectrum"]["null_space"]["shift"], FEATURES);
    let files: Vec<&str> = found["settings"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["G.npy", "Z.npy", "W.npy", "y.npy"]);
    assert!(kappa.folder.path().join("here/gap.svg").is_file());

    // The trace by its definition, mean p_a (1 - p_a) |g|^2, and the loss by its.
    let (mut trace, mut loss) = (0.0, 0.0);
    for (n, (g, z)) in features.chunks(FEATURES).zip(logits.chunks(CLASSES)).enumerate() {
        let powers: Vec<f64> = z.iter().map(|&z| f64::from(z).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let square: f64 = g.iter().map(|&g| f64::from(g).powi(2)).sum();
        trace += powers.iter().map(|power| power / sum * (1.0 - power / sum)).sum::<f64>() * square;
        loss -= (powers[n % CLASSES] / sum).ln();
    }
    let close = |found: &serde_json::Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    };
    close(&found["spectrum"]["trace"], trace / SAMPLES as f64);
    close(&found["directions"]["loss"], loss / SAMPLES as f64);
    let right = logits.chunks(CLASSES).enumerate().filter(|(n, z)| {
        let largest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        z[n % CLASSES] == largest
    });
    close(&found["directions"]["accuracy"], right.count() as f64 / SAMPLES as f64);
}

#[test]
fn labels_in_another_order_than_the_logits_are_suspected() {
    let kappa = Kappa::new();
    let (_, logits) = write_layer(&kappa);
    let says = |labels: Vec<u8>| {
        npy(&kappa.folder.path().join("own.npy"), &format!("({SAMPLES},)"), "|u1", &labels);
        let output = kappa.run(&with(&["--labels", "own.npy", "--out", "own"]));
        assert!(output.status.success());
        std::fs::remove_dir_all(kappa.folder.path().join("own")).unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let argmax = |z: &[f32]| (0..CLASSES).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap() as u8;
    let right: Vec<u8> = logits.chunks(CLASSES).map(argmax).collect();
    assert!(!says(right.clone()).contains("warning"));
    let wrong: Vec<u8> = right.iter().map(|class| (class + 1) % CLASSES as u8).collect();
    let said = says(wrong);
    assert!(said.contains("label of 0.00 %") && said.contains("same order"), "{said}");
}

/// Labels are no part of H.
#[test]
fn labels_in_another_order_leave_the_eigenvalues_to_the_last_bit() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    let eigenvalues = |out: &str| {
        kappa.says(&with(&["--labels", "y.npy", "--out", out]));
        std::fs::read(kappa.folder.path().join(out).join("spectrum.safetensors")).unwrap()
    };
    let expected = eigenvalues("here");
    let path = kappa.folder.path().join("y.npy");
    let mut labels = std::fs::read(&path).unwrap();
    let data = labels.len() - SAMPLES;
    labels[data..].rotate_left(5);
    std::fs::write(&path, labels).unwrap();
    let found = eigenvalues("there");
    let values = |bytes: &[u8]| bytes[bytes.len() - FEATURES * CLASSES * 8..].to_vec();
    assert_eq!(values(&found), values(&expected));
}

#[test]
fn a_check_that_fails_ends_with_an_error_and_leaves_what_was_found() {
    let kappa = Kappa::new();
    let (_, logits) = write_layer(&kappa);
    // The samples' logits in another order than their features.
    let reversed: Vec<u8> = logits.chunks(CLASSES).rev().flatten().flat_map(|z| z.to_le_bytes()).collect();
    npy(&kappa.folder.path().join("Z.npy"), &format!("({SAMPLES}, {CLASSES})"), "<f4", &reversed);
    let arguments = with(&["--weights", "W.npy", "--out", "here"]);
    let message = kappa.complains(&arguments);
    assert!(message.contains("G: weights") && message.contains("do not trust"), "{message}");
    let text = String::from_utf8(kappa.run(&arguments).stdout).unwrap();
    assert!(
        text.contains("1 of 12 FAILED") && text.contains("G: weights ") && text.contains(" FAIL "),
        "each check that fails: {text}"
    );
    let found = json(&kappa.folder.path().join("here/spectrum.json"));
    assert_eq!(found["settings"]["input_checks"][0]["passed"], false);
    assert_eq!(found["evidence"]["passed"], true, "it is the Hessian of these samples, whatever they are");
    kappa.says(&with(&["--weights", "W.npy", "--no-verify"]));
}

#[test]
fn checks_that_are_skipped_are_said_to_be() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    let text = kappa.says(&with(&["--no-verify", "--out", "here"]));
    assert!(text.contains("SKIPPED") && !text.contains("PASS"), "{text}");
    assert!(json(&kappa.folder.path().join("here/spectrum.json"))["evidence"].is_null());
}

#[test]
fn without_the_matrix_the_same_eigenvalues_are_found() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    kappa.says(&with(&["--out", "here"]));
    let text =
        kappa.says(&with(&["--top", "10", "--density", "--probes", "6", "--steps", "20", "--out", "free"]));
    assert!(text.contains("PASS") && text.contains("random vectors"), "{text}");
    let folder = kappa.folder.path().join("free");
    let dense = json(&kappa.folder.path().join("here/spectrum.json"));
    let free = json(&folder.join("matrix-free.json"));
    let expected = dense["spectrum"]["top"].as_array().unwrap();
    let found = free["top"]["eigenvalues"].as_array().unwrap();
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
        // The bound that was set for ten leading eigenvalues.
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    }
    assert!(folder.join("density.svg").is_file());
    let (trace, error) =
        (free["density"]["trace"].as_f64().unwrap(), free["density"]["trace_error"].as_f64().unwrap());
    let exact = dense["spectrum"]["trace"].as_f64().unwrap();
    // The seed is fixed; six vectors make a wide Student's t, 10 standard errors are 2 in 10^4.
    assert!((trace - exact).abs() < 10.0 * error, "{trace} +- {error}, {exact}");
    assert!((free["density"]["trace_of_samples"].as_f64().unwrap() / exact - 1.0).abs() < 1e-12);
}

#[test]
fn more_eigenvalues_than_there_are_are_all_of_them() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    let asked =
        ["--top", "99999999999", "--density", "--steps", "99999999999", "--probes", "2", "--out", "here"];
    kappa.says(&with(&asked));
    let found = json(&kappa.folder.path().join("here/matrix-free.json"));
    assert_eq!(found["top"]["eigenvalues"].as_array().unwrap().len(), CLASSES * FEATURES);
}

#[test]
fn probabilities_are_logits_only_where_they_are_said_to_be_meant() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    write_probabilities(&kappa);
    let trace = |out: &str, given: &[&str]| {
        let arguments = ["hessian", "--features", "G.npy", "--backend", "flex", "--out", out];
        kappa.says(&[&arguments[..], given].concat());
        json(&kappa.folder.path().join(out).join("spectrum.json"))["spectrum"]["trace"].as_f64().unwrap()
    };
    let right = trace("right", &["--probabilities", "P.npy"]);
    let meant = trace("meant", &["--logits", "P.npy", "--logits-are-meant"]);
    // The softmax of probabilities leaves hardly a class out: another network.
    assert!(meant > 1.2 * right, "{meant} {right}");
}

#[test]
fn subsets_grow_to_the_whole() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    let text = kappa.says(&with(&["--subsets", "3", "--out", "here"]));
    assert!(text.contains("lambda_1 of random subsets"), "{text}");
    let found = json(&kappa.folder.path().join("here/spectrum.json"));
    let subsets = found["subsets"].as_array().unwrap();
    let sizes: Vec<u64> = subsets.iter().map(|subset| subset["samples"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 2, 5, 11, 22, 45, 90]);
    assert_eq!(subsets[2]["lambda_1"].as_array().unwrap().len(), 3);
    assert!(kappa.folder.path().join("here/subsets.svg").is_file());
    assert_eq!(subsets[6]["lambda_1"], serde_json::json!([found["spectrum"]["top"][0]]));
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_way_out() {
    let kappa = Kappa::new();
    write_layer(&kappa);
    let wide = 1 << 20;
    let zeros = vec![0; wide * 4];
    npy(&kappa.folder.path().join("wide.npy"), &format!("(1, {wide})"), "<f4", &zeros);
    npy(&kappa.folder.path().join("one.npy"), "(1, 2)", "<f4", &[0; 8]);
    write_probabilities(&kappa);
    for (arguments, told) in [
        // (2^21)^2 numbers of eight bytes
        (&["hessian", "--features", "wide.npy", "--logits", "one.npy"][..], "needs 35184 GB"),
        (&["hessian", "--features", "G.npy"], "--logits"),
        (&["hessian", "--features", "Z.npy", "--logits", "y.npy"], "have elements of type u8"),
        (&["hessian", "--features", "G.npy", "--logits", "nowhere.npy"], "nowhere.npy"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--l2", "-1"], "from 0 to 1000"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--l2", "1e308"], "from 0 to 1000"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--l2", "nan"], "from 0 to 1000"),
        (&with(&["--density", "--probes", "1000000000000"]), "from 1 to 100000"),
        (&with(&["--subsets", "1000000000000"]), "from 1 to 10000"),
        (&["hessian", "--features", "G.npy", "--logits", "P.npy"], "--probabilities FILE"),
        (&["hessian", "--features", "G.npy", "--logits", "P.npy"], "--logits-are-meant"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--weights", "G.npy"], "weights"),
        (&["hessian", "--logits", "Z.npy"], "--features"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--split", "test"], "--split"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--probes", "3"], "--density"),
        (&["hessian", "--features", "G.npy", "--logits", "Z.npy", "--epoch", "3"], "--epoch"),
    ] {
        let message = kappa.complains(arguments);
        assert!(message.contains(told), "{told} in {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn a_run_tells_what_lies_in_its_leading_directions_and_what_folding_leaves() {
    let kappa = Kappa::new();
    let run = kappa.train(&[]);
    let text = kappa.says(&[
        "hessian",
        "--directions",
        "--overlap-with",
        "0,1",
        "--folded",
        "--full",
        "--backend",
        "flex",
    ]);
    for row in ["of the last update", "overlap with epoch 0", "what Adam sees", "folding", "FC+BN folded"] {
        assert!(text.contains(row), "{row} in {text}");
    }
    let found = |folder: &str| json(&run.join("hessian").join(folder).join("spectrum.json"));
    let (plain, folded) =
        (found("epoch-0002-directions-overlap0-1"), found("epoch-0002-folded-directions-overlap0-1"));
    assert_eq!(folded["settings"]["input_checks"][0]["passed"], true);
    assert_eq!(plain["settings"]["input_checks"], serde_json::json!([]));
    // The same function has the same loss, and another Hessian.
    let loss = |record: &serde_json::Value| record["directions"]["loss"].as_f64().unwrap();
    assert!((loss(&plain) / loss(&folded) - 1.0).abs() < 1e-5);
    assert!(plain["spectrum"]["top"][0] != folded["spectrum"]["top"][0]);
    // Adam's D is positive and the threshold 38 / learning rate.
    let adam = &plain["directions"]["adam"];
    let rate = 38.0 / adam["stability_threshold"].as_f64().unwrap();
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let line = config.lines().find(|line| line.starts_with("learning_rate")).unwrap();
    let configured: f64 = line.split('=').nth(1).unwrap().trim().parse().unwrap();
    assert!((rate / configured - 1.0).abs() < 1e-12, "{rate} {configured}");
    let overlaps = plain["directions"]["overlaps"].as_array().unwrap();
    assert_eq!(overlaps.iter().map(|overlap| overlap["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    for overlap in overlaps {
        let overlap = overlap["overlap"].as_f64().unwrap();
        assert!((0.0..=1.0 + 1e-12).contains(&overlap), "{overlap}");
    }

    // A run of an older version has no state of its optimiser.
    std::fs::remove_file(run.join("checkpoints/epoch-0002.adam.safetensors")).unwrap();
    let message = kappa.complains(&["hessian", "--directions", "--backend", "flex"]);
    assert!(message.contains("train again"), "{message}");
    kappa.says(&["hessian", "--epoch", "0", "--directions", "--backend", "flex"]);
}
