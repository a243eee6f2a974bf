//! Verdicts on made-up runs with known answers.

use kappa_run::{
    CurvatureSummary, EndRecord, Parameters, PlainValues, StatisticsKind, TensorSize, TraceRecord, When,
    WholePoint, Word,
};

use super::{shape::outlying, *};

/// A run of three epochs with the given accuracies, lambda_1 and kappa'.
fn run(accuracies: [f64; 3], seconds: f64, lambda_1: f64, kappa_prime: f64, zeros: usize) -> RunRecord {
    let metrics = (0..3)
        .map(|epoch| EpochMetrics {
            epoch,
            seconds: 0.0,
            training_seconds: seconds * epoch as f64,
            objective: None,
            train_loss: 1.0,
            train_accuracy: accuracies[epoch],
            validation_loss: 1.0,
            validation_accuracy: accuracies[epoch],
            test_loss: 1.0,
            test_accuracy: accuracies[epoch],
        })
        .collect();
    let spectra = [Variant::Plain, Variant::Running]
        .into_iter()
        .flat_map(|variant| {
            (0..3).map(move |epoch| {
                // Nine outliers for ten classes, then the bulk.
                let mut top = vec![lambda_1; 9];
                top.extend(vec![lambda_1 / kappa_prime; 11]);
                SpectraRow {
                    epoch,
                    variant,
                    top,
                    lambda_min: 0.0,
                    trace: 1.0,
                    size: 100,
                    rank: 100 - zeros,
                    plain: Some(PlainValues { lambda_min: 0.0, rank: 100 - zeros }),
                    silent: 0,
                    influence: None,
                    checks: Vec::new(),
                }
            })
        })
        .collect();
    RunRecord { metrics, spectra, whole: Vec::new() }
}

/// FC, and FC+BN beside it.
fn names() -> ArmNames {
    ArmNames { names: vec!["FC".to_owned(), "FC+BN".to_owned()], reference: 0 }
}

/// The run with the spectra of one variant alone.
fn as_it_is(variant: Variant, mut run: RunRecord) -> RunRecord {
    run.spectra.retain(|row| row.variant == variant);
    run
}

fn verdict<'a>(judged: &'a [Verdict], what: &str) -> &'a Verdict {
    judged.iter().find(|verdict| verdict.what.contains(what)).unwrap()
}

#[test]
fn made_up_runs_get_the_verdicts_they_were_made_for() {
    let seeds: Vec<SeedRuns> = [0.00, 0.01, 0.02]
        .into_iter()
        .enumerate()
        .map(|(seed, shift)| SeedRuns {
            seed: seed as u64,
            runs: vec![
                as_it_is(Variant::Plain, run([0.1, 0.5 + shift, 0.8], 1.0, 4.0, 20.0, 10)),
                as_it_is(
                    Variant::Running,
                    run([0.1, 0.6, 0.9 - shift], 1.5, 0.4, 40.0 - 30.0 * shift * 50.0, 12),
                ),
            ],
        })
        .collect();
    let judged = judge(&seeds, &[], &names(), &[0.55, 0.95], 10);

    let accuracy = verdict(&judged, "accurate on the test split");
    assert_eq!(accuracy.word, Word::Holds);
    assert!((accuracy.estimate.mean - 9.0).abs() < 1e-9, "10, 9 and 8 points: {}", accuracy.estimate.mean);
    // FC reaches 55 % after 2 epochs, FC+BN after 1, with every seed.
    let epochs = verdict(&judged, "fewer epochs to 55 %");
    assert_eq!((epochs.word, epochs.estimate.mean), (Word::Holds, 1.0));
    // 2 s against 1.5 s.
    assert!((verdict(&judged, "fewer seconds of training to 55 %").estimate.mean - 0.5).abs() < 1e-12);
    // 95 % is reached by neither: nothing is said of it.
    assert!(!judged.iter().any(|verdict| verdict.what.contains("to 95 %")));
    assert!((verdict(&judged, "takes longer").estimate.mean - 50.0).abs() < 1e-9);
    // lambda_1: 4 against 0.4, one power of ten.
    let lambda = verdict(&judged, "lambda_1 of FC+BN (running statistics) is smaller at the end");
    assert_eq!(lambda.word, Word::Holds);
    assert!((lambda.estimate.mean - 1.0).abs() < 1e-12);
    // kappa' of FC+BN is 40, 25 and 10 against 20: smaller with one seed of three.
    let kappa = verdict(&judged, "kappa' of FC+BN (running statistics) is smaller over");
    assert_eq!((kappa.word, kappa.holding), (Word::Mixed, 1));
    assert_eq!(verdict(&judged, "Hessian of FC+BN is singular").estimate.mean, 12.0);
    assert_eq!(verdict(&judged, "FC has as many outlying").word, Word::Holds);
}

