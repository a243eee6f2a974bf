//! The Hessian of more than the last layer.

use serde_json::Value;

use crate::{
    Kappa,
    study::json,
    verify::{numbers::assert_named, verify},
};

fn kappa_with_runs() -> (Kappa, String) {
    let kappa = Kappa::new();
    let said = kappa.train(&["--set", "network.normalisation.kind=batch", "--set", "network.hidden=[6, 5]"]);
    let run = said.file_name().unwrap().to_str().unwrap().to_owned();
    (kappa, format!("outputs/{run}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_whole_network_is_measured_proven_and_verified() {
    let (kappa, run) = kappa_with_runs();
    let network = ["hessian", &run, "--backend", "flex", "--limit", "300", "--parameters"];
    let asked = |more: &[&str]| kappa.says(&[&network[..], more].concat());
    let said = asked(&["all", "--bn-stats", "all", "--blocks", "--density", "--steps", "12", "--full"]);
    for word in
        ["lambda_1 ", "lambda_min", "negative", "Gauss-Newton", "between tensors", "scaled rows of layer 2"]
    {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(said.contains("descent is stable up to") && said.contains("stability threshold"), "{said}");
    let folder = kappa.folder.path().join(&run).join("hessian");
    for (name, checks) in [("", 9), ("-batch100", 11), ("-dataset", 11)] {
        let name = format!("epoch-0002-all-blocks-limit300{name}-density8x12");
        let record = json(&folder.join(&name).join("curvature.json"));
        let found = &record["curvature"];
        assert_eq!(record["evidence"]["passed"], true, "{name}");
        assert_eq!(record["evidence"]["checks"].as_array().unwrap().len(), checks, "{name}");
        // By the density's random vectors, and in closed form or by others.
        let density = &record["density"];
        let error = number(&density["trace_error"]) + found["trace"]["error"].as_f64().unwrap_or(0.0);
        let apart = (number(&found["trace"]["value"]) - number(&density["trace"])).abs();
        assert!(apart < 5.0 * error, "{name}: {apart} {error}");
        assert!(folder.join(&name).join("density.svg").is_file());
        let largest = &found["largest"]["eigenvalues"];
        assert!(number(&largest[0]) >= number(&record["blocks"]["largest"][0]) - 1e-6 * number(&largest[0]));
    }
    // The last layer's weights alone, by this code and by their own.
    asked(&["output.weight,output.bias"]);
    let with_bias = json(&folder.join("epoch-0002-output.bias+output.weight-limit300/curvature.json"));
    kappa.says(&["hessian", &run, "--backend", "flex", "--limit", "300", "--forward", "f64", "--bias"]);
    let dense = json(&folder.join("epoch-0002-limit300-forward-f64-bias/spectrum.json"));
    for rank in 0..10 {
        let found = number(&with_bias["curvature"]["largest"]["eigenvalues"][rank]);
        let expected = number(&dense["spectrum"]["top"][rank]);
        // The solver's residual.
        assert!((found / expected - 1.0).abs() < 1e-6, "{rank}: {found} {expected}");
    }
    // Over the epochs a row each.
    let said = asked(&["hidden.0.weight", "--epoch", "all"]);
    assert!(said.contains("lambda_min") && !said.contains("Gauss-Newton"), "{said}");
    assert!(asked(&["norm.0.bias"]).contains("none is negative"));
    let table = std::fs::read_to_string(folder.join("spectra-hidden.0.weight-limit300.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "a head and three epochs: {table}");
    let (right, said) = verify(&kappa, &kappa.folder.path().join(&run), &[]);
    assert!(right && said.contains("eigenvalues of both ends, the same to the last bit"), "{said}");
    // When the run goes on, Adam's state of this epoch is that of the last layer alone.
    kappa.says(&["train", "--resume", &run, "--set", "training.epochs=3", "--backend", "flex", "--quiet"]);
    let (right, said) = verify(&kappa, &kappa.folder.path().join(&run), &[]);
    assert!(right && said.contains("what Adam saw was not computed again"), "{said}");
}

#[test]
fn every_kind_of_normalisation_is_trained_gone_on_with_measured_and_computed_again() {
    let kappa = Kappa::new();
    for (kind, place, label) in [
        ("centre", "after", "FC+centre"),
        ("scale", "before", "FC+scale before ReLU"),
        ("layer", "after", "FC+LN"),
        ("layer", "before", "FC+LN before ReLU"),
        ("weight", "after", "FC+WN"),
    ] {
        let [kind, place] = [("kind", kind), ("place", place)]
            .map(|(key, value)| format!("network.normalisation.{key}=\"{value}\""));
        let set =
            ["--set", &kind, "--set", &place, "--set", "network.hidden=[6,5]", "--set", "data.train=90"];
        let run = kappa.train(&set);
        let run = run.to_str().unwrap();
        let flex = ["--backend", "flex", "--quiet"];
        kappa.says(&[&["train", "--resume", run, "--set", "training.epochs=3"], &flex[..]].concat());
        let last = kappa.says(&[&["hessian", run, "--folded"], &flex[..]].concat());
        assert!(last.contains(label) && last.contains("passed"), "{last}");
        let all =
            kappa.says(&[&["hessian", run, "--parameters", "all", "--bn-stats", "all"], &flex[..]].concat());
        assert!(all.contains("PASS") && !all.contains("FAIL"), "{all}");
        let (right, said) = verify(&kappa, &kappa.folder.path().join(run), &[]);
        assert!(right, "{said}");
    }
}

#[test]
fn a_number_of_a_whole_network_that_does_not_follow_is_named() {
    let (kappa, run) = kappa_with_runs();
    kappa.says(&[
        "hessian",
        &run,
        "--backend",
        "flex",
        "--limit",
        "200",
        "--parameters",
        "all",
        "--blocks",
        "--out",
        "all",
    ]);
    let folder = kappa.folder.path().join("all").join(run.trim_start_matches("outputs/"));
    let pointers = [
        "/curvature/kappa_prime",
        "/curvature/shares/0/0",
        "/curvature/trace/value",
        "/curvature/gradient_share",
        "/blocks/largest/0",
        "/blocks/between",
        "/evidence/passed",
    ];
    assert_named(&kappa, &folder, &folder.join("curvature.json"), &pointers, &[]);
}

#[test]
fn what_cannot_be_asked_of_a_network_is_told_and_an_answer_is_not_overwritten() {
    let (kappa, run) = kappa_with_runs();
    let begin = ["hessian", run.as_str(), "--backend", "flex", "--limit", "100"];
    let complaint = |more: &[&str]| kappa.complains(&[&begin[..], more].concat());
    let message = complaint(&["--parameters", "hidden.weight"]);
    assert!(
        message.contains("no parameter \"hidden.weight\"") && message.contains("hidden.0.weight"),
        "{message}"
    );
    for (more, told) in [
        (&["--parameters", "all,hidden.0.weight"][..], "names no parameters"),
        (&["--parameters", "all", "--bias"], "cannot be used with '--bias'"),
        (&["--blocks"], "--parameters"),
        (&["--parameters", "all", "--top", "1000000", "--memory", "1MB"], "GB are free"),
    ] {
        let message = complaint(more);
        assert!(message.contains(told), "{more:?}: {message}");
    }
    let of_files = kappa.complains(&["hessian", "--features", "G.npy", "--parameters", "all"]);
    assert!(of_files.contains("cannot be used with '--parameters <NAMES|all>'"), "{of_files}");
    kappa.says(&[&begin[..], &["--parameters", "all", "--out", "here"]].concat());
    let message = complaint(&["--parameters", "output.bias", "--out", "here"]);
    assert!(message.contains("parameters: all there, output.bias asked for"), "{message}");
}
