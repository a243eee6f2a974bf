//! What was found at each point of the study, and in which runs.

use kappa_run::{GridPoint, SpectraRow, Word, kappa_prime};

use crate::{
    band::Band,
    evidence::{Evidence, Point, Run},
    figures::NETWORKS,
};

/// A point of the study in one line.
pub struct AtPoint {
    /// Its name.
    pub point: String,
    /// The words on claims 1 to 5.
    pub words: [&'static str; 5],
    /// Test accuracy of FC and FC+BN, in %.
    pub accuracy: [String; 2],
    /// For FC and each statistics of FC+BN: name, lambda_1, whether it is smaller than
    /// FC's, kappa', whether it is, and kappa' with L2's shift.
    pub spectra: Vec<[String; 6]>,
    /// Why there is nothing, if there is nothing.
    pub diverged: Option<String>,
}

/// The most influential sample of one network at one point.
pub struct Influential {
    /// The point.
    pub point: String,
    /// The network and its statistics.
    pub network: String,
    /// The largest share of lambda_1 that one sample carries, over the seeds.
    pub share: String,
    /// The sample with that share, and the run.
    pub sample: String,
    /// lambda_1 and kappa' with it and without.
    pub with_and_without: [String; 4],
}

/// Where a network's zeros come from.
pub struct Singular {
    /// The network.
    pub network: &'static str,
    /// Hidden units.
    pub hidden: usize,
    /// The seed.
    pub seed: u64,
    /// Eigenvalues.
    pub size: usize,
    /// Zeros up to rounding.
    pub zeros: usize,
    /// Of them, since softmax ignores a shift: one for each feature.
    pub softmax: usize,
    /// Units that never fire.
    pub silent: usize,
    /// Of the zeros, from units that never fire.
    pub from_silent: usize,
    /// The rest: directions that no sample's features or probabilities reach above rounding.
    pub others: i64,
}

/// "4.12 (3.9 to 4.4)".
fn banded(band: Option<Band>) -> String {
    match band {
        Some(band) if band.low == band.high => short(band.median),
        Some(band) => format!("{} ({} to {})", short(band.median), short(band.low), short(band.high)),
        None => "–".to_owned(),
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).max(0) as usize),
    }
}

pub(super) fn at_point(point: &Point) -> AtPoint {
    let findings = &point.findings;
    let word = |claim| findings.word(claim).map_or("–", Word::as_str);
    let accuracy = |network| {
        let last = |run: &Run| Some(100.0 * run.metrics.last()?.test_accuracy);
        banded(Band::of(point.runs(network).filter_map(last)))
    };
    let mut spectra = Vec::new();
    for (network, name) in NETWORKS.into_iter().enumerate() {
        for variant in
            point.variants(network).into_iter().filter(|variant| network == 1 || *variant == "plain")
        {
            let shift = 2.0 * findings.l2;
            let number =
                |number: &dyn Fn(&SpectraRow) -> Option<f64>| banded(point.last(network, variant, number));
            let smaller = |name: &str| {
                let by =
                    if variant == "folded" { "folded".to_owned() } else { format!("{variant} statistics") };
                let what = format!("{name} of FC+BN ({by}) is smaller at the end");
                let verdict = findings.verdicts.iter().find(|verdict| network == 1 && verdict.what == what);
                verdict.map_or("–", |verdict| verdict.word.as_str()).to_owned()
            };
            spectra.push([
                if network == 0 { name.to_owned() } else { format!("{name}, {variant}") },
                number(&|row| row.lambda(1)),
                smaller("lambda_1"),
                number(&|row| row.kappa_prime()),
                smaller("kappa'"),
                if shift > 0.0 {
                    number(&|row| Some((row.lambda(1)? + shift) / (row.lambda(10)? + shift)))
                } else {
                    "–".to_owned()
                },
            ]);
        }
    }
    AtPoint {
        point: format!(
            "{}: learning rate {:e}, L2 {:e}",
            findings.point, findings.learning_rate, findings.l2
        ),
        words: [1, 2, 3, 4, 5].map(word),
        accuracy: [0, 1].map(accuracy),
        spectra,
        diverged: findings.diverged.clone(),
    }
}

/// For each network and statistics the seed in which one sample carries the most.
pub(super) fn influential(point: &Point) -> Vec<Influential> {
    let mut rows = Vec::new();
    for (network, name) in NETWORKS.into_iter().enumerate() {
        for variant in point.variants(network) {
            let last = |run| Some((run, Run::last_spectrum(run, variant)?));
            let most = point
                .runs(network)
                .filter_map(last)
                .filter_map(|(run, row)| Some((run, row, row.influence.as_ref()?)))
                .max_by(|(_, _, a), (_, _, b)| a.share.total_cmp(&b.share));
            let Some((run, row, influence)) = most else { continue };
            let optional = |number: Option<f64>| number.map_or("–".to_owned(), short);
            let without = influence.top_without.as_deref().unwrap_or_default();
            rows.push(Influential {
                point: point.findings.point.replace('_', " "),
                network: if network == 0 { name.to_owned() } else { format!("{name}, {variant}") },
                share: format!("{:.2} %", 100.0 * influence.share),
                sample: format!("{} in {}", influence.sample, run.name),
                with_and_without: [
                    optional(row.lambda(1)),
                    optional(without.first().copied()),
                    optional(row.kappa_prime()),
                    optional(kappa_prime(without)),
                ],
            });
        }
    }
    rows
}

pub(super) fn singularities(evidence: &Evidence) -> Vec<Singular> {
    let others = evidence.widths.iter().filter(|pair| {
        !evidence.chosen.pairs.iter().any(|chosen| chosen.hidden == pair.hidden && chosen.seed == pair.seed)
    });
    let mut rows = Vec::new();
    for pair in evidence.chosen.pairs.iter().chain(others) {
        for (network, run) in pair.runs.iter().enumerate() {
            let Some(row) = run.variants().first().and_then(|variant| run.last_spectrum(variant)) else {
                continue;
            };
            let classes = run.manifest.classes;
            let (zeros, softmax) = (row.size - row.rank, pair.hidden);
            // A unit that never fires is a zero feature, and takes K - 1 dimensions with it; under
            // batch norm it is the constant beta, so that d of them are one feature and not d.
            let lost = if network == 0 { row.silent } else { row.silent.saturating_sub(1) };
            let from_silent = (classes - 1) * lost;
            rows.push(Singular {
                network: NETWORKS[network],
                hidden: pair.hidden,
                seed: pair.seed,
                size: row.size,
                zeros,
                softmax,
                silent: row.silent,
                from_silent,
                others: zeros as i64 - softmax as i64 - from_silent as i64,
            });
        }
    }
    rows
}

pub(super) fn grid(evidence: &Evidence) -> Vec<[String; 4]> {
    let row = |point: &GridPoint| {
        let accuracy = point.validation_accuracy;
        [
            format!("{:e}", point.learning_rate),
            format!("{:e}", point.l2),
            accuracy.map_or("diverged".to_owned(), |accuracy| format!("{:.2} %", 100.0 * accuracy)),
            point.run.clone(),
        ]
    };
    evidence.findings.grid.iter().map(row).collect()
}
