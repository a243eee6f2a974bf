//! `kappa why`: trained once, gone on with, judged.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::{Kappa, study::json, verify::verify, write_idx};

/// Few units on a tiny set, whose losses are reached in some tens of steps.
pub fn config(folder: &Path) -> String {
    let text = r#"
name = "tiny"
seeds = 2
steps = 60
losses = [1.12, 1.1]
measured = [0, 3, 6, 12]
renewed = 4
[rates]
matched = 0.5
octaves = 1
stable_steps = 12
halvings = 1
[[arms]]
name = "FC"
[[arms]]
name = "FC+BN"
set.network.normalisation.kind = "batch"
[[arms]]
name = "FC+LN"
set.network.normalisation.kind = "layer"
[[interventions]]
name = "FC, equalised"
arm = "FC"
change = "equalised"
[[interventions]]
name = "FC, held"
arm = "FC"
change = "held"
[[interventions]]
name = "FC+BN, stiffened"
arm = "FC+BN"
change = "stiffened"
like = "FC"
[[interventions]]
name = "FC+BN, noise"
arm = "FC+BN"
change = "noise"
[[interventions]]
name = "FC as FC+BN"
arm = "FC"
change = "folded_into_own"
like = "FC+BN"
[[again]]
name = "Two layers"
set.seeds = 1
set.interventions = []
set.recipe.network.hidden = [16, 8]
[[again]]
name = "not here"
set.recipe.data.folder = "nowhere"
[recipe]
name = "tiny"
data.train = 60
data.validation = 5
data.test = 9
network.hidden = 16
training.epochs = 1
training.batch_size = "full"
training.optimizer = "descent"
training.descent.learning_rate = 0.5
"#;
    let path = folder.join("why.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// All that was trained and found, without seconds.
fn contents(folder: &Path) -> Vec<(String, Value)> {
    let mut all = vec![("why.json".to_owned(), json(&folder.join("why.json")))];
    for entry in fs::read_dir(folder.join("trainings")).unwrap() {
        let entry = entry.unwrap();
        let mut training = json(&entry.path());
        training["seconds"] = Value::Null;
        training["sha256"] = Value::Null;
        all.push((entry.file_name().into_string().unwrap(), training));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn it_says_which_explanation_holds_and_a_killed_one_goes_on_to_the_same_end() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 65, 9);
    let config = config(kappa.folder.path());
    let why = ["why", &config, "--data", "tiny", "--backend", "flex"];
    let said = kappa.says(&why);
    for line in [
        "FC+BN, stiffened",
        "stable up to",
        "steps beside the arm's",
        "times faster = rate x slope x realised x way",
        "kappa' of the last layer",
        "again, Two layers",
        "not here: left out, there is no nowhere",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    let folder = kappa.folder.path().join("outputs/tiny");
    let page = fs::read_to_string(folder.join("report/report.md")).unwrap();
    assert!(page.contains("| FC, equalised | FC |") && page.contains("figure-2.svg"), "{page}");
    fs::remove_dir_all(folder.join("report")).unwrap();
    kappa.says(&["report", "outputs/tiny"]);
    assert_eq!(fs::read_to_string(folder.join("report/report.md")).unwrap(), page);
    for part in ["## What the speed is made of", "## The same again", "| Two layers | 1 |", "hidden.weight"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let html = fs::read_to_string(folder.join("report/report.html")).unwrap();
    assert!(html.contains("effective beta-smoothness</option>") && html.contains("FC+BN, stiffened"));
    let findings = json(&folder.join("why.json"));
    assert_eq!(findings["arms"].as_array().unwrap().len(), 3);
    assert_eq!(findings["interventions"].as_array().unwrap().len(), 5);
    // All measures but that of what Adam sees.
    assert_eq!(findings["orders"].as_array().unwrap().len(), 15);
    assert_eq!(findings["answers"].as_array().unwrap().len(), 8);
    let statement = &findings["statements"][0];
    assert_eq!(statement["claim"], "larger_rates");
    let number = |value: &Value| value.as_f64().unwrap();
    for chain in findings["chains"].as_array().unwrap() {
        let factors = &chain["matched"];
        let product = ["rate", "slope", "realised", "distance"].map(|key| number(&factors[key]));
        let times = number(&factors["times"]);
        assert!((product.iter().product::<f64>() / times - 1.0).abs() < 1e-12, "{factors}");
        let parts = factors["slopes"].as_object().unwrap().values().map(number).sum::<f64>();
        assert!((parts / number(&factors["slope"]) - 1.0).abs() < 1e-12, "{factors}");
    }
    let shares = findings["shares"][1]["tensors"].as_object().unwrap();
    assert!(
        shares.contains_key("norm.weight") && (shares.values().map(number).sum::<f64>() - 1.0).abs() < 1e-12
    );
    assert!(findings["arms"][1]["stable_rate"][0].as_f64().unwrap() > 0.0);
    // All follows, and what is changed does not.
    let said = kappa.says(&["verify", "outputs/tiny", "--backend", "flex"]);
    assert!(said.contains("follows from the trainings") && !said.contains("not kappa's"), "{said}");
    let altered = |name: &str, from: &str, to: &str| {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let (right, said) = verify(&kappa, &folder, &[]);
        fs::write(&path, text).unwrap();
        assert!(!right && said.contains(name), "{said}");
    };
    altered("trainings/fc_s0_lr5.000e-1.json", "\"rate\": 0.5", "\"rate\": 0.6");
    altered("why.json", "FC+LN", "FC+XY");
    altered("again/two-layers/why.json", "FC+LN", "FC+XY");
    // Nothing is trained twice.
    let again = kappa.says(&why);
    assert!(!again.contains("_lr"), "{again}");

    // Killed in the middle, and gone on with: the same trainings and findings.
    let killed = [&why[..], &["--out", "killed"]].concat();
    let mut process = Command::new(env!("CARGO_BIN_EXE_kappa"))
        .current_dir(kappa.folder.path())
        .args(&killed)
        .arg("--quiet")
        .spawn()
        .unwrap();
    let trainings = kappa.folder.path().join("killed/tiny/trainings");
    while fs::read_dir(&trainings).map_or(0, Iterator::count) < 3 {
        assert!(process.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    kappa.says(&[&killed[..], &["--quiet"]].concat());
    assert_eq!(contents(&kappa.folder.path().join("killed/tiny")), contents(&folder));

    let other = kappa.complains(&[&why[..], &["--set", "steps=61"]].concat());
    assert!(other.contains("another configuration"), "{other}");
}

/// The arms of the same tiny experiment by another recipe and on another device.
fn arms(kappa: &Kappa, backend: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    let config = config(kappa.folder.path());
    let named = format!("name=\"{backend}\"");
    let mut arguments = vec!["why", &config, "--data", "tiny", "--quiet", "--backend", backend];
    for setting in ["seeds=1", "interventions=[]", "again=[]", &named].iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    let output = kappa.run(&arguments);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let findings = json(&kappa.outputs().join(backend).join("why.json"));
    Ok(findings["arms"].as_array().unwrap().clone())
}

#[test]
fn adam_on_mini_batches_is_a_recipe_too() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 65, 9);
    let training = "recipe.training={epochs=1, batch_size=25, adam={learning_rate=1.0}}";
    let arms = arms(&kappa, "flex", &[training, "rates.matched=0.02"]).unwrap();
    assert!(arms[1]["matched"][0][1].as_f64().unwrap() > 1.0, "{arms:?}");
    let training = json(&kappa.outputs().join("flex/trainings/fc-bn_s0_lr2.000e-2.json"));
    assert!(training["measures"][0]["values"]["kappa_prime_seen"].as_f64().unwrap() > 1.0);
}

#[cfg(feature = "wgpu")]
#[test]
fn on_a_gpu_arms_need_the_steps_that_they_need_on_a_cpu() {
    let kappa = Kappa::new();
    write_idx(&kappa.folder.path().join("tiny"), 65, 9);
    let settings = ["rates.octaves=0", "rates.halvings=0", "measured=[0, 6]"];
    let cpu = arms(&kappa, "flex", &settings).unwrap();
    let gpu = match arms(&kappa, "wgpu", &settings) {
        Err(complaint) if complaint.contains("no GPU adapter") => {
            assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "{complaint}");
            eprintln!("skipped: there is no GPU adapter");
            return;
        }
        arms => arms.unwrap(),
    };
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        let steps = |arm: &Value| arm["matched"][0][1].as_f64().unwrap();
        // Some tens of steps in f32, whose sums are rounded otherwise.
        assert!((steps(gpu) / steps(cpu) - 1.0).abs() < 1e-3, "{cpu} {gpu}");
    }
    let page = |backend: &str| {
        kappa.says(&["report", &format!("outputs/{backend}")]);
        fs::read_to_string(kappa.outputs().join(backend).join("report/report.md")).unwrap()
    };
    let [cpu, gpu] = ["flex", "wgpu"].map(page);
    assert_eq!(cpu.lines().count(), gpu.lines().count());
}

#[test]
fn what_is_no_experiment_is_told() {
    let kappa = Kappa::new();
    let config = config(kappa.folder.path());
    for (setting, told) in [
        ("losses=[0.5, 0.5]", "below the one before"),
        ("recipe.training.l2=0.1", "to have no penalty"),
        ("recipe.training.optimizer=\"adam\"", "missing table `training.adam`"),
        (
            "recipe.training={epochs=1, batch_size=9, adam={learning_rate=0.1}}",
            "changes what descent sees of H",
        ),
        ("again=[{ name = \"x\", set = { seeds = 0 } }]", "again, \"x\""),
        ("again=[{ name = \"x\" }, { name = \"X\" }]", "named \"X\" twice"),
        ("arms=[{ name = \"FC\" }]", "two arms"),
        ("interventions=[{ name = \"x\", arm = \"FC\", change = \"stiffened\" }]", "needs `like`"),
        ("interventions=[{ name = \"x\", arm = \"XY\", change = \"top\" }]", "\"XY\", which there is not"),
        ("interventions=[{ name = \"fc\", arm = \"FC\", change = \"top\" }]", "named \"fc\""),
        ("interventions=[{ name = \"x\", arm = \"FC\", change = \"dream\" }]", "unknown variant"),
        ("matched=1", "rates.matched"),
    ] {
        let message = kappa.complains(&["why", &config, "--set", setting, "--backend", "flex"]);
        assert!(message.contains(told), "{setting}: {message}");
    }
    assert!(!kappa.outputs().exists());
}
