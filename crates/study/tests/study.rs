//! A tiny study, end to end, on the CPU; and its spectra against direct ones.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{ops::ControlFlow, path::Path};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, TensorData, activation::softmax},
};
use kappa_data::{DataSet, LabelledImages};
use kappa_hessian::Accumulator;
use kappa_model::Pass;
use kappa_run::{
    EpochMetrics, Exit, Findings, Parameters, Precision, RunDir, SpectraRow, StatisticsKind, StudyConfig,
    StudyDir, Variant,
};
use kappa_study::{StudyError, StudyObserver, find, run_study};
use kappa_trainer::{Machine, TrainError, load_checkpoint};

const STUDY: &str = r#"
name = "tiny"
seeds = 2
accuracies = [0.4]
[grid]
learning_rates = [0.01, 0.03]
l2 = [0.0]
[sweep]
l2 = [0.1]
widths = [3]
[[arms]]
name = "FC"
[[arms]]
name = "FC+BN"
set.network.normalisation.kind = "batch"
[recipe]
name = "fc"
[recipe.data]
train = 60
validation = 20
test = 20
[recipe.network]
hidden = 5
[recipe.training]
epochs = 3
batch_size = 16
[recipe.training.adam]
learning_rate = 0.01
"#;

/// Images whose brightest quarter tells their class, with noise.
fn set() -> DataSet {
    let images = |count: usize, offset: usize| {
        let labels: Vec<u8> = (0..count).map(|n| ((n + offset) % 4) as u8).collect();
        let pixels = labels.iter().enumerate().flat_map(|(n, &label)| {
            (0..12).map(move |i| {
                let noise = ((n + offset) * 131 + i * 57) % 90;
                (if i / 3 == usize::from(label) { 150 } else { 20 } + noise) as u8
            })
        });
        LabelledImages::new("made up", [3, 4], pixels.collect(), labels.clone()).unwrap()
    };
    DataSet {
        name: "made up".to_owned(),
        train: images(80, 0),
        test: images(20, 7),
        classes: 4,
        files: vec![],
    }
}

#[derive(Default)]
struct Counted {
    trained: Vec<String>,
    found: Vec<String>,
    left: usize,
}

impl StudyObserver for Counted {
    fn planned(&mut self, work: usize) {
        self.left = work;
    }
    fn worked(&mut self, work: usize) {
        self.left -= work;
    }
    fn stage(&mut self, _: &'static str, _: usize) {}
    fn run_done(&mut self, name: &str, _: &EpochMetrics, again: bool) {
        if again { &mut self.found } else { &mut self.trained }.push(name.to_owned());
    }
}

fn config(root: &Path, text: &str) -> StudyConfig {
    let path = root.join("study-config.toml");
    std::fs::write(&path, text).unwrap();
    StudyConfig::load(&path, &[]).unwrap()
}

/// One seed, no sweeps.
fn short() -> String {
    STUDY.replace("seeds = 2", "seeds = 1").replace("widths = [3]", "").replace("[0.1]", "[]")
}

fn run(study: &StudyConfig, root: &Path, counted: &mut Counted) -> (std::path::PathBuf, Findings) {
    let machine = Machine { device: Device::flex(), provenance: kappa_run::Provenance::default() };
    let result = run_study(study, &set(), &machine, Precision::F64, root, counted).unwrap();
    assert_eq!(counted.left, 0, "what was planned is what was done");
    (result.directory.path().to_owned(), result.findings)
}

#[test]
fn a_study_is_whole_and_goes_on_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let study = config(root.path(), STUDY);
    let mut first = Counted::default();
    let (directory, result) = run(&study, root.path(), &mut first);
    // The grid's 2, of which the chosen one is found again among the 2 x 2 paired runs; width 3 for
    // both arms; L2 = 0.1 for both and two seeds.
    assert_eq!(first.trained.len(), 2 + 3 + 2 + 4, "{:?}", first.trained);
    assert_eq!(result.grid.len(), 2);
    let points: Vec<_> = result.points.iter().map(|point| point.point.as_str()).collect();
    assert_eq!(points, ["chosen", "l2 = 0.1"]);
    let claims: Vec<u8> = result.points[0].verdicts.iter().map(|verdict| verdict.claim).collect();
    for claim in [1, 3, 4, 6, 7, 8] {
        assert!(claims.contains(&claim), "{claim} in {claims:?}");
    }
    let (study_dir, _) = StudyDir::open(&directory).unwrap();
    assert_eq!(study_dir.findings().unwrap(), result, "read as it was written");
    for seed in &result.points[0].seeds {
        assert!(seed.runs.len() == 2 && seed.runs.iter().all(|run| study_dir.run(run).is_ok()));
    }

