//! Claims (9) to (13): what holds of the whole network, beside its last layer.
//!
//! ```text
//! (9)   the last layer represents the network    sign of the effects, share of the leading eigenvector
//! (10)  H is block-diagonal by layers            1/10 - |lambda_1(blocks) - lambda_1| / lambda_1
//! (11)  the first layer is flat, the last steep  log10 lambda_1(last) / lambda_1(first)
//! (12)  lambda_1 of all parameters is smaller    log10 reference / arm
//! (13)  kappa' of all parameters is smaller      log10 reference / arm
//! ```
//!
//! Each by each of the statistics that were taken, after the last epoch and at the worst of the
//! trained epochs that were.

use kappa_run::{Parameters, Quantity, Variant, Verdict, When, WholeRow};

use super::{Arm, Pair, RunRecord, powers_of_ten};
use crate::claims::verdict;

/// A layer with more than half of a vector's square has more of it than all others together.
const HALF: f64 = 0.5;
/// An error of a tenth is 0.05 powers of ten: below every effect that the study tells of.
const TENTH: f64 = 0.1;

const LAST: &str = "output.weight";
/// The first layer's weights, of one hidden layer and of several.
const FIRST: [&str; 2] = ["hidden.weight", "hidden.0.weight"];

/// Which Hessian of a run.
#[derive(Debug, Clone, Copy)]
enum Of {
    All,
    First,
    Last,
}

impl Of {
    fn is(self, parameters: &Parameters) -> bool {
        match self {
            Self::All => *parameters == Parameters::All,
            Self::First => matches!(parameters.names().as_deref(), Some([name]) if FIRST.contains(name)),
            Self::Last => matches!(parameters.names().as_deref(), Some([LAST])),
        }
    }
}

impl RunRecord {
    /// The variants that more than the last layer was taken in, in their order.
    fn whole_variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for variant in self.whole.iter().map(WholeRow::variant) {
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        variants
    }

    /// The Hessian of some parameters at an epoch, by one of its statistics; a network without any
    /// has one for all.
    fn whole_row(&self, of: Of, variant: Variant, epoch: usize) -> Option<&WholeRow> {
        let rows = self.whole.iter().filter(|row| row.point.epoch == epoch && of.is(&row.point.parameters));
        let mut rows = rows.filter(|row| [variant, Variant::Plain].contains(&row.variant()));
        rows.next()
    }

    /// The trained epochs that were taken, and whether the last of them is the run's last.
    fn whole_epochs(&self) -> (Vec<usize>, bool) {
        let mut epochs: Vec<usize> = self.whole.iter().map(|row| row.point.epoch).collect();
        epochs.dedup();
        epochs.retain(|&epoch| epoch > 0);
        let is_last = self.last().map(|row| row.epoch) == epochs.last().copied();
        let is_last = is_last && !epochs.is_empty();
        (epochs, is_last)
    }
}

/// The epochs that a claim is judged at, and what makes one number of theirs: that of the last, and the
/// least of several.
fn over(run: &RunRecord, when: When, at: impl Fn(usize) -> Option<f64>) -> Option<f64> {
    let (epochs, is_last) = run.whole_epochs();
    match when {
        When::BeforeTraining => run.whole.iter().any(|row| row.point.epoch == 0).then(|| at(0)).flatten(),
        When::AtTheEnd => epochs.last().copied().filter(|_| is_last).and_then(at),
        When::AtEveryEpoch if epochs.len() > 1 => {
            let numbers: Option<Vec<f64>> = epochs.into_iter().map(at).collect();
            numbers?.into_iter().min_by(f64::total_cmp)
        }
        _ => None,
    }
}

/// What is judged: at the end, and at the worst of the epochs.
const WHENS: [When; 2] = [When::AtTheEnd, When::AtEveryEpoch];

fn by(variant: Variant) -> String {
    if variant == Variant::Plain { String::new() } else { format!(" ({variant} statistics)") }
}

