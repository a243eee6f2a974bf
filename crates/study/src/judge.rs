//! From paired runs to verdicts.

use kappa_run::{EpochMetrics, SpectraRow};
use serde::Serialize;

use crate::claims::Verdict;

/// What is judged of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// A row an epoch, epoch 0 first.
    pub metrics: Vec<EpochMetrics>,
    /// A row for each epoch and variant.
    pub spectra: Vec<SpectraRow>,
}

/// FC and FC+BN from the same start, with the same batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Their seed.
    pub seed: u64,
    /// Without batch norm.
    pub fc: RunRecord,
    /// With it.
    pub bn: RunRecord,
}

/// The verdicts at one point of the study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// "chosen", or what was changed.
    pub point: String,
    /// All verdicts, by claim.
    pub verdicts: Vec<Verdict>,
}

impl RunRecord {
    fn last(&self) -> Option<&EpochMetrics> {
        self.metrics.last()
    }

    /// The spectra of `variant`, epoch by epoch.
    fn spectra_of(&self, variant: &str) -> impl Iterator<Item = &SpectraRow> {
        self.spectra.iter().filter(move |row| row.variant == variant)
    }

    /// The first epoch with a validation accuracy of at least `accuracy`.
    fn reaches(&self, accuracy: f64) -> Option<&EpochMetrics> {
        self.metrics.iter().find(|row| row.validation_accuracy >= accuracy)
    }

    /// Seconds of training an epoch.
    fn seconds_an_epoch(&self) -> Option<f64> {
        let last = self.last().filter(|last| last.epoch > 0)?;
        Some(last.training_seconds / last.epoch as f64)
    }

    /// Variants that were probed, in their order.
    fn variants(&self) -> Vec<String> {
        let mut variants: Vec<String> = Vec::new();
        for row in &self.spectra {
            if !variants.contains(&row.variant) {
                variants.push(row.variant.clone());
            }
        }
        variants
    }
}

/// Judges every claim at one point. `widths` are pairs of growing width, and
/// `accuracies` fractions of the validation split.
pub fn judge(point: &str, pairs: &[Pair], widths: &[Pair], accuracies: &[f64], classes: usize) -> Judged {
    let mut verdicts = Vec::new();
    verdicts.extend(accuracy(pairs));
    verdicts.extend(accuracies.iter().flat_map(|&accuracy| speed(pairs, accuracy)));
    verdicts.extend(epoch_time(pairs));
    for variant in pairs.first().map(|pair| pair.bn.variants()).unwrap_or_default() {
        verdicts.extend(eigenvalues(pairs, &variant));
    }
    verdicts.extend(singularity(pairs));
    verdicts.extend(outliers(pairs, classes));
    verdicts.extend(growth(widths));
    verdicts.sort_by_key(|verdict| verdict.claim);
    Judged { point: point.to_owned(), verdicts }
}

/// An effect for each pair, if each has one.
fn each(pairs: &[Pair], effect: impl Fn(&Pair) -> Option<f64>) -> Vec<f64> {
    pairs.iter().map(effect).collect::<Option<_>>().unwrap_or_default()
}

/// (1) FC+BN is more accurate, on each split, at the end.
fn accuracy(pairs: &[Pair]) -> Vec<Verdict> {
    type Split = fn(&EpochMetrics) -> f64;
    let splits: [(&str, Split); 3] = [
        ("train", |row| row.train_accuracy),
        ("validation", |row| row.validation_accuracy),
        ("test", |row| row.test_accuracy),
    ];
    splits
        .into_iter()
        .filter_map(|(name, split)| {
            let effects = each(pairs, |pair| Some(100.0 * (split(pair.bn.last()?) - split(pair.fc.last()?))));
            Verdict::new(
                1,
                format!("FC+BN is more accurate on the {name} split"),
                "percentage points",
                effects,
            )
        })
        .collect()
}