    // Every probed run has a row for each epoch and variant, with all their eigenvalues.
    for (name, variants) in [("fc", 4), ("fc-bn", 4)] {
        let name = format!("{name}_lr{:e}_l2-0e0_m5_s1", result.points[0].learning_rate);
        let rows = RunDir::open(&directory.join("runs").join(name)).unwrap().spectra().unwrap().unwrap().rows;
        assert_eq!(rows.len(), 4 * variants);
        for row in &rows {
            // Of values, and by the samples where the most influential one was looked for.
            assert_eq!(row.checks.len(), 3 + usize::from(row.influence.is_some()), "{}", row.variant);
            assert!(row.checks.iter().all(|check| check.passed), "{}: {:?}", row.variant, row.checks);
        }
        assert!(rows.iter().all(|row| row.size == 20 && row.top.is_sorted_by(|a, b| a >= b)));
    }

    // A run that is not finished is trained again, the others are not.
    let lost = RunDir::open(&directory.join("runs").join(&first.trained[0])).unwrap();
    let mut manifest = lost.manifest().unwrap();
    manifest.sessions[0].exit = None;
    lost.write_manifest(&manifest).unwrap();
    let mut second = Counted::default();
    let (_, again) = run(&study, root.path(), &mut second);
    assert_eq!(second.trained, first.trained[..1]);
    let numbers = |result: &Findings| -> Vec<f64> {
        let verdicts = result.points.iter().flat_map(|point| &point.verdicts);
        verdicts
            .filter(|v| v.claim != 3 && v.unit != "seconds")
            .flat_map(|v| v.estimate.effects.clone())
            .collect()
    };
    assert_eq!(numbers(&again), numbers(&result), "the same numbers, times aside");
}

#[test]
fn what_a_study_found_is_found_again_in_what_its_runs_left() {
    let root = tempfile::tempdir().unwrap();
    let study = config(root.path(), &STUDY.replace("seeds = 2", "seeds = 1"));
    let (directory, found) = run(&study, root.path(), &mut Counted::default());
    assert_eq!((found.points.len(), found.widths.len()), (2, 2));
    let (directory, read) = StudyDir::open(&directory).unwrap();
    assert_eq!(read, study);
    assert_eq!(find(&study, &directory, &found.kappa_version).unwrap(), found, "to the last bit");

    // Of other metrics another thing is found.
    let reference = directory.run(&found.points[0].seeds[0].runs[0]).unwrap();
    let mut metrics = reference.metrics().unwrap();
    metrics.last_mut().unwrap().test_accuracy -= 0.125;
    reference.write_metrics(&metrics).unwrap();
    let other = find(&study, &directory, &found.kappa_version).unwrap();
    let on_test = |findings: &Findings| {
        let mut verdicts = findings.points[0].verdicts.iter();
        verdicts.find(|verdict| verdict.what.contains("test split")).unwrap().estimate.mean
    };
    // An eighth is 12.5 percentage points, which binary numbers hold but for the accuracies' rounding.
    assert!((on_test(&other) - on_test(&found) - 12.5).abs() < 1e-12);
    // A training that diverged along a sweep is what was found there.
    let swept = directory.run(&found.points[1].seeds[0].runs[1]).unwrap();
    let mut manifest = swept.manifest().unwrap();
    manifest.end(Exit::Failed("the training diverged".to_owned()));
    swept.write_manifest(&manifest).unwrap();
    let point = &find(&study, &directory, &found.kappa_version).unwrap().points[1];
    assert_eq!(point.diverged.as_deref(), Some("the training diverged"));
    assert!(point.seeds.is_empty() && point.verdicts.is_empty() && point.point == "l2 = 0.1");
    // What is missing is not judged.
    std::fs::remove_dir_all(reference.path()).unwrap();
    assert!(find(&study, &directory, &found.kappa_version).is_err());
}

