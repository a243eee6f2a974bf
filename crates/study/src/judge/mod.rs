//! From runs that belong together to verdicts.
//!
//! ```text
//! training     (1) accuracy, (2) epochs and seconds to an accuracy, (3) seconds an epoch
//! spectrum     (4) lambda_1, (5) kappa'
//! shape        (6) singularity, (7) outliers, (8) growth with the width
//! whole        (9) to (13) what of that holds of the whole network
//! explain      what the effects on lambda_1 and kappa' are made of
//! ```
//!
//! Claims (1) to (5), (12) and (13) are of each arm beside the reference, (6) to (8), (10) and (11) of
//! each arm, (9) in its parts of both.

mod explain;
mod shape;
mod spectrum;
mod training;
mod whole;

#[cfg(test)]
mod tests;

use kappa_run::{EpochMetrics, Explanation, Quantity, SpectraRow, Variant, Verdict, WholeRow};

/// What is judged of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// A row an epoch, epoch 0 first.
    pub metrics: Vec<EpochMetrics>,
    /// A row for each epoch and variant.
    pub spectra: Vec<SpectraRow>,
    /// Of more than the last layer: a row for each epoch, statistics and parameters; none where that was
    /// not taken.
    pub whole: Vec<WholeRow>,
}

/// The runs of all arms from the same start, with the same batches.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedRuns {
    /// Their seed.
    pub seed: u64,
    /// One run of each arm, in the order of the arms.
    pub runs: Vec<RunRecord>,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmNames {
    /// The arms by name.
    pub names: Vec<String>,
    /// The place of the one that the others are compared with.
    pub reference: usize,
}

impl RunRecord {
    fn last(&self) -> Option<&EpochMetrics> {
        self.metrics.last()
    }

    /// The spectra of `variant`, epoch by epoch.
    fn spectra_of(&self, variant: Variant) -> impl Iterator<Item = &SpectraRow> {
        self.spectra.iter().filter(move |row| row.variant == variant)
    }

    /// Variants that were probed, in their order.
    fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for row in &self.spectra {
            if !variants.contains(&row.variant) {
                variants.push(row.variant);
            }
        }
        variants
    }

    /// The last spectrum of the network as it is: of its first variant.
    fn last_spectrum(&self) -> Option<&SpectraRow> {
        self.spectra_of(self.spectra.first()?.variant).last()
    }
}

/// An arm with all its seeds.
#[derive(Clone, Copy)]
struct Arm<'a> {
    name: &'a str,
    seeds: &'a [SeedRuns],
    index: usize,
}

impl<'a> Arm<'a> {
    /// An effect for each seed, if each has one.
    fn each(&self, effect: impl Fn(&'a RunRecord) -> Option<f64>) -> Vec<f64> {
        let seeds = self.seeds.iter();
        seeds.map(|seed| effect(seed.runs.get(self.index)?)).collect::<Option<_>>().unwrap_or_default()
    }

    /// The variants that it was probed in.
    fn variants(&self) -> Vec<Variant> {
        let first = self.seeds.first().and_then(|seed| seed.runs.get(self.index));
        first.map(RunRecord::variants).unwrap_or_default()
    }
}

/// An arm beside the reference, seed by seed.
#[derive(Clone, Copy)]
struct Pair<'a> {
    reference: Arm<'a>,
    arm: Arm<'a>,
}

impl<'a> Pair<'a> {
    /// An effect for each seed, of the reference's run and the arm's, if each has one.
    fn each(&self, effect: impl Fn(&'a RunRecord, &'a RunRecord) -> Option<f64>) -> Vec<f64> {
        let seeds = self.arm.seeds.iter();
        let effect =
            |seed: &'a SeedRuns| effect(seed.runs.get(self.reference.index)?, seed.runs.get(self.arm.index)?);
        seeds.map(effect).collect::<Option<_>>().unwrap_or_default()
    }

    /// What of the arm is judged: the network by each of its statistics, and folded. A
    /// network's features centred or scaled are there to be compared with.
    fn judged(&self) -> Vec<Variant> {
        let mut variants = self.arm.variants();
        variants.retain(|variant| {
            !matches!(variant, Variant::Centred | Variant::Standardised | Variant::UnitMeanSquare)
        });
        variants
    }

    /// What of the reference `variant` of the arm is compared with: the same if the reference
    /// has it, and the reference as it is if not.
    fn counterpart(&self, variant: Variant) -> Option<Variant> {
        let variants = self.reference.variants();
        if variants.contains(&variant) { Some(variant) } else { variants.first().copied() }
    }
}

/// Every arm, and every arm but the reference beside it.
fn arms<'a>(seeds: &'a [SeedRuns], names: &'a ArmNames) -> (Vec<Arm<'a>>, Vec<Pair<'a>>) {
    let arm = |(index, name): (usize, &'a String)| Arm { name, seeds, index };
    let arms: Vec<Arm<'a>> = names.names.iter().enumerate().map(arm).collect();
    let reference = arms.get(names.reference).copied();
    let others = arms.iter().filter(|arm| arm.index != names.reference);
    let pairs = others.filter_map(|&arm| Some(Pair { reference: reference?, arm })).collect();
    (arms, pairs)
}

/// Judges every claim at one point. `widths` are runs of growing width, and
/// `accuracies` fractions of the validation split.
pub fn judge(
    seeds: &[SeedRuns],
    widths: &[SeedRuns],
    names: &ArmNames,
    accuracies: &[f64],
    classes: usize,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let (each, pairs) = arms(seeds, names);
    for pair in pairs {
        verdicts.extend(training::accuracy(pair));
        verdicts.extend(accuracies.iter().flat_map(|&accuracy| training::speed(pair, accuracy)));
        verdicts.extend(training::epoch_time(pair));
        for variant in pair.judged() {
            verdicts.extend(spectrum::eigenvalues(pair, variant));
        }
        verdicts.extend(whole::compared(pair));
    }
    for arm in each {
        verdicts.extend(shape::singularity(arm));
        verdicts.extend(shape::outliers(arm, classes));
        verdicts.extend(whole::alone(arm));
    }
    verdicts.extend(arms(widths, names).0.into_iter().filter_map(shape::growth));
    verdicts.sort_by_key(|verdict| verdict.claim);
    verdicts
}

/// What the arms' effects on the spectrum are made of, for each of their statistics.
pub fn explain(seeds: &[SeedRuns], names: &ArmNames) -> Vec<Explanation> {
    let (_, pairs) = arms(seeds, names);
    let explained = |pair: Pair<'_>| {
        let statistics = pair.judged().into_iter().filter(|&variant| variant != Variant::Folded);
        statistics.flat_map(|statistics| explain::explanations(pair, statistics)).collect::<Vec<_>>()
    };
    pairs.into_iter().flat_map(explained).collect()
}

/// The numbers of a spectrum that claims are about, each with its claim.
const QUANTITIES: [(u8, Quantity); 2] = [(4, Quantity::Lambda1), (5, Quantity::KappaPrime)];

/// log10 of a number over another, if both are above zero.
fn powers_of_ten(before: f64, after: f64) -> Option<f64> {
    (before > 0.0 && after > 0.0).then(|| (before / after).log10())
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
