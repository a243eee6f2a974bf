//! Numbers that do not follow, in files whose checksums are right.

use std::{fs, path::Path};

use kappa_run::write_sealed;
use serde_json::Value;

use super::{run_with_spectra, verify, without_h};
use crate::{
    Kappa,
    study::{finished_study, json},
};

/// Changes the JSON file at `path` and gives it the checksum of what it is then.
pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = json(path);
    value.as_object_mut().unwrap().remove("sha256");
    change(&mut value);
    write_sealed(path, format!("{}\n", serde_json::to_string_pretty(&value).unwrap()).as_bytes()).unwrap();
}

/// What is a little other than `value`, and of its kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Null => 1.5.into(),
        Value::Bool(yes) => (!yes).into(),
        Value::String(text) => (if text == "holds" { "fails" } else { "holds" }).into(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap();
            // A hundred units of the last place; of a zero something.
            (if number == 0.0 { 1e-3 } else { number * (1.0 + 100.0 * f64::EPSILON) }).into()
        }
        Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
        value => panic!("{value} has no other"),
    }
}

/// Changes each of `pointers` in the JSON file at `path` alone, and asserts that it is named.
pub fn assert_named(kappa: &Kappa, directory: &Path, path: &Path, pointers: &[&str], more: &[&str]) {
    let before = fs::read(path).unwrap();
    for pointer in pointers {
        edit(path, |value| {
            let place = value.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
            *place = other(place);
        });
        let (right, said) = verify(kappa, directory, more);
        // "/a/0/b" is a[0].b there.
        let key: String = pointer[1..]
            .split('/')
            .map(|part| if part.parse::<usize>().is_ok() { format!("[{part}]") } else { format!(".{part}") })
            .collect();
        let key = key.trim_start_matches('.');
        let named = said.lines().any(|line| {
            line.contains("WRONG: ") && line.contains(key) && line.contains(&*path.to_string_lossy())
        });
        assert!(!right && named, "{key}: {said}");
        fs::write(path, &before).unwrap();
    }
    assert!(verify(kappa, directory, more).0, "what is as it was is right");
}

#[test]
fn a_number_that_does_not_follow_from_the_eigenvalues_is_named_with_its_checksum_made_right() {
    let kappa = Kappa::new();
    let run = run_with_spectra(&kappa);
    let folder = run.join("hessian/epoch-0002");
    assert_named(
        &kappa,
        &run,
        &folder.join("spectrum.json"),
        &[
            "/spectrum/top/0",
            "/spectrum/top/9",
            "/spectrum/kappa_prime",
            "/spectrum/outlier_ratio",
            "/spectrum/outlier_gap",
            "/spectrum/rank",
            "/spectrum/rank_tolerance",
            "/spectrum/kappa_of_rank",
            "/spectrum/kappa_with_l2",
            "/spectrum/kappa_prime_with_l2",
            "/spectrum/effective_rank",
            "/spectrum/entropy_rank",
            "/spectrum/size",
            "/spectrum/null_space/shift",
            "/spectrum/null_space/explained",
            "/spectrum/null_space/numerical",
            "/evidence/passed",
        ],
        &["--no-spectrum"],
    );
    // What comes of the matrix is compared where that is computed again.
    assert_named(
        &kappa,
        &run,
        &folder.join("spectrum.json"),
        &[
            "/spectrum/trace",
            "/spectrum/lambda_min",
            "/spectrum/null_space/against_whole_matrix",
            "/evidence/rounding",
            "/evidence/known_digits_of_lambda_1",
            "/settings/samples",
        ],
        &[],
    );
    let record = without_h(&run).join("matrix-free.json");
    assert_named(&kappa, &run, &record, &["/top/passed", "/density/shift"], &["--no-spectrum"]);
    let done_again = ["/top/residuals/1", "/density/trace", "/density/probes/0/0/0"];
    assert_named(&kappa, &run, &record, &done_again, &[]);
}

