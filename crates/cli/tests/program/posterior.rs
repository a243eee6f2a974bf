//! `kappa laplace` and `kappa influence`: of files and of a run, at an optimum and not, and what verifies them.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    Kappa,
    layer::{npy, write_layer},
    study::json,
    verify::{numbers::edit, verify},
    write_idx,
};

const FILES: [&str; 11] = [
    "--features",
    "G.npy",
    "--logits",
    "Z.npy",
    "--labels",
    "y.npy",
    "--weights",
    "W.npy",
    "--backend",
    "flex",
    "--quiet",
];
const TEST: [&str; 4] = ["--test-features", "T.npy", "--test-labels", "t.npy"];

/// The likeliest class of each sample of Z.npy, but for every one of so many the next one.
fn labels(folder: &Path, noise: usize) -> Vec<u8> {
    let logits = fs::read(folder.join("Z.npy")).unwrap();
    let logits: Vec<f32> =
        logits[128..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let likeliest = |z: &[f32]| (0..z.len()).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
    let label = |(n, z): (usize, &[f32])| ((likeliest(z) + usize::from(n % noise == 0)) % 7) as u8;
    logits.chunks(7).enumerate().map(label).collect()
}

/// The layer of [`write_layer`] with labels that it nearly gives, and 20 test samples.
fn kappa_with_layer() -> Kappa {
    let kappa = Kappa::new();
    let (features, _) = write_layer(&kappa);
    let folder = kappa.folder.path();
    let labels = labels(folder, 5);
    npy(&folder.join("y.npy"), "(90,)", "|u1", &labels);
    let bytes: Vec<u8> = features[..20 * 12].iter().flat_map(|x| (0.9 * x).to_le_bytes()).collect();
    npy(&folder.join("T.npy"), "(20, 12)", "<f4", &bytes);
    npy(&folder.join("t.npy"), "(20,)", "|u1", &labels[..20]);
    let far: Vec<u8> = features[..10 * 12].iter().flat_map(|x| (9.0 * x).to_le_bytes()).collect();
    npy(&folder.join("O.npy"), "(10, 12)", "<f4", &far);
    kappa
}

fn asked<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], &FILES[..], more].concat()
}

/// What a user would fear most is a confident number from weights that are no optimum.
#[test]
fn weights_that_are_no_optimum_cannot_be_missed() {
    let kappa = kappa_with_layer();
    for command in ["laplace", "influence"] {
        let output = kappa.run(&asked(command, &[&TEST[..], &["--out", command]].concat()));
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("NOT AT AN OPTIMUM") && said.contains("optimum") && said.contains("FAIL"),
            "{said}"
        );
        assert!(complained.contains("do not trust") && complained.contains("--newton"), "{complained}");
        let record = json(&kappa.folder.path().join(command).join(format!("{command}.json")));
        assert_eq!(record["checks"][0]["passed"], false);
        assert!(record["optimum"]["reached"].as_f64().unwrap() > 0.1);
    }
}