/// (2) FC+BN needs fewer epochs, and fewer seconds of training, to an accuracy.
/// Where only one network gets there, it wins by what the other had left to run
/// at the least; where neither does, there is nothing to compare.
fn speed(pairs: &[Pair], accuracy: f64) -> Vec<Verdict> {
    type Cost = fn(&EpochMetrics) -> f64;
    let costs: [(&str, &str, Cost); 2] = [
        ("epochs", "epochs", |row| row.epoch as f64),
        ("seconds of training", "seconds", |row| row.training_seconds),
    ];
    costs
        .into_iter()
        .filter_map(|(name, unit, cost)| {
            let effects = each(pairs, |pair| {
                let reached = [&pair.fc, &pair.bn].map(|run| run.reaches(accuracy).map(cost));
                match reached {
                    [None, None] => None,
                    [fc, bn] => Some(fc.or(pair.fc.last().map(cost))? - bn.or(pair.bn.last().map(cost))?),
                }
            });
            let percent = (1e4 * accuracy).round() / 1e2;
            let what = format!("FC+BN needs fewer {name} to {percent} % on validation");
            Verdict::new(2, what, unit, effects)
        })
        .collect()
}

/// (3) An epoch of FC+BN takes longer.
fn epoch_time(pairs: &[Pair]) -> Option<Verdict> {
    let effects =
        each(pairs, |pair| Some(100.0 * (pair.bn.seconds_an_epoch()? / pair.fc.seconds_an_epoch()? - 1.0)));
    Verdict::new(3, "an epoch of FC+BN takes longer", "% of FC's", effects)
}

/// (4) lambda_1 and (5) kappa' of FC+BN are smaller: at the end, and in the mean
/// over all trained epochs, as factors of ten (log10 FC/FC+BN).
fn eigenvalues(pairs: &[Pair], variant: &str) -> Vec<Verdict> {
    type Number = fn(&SpectraRow) -> Option<f64>;
    let numbers: [(u8, &str, Number); 2] =
        [(4, "lambda_1", |row| row.lambda(1)), (5, "kappa'", SpectraRow::kappa_prime)];
    let ratios = |pair: &Pair, number: Number| -> Option<Vec<f64>> {
        let (fc, bn) = (pair.fc.spectra_of("plain"), pair.bn.spectra_of(variant));
        let trained = fc.zip(bn).filter(|(fc, _)| fc.epoch > 0);
        trained.map(|(fc, bn)| Some((number(fc)? / number(bn)?).log10())).collect()
    };
    let mut verdicts = Vec::new();
    for (claim, name, number) in numbers {
        let at_the_end = each(pairs, |pair| ratios(pair, number)?.last().copied());
        let on_average = each(pairs, |pair| {
            let ratios = ratios(pair, number).filter(|ratios| ratios.len() > 1)?;
            Some(ratios.iter().sum::<f64>() / ratios.len() as f64)
        });
        let what = format!("{name} of FC+BN ({variant} statistics) is smaller");
        verdicts.extend(Verdict::new(claim, format!("{what} at the end"), "powers of ten", at_the_end));
        verdicts.extend(Verdict::new(claim, format!("{what} over the epochs"), "powers of ten", on_average));
    }
    verdicts
}

/// (6) H is singular, so that kappa = lambda_1 / lambda_min cannot be used.
fn singularity(pairs: &[Pair]) -> Vec<Verdict> {
    type Run = fn(&Pair) -> &RunRecord;
    let networks: [(&str, Run); 2] = [("FC", |pair| &pair.fc), ("FC+BN", |pair| &pair.bn)];
    networks
        .into_iter()
        .filter_map(|(name, run)| {
            let effects = each(pairs, |pair| zeros(run(pair)));
            let what = format!("the Hessian of {name} is singular");
            Verdict::new(6, what, "eigenvalues that are zero up to rounding", effects)
        })
        .collect()
}