#[test]
fn a_network_that_never_gets_there_loses_by_what_it_ran() {
    let runs = vec![run([0.1, 0.2, 0.3], 1.0, 1.0, 2.0, 0), run([0.1, 0.9, 0.9], 1.0, 1.0, 2.0, 0)];
    let judged = judge(&[SeedRuns { seed: 0, runs }], &[], &names(), &[0.5], 10);
    assert_eq!(verdict(&judged, "fewer epochs").estimate.mean, 1.0);
}

#[test]
fn equal_networks_fail_to_differ() {
    let equal = || run([0.1, 0.5, 0.8], 1.0, 4.0, 20.0, 10);
    let seeds: Vec<SeedRuns> = (0..3).map(|seed| SeedRuns { seed, runs: vec![equal(), equal()] }).collect();
    let judged = judge(&seeds, &[], &names(), &[0.5], 10);
    for what in ["accurate on the train", "fewer epochs", "takes longer", "lambda_1", "kappa'"] {
        assert_eq!(verdict(&judged, what).word, Word::Fails, "{what}");
    }
}

#[test]
fn the_singularity_grows_if_every_step_of_the_width_adds_zeros() {
    let at = |zeros| SeedRuns {
        seed: 0,
        runs: vec![run([0.1; 3], 1.0, 1.0, 2.0, zeros), run([0.1; 3], 1.0, 1.0, 2.0, zeros / 2)],
    };
    let judged = judge(&[], &[at(25), at(50), at(76)], &names(), &[], 10);
    assert_eq!(verdict(&judged, "of FC has more zero").estimate.effects, [25.0]);
    assert_eq!(verdict(&judged, "of FC has more zero").word, Word::Holds);
    let judged = judge(&[], &[at(25), at(50), at(49)], &names(), &[], 10);
    assert_eq!(verdict(&judged, "of FC has more zero").word, Word::Fails);
}

#[test]
fn outliers_stand_before_the_widest_gap() {
    assert_eq!(outlying(&[8.0, 7.0, 6.0, 1.0, 0.9]), Some(3));
    assert_eq!(outlying(&[1.0]), None);
}

/// Runs whose numbers are lambda_1 of FC plain, centred, standardised and unit
/// mean square, and of FC+BN by `statistics`, for each of the epochs.
fn controlled(statistics: Variant, lambdas: [[f64; 5]; 3]) -> SeedRuns {
    let row = |epoch: usize, variant: Variant, lambda: f64| SpectraRow {
        epoch,
        variant,
        top: vec![lambda],
        lambda_min: 0.0,
        trace: 1.0,
        size: 1,
        rank: 1,
        plain: Some(PlainValues { lambda_min: 0.0, rank: 1 }),
        silent: 0,
        influence: None,
        checks: Vec::new(),
    };
    let names =
        [Variant::Plain, Variant::Centred, Variant::Standardised, Variant::UnitMeanSquare, statistics];
    let mut rows: Vec<Vec<SpectraRow>> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (0..3).map(|epoch| row(epoch, *name, lambdas[epoch][i])).collect())
        .collect();
    let arms = rows.pop().unwrap();
    let runs = [rows.concat(), arms].map(|spectra| RunRecord { spectra, ..run([0.1; 3], 1.0, 1.0, 2.0, 0) });
    SeedRuns { seed: 0, runs: runs.into() }
}

#[test]
fn an_effect_is_the_sum_of_centring_scaling_and_the_rest() {
    let seed = controlled(
        Variant::Dataset,
        [[100.0, 10.0, 10.0, 50.0, 1.0], [10.0, 1.0, 0.1, 10.0, 1.0], [1000.0, 10.0, 1.0, 100.0, 0.1]],
    );
    let explanations = explain(&[seed], &names());
    // One eigenvalue has no kappa'.
    assert!(explanations.iter().all(|explanation| explanation.quantity == Quantity::Lambda1));
    let found: Vec<_> = explanations
        .iter()
        .map(|e| {
            let parts = [&e.whole, &e.centring, &e.scaling, &e.rest, &e.scaling_alone];
            (e.when, parts.map(|part| (1e12 * part.mean).round() / 1e12))
        })
        .collect();
    let log = |x: f64| (1e12 * x.log10()).round() / 1e12;
    assert_eq!(
        found,
        [
            (When::BeforeTraining, [2.0, 1.0, 0.0, 1.0, log(2.0)]),
            (When::AtTheEnd, [4.0, 2.0, 1.0, 1.0, 1.0]),
            (When::OverTheEpochs, [2.5, 1.5, 1.0, 0.0, 0.5]),
        ]
    );
}

