//! Studies and their reports.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::{Kappa, config, write_idx};

/// What makes a study of `paper.toml` a matter of a second, on 20 images.
pub const TINY: [&str; 9] = [
    "seeds=2",
    "recipe.data.train=20",
    "recipe.data.validation=10",
    "recipe.data.test=9",
    "recipe.training.epochs=2",
    "recipe.network.hidden=6",
    "sweep.widths=[3, 9]",
    "sweep.learning_rates=[0.1]",
    "whole.epochs=[0, 2]",
];

/// Runs a study of `paper.toml` on 20 images of three classes, two epochs, six hidden units.
fn study(kappa: &Kappa, backend: &str, more: &[&str]) -> Output {
    write_idx(&kappa.folder.path().join("tiny <b>&"), 30, 9);
    let paper = config("paper.toml");
    let mut arguments = vec!["study", &paper, "--data", "tiny <b>&", "--backend", backend];
    for setting in TINY.iter().chain(more) {
        arguments.extend(["--set", setting]);
    }
    kappa.run(&arguments)
}

/// The directory of a study that was just run.
pub fn finished_study(kappa: &Kappa) -> PathBuf {
    let output = study(kappa, "flex", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kappa.outputs().join("paper")
}

#[test]
fn a_study_ends_in_verdicts_and_a_report_and_finds_what_it_has_done() {
    let kappa = Kappa::new();
    let output = study(&kappa, "flex", &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "chosen: learning rate",
        "(1) ",
        "(8) ",
        "elsewhere",
        "learning_rate = 0.1",
        "seconds",
        "outputs/paper/report/report.html",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let again = String::from_utf8(study(&kappa, "flex", &[]).stdout).unwrap();
    let done = |text: &str| text.lines().filter(|line| line.contains("found finished")).count();
    assert!(
        done(&again) > done(&text)
            && !again.lines().any(|line| line.starts_with("  fc") && !line.contains("found")),
        "{again}"
    );
    let other = study(&kappa, "flex", &["recipe.seed=9"]);
    assert!(!other.status.success());
    let message = String::from_utf8_lossy(&other.stderr);
    assert!(message.contains("another configuration"), "{message}");
    let message = kappa.complains(&["study", &config("fc.toml")]);
    assert!(message.contains("line ") && message.contains("unknown field"), "{message}");
}

/// A study of `paper.toml` in a folder of that name, with these arguments beside.
fn tasks<'a>(out: &'a str, paper: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["study", paper, "--data", "tiny <b>&", "--backend", "flex", "--out", out];
    TINY.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(more);
    arguments
}

/// What a study's runs have left: eigenvalues and checkpoints, by their paths.
fn left(study: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let mut found = HashMap::new();
    for run in std::fs::read_dir(study.join("runs")).unwrap() {
        let run = run.unwrap().path();
        let name = run.file_name().unwrap().to_owned();
        let inside = [run.clone(), run.join("checkpoints")];
        let files = inside.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        for file in files.map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|end| end == "safetensors") {
                found.insert(Path::new(&name).join(file.file_name().unwrap()), std::fs::read(&file).unwrap());
            }
        }
    }
    found
}

