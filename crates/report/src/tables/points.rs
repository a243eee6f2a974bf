//! What was found at each point of the study, and in which runs.

use kappa_run::{
    Comparison, GridPoint, NetworkConfig, Quantity, SpectraRow, Variant, When, Word, kappa_prime,
};

use crate::{
    band::Band,
    results::{Point, Run, StudyResults},
};

/// An arm beside the reference at one point of the study, in one line.
pub struct AtPoint {
    /// The point's name, and the arm's if there are several.
    pub point: String,
    /// The words on claims 1 to 5.
    pub words: [&'static str; 5],
    /// Test accuracy of each arm, the reference first, in %.
    pub accuracy: Vec<String>,
    /// For the reference and each statistics of the arm: name, lambda_1, whether it is smaller
    /// than the reference's, kappa', whether it is, and kappa' with L2's shift.
    pub spectra: Vec<[String; 6]>,
    /// Why there is nothing, if there is nothing.
    pub diverged: Option<String>,
}

/// The most influential sample of one arm at one point.
pub struct Influential {
    /// The point.
    pub point: String,
    /// The arm and its statistics.
    pub network: String,
    /// The largest share of lambda_1 that one sample carries, over the seeds.
    pub share: String,
    /// The sample with that share, and the run.
    pub sample: String,
    /// lambda_1 and kappa' with it and without.
    pub with_and_without: [String; 4],
}

/// Where an arm's zeros come from.
pub struct Singular {
    /// The arm.
    pub network: String,
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
pub(super) fn banded(band: Option<Band>) -> String {
    match band {
        Some(band) if band.low == band.high => short(band.median),
        Some(band) => format!("{} ({} to {})", short(band.median), short(band.low), short(band.high)),
        None => "–".to_owned(),
    }
}

/// Three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).max(0) as usize),
    }
}

/// A line for each point and each arm but the reference.
pub(super) fn at_points(results: &StudyResults) -> Vec<AtPoint> {
    let points = std::iter::once(&results.chosen).chain(&results.sweep);
    points.flat_map(|point| results.arms.others().map(|arm| at_point(results, point, arm))).collect()
}

fn at_point(results: &StudyResults, point: &Point, arm: usize) -> AtPoint {
    let (arms, findings) = (&results.arms, &point.findings);
    let several = arms.others().count() > 1;
    let word = |claim| findings.word_of(claim, arms.name(arm)).map_or("–", Word::as_str);
    let accuracy = |arm| {
        let last = |run: &Run| Some(100.0 * run.metrics.last()?.test_accuracy);
        banded(Band::of(point.runs(arm).filter_map(last)))
    };
    let shift = 2.0 * findings.l2;
    let mut spectra = Vec::new();
    // The reference once, before the first of the others.
    if arms.others().next() == Some(arm) {
        spectra.extend(point.as_it_is(arms.reference).map(|variant| {
            numbers(point, arms.reference, variant, shift, label(arms.reference(), variant), |_| "–")
        }));
    }
    for variant in point.judged(arm) {
        let smaller = |quantity: Quantity| {
            let same = point.variants(arms.reference).into_iter().find(|&of| of == variant);
            let reference = same.or_else(|| point.as_it_is(arms.reference))?;
            let comparison = Comparison { quantity, variant, reference, when: When::AtTheEnd };
            Some(findings.spectral(arms.name(arm), comparison)?.word.as_str())
        };
        let label = label(arms.name(arm), variant);
        spectra.push(numbers(point, arm, variant, shift, label, |quantity| smaller(quantity).unwrap_or("–")));
    }
    let label =
        format!("{}: learning rate {:e}, L2 {:e}", findings.point, findings.learning_rate, findings.l2);
    AtPoint {
        point: if several { format!("{label}, {}", arms.name(arm)) } else { label },
        words: [1, 2, 3, 4, 5].map(word),
        accuracy: arms.in_order().map(accuracy).collect(),
        spectra,
        diverged: findings.diverged.clone(),
    }
}

/// "FC", "FC+BN, running"
pub(super) fn label(name: &str, variant: Variant) -> String {
    if variant == Variant::Plain { name.to_owned() } else { format!("{name}, {variant}") }
}