#[test]
fn before_training_batch_norm_is_judged_by_the_statistics_of_the_data() {
    let rows = [[1.0, 1.0, 1.0, 1.0, 2.0], [4.0, 1.0, 1.0, 1.0, 2.0], [4.0, 1.0, 1.0, 1.0, 2.0]];
    let judged = judge(&[controlled(Variant::Dataset, rows)], &[], &names(), &[], 10);
    assert_eq!(
        verdict(&judged, "lambda_1 of FC+BN (dataset statistics) is smaller before").word,
        Word::Fails
    );
    assert_eq!(verdict(&judged, "smaller at the end").word, Word::Holds);
    assert_eq!(verdict(&judged, "smaller than FC's with centred").word, Word::Fails);
    let judged = judge(&[controlled(Variant::Running, rows)], &[], &names(), &[], 10);
    assert!(!judged.iter().any(|verdict| verdict.what.contains("before training")));
}

#[test]
fn at_the_same_training_loss_epochs_are_met_halfway() {
    // lambda_1 of FC 100, 10, 1 at losses 3, 2, 1; of FC+BN 100, 1, 0.01 at losses 3, 1.5, 0.5.
    let rows = [[100.0, 1.0, 1.0, 1.0, 100.0], [10.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 0.01]];
    let mut seed = controlled(Variant::Running, rows);
    for (run, losses) in seed.runs.iter_mut().zip([[3.0, 2.0, 1.0], [3.0, 1.5, 0.5]]) {
        for (row, loss) in run.metrics.iter_mut().zip(losses) {
            row.train_loss = loss;
        }
    }
    // Both reach loss 1: FC at its last epoch (log10 = 0), FC+BN halfway between 1.5 (0) and 0.5 (-2).
    let judged = judge(&[seed], &[], &names(), &[], 10);
    let found = verdict(&judged, "at the same training loss").estimate.mean;
    assert!((found - 1.0).abs() < 1e-12, "{found}");
}

#[test]
fn an_eigenvalue_of_zero_has_no_power_of_ten_and_is_not_judged() {
    let rows = [[1.0, 0.0, 0.0, 0.0, 1.0]; 3];
    let judged = judge(&[controlled(Variant::Running, rows)], &[], &names(), &[], 10);
    assert!(judged.iter().any(|verdict| verdict.what.contains("smaller at the end")));
    assert!(!judged.iter().any(|verdict| verdict.what.contains("centred")));
}

#[test]
fn three_arms_are_each_held_against_the_reference() {
    let names = ArmNames { names: ["FC+BN", "FC", "FC, Kaiming"].map(str::to_owned).into(), reference: 1 };
    let arm =
        |variant, accuracy, lambda_1| as_it_is(variant, run([0.1, 0.5, accuracy], 1.0, lambda_1, 20.0, 10));
    let seeds: Vec<SeedRuns> = (0..2)
        .map(|seed| SeedRuns {
            seed,
            runs: vec![
                arm(Variant::Running, 0.9, 0.4),
                arm(Variant::Plain, 0.8, 4.0),
                arm(Variant::Plain, 0.7, 400.0),
            ],
        })
        .collect();
    let judged = judge(&seeds, &seeds, &names, &[0.5], 10);
    let arms_of = |claim: u8| {
        let mut arms: Vec<&str> = judged
            .iter()
            .filter(|verdict| verdict.claim == claim)
            .map(|verdict| verdict.arm.as_str())
            .collect();
        arms.dedup();
        arms
    };
    for claim in 1..=5 {
        assert_eq!(arms_of(claim), ["FC+BN", "FC, Kaiming"], "claim {claim}");
    }
    for claim in 6..=8 {
        assert_eq!(arms_of(claim), ["FC+BN", "FC", "FC, Kaiming"], "claim {claim}");
    }
    for (what, word, mean) in [
        ("FC+BN is more accurate on the test split", Word::Holds, 10.0),
        ("FC, Kaiming is more accurate on the test split", Word::Fails, -10.0),
        ("lambda_1 of FC+BN (running statistics) is smaller at the end", Word::Holds, 1.0),
        ("lambda_1 of FC, Kaiming is smaller at the end", Word::Fails, -2.0),
    ] {
        let found = verdict(&judged, what);
        assert_eq!((found.word, found.control), (word, false), "{what}");
        assert!((found.estimate.mean - mean).abs() < 1e-9, "{what}: {}", found.estimate.mean);
    }
    assert!(verdict(&judged, "of FC, Kaiming is smaller before training").control);
    // The reference was not probed with other features: there is nothing to explain by.
    assert!(explain(&seeds, &names).is_empty());
    assert!(!judged.iter().any(|verdict| verdict.what.contains("centred")));
}