#[test]
fn at_the_optimum_there_are_error_bars_and_their_proof() {
    let kappa = kappa_with_layer();
    let more = [&TEST[..], &["--other-features", "O.npy", "--bias", "--newton"]].concat();
    let said = kappa.says(&asked("laplace", &more));
    for word in [
        "PASS",
        "ln p(D | delta)",
        "probit of contrasts",
        "sampling",
        "bridge",
        "AUROC",
        "diagonal",
        "Kronecker",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let folder = kappa.outputs().read_dir().unwrap().next().unwrap().unwrap().path();
    assert!(folder.file_name().unwrap().to_string_lossy().starts_with("laplace-G-"), "{folder:?}");
    for file in ["laplace.json", "laplace.safetensors", "marginal.svg", "calibration.svg"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let record = json(&folder.join("laplace.json"));
    let posterior = &record["posterior"];
    assert_eq!(posterior["size"], 7 * 13);
    // What is far is told by the variance of its logits, which grows with the square.
    let variance = record["separations"].as_array().unwrap().last().unwrap();
    assert!(variance["auroc"].as_f64().unwrap() > 0.95, "{variance}");
    // At the best delta gamma = delta |W|^2.
    let (delta, square) =
        (posterior["delta"].as_f64().unwrap(), record["optimum"]["square"].as_f64().unwrap());
    let told = posterior["determined"].as_f64().unwrap();
    // It has settled to 1e-7 of delta.
    assert!((told / (delta * square) - 1.0).abs() < 1e-6, "{told} {delta} {square}");
    let (right, said) = verify(&kappa, &folder, &[]);
    assert!(right && said.contains("follow from their arrays") && said.contains("of arrays"), "{said}");
    let again =
        asked("laplace", &[&more[..], &["--draws", "10", "--out", folder.to_str().unwrap()]].concat());
    assert!(kappa.complains(&again).contains("answers another question"));
}

/// The same numbers, by the leading eigenpairs: all of them, and so few that they only bound.
#[test]
fn without_the_matrix_the_exact_numbers_lie_within_the_bounds() {
    let kappa = kappa_with_layer();
    let record = |more: &[&str], out: &str| {
        kappa.says(&asked(
            "laplace",
            &[&["--newton", "--delta", "0.7", "--out", out], &TEST[..], more].concat(),
        ));
        json(&kappa.folder.path().join(out).join("laplace.json"))
    };
    let exact = record(&[], "exact");
    let value = exact["posterior"]["log_marginal"][0].as_f64().unwrap();
    assert_eq!(exact["posterior"]["log_marginal"][1].as_f64().unwrap(), value);
    let variance = |record: &Value| record["predictions"][0]["mean_variance"].as_f64().unwrap();
    for top in ["5", "40"] {
        let bounded = record(&["--top", top], top);
        let bounds: Vec<f64> =
            (0..2).map(|end| bounded["posterior"]["log_marginal"][end].as_f64().unwrap()).collect();
        assert!(bounds[0] <= value && value <= bounds[1], "{bounds:?} {value}");
        let share = bounded["posterior"]["least_share"].as_f64().unwrap();
        let (found, truth) = (variance(&bounded), variance(&exact));
        assert!(share * found <= truth && truth <= found, "{share} {found} {truth}");
        // Both at the same optimum.
        let square = |record: &Value| record["optimum"]["square"].as_f64().unwrap();
        assert!((square(&bounded) / square(&exact) - 1.0).abs() < 1e-7);
    }
}

#[test]
fn training_samples_are_ranked_and_some_left_out_for_real() {
    let kappa = kappa_with_layer();
    let more =
        [&TEST[..], &["--newton", "--most", "3", "--check", "4", "--save-table", "--out", "found"]].concat();
    let said = kappa.says(&asked("influence", &more));
    assert!(said.contains("4 training samples left out for real") && said.contains("PASS"), "{said}");
    let folder = kappa.folder.path().join("found");
    let record = json(&folder.join("influence.json"));
    let left_out = &record["left_out"];
    assert_eq!((left_out["pairs"].as_u64(), left_out["samples"].as_array().unwrap().len()), (Some(80), 4));
    assert!(left_out["correlation"].as_f64().unwrap() > 0.99, "{left_out}");
    let table = fs::read(folder.join("influences.npy")).unwrap();
    let (header, numbers) = table.split_at(128);
    assert!(String::from_utf8_lossy(header).contains("(20, 90,)"), "{}", String::from_utf8_lossy(header));
    let numbers: Vec<f32> = numbers.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    // The first row of the csv is the largest of the first row.
    let csv = fs::read_to_string(folder.join("influence.csv")).unwrap();
    let first: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(first[..3], ["0", "helpful", "1"]);
    let (sample, value): (usize, f64) = (first[3].parse().unwrap(), first[4].parse().unwrap());
    let largest = numbers[..90].iter().copied().fold(f32::MIN, f32::max);
    assert_eq!((numbers[sample], value as f32), (largest, largest));
    assert_eq!(csv.lines().count(), 1 + 20 * 6);
    let (right, said) = verify(&kappa, &folder, &[]);
    assert!(right, "{said}");
    // Without the matrix they are the first order of the same.
    kappa.says(&asked(
        "influence",
        &[&TEST[..], &["--newton", "--top", "20", "--save-table", "--out", "free"]].concat(),
    ));
    let free = fs::read(kappa.folder.path().join("free/influences.npy")).unwrap();
    let free: Vec<f32> = free[128..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let size = numbers.iter().fold(0f32, |max, x| max.max(x.abs()));
    let apart = numbers.iter().zip(&free).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    // A sample of ninety is up to a third of the curvature along its own direction.
    assert!(apart < 0.5 * size && apart > 0.0, "{apart} {size}");
}

/// Of two classes that a line separates, a label that is wrong is far on the other side.
#[test]
fn labels_that_are_made_wrong_stand_out() {
    let kappa = Kappa::new();
    let folder = kappa.folder.path();
    let features: Vec<f32> = (0..600).map(|i| ((i * 7919 % 601) as f32 / 300.0) - 1.0).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    npy(&folder.join("G.npy"), "(200, 3)", "<f4", &bytes(&features));
    npy(&folder.join("W.npy"), "(2, 3)", "<f4", &bytes(&[0.0, 0.0, 0.0, 6.0, 0.0, 0.0]));
    let logits: Vec<f32> = features.chunks(3).flat_map(|g| [0.0, 6.0 * g[0]]).collect();
    npy(&folder.join("Z.npy"), "(200, 2)", "<f4", &bytes(&logits));
    let labels: Vec<u8> = features.chunks(3).map(|g| u8::from(g[0] > 0.0)).collect();
    npy(&folder.join("y.npy"), "(200,)", "|u1", &labels);
    let more = [
        "--plant",
        "0.05",
        "--check",
        "0",
        "--test-features",
        "G.npy",
        "--test-labels",
        "y.npy",
        "--out",
        "planted",
    ];
    let said = kappa.says(&asked("influence", &more));
    assert!(said.contains("10 labels were made wrong"), "{said}");
    let record = json(&folder.join("planted/influence.json"));
    let rankings = record["planted"]["rankings"].as_array().unwrap();
    assert_eq!(rankings.len(), 3);
    for ranking in rankings {
        let all = ranking["precision"].as_array().unwrap().last().unwrap();
        // By chance a twentieth of the first ten would be of them; those near the line cannot be told.
        assert!(all[1].as_f64().unwrap() >= 0.6, "{ranking}");
    }
}

/// Of a run both are of its own images and its test images, with pictures; the same command gives the same bits, and
/// they are computed again from the checkpoint.
#[test]
fn of_a_run_both_are_computed_again_to_the_last_bit() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("set"), 60, 24);
    write_idx(&kappa.folder.path().join("other"), 60, 12);
    let run = kappa.train(&[
        "--data",
        "set",
        "--set",
        "data.train=48",
        "--set",
        "data.validation=12",
        "--set",
        "data.test=12",
        "--set",
        "training.epochs=2",
    ]);
    let path = run.to_str().unwrap();
    // Labels that have nothing to do with the images leave the marginal likelihood without a top.
    let common = ["--backend", "flex", "--quiet", "--newton", "--bias", "--delta", "2"];
    kappa.says(&[&["laplace", path, "--other-data", "other"], &common[..]].concat());
    kappa.says(&[&["influence", path, "--check", "2"], &common[..]].concat());
    let inside = |kind: &str| fs::read_dir(run.join(kind)).unwrap().next().unwrap().unwrap().path();
    let (laplace, influence) = (inside("laplace"), inside("influence"));
    for file in ["influence.svg", "suspects.svg", "self-influences.npy"] {
        assert!(influence.join(file).is_file(), "{file}");
    }
    let (right, said) = verify(&kappa, &run, &[]);
    assert!(right && said.matches("the same to the last bit").count() == 2, "{said}");
    let named = |path: &Path, pointer: &str, directory: &Path| {
        let before = fs::read(path).unwrap();
        edit(path, |value| {
            let number = value.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
            *number = (number.as_f64().unwrap() * 1.001 + 1e-3).into();
        });
        let (right, said) = verify(&kappa, directory, &[]);
        assert!(!right && said.contains("WRONG"), "{pointer}: {said}");
        fs::write(path, before).unwrap();
    };
    let file = laplace.join("laplace.json");
    for pointer in [
        "/optimum/square",
        "/posterior/log_marginal/0",
        "/posterior/best_delta",
        "/posterior/determined",
        "/predictions/0/mean_variance",
        "/predictions/0/methods/1/scores/log_loss",
        "/predictions/1/methods/0/mean_entropy",
        "/cheaper/0/distance",
    ] {
        named(&file, pointer, &laplace);
    }
    let file = influence.join("influence.json");
    for pointer in ["/suspects/0/self_influence", "/left_out/largest_error", "/optimum/reached"] {
        named(&file, pointer, &influence);
    }
}

/// Labels that have nothing to do with the features want weights of zero, and so the narrowest prior there is.
#[test]
fn a_marginal_likelihood_that_rises_without_end_is_told() {
    let kappa = kappa_with_layer();
    let labels: Vec<u8> = (0..90).map(|n| (n % 7) as u8).collect();
    npy(&kappa.folder.path().join("y.npy"), "(90,)", "|u1", &labels);
    let complaint = kappa.complains(&asked("laplace", &["--newton", "--bias"]));
    assert!(complaint.contains("marginal likelihood") && complaint.contains("--delta"), "{complaint}");
}

#[test]
fn what_is_missing_is_told_with_what_to_type() {
    let kappa = kappa_with_layer();
    let layer = ["--features", "G.npy", "--logits", "Z.npy", "--backend", "flex", "--quiet"];
    for (arguments, expected) in [
        (vec!["laplace"], "--features G.npy"),
        ([&["laplace"], &layer[..], &["--weights", "W.npy"]].concat(), "--labels y.npy"),
        ([&["laplace"], &layer[..], &["--labels", "y.npy"]].concat(), "--weights W.npy"),
        (asked("influence", &["--newton"]), "--test-features"),
        (asked("influence", &["--newton", "--test-features", "T.npy"]), "--test-labels"),
        (asked("laplace", &["--delta", "-1"]), "above 0"),
        (asked("laplace", &["--test-features", "y.npy"]), "features"),
        (asked("laplace", &["--test-features", "nowhere.npy"]), "nowhere.npy"),
        (asked("influence", &["--plant", "0.9"]), "0.5"),
    ] {
        let complaint = kappa.complains(&arguments);
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
}