/// Eigenvalues below rounding at the end of a run, of its first variant.
fn zeros(run: &RunRecord) -> Option<f64> {
    let last = run.spectra_of(run.variants().first()?).last()?;
    Some((last.size - last.rank) as f64)
}

/// (7) There are about as many outlying eigenvalues as classes, or one fewer. An
/// outlier is what stands before the widest relative gap among the first 2 K.
/// The effect is 1 where their number is K - 1 or K, and less by every one off.
fn outliers(pairs: &[Pair], classes: usize) -> Vec<Verdict> {
    type Run = fn(&Pair) -> &RunRecord;
    let networks: [(&str, Run); 2] = [("FC", |pair| &pair.fc), ("FC+BN", |pair| &pair.bn)];
    networks
        .into_iter()
        .filter_map(|(name, run)| {
            let effects = each(pairs, |pair| {
                let run = run(pair);
                let last = run.spectra_of(run.variants().first()?).last()?;
                let count = outlying(last.top.get(..2 * classes).unwrap_or(&last.top))? as f64;
                let off = (classes as f64 - 1.0 - count).max(count - classes as f64).max(0.0);
                Some(1.0 - off)
            });
            let what = format!("{name} has as many outlying eigenvalues as classes, or one fewer");
            Verdict::new(7, what, "1 where it is so, less by every one off", effects)
        })
        .collect()
}

/// How many eigenvalues stand before the widest gap, lambda_i / lambda_(i+1).
fn outlying(top: &[f64]) -> Option<usize> {
    let gaps = top.iter().zip(top.iter().skip(1)).map(|(a, b)| a / b);
    gaps.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index + 1)
}