#[test]
fn arms_that_have_the_same_statistics_are_compared_by_them() {
    let both = |dataset: f64| {
        let mut all = as_it_is(Variant::Running, run([0.1; 3], 1.0, 4.0, 20.0, 0));
        let mut others = as_it_is(Variant::Running, run([0.1; 3], 1.0, dataset, 20.0, 0)).spectra;
        others.iter_mut().for_each(|row| row.variant = Variant::Dataset);
        all.spectra.extend(others);
        all
    };
    let seeds = [SeedRuns { seed: 0, runs: vec![both(100.0), both(10.0)] }];
    let judged = judge(&seeds, &[], &names(), &[], 10);
    let found = verdict(&judged, "(dataset statistics) is smaller at the end");
    assert!((found.estimate.mean - 1.0).abs() < 1e-12, "{}", found.estimate.mean);
    assert_eq!(verdict(&judged, "(running statistics) is smaller at the end").estimate.mean, 0.0);
}

/// A Hessian with the given lambda_1 and kappa', its leading eigenvector with `share` in W2.
fn hessian(
    epoch: usize,
    parameters: &str,
    statistics: Option<StatisticsKind>,
    [lambda_1, kappa_prime, share]: [f64; 3],
) -> WholeRow {
    let tensor = |name: &str| TensorSize { name: name.to_owned(), elements: 1 };
    let (tensors, shares) = match parameters {
        "all" => (vec![tensor("hidden.weight"), tensor("output.weight")], vec![1.0 - share, share]),
        name => (vec![tensor(name)], vec![1.0]),
    };
    let end = |value: f64| EndRecord {
        eigenvalues: vec![value],
        residuals: vec![0.0],
        residual_bound: 1e-5,
        products: 1,
    };
    let summary = CurvatureSummary {
        tensors,
        largest: end(lambda_1),
        smallest: Some(end(-1.0)),
        negative: 1,
        kappa_prime: Some(kappa_prime),
        shares: vec![shares],
        trace: TraceRecord { value: 1.0, error: None },
        gauss_newton_along: vec![1.0],
        gauss_newton_lambda_1: 1.0,
        gradient: 1.0,
        gradient_share: None,
    };
    let parameters: Parameters = parameters.parse().unwrap();
    WholeRow { point: WholePoint { epoch, parameters, statistics }, summary, checks: Vec::new() }
}

/// A run whose Hessians of all, of W1 and of W2 have these numbers at epochs 0, 1 and 2.
fn whole(statistics: Option<StatisticsKind>, numbers: [[[f64; 3]; 3]; 3]) -> RunRecord {
    let names = ["all", "hidden.weight", "output.weight"];
    let rows = numbers.into_iter().enumerate().flat_map(|(epoch, of)| {
        names.into_iter().zip(of).map(move |(name, numbers)| hessian(epoch, name, statistics, numbers))
    });
    RunRecord { whole: rows.collect(), ..run([0.1; 3], 1.0, 1.0, 2.0, 0) }
}

