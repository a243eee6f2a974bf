//! The numbers of the report's tables, as text. Both pages show the same.

mod points;
mod whole;

use kappa_run::{Estimate, Explanation, Quantity, Variant, Verdict, When, Word};

pub use self::points::short;
use self::points::{AtPoint, Influential, Singular, at_points, grid, influential, singularities};
use self::whole::{OfParameters, of_parameters};
use crate::{
    ReportError, paper,
    results::{Run, StudyResults},
};

/// All tables of the report.
pub struct Tables {
    /// Each claim with its word and what it is from.
    pub claims: Vec<Claim>,
    /// Table 1 beside the paper's.
    pub accuracies: Vec<Accuracy>,
    /// The root mean square of Table 1's differences in percentage points, and how many there
    /// are; none if no arm is the paper's, and then nothing of the paper's numbers is shown.
    pub distance: Option<(f64, String)>,
    /// What the arms' effects are made of.
    pub explanations: Vec<Explained>,
    /// The same in words, for the end of training.
    pub conclusions: Vec<String>,
    /// Every point of the study.
    pub points: Vec<AtPoint>,
    /// The most influential samples, where they carry anything worth telling.
    pub influences: Vec<Influential>,
    /// How singular, and why.
    pub singularities: Vec<Singular>,
    /// Hessians of more than the last layer.
    pub whole: Vec<OfParameters>,
    /// The grid.
    pub grid: Vec<[String; 4]>,
}

/// A claim of the paper.
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// What is claimed.
    pub text: String,
    /// The word on it at the chosen point, if there is one.
    pub word: &'static str,
    /// What it is judged of.
    pub verdicts: Vec<Judged>,
    /// What goes beyond the paper: other statistics, controls.
    pub controls: Vec<Judged>,
}

/// A verdict as text.
pub struct Judged {
    /// What is claimed.
    pub what: String,
    /// The mean effect with its unit.
    pub effect: String,
    /// Its 95 % interval.
    pub interval: String,
    /// "5 of 5".
    pub holding: String,
    /// "holds", "fails" or "mixed".
    pub word: &'static str,
}

/// A row of Table 1.
pub struct Accuracy {
    /// The arm.
    pub network: String,
    /// The split.
    pub split: &'static str,
    /// The paper's number, if the arm is one of the paper's.
    pub paper: Option<f64>,
    /// The mean over the seeds.
    pub mean: f64,
    /// The standard deviation over the seeds; none with one.
    pub deviation: Option<f64>,
    /// Mean minus the paper's.
    pub difference: Option<f64>,
    /// Each seed's.
    pub seeds: Vec<f64>,
}

/// An explanation as text.
pub struct Explained {
    /// "λ₁" or "κ′".
    pub quantity: &'static str,
    /// By which statistics, and of which arm if there are several.
    pub statistics: String,
    /// When.
    pub when: When,
    /// Whole, centring, scaling, rest, scaling alone.
    pub parts: [String; 5],
}

impl Tables {
    /// All tables.
    pub fn new(results: &StudyResults) -> Self {
        let accuracies = table_1(results);
        let differences: Vec<f64> = accuracies.iter().filter_map(|row| row.difference).collect();
        let squares: f64 = differences.iter().map(|difference| difference.powi(2)).sum();
        let count = differences.len();
        let distance = (count > 0).then(|| ((squares / count as f64).sqrt(), in_words(count)));
        let explanations = &results.chosen.findings.explanations;
        Self {
            claims: claims(results),
            distance,
            accuracies,
            explanations: explanations.iter().map(|explanation| explained(results, explanation)).collect(),
            conclusions: conclusions(results),
            points: at_points(results),
            influences: results.points().flat_map(|point| influential(results, point)).collect(),
            singularities: singularities(results),
            whole: of_parameters(results),
            grid: grid(results),
        }
    }

    /// Table 1 as CSV, each seed in a column of its own.
    pub fn table_1_csv(&self) -> Result<Vec<u8>, ReportError> {
        let write = || -> Result<Vec<u8>, csv::Error> {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            let beside = self.distance.is_some();
            let columns = ["network", "split", "paper", "mean", "deviation", "difference", "seeds .."];
            let of_paper = |column: &&str| matches!(*column, "paper" | "difference");
            writer.write_record(columns.iter().filter(|column| beside || !of_paper(column)))?;
            let optional = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
            for row in &self.accuracies {
                let mut record = vec![row.network.clone(), row.split.to_owned()];
                record.extend(beside.then(|| optional(row.paper)));
                record.extend([row.mean.to_string(), optional(row.deviation)]);
                record.extend(beside.then(|| optional(row.difference)));
                record.extend(row.seeds.iter().map(ToString::to_string));
                writer.write_record(record)?;
            }
            writer.into_inner().map_err(|error| error.into_error().into())
        };
        write().map_err(|error| ReportError::Page(error.to_string()))
    }
}

/// "six", of the differences that Table 1 has in a study of the paper's arms.
fn in_words(count: usize) -> String {
    match count {
        3 => "three".to_owned(),
        6 => "six".to_owned(),
        count => count.to_string(),
    }
}

fn claims(results: &StudyResults) -> Vec<Claim> {
    let findings = &results.chosen.findings;
    let other = results.arms.other();
    let of_whole = (!results.parameters().is_empty()).then(|| paper::claims_of_whole(other));
    let numbered = paper::claims(other).into_iter().chain(of_whole.into_iter().flatten()).zip(1..);
    numbered
        .map(|(text, number)| {
            let of_claim = || findings.verdicts.iter().filter(move |verdict| verdict.claim == number);
            Claim {
                number,
                text,
                word: findings.word(number).map_or("not judged", Word::as_str),
                verdicts: of_claim().filter(|verdict| !verdict.control).map(judged).collect(),
                controls: of_claim().filter(|verdict| verdict.control).map(judged).collect(),
            }
        })
        .collect()
}