fn numbers(
    point: &Point,
    arm: usize,
    variant: Variant,
    shift: f64,
    label: String,
    smaller: impl Fn(Quantity) -> &'static str,
) -> [String; 6] {
    let number = |number: &dyn Fn(&SpectraRow) -> Option<f64>| banded(point.last(arm, variant, number));
    [
        label,
        number(&|row| row.lambda(1)),
        smaller(Quantity::Lambda1).to_owned(),
        number(&|row| row.kappa_prime()),
        smaller(Quantity::KappaPrime).to_owned(),
        if shift > 0.0 {
            number(&|row| Some((row.lambda(1)? + shift) / (row.lambda(10)? + shift)))
        } else {
            "–".to_owned()
        },
    ]
}

/// For each arm and statistics the seed in which one sample carries the most.
pub(super) fn influential(results: &StudyResults, point: &Point) -> Vec<Influential> {
    let mut rows = Vec::new();
    for arm in results.arms.in_order() {
        for variant in point.variants(arm) {
            let last = |run| Some((run, Run::last_spectrum(run, variant)?));
            let most = point
                .runs(arm)
                .filter_map(last)
                .filter_map(|(run, row)| Some((run, row, row.influence.as_ref()?)))
                .max_by(|(_, _, a), (_, _, b)| a.share.total_cmp(&b.share));
            let Some((run, row, influence)) = most else { continue };
            let optional = |number: Option<f64>| number.map_or("–".to_owned(), short);
            let without = influence.top_without.as_deref().unwrap_or_default();
            rows.push(Influential {
                point: point.findings.point.replace('_', " "),
                network: label(results.arms.name(arm), variant),
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

pub(super) fn singularities(results: &StudyResults) -> Vec<Singular> {
    let others = results.widths.iter().filter(|seed| {
        let chosen = &results.chosen.seeds;
        !chosen.iter().any(|chosen| chosen.hidden == seed.hidden && chosen.seed == seed.seed)
    });
    let mut rows = Vec::new();
    for seed in results.chosen.seeds.iter().chain(others) {
        for arm in results.arms.in_order() {
            let Some(run) = seed.runs.get(arm) else { continue };
            let Some(row) = run.variants().first().and_then(|&variant| run.last_spectrum(variant)) else {
                continue;
            };
            let classes = run.manifest.classes;
            let Some(zeros) = row.zeros() else { continue };
            let softmax = run.hidden();
            let from_silent = (classes - 1) * lost(&run.manifest.config.network, row.silent);
            rows.push(Singular {
                network: results.arms.name(arm).to_owned(),
                hidden: run.hidden(),
                seed: seed.seed,
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

/// How many features are lost to units that never fire; each takes K - 1 dimensions with it. Such
/// a unit is a zero feature where the ReLU comes last. Where batch norm stands behind the ReLU it
/// is the constant beta, so that d of them are one feature and not d.
fn lost(network: &NetworkConfig, silent: usize) -> usize {
    if network.normalisation.stands_behind_relu() { silent.saturating_sub(1) } else { silent }
}

pub(super) fn grid(results: &StudyResults) -> Vec<[String; 4]> {
    let row = |point: &GridPoint| {
        let accuracy = point.validation_accuracy;
        [
            format!("{:e}", point.learning_rate),
            format!("{:e}", point.l2),
            accuracy.map_or("diverged".to_owned(), |accuracy| format!("{:.2} %", 100.0 * accuracy)),
            point.run.clone(),
        ]
    };
    results.findings.grid.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use kappa_run::Config;

    use super::lost;

    #[test]
    fn silent_units_are_one_constant_behind_the_relu_and_zeros_each_before_it() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fc-bn-paper.toml");
        let lost = |setting: &str, silent: usize| {
            let config = Config::load(&path, &[format!("network.normalisation.{setting}")]).unwrap();
            lost(&config.network, silent)
        };
        assert_eq!([0, 1, 3].map(|silent| lost("place=after", silent)), [0, 0, 2]);
        assert_eq!([0, 1, 3].map(|silent| lost("place=before", silent)), [0, 1, 3]);
        assert_eq!([0, 1, 3].map(|silent| lost("kind=none", silent)), [0, 1, 3]);
    }
}