#[test]
fn two_tasks_with_the_same_runs_end_in_one_result() {
    let kappa = Kappa::new();
    let alone = finished_study(&kappa);
    let paper = config("paper.toml");
    let plan = |more: &[&str]| kappa.says(&tasks("parts", &paper, &[&["--plan"], more].concat()));
    assert!(plan(&[]).contains("which depend on what the grid chooses\nopen: grid"), "{}", plan(&[]));
    assert!(!kappa.folder.path().join("parts").exists(), "a plan writes nothing");
    let message = kappa.complains(&tasks("parts", &paper, &["--task", "1/2", "--stage", "runs"]));
    assert!(message.contains("the grid is not done"), "{message}");
    for task in ["1/2", "2/2"] {
        let said = kappa.says(&tasks("parts", &paper, &["--task", task]));
        assert!(said.contains("stage grid, task"), "{said}");
    }
    assert!(plan(&[]).contains("open: runs"));
    // The first of two parts twice at once, then the second.
    let arguments = tasks("parts", &paper, &["--task", "1/2", "--stage", "runs", "--quiet"]);
    let both: Vec<_> = (0..2)
        .map(|_| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kappa"));
            command.current_dir(kappa.folder.path()).args(&arguments).spawn().unwrap()
        })
        .collect();
    for mut task in both {
        assert!(task.wait().unwrap().success());
    }
    kappa.says(&tasks("parts", &paper, &["--task", "2/2"]));
    let said = kappa.says(&tasks("parts", &paper, &["--task", "2/2"]));
    assert!(said.contains("all runs are done"), "{said}");
    let told: Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    assert_eq!((&told["open"], &told["stages"][1]["runs"][0]["done"]), (&Value::Null, &true.into()));
    kappa.says(&tasks("parts", &paper, &[]));
    let parts = kappa.folder.path().join("parts/paper");
    assert!(left(&alone) == left(&parts), "the same bytes");
    assert!(!left(&parts).is_empty());
    assert_eq!(json(&alone.join("findings.json"))["grid"], json(&parts.join("findings.json"))["grid"]);
    for (task, told) in [("5/4", "of 4 tasks there is no task 5"), ("2", "a task is I/N")] {
        let message = kappa.complains(&tasks("parts", &paper, &["--task", task]));
        assert!(message.contains(told), "{message}");
    }
}

/// A regression: it was found finished, and judged beside runs of fewer epochs.
#[test]
fn a_run_of_a_study_that_somebody_went_on_with_is_not_taken_for_the_studys() {
    let kappa = Kappa::new();
    let run = finished_study(&kappa).join("runs/fc_lr3e-4_l2-0e0_m6_s0");
    let run = run.to_str().unwrap();
    kappa.says(&[
        "train",
        "--resume",
        run,
        "--data",
        "tiny <b>&",
        "--backend",
        "flex",
        "--set",
        "training.epochs=3",
    ]);
    let output = study(&kappa, "flex", &[]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && message.contains("another configuration than this study's"),
        "{message}"
    );
    std::fs::rename(run, kappa.folder.path().join("mine")).unwrap();
    assert!(study(&kappa, "flex", &[]).status.success());
}

#[test]
fn every_number_of_the_report_is_in_the_runs() {
    let kappa = Kappa::new();
    check_numbers(&finished_study(&kappa));
}

