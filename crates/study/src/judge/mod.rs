//! From paired runs to verdicts.
//!
//! ```text
//! training     (1) accuracy, (2) epochs and seconds to an accuracy, (3) seconds an epoch
//! spectrum     (4) lambda_1, (5) kappa'
//! shape        (6) singularity, (7) outliers, (8) growth with the width
//! explain      what the effects on lambda_1 and kappa' are made of
//! ```

mod explain;
mod shape;
mod spectrum;
mod training;

#[cfg(test)]
mod tests;

use kappa_run::{EpochMetrics, Explanation, SpectraRow, Verdict};

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

impl RunRecord {
    fn last(&self) -> Option<&EpochMetrics> {
        self.metrics.last()
    }

    /// The spectra of `variant`, epoch by epoch.
    fn spectra_of(&self, variant: &str) -> impl Iterator<Item = &SpectraRow> {
        self.spectra.iter().filter(move |row| row.variant == variant)
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

    /// The last spectrum of the network as it is: of its first variant.
    fn last_spectrum(&self) -> Option<&SpectraRow> {
        self.spectra_of(&self.spectra.first()?.variant).last()
    }
}

/// Judges every claim at one point. `widths` are pairs of growing width, and
/// `accuracies` fractions of the validation split.
pub fn judge(pairs: &[Pair], widths: &[Pair], accuracies: &[f64], classes: usize) -> Vec<Verdict> {
    let mut verdicts = training::accuracy(pairs);
    verdicts.extend(accuracies.iter().flat_map(|&accuracy| training::speed(pairs, accuracy)));
    verdicts.extend(training::epoch_time(pairs));
    for variant in statistics(pairs) {
        verdicts.extend(spectrum::eigenvalues(pairs, &variant));
    }
    verdicts.extend(shape::singularity(pairs));
    verdicts.extend(shape::outliers(pairs, classes));
    verdicts.extend(shape::growth(widths));
    verdicts.sort_by_key(|verdict| verdict.claim);
    verdicts
}

/// What batch norm's effects on the spectrum are made of, for each of its statistics.
pub fn explain(pairs: &[Pair]) -> Vec<Explanation> {
    let statistics = statistics(pairs).into_iter().filter(|variant| variant != spectrum::FOLDED);
    statistics
        .collect::<Vec<_>>()
        .iter()
        .flat_map(|statistics| explain::explanations(pairs, statistics))
        .collect()
}

/// By which statistics FC+BN was probed.
fn statistics(pairs: &[Pair]) -> Vec<String> {
    pairs.first().map(|pair| pair.bn.variants()).unwrap_or_default()
}

/// An effect for each pair, if each has one.
fn each(pairs: &[Pair], effect: impl Fn(&Pair) -> Option<f64>) -> Vec<f64> {
    pairs.iter().map(effect).collect::<Option<_>>().unwrap_or_default()
}

/// Both networks, by name.
type Network = fn(&Pair) -> &RunRecord;
const NETWORKS: [(&str, Network); 2] = [("FC", |pair| &pair.fc), ("FC+BN", |pair| &pair.bn)];

/// The numbers of a spectrum that claims are about: claim, name, value.
type Number = fn(&SpectraRow) -> Option<f64>;
const NUMBERS: [(u8, &str, Number); 2] =
    [(4, "lambda_1", |row| row.lambda(1)), (5, "kappa'", SpectraRow::kappa_prime)];

/// log10 of a number over another, if both are above zero.
fn powers_of_ten(before: f64, after: f64) -> Option<f64> {
    (before > 0.0 && after > 0.0).then(|| (before / after).log10())
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