/// The claim whose effect is 1 where an arm has as many outlying eigenvalues as is claimed, and
/// less by every one off. Those that it is off are what one can read.
const OUTLIERS: u8 = 7;

fn judged(verdict: &Verdict) -> Judged {
    let estimate = &verdict.estimate;
    let (effect, interval) = if verdict.claim == OUTLIERS {
        let off = |effect: f64| 1.0 - effect;
        let interval = estimate.interval.map(|[low, high]| [off(high), off(low)]);
        let mean = off(estimate.mean);
        let mean = if mean.fract() == 0.0 { format!("{mean:.0}") } else { format!("{mean:.1}") };
        (format!("{mean} eigenvalues off"), interval)
    } else {
        (format!("{} {}", signed(estimate.mean), verdict.unit), estimate.interval)
    };
    Judged {
        what: verdict.what.clone(),
        effect,
        interval: interval_of(interval),
        holding: format!("{} of {}", verdict.holding, estimate.effects.len()),
        word: verdict.word.as_str(),
    }
}

/// Three digits after the point, or none where there are none.
fn signed(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:+.0}") } else { format!("{value:+.3}") }
}

fn interval_of(interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([low, high]) => format!("{low:+.3} to {high:+.3}"),
        None => "one seed".to_owned(),
    }
}

fn table_1(results: &StudyResults) -> Vec<Accuracy> {
    let mut rows = Vec::new();
    for arm in results.arms.in_order() {
        let network = results.arms.name(arm);
        // Of an arm that is called as the paper's is and is another network it says nothing.
        let paper = results.chosen.runs(arm).next().and_then(|run| paper::table_1(&run.manifest));
        for (split, name) in ["train", "validation", "test"].into_iter().enumerate() {
            let last = |run: &Run| {
                let row = run.metrics.last()?;
                [row.train_accuracy, row.validation_accuracy, row.test_accuracy].get(split).copied()
            };
            let seeds: Vec<f64> =
                results.chosen.runs(arm).filter_map(last).map(|accuracy| 100.0 * accuracy).collect();
            let count = seeds.len() as f64;
            let mean = seeds.iter().sum::<f64>() / count;
            let squares: f64 = seeds.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
            let deviation = (seeds.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
            let paper = paper.map(|row| row.accuracies[split]);
            let difference = paper.map(|reported| mean - reported);
            let network = network.to_owned();
            rows.push(Accuracy { network, split: name, paper, mean, deviation, difference, seeds });
        }
    }
    rows
}

fn explained(results: &StudyResults, explanation: &Explanation) -> Explained {
    // Nothing is +0.00, and not -0.00.
    let hundredths = |value: f64| format!("{:+.2}", if value.abs() < 0.005 { 0.0 } else { value });
    let part = |estimate: &Estimate| match estimate.interval {
        Some([low, high]) => {
            format!("{} ({} to {})", hundredths(estimate.mean), hundredths(low), hundredths(high))
        }
        None => hundredths(estimate.mean),
    };
    let statistics = explanation.statistics.to_string();
    Explained {
        quantity: symbol(explanation.quantity),
        statistics: match results.arms.others().count() {
            1 => statistics,
            _ => format!("{}, {statistics}", explanation.arm),
        },
        when: explanation.when,
        parts: [
            &explanation.whole,
            &explanation.centring,
            &explanation.scaling,
            &explanation.rest,
            &explanation.scaling_alone,
        ]
        .map(part),
    }
}

/// An explanation as factors: the whole is the product of its parts.
fn conclusions(results: &StudyResults) -> Vec<String> {
    let (arms, findings) = (&results.arms, &results.chosen.findings);
    let explained = findings.explanations.iter().filter_map(|found| conclusion(arms.reference(), found));
    let folded = findings.verdicts.iter().filter_map(|verdict| {
        let compared = verdict.spectral?;
        let whose = match arms.others().count() {
            1 => String::new(),
            _ => format!(" of {}", verdict.arm),
        };
        (compared.variant == Variant::Folded && compared.when == When::AtTheEnd).then(|| {
            format!(
                "Conditioning or only units? With batch norm folded into the next layer, which is the same function of \
                 the images with features of {reference}'s own kind, {}{whose} at the end is {:.2} of {reference}'s.",
                symbol(compared.quantity),
                10f64.powf(-verdict.estimate.mean),
                reference = arms.reference(),
            )
        })
    });
    explained.chain(folded).collect()
}

fn conclusion(reference: &str, explanation: &Explanation) -> Option<String> {
    if explanation.when != When::AtTheEnd {
        return None;
    }
    let factor = |estimate: &Estimate| format!("{:.2}", 10f64.powf(-estimate.mean));
    let by = match explanation.statistics {
        Variant::Plain => String::new(),
        statistics => format!(" ({statistics} statistics)"),
    };
    Some(format!(
        "At the end {} of {}{by} is {} of {reference}'s: {} for centring {reference}'s features, times {} for scaling \
         them to variance one, times {} for what is left (geometric means over the seeds). Scaling to unit mean square \
         without centring would make it {}.",
        symbol(explanation.quantity),
        explanation.arm,
        factor(&explanation.whole),
        factor(&explanation.centring),
        factor(&explanation.scaling),
        factor(&explanation.rest),
        factor(&explanation.scaling_alone),
    ))
}

fn symbol(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Lambda1 => "λ₁",
        Quantity::KappaPrime => "κ′",
    }
}