#[cfg(feature = "wgpu")]
#[test]
fn a_study_on_a_gpu_ends_in_the_same_kind_of_report() {
    let kappa = Kappa::new();
    let output =
        study(&kappa, "wgpu", &["seeds=1", "sweep.widths=[]", "sweep.learning_rates=[]", "sweep.l2=[]"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("no GPU adapter") {
        assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "{complaint}");
        eprintln!("skipped: there is no GPU adapter");
        return;
    }
    assert!(output.status.success(), "{complaint}");
    check_numbers(&kappa.outputs().join("paper"));
}

#[test]
fn a_report_is_written_again_from_what_the_runs_left_alone() {
    let kappa = Kappa::new();
    let study = finished_study(&kappa);
    let files = |folder: &Path| -> HashMap<PathBuf, Vec<u8>> {
        let paths = [folder.to_owned(), folder.join("figures")];
        let entries = paths.iter().flat_map(|path| std::fs::read_dir(path).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let before = files(&study.join("report"));
    // Eight figures of the paper's, three of ours and three of the whole network, in three formats; two
    // pages, a table, and checksums.
    assert_eq!(before.len(), 14 * 3 + 4);
    std::fs::remove_dir_all(study.join("report")).unwrap();
    for run in std::fs::read_dir(study.join("runs")).unwrap() {
        std::fs::remove_dir_all(run.unwrap().path().join("checkpoints")).unwrap();
    }
    let text = kappa.says(&["report", "outputs/paper"]);
    assert!(text.trim().ends_with("report.html"), "{text}");
    assert!(files(&study.join("report")) == before, "the same bytes");
    for (path, bytes) in before {
        match path.extension().unwrap_or_default().to_str().unwrap() {
            "png" => assert!(bytes.starts_with(b"\x89PNG")),
            "svg" => assert!(String::from_utf8(bytes).unwrap().contains("</svg>")),
            _ => {}
        }
    }
}

#[test]
fn names_from_elsewhere_are_escaped_in_the_page() {
    let kappa = Kappa::new();
    let page = std::fs::read_to_string(finished_study(&kappa).join("report/report.html")).unwrap();
    assert!(!page.contains("tiny <b>&"), "the data's folder as it is");
    assert!(page.contains("tiny &#60;b&#62;&#38;"), "the data's folder, escaped");
}

#[test]
fn what_is_no_finished_study_has_no_report() {
    let kappa = Kappa::new();
    let message = kappa.complains(&["report", "missing"]);
    assert!(message.contains("missing") && message.contains("study.toml"), "{message}");
    let study = finished_study(&kappa);
    std::fs::remove_file(study.join("findings.json")).unwrap();
    let message = kappa.complains(&["report", "outputs/paper"]);
    assert!(message.contains("not finished") && message.contains("kappa study"), "{message}");
    std::fs::write(study.join("findings.json"), "{\"schema_version\": 99}").unwrap();
    let message = kappa.complains(&["report", "outputs/paper"]);
    assert!(message.contains("findings.json") && message.contains("version 99"), "{message}");
}

/// A study's report against the files of its runs, read and reckoned by other means.
fn check_numbers(study: &Path) {
    let findings = json(&study.join("findings.json"));
    let seeds = findings["points"][0]["seeds"].as_array().unwrap();
    let runs = |network: &str| -> Vec<PathBuf> {
        let arm = usize::from(network.starts_with("FC+BN"));
        seeds.iter().map(|seed| study.join("runs").join(seed["runs"][arm].as_str().unwrap())).collect()
    };
    let report = study.join("report");
    let markdown = std::fs::read_to_string(report.join("report.md")).unwrap();
    let page = std::fs::read_to_string(report.join("report.html")).unwrap();

    // Accuracies: the last row of each run's metrics.csv. The paper's do not belong beside those of
    // other images.
    assert!(!markdown.contains("root mean square") && !markdown.contains("inferred"));
    let table = csv(&report.join("table-1.csv"));
    assert_eq!(table.len(), 6);
    for row in &table {
        let column = format!("{}_accuracy", row[1]);
        let seeds: Vec<f64> = runs(&row[0])
            .iter()
            .map(|run| 100.0 * metrics(run).last().unwrap()[&column].parse::<f64>().unwrap())
            .collect();
        let mean = seeds.iter().sum::<f64>() / seeds.len() as f64;
        let found: Vec<f64> = row[4..].iter().map(|number| number.parse().unwrap()).collect();
        assert_eq!(found, seeds);
        assert!((row[2].parse::<f64>().unwrap() - mean).abs() < 1e-9);
        assert!(markdown.contains(&format!("| {} | {} | {mean:.1}", row[0], row[1])), "{row:?}");
        assert!(page.contains(&format!("<td class=\"number\">{mean:.1}")), "{row:?}");
    }

    // Every verdict, word for word.
    for verdict in findings["points"][0]["verdicts"].as_array().unwrap() {
        let (what, word) = (verdict["what"].as_str().unwrap(), verdict["word"].as_str().unwrap());
        assert!(markdown.lines().any(|line| line.contains(what) && line.contains(word)), "{what}");
    }

    // The first sentence, by the mean over the seeds of the logarithms of lambda_1.
    let last = |run: &PathBuf, variant: &str| -> f64 {
        let spectra = json(&run.join("spectra.json"));
        let rows = spectra["rows"].as_array().unwrap();
        let row = rows.iter().rfind(|row| row["variant"] == variant).unwrap();
        row["top"][0].as_f64().unwrap().log10()
    };
    let steps = runs("FC+BN").into_iter().zip(runs("FC"));
    let steps: Vec<f64> = steps.map(|(bn, fc)| last(&bn, "running") - last(&fc, "plain")).collect();
    let factor = 10f64.powf(steps.iter().sum::<f64>() / steps.len() as f64);
    let told = markdown.split("After training λ₁ of FC+BN is ").nth(1).unwrap().split(' ').next().unwrap();
    // Three digits are told.
    assert!((told.parse::<f64>().unwrap() / factor - 1.0).abs() < 5.1e-3, "{told} {factor}");
    assert!(page.contains(&format!("After training λ₁ of FC+BN is {told} times that of FC")));

    // Figures: medians and extremes over the seeds.
    let figure = |number: usize| csv(&report.join(format!("figures/figure-{number}.csv")));
    let check = |number: usize, value: &dyn Fn(&Path, usize) -> f64| {
        let rows = figure(number);
        assert!(!rows.is_empty());
        for row in rows {
            let epoch = row[2].parse::<f64>().unwrap() as usize;
            let mut values: Vec<f64> = runs(&row[1]).iter().map(|run| value(run, epoch)).collect();
            values.sort_by(f64::total_cmp);
            let expected = [
                0.5 * (values[(values.len() - 1) / 2] + values[values.len() / 2]),
                values[0],
                *values.last().unwrap(),
            ];
            for (cell, expected) in row[4..7].iter().zip(expected) {
                let found: f64 = cell.parse().unwrap();
                assert!(
                    (found - expected).abs() <= 1e-12 * expected.abs(),
                    "figure {number}: {row:?} {expected}"
                );
            }
        }
    };
    let spectral = |run: &Path, epoch: usize, rank: usize| -> f64 {
        let spectra = json(&run.join("spectra.json"));
        let mut rows = spectra["rows"].as_array().unwrap().iter();
        let row = rows
            .find(|row| row["epoch"] == epoch && (row["variant"] == "plain" || row["variant"] == "running"));
        row.unwrap()["top"][rank - 1].as_f64().unwrap()
    };
    check(3, &|run, epoch| spectral(run, epoch, 1) / spectral(run, epoch, 10));
    for number in 4..=7 {
        let (what, scale) = if number % 2 == 0 { ("accuracy", 100.0) } else { ("loss", 1.0) };
        let rows = figure(number);
        for label in ["training", "validation"] {
            assert!(rows.iter().any(|row| row[1].ends_with(label)));
        }
        for row in rows {
            let split = if row[1].ends_with("training") { "train" } else { "validation" };
            let epoch = row[2].parse::<f64>().unwrap() as usize;
            let values: Vec<f64> = runs(&row[1])
                .iter()
                .map(|run| scale * metrics(run)[epoch][&format!("{split}_{what}")].parse::<f64>().unwrap())
                .collect();
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(
                (row[5].parse::<f64>().unwrap() - lowest).abs() <= 1e-12 * lowest,
                "figure {number}: {row:?}"
            );
        }
    }
    // Figures 1 and 2: accuracies again, at seconds that every epoch's row has.
    for (number, column) in [(1, "train_accuracy"), (2, "validation_accuracy")] {
        let rows = figure(number);
        for (network, rows) in [("FC", &rows[..rows.len() / 2]), ("FC+BN", &rows[rows.len() / 2..])] {
            for (epoch, row) in rows.iter().enumerate() {
                assert_eq!(row[1], network);
                let of = |column: &str| -> Vec<f64> {
                    runs(network).iter().map(|run| metrics(run)[epoch][column].parse().unwrap()).collect()
                };
                let (seconds, accuracies) = (of("training_seconds"), of(column));
                let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
                // Of one seed and of two the median is the mean.
                assert!((row[2].parse::<f64>().unwrap() - mean(&seconds)).abs() < 1e-9);
                assert!((row[4].parse::<f64>().unwrap() - 100.0 * mean(&accuracies)).abs() < 1e-9);
            }
        }
    }
    // Figure 8: lambda_1 and lambda_10 by their names.
    for row in figure(8).iter().filter(|row| row[1].ends_with("λ₁") || row[1].ends_with("λ₁₀")) {
        let rank = if row[1].ends_with("λ₁") { 1 } else { 10 };
        let epoch = row[3 - 1].parse::<f64>().unwrap() as usize;
        let values: Vec<f64> = runs(&row[1]).iter().map(|run| spectral(run, epoch, rank)).collect();
        let highest = values.iter().copied().fold(0.0, f64::max);
        assert_eq!(row[6].parse::<f64>().unwrap(), highest, "{row:?}");
    }
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The rows of a CSV file, without the header.
fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let mut cells = vec![String::new()];
        let mut quoted = false;
        for character in line.chars() {
            match character {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                other => cells.last_mut().unwrap().push(other),
            }
        }
        cells
    };
    text.lines().skip(1).map(cells).collect()
}

/// The rows of a run's metrics.csv, by column.
fn metrics(run: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let row = |line: &str| {
        header.iter().map(ToString::to_string).zip(line.split(',').map(ToOwned::to_owned)).collect()
    };
    text.lines().skip(1).map(row).collect()
}