#[test]
fn the_whole_network_is_judged_by_each_statistics_at_the_end_and_at_the_worst_epoch() {
    let at = |all: [f64; 3], first: f64, last: [f64; 3]| [all, [first, 5.0, 0.0], last];
    // FC: W2 is the steep one, and has most of the leading eigenvector.
    let fc = whole(
        None,
        [
            at([10.0, 10.0, 0.9], 0.1, [9.9, 20.0, 1.0]),
            at([10.0, 10.0, 0.6], 0.1, [9.5, 20.0, 1.0]),
            at([10.0, 10.0, 0.9], 1.0, [10.0, 20.0, 1.0]),
        ],
    );
    // FC+BN: W1 is; lambda_1 is ten times FC's in all, a tenth in W2.
    let bn = whole(
        Some(StatisticsKind::Dataset),
        [
            at([1.0, 1.0, 0.0], 1.0, [1.0, 1.0, 1.0]),
            at([100.0, 1.0, 0.1], 50.0, [1.0, 2.0, 1.0]),
            at([100.0, 1.0, 0.2], 95.0, [1.0, 200.0, 1.0]),
        ],
    );
    let judged = judge(&[SeedRuns { seed: 0, runs: vec![fc, bn] }], &[], &names(), &[], 10);
    for (claim, what, mean) in [
        (
            9,
            "the effect on lambda_1 of all parameters of FC+BN (dataset statistics) has the sign of that on W2's at the end",
            -1.0,
        ),
        // kappa': a tenth in all; of W2 a tenth after epoch 1, ten times after epoch 2.
        (
            9,
            "the effect on kappa' of all parameters of FC+BN (dataset statistics) has the sign of that on W2's at the end",
            -1.0,
        ),
        (9, "W2 has more than half of the leading eigenvector of all parameters of FC at the end", 0.4),
        (9, "W2 has more than half of the leading eigenvector of all parameters of FC at every epoch", 0.1),
        (
            9,
            "W2 has more than half of the leading eigenvector of all parameters of FC+BN (dataset statistics) at the end",
            -0.3,
        ),
        (10, "the layers' blocks alone have lambda_1 of FC to a tenth at the end", 0.1),
        (10, "the layers' blocks alone have lambda_1 of FC to a tenth at every epoch", 0.05),
        (
            10,
            "the layers' blocks alone have lambda_1 of FC+BN (dataset statistics) to a tenth at the end",
            0.05,
        ),
        (
            10,
            "the layers' blocks alone have lambda_1 of FC+BN (dataset statistics) to a tenth at every epoch",
            -0.4,
        ),
        (11, "lambda_1 of W1 of FC is below that of W2 at the end", 1.0),
        (
            11,
            "lambda_1 of W1 of FC+BN (dataset statistics) is below that of W2 at the end",
            -(95.0f64.log10()),
        ),
        (12, "lambda_1 of all parameters of FC+BN (dataset statistics) is smaller at the end", -1.0),
        (12, "lambda_1 of all parameters of FC+BN (dataset statistics) is smaller before training", 1.0),
        (13, "kappa' of all parameters of FC+BN (dataset statistics) is smaller at every epoch", 1.0),
    ] {
        let found = verdict(&judged, what);
        assert_eq!((found.claim, found.control), (claim, what.ends_with("before training")), "{what}");
        assert!((found.estimate.mean - mean).abs() < 1e-12, "{what}: {}", found.estimate.mean);
    }
    // The eight others are what they are without.
    let claims_of =
        |judged: &[Verdict]| judged.iter().filter(|verdict| verdict.claim <= 8).cloned().collect::<Vec<_>>();
    let plain = || run([0.1; 3], 1.0, 1.0, 2.0, 0);
    let without = judge(&[SeedRuns { seed: 0, runs: vec![plain(), plain()] }], &[], &names(), &[], 10);
    assert_eq!(claims_of(&judged), without);
}

#[test]
fn at_the_end_is_the_runs_last_epoch_and_no_earlier_one() {
    let numbers = [[[1.0, 2.0, 0.5]; 3]; 3];
    let mut cut = [whole(None, numbers), whole(Some(StatisticsKind::Running), numbers)];
    cut.iter_mut().for_each(|run| run.whole.retain(|row| row.point.epoch < 2));
    let judged = judge(&[SeedRuns { seed: 0, runs: cut.into() }], &[], &names(), &[], 10);
    assert!(judged.iter().all(|verdict| verdict.claim <= 8), "{judged:?}");
}

#[test]
fn singular_is_what_a_decomposition_says_that_knows_of_no_zeros() {
    let mut runs = [run([0.1; 3], 1.0, 1.0, 2.0, 10), run([0.1; 3], 1.0, 1.0, 2.0, 10)];
    for row in runs.iter_mut().flat_map(|run| &mut run.spectra) {
        row.plain = (row.epoch == 2).then_some(PlainValues { lambda_min: -1e-17, rank: 93 });
    }
    let judged = judge(&[SeedRuns { seed: 0, runs: runs.into() }], &[], &names(), &[], 10);
    assert_eq!(verdict(&judged, "Hessian of FC+BN is singular").estimate.mean, 7.0);
}