/// Claims (9), (12) and (13) of an arm beside the reference.
pub(super) fn compared(pair: Pair<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let name = pair.arm.name;
    for variant in whole_variants(pair.arm) {
        let by = by(variant);
        for (claim, quantity) in [(12, Quantity::Lambda1), (13, Quantity::KappaPrime)] {
            let effect = |of: Of, reference: &RunRecord, arm: &RunRecord, epoch: usize| {
                let number = |run: &RunRecord| run.whole_row(of, variant, epoch)?.number(quantity);
                powers_of_ten(number(reference)?, number(arm)?)
            };
            for when in WHENS {
                let effects = pair.each(|reference, arm| {
                    over(arm, when, |epoch| {
                        let [all, last] = [Of::All, Of::Last].map(|of| effect(of, reference, arm, epoch));
                        Some(agreement(all?, last?))
                    })
                });
                let what = format!(
                    "the effect on {quantity} of all parameters of {name}{by} has the sign of that on W2's {when}"
                );
                verdicts.extend(verdict(9, name, what, "powers of ten, the smaller effect", effects));
            }
            // The running statistics start as those of no normalisation.
            let before = (variant != Variant::Running).then_some(When::BeforeTraining);
            for when in WHENS.into_iter().chain(before) {
                let effects = pair
                    .each(|reference, arm| over(arm, when, |epoch| effect(Of::All, reference, arm, epoch)));
                let what = format!("{quantity} of all parameters of {name}{by} is smaller {when}");
                let judged = verdict(claim, name, what, "powers of ten", effects);
                let control = when == When::BeforeTraining;
                verdicts.extend(judged.map(|verdict| Verdict { control, ..verdict }));
            }
        }
    }
    verdicts
}

/// The smaller of two effects in size, below zero if their signs differ.
fn agreement(a: f64, b: f64) -> f64 {
    let smaller = a.abs().min(b.abs());
    if a * b < 0.0 { -smaller } else { smaller }
}

/// The share of claim (9), and claims (10) and (11), of an arm.
pub(super) fn alone(arm: Arm<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let name = arm.name;
    for variant in whole_variants(arm) {
        let by = by(variant);
        for when in WHENS {
            let effects = |effect: &dyn Fn(&RunRecord, usize) -> Option<f64>| {
                arm.each(|run| over(run, when, |epoch| effect(run, epoch)))
            };
            let share = effects(&|run, epoch| {
                Some(run.whole_row(Of::All, variant, epoch)?.summary.leading_share(LAST)? - HALF)
            });
            let what = format!(
                "W2 has more than half of the leading eigenvector of all parameters of {name}{by} {when}"
            );
            verdicts.extend(verdict(9, name, what, "of the eigenvector, above a half", share));
            let blocks = effects(&|run, epoch| Some(TENTH - block_error(run, variant, epoch)?));
            let what = format!("the layers' blocks alone have lambda_1 of {name}{by} to a tenth {when}");
            verdicts.extend(verdict(10, name, what, "of lambda_1, below a tenth", blocks));
            let steep = effects(&|run, epoch| {
                let [first, last] = [Of::First, Of::Last]
                    .map(|of| run.whole_row(of, variant, epoch)?.number(Quantity::Lambda1));
                powers_of_ten(last?, first?)
            });
            let what = format!("lambda_1 of W1 of {name}{by} is below that of W2 {when}");
            verdicts.extend(verdict(11, name, what, "powers of ten", steep));
        }
    }
    verdicts
}

/// |lambda_1(blocks) - lambda_1| / lambda_1, where H has each single tensor that was taken alone as a
/// block, the first and the last weights among them. lambda_1 of a block is none above that of H
/// (Cauchy): what no block was taken of, a layer's bias say, can only make the error smaller.
fn block_error(run: &RunRecord, variant: Variant, epoch: usize) -> Option<f64> {
    let [all, first, last] = [Of::All, Of::First, Of::Last].map(|of| run.whole_row(of, variant, epoch));
    let whole = all?.number(Quantity::Lambda1).filter(|lambda| *lambda > 0.0)?;
    let (first, last) = (first?, last?);
    let blocks = run.whole.iter().filter(|row| {
        row.point.epoch == epoch && row.variant() == first.variant() && row.summary.tensors.len() == 1
    });
    let blocks = blocks.chain([last]).filter_map(|row| row.number(Quantity::Lambda1));
    Some((blocks.fold(f64::NEG_INFINITY, f64::max) - whole).abs() / whole)
}

fn whole_variants(arm: Arm<'_>) -> Vec<Variant> {
    let first = arm.seeds.first().and_then(|seed| seed.runs.get(arm.index));
    first.map(RunRecord::whole_variants).unwrap_or_default()
}
