//! Reports of made-up studies with one arm, two and three.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use kappa_report::{ReportError, write_report};
use kappa_run::{
    Comparison, EpochMetrics, Estimate, FINDINGS_VERSION, FileChecksum, Findings, MANIFEST_VERSION, Manifest,
    PlainValues, PointFindings, Precision, Quantity, RunDir, RunNames, RunSpectra, SPECTRA_VERSION,
    SpectraRow, StudyConfig, StudyDir, Variant, Verdict, When, Word,
};

const ARMS: [&str; 3] = [
    "[[arms]]\nname = \"FC\"\n",
    "[[arms]]\nname = \"FC wide\"\nset.network.hidden = 9\n",
    "[[arms]]\nname = \"FC, Kaiming\"\nset.network.initialisation = \"kaiming_uniform\"\n",
];
const REST: &str = r#"
[recipe]
name = "recipe"
[recipe.data]
train = 6
validation = 3
test = 2
[recipe.network]
hidden = 6
[recipe.training]
epochs = 2
batch_size = 3
[recipe.training.adam]
learning_rate = 1e-3
"#;

/// A study of the first `arms` arms and one seed, its findings those of all of them.
fn study(root: &Path, arms: usize) -> StudyDir {
    study_of(root, arms, &[], &[])
}

/// The same of two arms on the paper's data, splits and width, for as many epochs.
fn papers_study(root: &Path) -> StudyDir {
    let settings = [
        "recipe.data.train=50000",
        "recipe.data.validation=10000",
        "recipe.data.test=1000",
        "recipe.network.hidden=100",
        "recipe.training.epochs=30",
        "recipe.training.batch_size=full",
    ];
    let files: Vec<FileChecksum> = kappa_data::DataSet::mnist()
        .unwrap()
        .files
        .into_iter()
        .map(|file| FileChecksum { file: file.file, sha256: file.sha256 })
        .collect();
    study_of(root, 2, &settings, &files)
}

fn study_of(root: &Path, arms: usize, settings: &[&str], data_files: &[FileChecksum]) -> StudyDir {
    let head = "name = \"made-up\"\nseeds = 1\n[grid]\nlearning_rates = [0.1]\nl2 = [0.0]\n";
    let path = root.join("study-config.toml");
    std::fs::write(&path, format!("{head}{}{REST}", ARMS[..arms].concat())).unwrap();
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let config = StudyConfig::load(&path, &settings).unwrap();
    let study = StudyDir::create(root, &config).unwrap();
    let runs: Vec<String> = config.arms.iter().map(|arm| arm.slug()).collect();
    for (place, arm) in config.arms.iter().enumerate() {
        let manifest = Manifest {
            schema_version: MANIFEST_VERSION,
            config: config.config_of(arm).unwrap(),
            data: "made up".to_owned(),
            inputs: 4,
            classes: 3,
            data_files: data_files.to_vec(),
            sessions: vec![],
        };
        let run = RunDir::create_named(&study.runs(), &runs[place], &manifest).unwrap();
        write_run(&run, 1.0 + place as f64);
    }
    let verdict = |arm: &str, mean: f64| Verdict {
        claim: 4,
        arm: arm.to_owned(),
        what: format!("lambda_1 of {arm} is smaller at the end"),
        unit: "powers of ten".to_owned(),
        estimate: Estimate { effects: vec![mean], mean, interval: None },
        holding: usize::from(mean > 0.0),
        control: false,
        spectral: Some(Comparison {
            quantity: Quantity::Lambda1,
            variant: Variant::Plain,
            reference: Variant::Plain,
            when: When::AtTheEnd,
        }),
        word: if mean > 0.0 { Word::Holds } else { Word::Fails },
    };
    let verdicts = [("FC wide", 1.0), ("FC, Kaiming", -1.0)].map(|(arm, mean)| verdict(arm, mean));
    let outliers = Verdict { claim: 7, what: "outliers".to_owned(), spectral: None, ..verdict("FC", -2.0) };
    let chosen = PointFindings {
        point: "chosen".to_owned(),
        learning_rate: 0.1,
        l2: 0.0,
        seeds: vec![RunNames { seed: 0, hidden: 6, runs: runs.clone() }],
        diverged: None,
        verdicts: verdicts.into_iter().take(arms - 1).chain([outliers]).collect(),
        explanations: vec![],
    };
    let findings = Findings {
        schema_version: FINDINGS_VERSION,
        kappa_version: "0".to_owned(),
        grid: vec![],
        points: vec![chosen],
        widths: vec![],
    };
    study.write_findings(&findings).unwrap();
    study
}

/// Three epochs, of which each has one spectrum that falls from `lambda_1`.
fn write_run(run: &RunDir, lambda_1: f64) {
    let metrics = |epoch: usize| EpochMetrics {
        epoch,
        seconds: epoch as f64,
        training_seconds: epoch as f64,
        objective: None,
        train_loss: 1.0,
        train_accuracy: 0.5,
        validation_loss: 1.0,
        validation_accuracy: 0.5,
        test_loss: 1.0,
        test_accuracy: 0.5,
    };
    run.write_metrics(&[0, 1, 2].map(metrics)).unwrap();
    let values: Vec<f64> = (0..18).map(|rank| lambda_1 * 0.5f64.powi(rank)).collect();
    let row = |epoch: usize| SpectraRow {
        epoch,
        variant: Variant::Plain,
        top: values.clone(),
        lambda_min: values[17],
        trace: 1.0,
        size: 18,
        rank: 12,
        plain: Some(PlainValues { lambda_min: 0.0, rank: 12 }),
        silent: 0,
        influence: None,
        checks: vec![],
    };
    let spectra = RunSpectra {
        schema_version: SPECTRA_VERSION,
        precision: Precision::F64,
        seconds: 0.0,
        rows: [0, 1, 2].map(row).into(),
    };
    run.write_spectra(&spectra, &values.repeat(3)).unwrap();
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The report of that many arms, in a folder that goes with the first of what is returned.
fn report(arms: usize) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = write_report(&study(root.path(), arms)).unwrap();
    (root, folder)
}