/// A short study that takes more than the last layer.
fn short_whole() -> String {
    let whole = "[whole]\nepochs = [0, 1, 3]\nparameters = [\"all\", \"norm.weight\", \"output.weight\"]\n\
                 statistics = [\"running\", \"batch\"]\nprecision = \"f64\"\n[[arms]]\nname = \"FC\"\n";
    short().replacen("[[arms]]\nname = \"FC\"\n", whole, 1)
}

/// Stops a study after so many rows, which are 8 of the bar's units each.
#[derive(Default)]
struct Stops {
    rows: usize,
    seen: usize,
}

impl StudyObserver for Stops {
    fn planned(&mut self, _: usize) {}
    fn worked(&mut self, work: usize) {
        self.seen += usize::from(work == 8);
    }
    fn stage(&mut self, _: &'static str, _: usize) {}
    fn run_done(&mut self, _: &str, _: &EpochMetrics, _: bool) {}
    fn go_on(&mut self) -> ControlFlow<()> {
        if self.seen == self.rows { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn hessians_of_the_whole_network_are_taken_row_by_row_and_go_on_where_they_stopped() {
    let root = tempfile::tempdir().unwrap();
    let study = config(root.path(), &short_whole());
    let machine = Machine { device: Device::flex(), provenance: kappa_run::Provenance::default() };
    // Of FC there are 3 x 2 rows, so that this stops in FC+BN.
    let mut stops = Stops { rows: 8, seen: 0 };
    let stopped = run_study(&study, &set(), &machine, Precision::F64, root.path(), &mut stops);
    assert!(matches!(stopped, Err(StudyError::Train(TrainError::Stopped))));
    let (directory, _) = StudyDir::open(&root.path().join("tiny")).unwrap();
    let rows = |arm: &str| -> Option<kappa_run::RunWhole> {
        let name = directory.names().unwrap().into_iter().find(|name| {
            name.starts_with(&format!("{arm}_")) && directory.run(name).unwrap().whole().unwrap().is_some()
        });
        directory.run(&name?).unwrap().whole().unwrap()
    };
    let before = rows("fc-bn").unwrap();
    assert_eq!((rows("fc").unwrap().rows.len(), before.rows.len()), (6, 2));

    let mut counted = Counted::default();
    let (_, found) = run(&study, root.path(), &mut counted);
    let after = rows("fc-bn").unwrap();
    assert_eq!(after.rows.len(), 3 * 2 * 3);
    assert_eq!(after.rows[..2], before.rows, "what was there stays");
    assert_eq!(after.samples, 60);
    // Without the stop they are the same.
    let other = tempfile::tempdir().unwrap();
    let result =
        run_study(&study, &set(), &machine, Precision::F64, other.path(), &mut Counted::default()).unwrap();
    let names: Vec<_> = result.findings.points[0].seeds[0].runs.clone();
    let straight = result.directory.run(&names[1]).unwrap().whole().unwrap().unwrap();
    assert_eq!(straight.rows, after.rows);
    let all = result.checked.checks;
    assert!(result.checked.failed.is_empty() && all > 0, "{:?}", result.checked.failed);

    // The last layer's come from products, its spectra from class pairs: another code. Both are f64 from
    // the logits on; up to there the network of the spectra is f32, whose unit is 6e-8.
    for (arm, variant, kind) in [
        (0, Variant::Plain, None),
        (1, Variant::Running, Some(StatisticsKind::Running)),
        (1, Variant::Batch, Some(StatisticsKind::Batch)),
    ] {
        let run = result.directory.run(&names[arm]).unwrap();
        for row in run.whole().unwrap().unwrap().rows {
            if row.point.parameters != Parameters::LastLayer || row.point.statistics != kind {
                continue;
            }
            let spectra = run.spectra().unwrap().unwrap().rows;
            let dense =
                spectra.iter().find(|dense| (dense.epoch, dense.variant) == (row.point.epoch, variant));
            let (found, dense) = (row.summary.lambda_1().unwrap(), dense.unwrap().top[0]);
            assert!((found / dense - 1.0).abs() < 1e-5, "{variant} {}: {found} {dense}", row.point.epoch);
        }
    }
    let claims: Vec<u8> = found.points[0].verdicts.iter().map(|verdict| verdict.claim).collect();
    // No tenth eigenvalue of norm.weight, and no W1 alone.
    for (claim, is_judged) in [(9, true), (10, false), (11, false), (12, true), (13, true)] {
        assert_eq!(claims.contains(&claim), is_judged, "{claim}");
    }
    // What is missing is not judged, and is found missing.
    let bn = directory.run(&found.points[0].seeds[0].runs[1]).unwrap();
    bn.write_whole(&before).unwrap();
    assert!(find(&study, &directory, "").is_err());
}

#[test]
fn another_configuration_of_the_same_name_is_refused() {
    let root = tempfile::tempdir().unwrap();
    run(&config(root.path(), &short()), root.path(), &mut Counted::default());
    let other = config(root.path(), &short().replace("epochs = 3", "epochs = 4"));
    let error = StudyDir::create(root.path(), &other).unwrap_err();
    assert!(error.to_string().contains("another configuration"), "{error}");
}

/// The rows of the chosen run of a short study, and its directory.
fn chosen_run(root: &Path, network: &str) -> (RunDir, Vec<SpectraRow>) {
    let (directory, result) = run(&config(root, &short()), root, &mut Counted::default());
    let name = format!("{network}_lr{:e}_l2-0e0_m5_s0", result.points[0].learning_rate);
    let run = RunDir::open(&directory.join("runs").join(name)).unwrap();
    let rows = run.spectra().unwrap().unwrap().rows;
    (run, rows)
}

/// Asserts that the row of epoch 3 is the spectrum of `features` [60, 5] (host, f64).
fn assert_spectrum(
    rows: &[SpectraRow],
    variant: &str,
    features: Vec<f64>,
    probabilities: &Tensor<2>,
    tolerance: f64,
) {
    let device = Device::flex();
    let features = Tensor::<2>::from_data(TensorData::new(features, [60, 5]), (&device, DType::F64));
    let mut sums = Accumulator::new(5, 4).unwrap();
    sums.add(features, probabilities.clone()).unwrap();
    let expected = sums.finish().unwrap().spectrum().unwrap();
    let row = rows.iter().find(|row| row.epoch == 3 && row.variant.to_string() == variant).unwrap();
    for (a, b) in row.top.iter().zip(expected.eigenvalues()) {
        assert!((a - b).abs() < tolerance * expected.eigenvalues()[0], "{variant}: {a} {b}");
    }
}

fn training_images() -> Tensor<2> {
    let train = set().train.truncated(60);
    let inputs: Vec<f32> = train.pixels().iter().map(|&byte| (1.0 / 255.0) * f32::from(byte)).collect();
    Tensor::from_data(TensorData::new(inputs, [60, train.inputs()]), &Device::flex())
}

/// The moment of `power` of column `i` of values [60, 5].
fn moment(values: &[f64], i: usize, power: i32) -> f64 {
    values.iter().skip(i).step_by(5).map(|value| value.powi(power)).sum::<f64>() / 60.0
}

#[test]
fn the_controls_are_the_spectra_of_mapped_features() {
    let root = tempfile::tempdir().unwrap();
    let (run, rows) = chosen_run(root.path(), "fc");
    // The last epoch again, by hand: features to the host, mapped in f64, and summed directly.
    let network = load_checkpoint(&run.checkpoint_path(3), &Device::flex()).unwrap().valid();
    let features = network.features(network.preactivations(training_images()), Pass::Running);
    let probabilities = softmax(network.logits(features.clone()).cast(DType::F64), 1);
    let g: Vec<f64> = features.into_data().iter::<f64>().collect();
    let root_or_one = |square: f64| if square > 0.0 { square.sqrt() } else { 1.0 };
    type Map<'a> = Box<dyn Fn(usize, f64) -> f64 + 'a>;
    let deviation = |i| root_or_one(moment(&g, i, 2) - moment(&g, i, 1).powi(2));
    let maps: [(&str, Map); 4] = [
        ("plain", Box::new(|_, value| value)),
        ("centred", Box::new(|i, value| value - moment(&g, i, 1))),
        ("standardised", Box::new(|i, value| (value - moment(&g, i, 1)) / deviation(i))),
        ("unit_mean_square", Box::new(|i, value| value / root_or_one(moment(&g, i, 2)))),
    ];
    for (variant, map) in maps {
        let mapped = g.iter().enumerate().map(|(n, &value)| map(n % 5, value)).collect();
        // f64 all the way; the variance is a difference of two numbers of order one.
        assert_spectrum(&rows, variant, mapped, &probabilities, 1e-10);
    }
}

#[test]
fn each_statistics_normalises_by_what_it_says() {
    let root = tempfile::tempdir().unwrap();
    let (run, rows) = chosen_run(root.path(), "fc-bn");
    let device = Device::flex();
    let network = load_checkpoint(&run.checkpoint_path(3), &device).unwrap().valid();
    let z = network.preactivations(training_images());
    // With statistics (0, 1 - epsilon) batch norm is a -> gamma a + beta: gamma and beta from 0 and 1.
    let plain = network.clone().with_statistics(
        0,
        Tensor::zeros([5], &device),
        Tensor::full([5], 1.0 - 1e-5, &device),
    );
    let at = |value: f64| -> Vec<f64> {
        plain
            .features(Tensor::full([1, 5], value, &device), Pass::Running)
            .into_data()
            .iter::<f64>()
            .collect()
    };
    let (beta, one) = (at(0.0), at(1.0));
    let a: Vec<f64> = z.clone().into_data().iter::<f64>().map(|z| z.max(0.0)).collect();
    let normalised = |rows: &[f64]| -> Vec<f64> {
        let n = (rows.len() / 5) as f64;
        let sum =
            |i: usize, power: i32| rows.iter().skip(i).step_by(5).map(|v| v.powi(power)).sum::<f64>() / n;
        let value = |(index, &a): (usize, &f64)| {
            let i = index % 5;
            let variance = sum(i, 2) - sum(i, 1).powi(2);
            (one[i] - beta[i]) * (a - sum(i, 1)) / (variance + 1e-5).sqrt() + beta[i]
        };
        rows.iter().enumerate().map(value).collect()
    };
    let running: Vec<f64> = network.features(z, Pass::Running).into_data().iter::<f64>().collect();
    // Folded, the features are the activations, and the probabilities those of the running ones.
    let probabilities = network
        .logits(network.features(network.preactivations(training_images()), Pass::Running))
        .cast(DType::F64);
    assert_spectrum(&rows, "folded", a.clone(), &softmax(probabilities, 1), 1e-5);
    let dataset = normalised(&a);
    let batch: Vec<f64> = a.chunks(16 * 5).flat_map(normalised).collect();
    for (variant, features) in [("running", running), ("dataset", dataset), ("batch", batch)] {
        let tensor =
            Tensor::<2>::from_data(TensorData::new(features.clone(), [60, 5]).convert::<f32>(), &device);
        let probabilities = softmax(network.logits(tensor).cast(DType::F64), 1);
        // The network normalises in f32: a few units of 6e-8, on features that the division by a
        // deviation below one has made larger.
        assert_spectrum(&rows, variant, features, &probabilities, 1e-5);
    }
}

#[test]
fn the_most_influential_sample_is_the_one_without_which_the_spectrum_changes_as_told() {
    let root = tempfile::tempdir().unwrap();
    let (run, rows) = chosen_run(root.path(), "fc");
    let row = rows.iter().find(|row| row.epoch == 3 && row.variant == Variant::Plain).unwrap();
    let influence = row.influence.as_ref().unwrap();
    // Without each sample in turn, from the features of the others.
    let network = load_checkpoint(&run.checkpoint_path(3), &Device::flex()).unwrap().valid();
    let features = network.features(network.preactivations(training_images()), Pass::Running);
    let silent =
        (0..5).filter(|&i| features.clone().slice([0..60, i..i + 1]).max().into_scalar::<f32>() == 0.0);
    assert_eq!(row.silent, silent.count());
    let probabilities = softmax(network.logits(features.clone()).cast(DType::F64), 1);
    let features = features.cast(DType::F64);
    let without = |sample: usize| -> Vec<f64> {
        let mut sums = Accumulator::new(5, 4).unwrap();
        for rows in [0..sample, sample + 1..60].into_iter().filter(|rows| !rows.is_empty()) {
            sums.add(features.clone().slice(rows.clone()), probabilities.clone().slice(rows)).unwrap();
        }
        sums.finish().unwrap().spectrum().unwrap().eigenvalues().to_vec()
    };
    let lambda_1 = row.top[0];
    let its = without(influence.sample);
    // lambda_1 of the other 59 is 59/60 of what they leave: at least 1 - share of the whole.
    let left = |top: &[f64]| top[0] * 59.0 / 60.0 / lambda_1;
    assert!(left(&its) >= 1.0 - influence.share - 1e-12);
    let least = (0..60).map(|sample| left(&without(sample))).fold(f64::INFINITY, f64::min);
    // No other sample takes more away than its own share, and none has a larger one.
    assert!(least >= 1.0 - influence.share - 1e-12, "{least} {}", influence.share);
    assert!(influence.share >= 1.0 / 60.0, "the largest share is no smaller than the mean");
    match &influence.top_without {
        Some(top) => {
            assert!(influence.share >= 0.05);
            for (a, b) in top.iter().zip(&its) {
                // Both are f64 sums over 60 samples.
                assert!((a - b).abs() < 1e-12 * lambda_1, "{a} {b}");
            }
        }
        None => assert!(influence.share < 0.05),
    }
}

#[test]
fn three_arms_are_trained_from_the_same_start_and_judged_beside_the_reference() {
    let root = tempfile::tempdir().unwrap();
    let more =
        "[[arms]]\nname = \"FC, Kaiming\"\nset.network.initialisation = \"kaiming_uniform\"\n[recipe]\n";
    let study = config(root.path(), &short().replace("[recipe]\n", more));
    let (directory, found) = run(&study, root.path(), &mut Counted::default());
    let chosen = &found.points[0];
    assert_eq!(chosen.seeds[0].runs.len(), 3);
    assert!(chosen.seeds[0].runs[2].starts_with("fc-kaiming_lr"), "{:?}", chosen.seeds[0].runs);
    let (study_dir, _) = StudyDir::open(&directory).unwrap();
    let variants = |arm: usize| -> Vec<Variant> {
        let rows = study_dir.run(&chosen.seeds[0].runs[arm]).unwrap().spectra().unwrap().unwrap().rows;
        rows.iter().filter(|row| row.epoch == 3).map(|row| row.variant).collect()
    };
    // A network that does not normalise is probed as the reference is.
    assert_eq!(variants(2), variants(0));
    assert_ne!(variants(1), variants(0));
    for arm in ["FC+BN", "FC, Kaiming"] {
        for claim in 1..=8 {
            assert!(
                claim == 2 || claim == 5 || claim == 8 || chosen.word_of(claim, arm).is_some(),
                "{claim} of {arm}"
            );
        }
        assert!(chosen.explanations.iter().any(|explanation| explanation.arm == arm), "{arm}");
    }
    assert!(chosen.word_of(1, "FC").is_none() && chosen.word_of(6, "FC").is_some());
}

#[test]
fn a_study_with_batch_norm_on_a_single_sample_is_refused_before_its_first_run() {
    let root = tempfile::tempdir().unwrap();
    // 60 = 59 + 1, for the arm with batch norm alone.
    let study = config(root.path(), &short().replace("batch_size = 16", "batch_size = 59"));
    let machine = Machine { device: Device::flex(), provenance: kappa_run::Provenance::default() };
    let mut counted = Counted::default();
    let result = run_study(&study, &set(), &machine, Precision::F64, root.path(), &mut counted);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("single sample") && message.contains("58 and 60 leave none"), "{message}");
    assert!(counted.trained.is_empty() && !root.path().join("tiny").exists());
}