#[test]
fn findings_that_do_not_follow_from_the_runs_and_rows_from_their_eigenvalues_are_named() {
    let kappa = Kappa::new();
    let study = finished_study(&kappa);
    let pointers = [
        "/points/0/verdicts/0/mean",
        "/points/0/verdicts/0/effects/1",
        "/points/0/verdicts/0/word",
        "/points/0/verdicts/3/holding",
        "/points/1/verdicts/1/interval/0",
        "/points/0/explanations/0/whole/mean",
        "/points/0/learning_rate",
        "/grid/1/validation_accuracy",
        "/widths/0/hidden",
    ];
    let findings = study.join("findings.json");
    // Above the rounding of logarithms that is granted: a hundred units are not.
    let before = fs::read(&findings).unwrap();
    for pointer in pointers {
        edit(&findings, |value| {
            let place = value.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
            *place = match place.as_f64().filter(|_| place.is_f64()) {
                Some(number) => (number + 1e-6).into(),
                None => other(place),
            };
        });
        let (right, said) = verify(&kappa, &study, &["--no-spectrum"]);
        let key = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
        let named = said.lines().any(|line| {
            line.contains("WRONG: ")
                && line.contains("findings.json: ")
                && line.contains(key)
                && line.contains("follows from the runs")
        });
        assert!(!right && named, "{pointer}: {said}");
        fs::write(&findings, &before).unwrap();
    }
    // A row of any run, and one of the run whose spectra are computed again.
    let run = study.join("runs/fc-bn_lr1e-4_l2-0e0_m6_s1");
    let rows = ["/rows/0/top/0", "/rows/0/rank", "/rows/2/lambda_min", "/rows/1/size"];
    for pointer in rows {
        let path = run.join("spectra.json");
        let before = fs::read(&path).unwrap();
        edit(&path, |value| {
            let place = value.pointer_mut(pointer).unwrap();
            *place = other(place);
        });
        let (right, said) = verify(&kappa, &study, &["--no-spectrum"]);
        let row: usize = pointer.split('/').nth(2).unwrap().parse().unwrap();
        let row = &serde_json::from_slice::<Value>(&before).unwrap()["rows"][row];
        let of = format!("of {} after epoch {}, ", row["variant"].as_str().unwrap(), row["epoch"]);
        let named = said.lines().any(|line| line.contains("spectra.json: ") && line.contains(&of));
        assert!(!right && named, "{pointer}: {said}");
        fs::write(&path, before).unwrap();
    }
    // The same of the whole network's Hessians; what does not contradict itself is computed again.
    let run = study.join("runs").join(json(&findings)["points"][0]["seeds"][0]["runs"][1].as_str().unwrap());
    let path = run.join("whole.json");
    let before = fs::read(&path).unwrap();
    for (pointer, more) in [
        ("/rows/0/summary/kappa_prime", &["--no-spectrum"][..]),
        ("/rows/1/checks/0/passed", &["--no-spectrum"]),
        ("/rows/2/summary/shares/0/0", &["--no-spectrum"]),
        ("/rows/7/summary/gradient", &[]),
        ("/rows/8/summary/trace/value", &[]),
    ] {
        edit(&path, |value| {
            let place = value.pointer_mut(pointer).unwrap();
            *place = other(place);
        });
        let (right, said) = verify(&kappa, &study, more);
        let key = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
        let named = said
            .lines()
            .any(|line| line.contains("WRONG: ") && line.contains("whole.json: ") && line.contains(key));
        assert!(!right && named, "{pointer}: {said}");
        fs::write(&path, &before).unwrap();
    }
    // Of a run that has not all of them the study cannot say what it says.
    edit(&path, |value| {
        value["rows"].as_array_mut().unwrap().pop();
    });
    let (right, said) = verify(&kappa, &study, &["--no-spectrum"]);
    assert!(!right && said.contains("findings.json does not follow from the runs: "), "{said}");
    fs::write(&path, &before).unwrap();
    assert!(verify(&kappa, &study, &["--no-spectrum"]).0);
    let run = study.join("runs/fc-bn_lr1e-4_l2-0e0_m6_s1");
    // Without a run there is nothing to follow from.
    fs::remove_dir_all(&run).unwrap();
    let (right, said) = verify(&kappa, &study, &["--no-spectrum"]);
    assert!(!right && said.contains("findings.json does not follow from the runs: "), "{said}");
}