/// (8) The singularity grows with the number of hidden units: the least that a
/// width adds to the zeros of the next narrower one, so that one step back is
/// enough for it to fail. The widths are one seed's.
fn growth(widths: &[Pair]) -> Vec<Verdict> {
    type Run = fn(&Pair) -> &RunRecord;
    let networks: [(&str, Run); 2] = [("FC", |pair| &pair.fc), ("FC+BN", |pair| &pair.bn)];
    networks
        .into_iter()
        .filter_map(|(name, run)| {
            let zeros: Vec<f64> = widths.iter().map(|pair| zeros(run(pair))).collect::<Option<_>>()?;
            let steps = zeros.iter().zip(zeros.iter().skip(1)).map(|(narrow, wide)| wide - narrow);
            let least = steps.min_by(f64::total_cmp)?;
            let what = format!("the Hessian of {name} has more zero eigenvalues the wider it is");
            Verdict::new(8, what, "zeros that a width adds, at the least", vec![least])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Word;

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
        let spectra = ["plain", "running"]
            .into_iter()
            .flat_map(|variant| {
                (0..3).map(move |epoch| {
                    // Nine outliers for ten classes, then the bulk.
                    let mut top = vec![lambda_1; 9];
                    top.extend(vec![lambda_1 / kappa_prime; 11]);
                    SpectraRow {
                        epoch,
                        variant: variant.to_owned(),
                        top,
                        lambda_min: 0.0,
                        trace: 1.0,
                        size: 100,
                        rank: 100 - zeros,
                    }
                })
            })
            .collect();
        RunRecord { metrics, spectra }
    }

    fn verdict<'a>(judged: &'a Judged, what: &str) -> &'a Verdict {
        judged.verdicts.iter().find(|verdict| verdict.what.contains(what)).unwrap()
    }

    #[test]
    fn made_up_runs_get_the_verdicts_they_were_made_for() {
        let pairs: Vec<Pair> = [0.00, 0.01, 0.02]
            .into_iter()
            .enumerate()
            .map(|(seed, shift)| Pair {
                seed: seed as u64,
                fc: run([0.1, 0.5 + shift, 0.8], 1.0, 4.0, 20.0, 10),
                bn: run([0.1, 0.6, 0.9 - shift], 1.5, 0.4, 40.0 - 30.0 * shift * 50.0, 12),
            })
            .collect();
        let judged = judge("made up", &pairs, &[], &[0.55, 0.95], 10);

        let accuracy = verdict(&judged, "accurate on the test split");
        assert_eq!(accuracy.word, Word::Holds);
        assert!((accuracy.mean - 9.0).abs() < 1e-9, "10, 9 and 8 points: {}", accuracy.mean);
        // FC reaches 55 % after 2 epochs, FC+BN after 1, with every seed.
        let epochs = verdict(&judged, "fewer epochs to 55 %");
        assert_eq!((epochs.word, epochs.mean), (Word::Holds, 1.0));
        // 2 s against 1.5 s.
        assert!((verdict(&judged, "fewer seconds of training to 55 %").mean - 0.5).abs() < 1e-12);
        // 95 % is reached by neither: nothing is said of it.
        assert!(!judged.verdicts.iter().any(|verdict| verdict.what.contains("to 95 %")));
        assert!((verdict(&judged, "takes longer").mean - 50.0).abs() < 1e-9);
        // lambda_1: 4 against 0.4, one power of ten.
        let lambda = verdict(&judged, "lambda_1 of FC+BN (running statistics) is smaller at the end");
        assert_eq!(lambda.word, Word::Holds);
        assert!((lambda.mean - 1.0).abs() < 1e-12);
        // kappa' of FC+BN is 40, 25 and 10 against 20: smaller with one seed of three.
        let kappa = verdict(&judged, "kappa' of FC+BN (running statistics) is smaller over");
        assert_eq!((kappa.word, kappa.holding), (Word::Mixed, 1));
        assert_eq!(verdict(&judged, "Hessian of FC+BN is singular").mean, 12.0);
        assert_eq!(verdict(&judged, "FC has as many outlying").word, Word::Holds);
    }

    #[test]
    fn a_network_that_never_gets_there_loses_by_what_it_ran() {
        let pair = Pair {
            seed: 0,
            fc: run([0.1, 0.2, 0.3], 1.0, 1.0, 2.0, 0),
            bn: run([0.1, 0.9, 0.9], 1.0, 1.0, 2.0, 0),
        };
        let judged = judge("x", &[pair], &[], &[0.5], 10);
        assert_eq!(verdict(&judged, "fewer epochs").mean, 1.0);
    }

    #[test]
    fn equal_networks_fail_to_differ() {
        let equal = || run([0.1, 0.5, 0.8], 1.0, 4.0, 20.0, 10);
        let pairs: Vec<Pair> = (0..3).map(|seed| Pair { seed, fc: equal(), bn: equal() }).collect();
        let judged = judge("x", &pairs, &[], &[0.5], 10);
        for what in ["accurate on the train", "fewer epochs", "takes longer", "lambda_1", "kappa'"] {
            assert_eq!(verdict(&judged, what).word, Word::Fails, "{what}");
        }
    }

    #[test]
    fn the_singularity_grows_if_every_step_of_the_width_adds_zeros() {
        let at = |zeros| Pair {
            seed: 0,
            fc: run([0.1; 3], 1.0, 1.0, 2.0, zeros),
            bn: run([0.1; 3], 1.0, 1.0, 2.0, zeros / 2),
        };
        let judged = judge("x", &[], &[at(25), at(50), at(76)], &[], 10);
        assert_eq!(verdict(&judged, "of FC has more zero").effects, [25.0]);
        assert_eq!(verdict(&judged, "of FC has more zero").word, Word::Holds);
        let judged = judge("x", &[], &[at(25), at(50), at(49)], &[], 10);
        assert_eq!(verdict(&judged, "of FC has more zero").word, Word::Fails);
    }

    #[test]
    fn outliers_stand_before_the_widest_gap() {
        assert_eq!(outlying(&[8.0, 7.0, 6.0, 1.0, 0.9]), Some(3));
        assert_eq!(outlying(&[1.0]), None);
    }
}