#[test]
fn three_arms_have_their_lines_tables_and_sentences() {
    let (_root, folder) = report(3);
    let markdown = text(&folder, "report.md");
    for sentence in [
        "λ₁ of FC wide is 0.100 times that of FC, smaller in 1 of 1 seed (claim 4 holds)",
        "λ₁ of FC, Kaiming is 10.0 times that of FC, smaller in 0 of 1 seed (claim 4 fails)",
    ] {
        assert!(markdown.contains(sentence), "{sentence} in {markdown}");
    }
    assert!(markdown.contains("FC; FC wide; FC, Kaiming"), "{markdown}");
    // The effect is 1 less the eigenvalues that it is off.
    assert!(markdown.contains("| outliers | 3 eigenvalues off |"), "{markdown}");
    let figure = text(&folder, "figures/figure-3.csv");
    for arm in ["FC", "FC wide", "\"FC, Kaiming\""] {
        assert_eq!(figure.lines().filter(|line| line.starts_with(&format!(",{arm},"))).count(), 3, "{arm}");
    }
    // The paper's figures of two arms, and those of the third behind ours.
    for (number, arm) in [(4, "FC, training"), (6, "FC wide, training"), (12, "FC, Kaiming, training")] {
        assert!(text(&folder, &format!("figures/figure-{number}.csv")).contains(arm), "figure {number}");
    }
    let table = text(&folder, "table-1.csv");
    assert_eq!(table.lines().count(), 1 + 3 * 3);
    assert!(table.contains("FC,train,50,") && table.contains("\"FC, Kaiming\",train,50,"), "{table}");
    let page = text(&folder, "report.html");
    assert_eq!(page.matches("<select id=\"arm-").count(), 3);
    assert!(page.contains("#009e73"), "the third arm's colour");
}

#[test]
fn a_study_in_another_setting_is_not_held_against_the_papers_numbers() {
    let (_root, folder) = report(2);
    let table = text(&folder, "table-1.csv");
    assert!(table.starts_with("network,split,mean,deviation,seeds ..\nFC,train,50,,50\n"), "{table}");
    for page in ["report.md", "report.html"] {
        let page = text(&folder, page);
        assert!(page.contains("Accuracy in %") && page.contains("own numbers do not stand beside"), "{page}");
        for of_the_paper in
            ["74.8", "root mean square", "recipe is inferred", "beside the paper's", "difference<"]
        {
            assert!(!page.contains(of_the_paper), "{of_the_paper} in {page}");
        }
    }
}

#[test]
fn a_study_in_the_papers_setting_is_held_against_its_table_1() {
    let root = tempfile::tempdir().unwrap();
    let folder = write_report(&papers_study(root.path())).unwrap();
    let table = text(&folder, "table-1.csv");
    assert!(table.starts_with("network,split,paper,mean,deviation,difference,seeds ..\n"), "{table}");
    // 50 less 74.8; of an arm that is none of the paper's nothing.
    assert!(table.contains("FC,train,74.8,50,,-24.799999999999997,50\n"), "{table}");
    assert!(table.contains("FC wide,train,,50,,,50\n"), "{table}");
    for page in ["report.md", "report.html"] {
        let page = text(&folder, page);
        for part in ["Table 1: accuracy in %, beside the paper's", "74.8", "-24.8", "recipe is inferred"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        // The root of the mean of 24.8^2, 27.2^2 and 22.8^2.
        assert!(page.contains("The root mean square of the three differences is 25.0 points."), "{page}");
    }
}

#[test]
fn what_one_arm_alone_has_is_told_and_nothing_compared() {
    let (_root, folder) = report(1);
    let markdown = text(&folder, "report.md");
    assert!(markdown.contains("There is no arm beside FC to compare it with."), "{markdown}");
    assert!(!markdown.contains("times that of"));
    assert_eq!(text(&folder, "report.html").matches("<select id=\"arm-").count(), 1);
}

#[test]
fn findings_of_other_arms_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let study = study(root.path(), 2);
    let mut findings = study.findings().unwrap();
    findings.points[0].seeds[0].runs.pop();
    study.write_findings(&findings).unwrap();
    let error = write_report(&study).unwrap_err();
    assert!(matches!(error, ReportError::OtherArms(_)), "{error}");
}

#[test]
fn each_figure_has_its_files_and_the_document_shows_one_that_is_there() {
    let (_root, folder) = report(2);
    let markdown = text(&folder, "report.md");
    let shown = markdown.split("](figures/").skip(1).filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for file in shown {
        assert!(folder.join("figures").join(file).is_file(), "{file}");
        count += 1;
    }
    assert!(count > 0);
    assert_eq!(folder.join("figures/figure-3.png").is_file(), cfg!(feature = "png"));
}
