//! The numbers of the report's tables, as text. Both pages show the same.

mod points;

use kappa_run::{Estimate, Explanation, Verdict, Word};

use self::points::{AtPoint, Influential, Singular, at_point, grid, influential, singularities};
use crate::{
    ReportError,
    evidence::{Evidence, Point, Run},
    paper,
};

/// All tables of the report.
pub struct Tables {
    /// Each claim with its word and what it is from.
    pub claims: Vec<Claim>,
    /// Table 1 beside the paper's.
    pub accuracies: Vec<Accuracy>,
    /// The root mean square of Table 1's six differences, in percentage points.
    pub distance: f64,
    /// What batch norm's effects are made of.
    pub explanations: Vec<Explained>,
    /// The same in words, for the end of training.
    pub conclusions: Vec<String>,
    /// Every point of the study.
    pub points: Vec<AtPoint>,
    /// The most influential samples, where they carry anything worth telling.
    pub influences: Vec<Influential>,
    /// How singular, and why.
    pub singularities: Vec<Singular>,
    /// The grid.
    pub grid: Vec<[String; 4]>,
}

/// A claim of the paper.
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// What is claimed.
    pub text: &'static str,
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
    /// The network.
    pub network: &'static str,
    /// The split.
    pub split: &'static str,
    /// The paper's number.
    pub paper: f64,
    /// The mean over the seeds.
    pub mean: f64,
    /// The standard deviation over the seeds; none with one.
    pub deviation: Option<f64>,
    /// Mean minus the paper's.
    pub difference: f64,
    /// Each seed's.
    pub seeds: Vec<f64>,
}

/// An explanation as text.
pub struct Explained {
    /// "λ₁" or "κ′".
    pub quantity: &'static str,
    /// By which statistics.
    pub statistics: String,
    /// When.
    pub when: String,
    /// Whole, centring, scaling, rest, scaling alone.
    pub parts: [String; 5],
}

impl Tables {
    /// All tables.
    pub fn new(evidence: &Evidence) -> Self {
        let accuracies = table_1(&evidence.chosen);
        let squares: f64 = accuracies.iter().map(|row| row.difference.powi(2)).sum();
        let distance = (squares / accuracies.len().max(1) as f64).sqrt();
        Self {
            claims: claims(&evidence.chosen),
            distance,
            accuracies,
            explanations: evidence.chosen.findings.explanations.iter().map(explained).collect(),
            conclusions: conclusions(&evidence.chosen),
            points: std::iter::once(&evidence.chosen).chain(&evidence.sweep).map(at_point).collect(),
            influences: evidence.points().flat_map(influential).collect(),
            singularities: singularities(evidence),
            grid: grid(evidence),
        }
    }

    /// Table 1 as CSV, each seed in a column of its own.
    pub fn table_1_csv(&self) -> Result<Vec<u8>, ReportError> {
        let write = || -> Result<Vec<u8>, csv::Error> {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            writer.write_record([
                "network",
                "split",
                "paper",
                "mean",
                "deviation",
                "difference",
                "seeds ..",
            ])?;
            for row in &self.accuracies {
                let deviation = row.deviation.map(|deviation| deviation.to_string()).unwrap_or_default();
                let mut record = vec![row.network.to_owned(), row.split.to_owned()];
                record.extend([
                    row.paper.to_string(),
                    row.mean.to_string(),
                    deviation,
                    row.difference.to_string(),
                ]);
                record.extend(row.seeds.iter().map(ToString::to_string));
                writer.write_record(record)?;
            }
            writer.into_inner().map_err(|error| error.into_error().into())
        };
        write().map_err(|error| ReportError::Page(error.to_string()))
    }
}

fn claims(chosen: &Point) -> Vec<Claim> {
    let numbered = paper::CLAIMS.iter().zip(1..);
    numbered
        .map(|(text, number)| {
            let of_claim = || chosen.findings.verdicts.iter().filter(move |verdict| verdict.claim == number);
            Claim {
                number,
                text,
                word: chosen.findings.word(number).map_or("not judged", Word::as_str),
                verdicts: of_claim().filter(|verdict| !verdict.control).map(judged).collect(),
                controls: of_claim().filter(|verdict| verdict.control).map(judged).collect(),
            }
        })
        .collect()
}

fn judged(verdict: &Verdict) -> Judged {
    let estimate = &verdict.estimate;
    Judged {
        what: verdict.what.clone(),
        effect: format!("{} {}", signed(estimate.mean), verdict.unit),
        interval: interval(estimate),
        holding: format!("{} of {}", verdict.holding, estimate.effects.len()),
        word: verdict.word.as_str(),
    }
}

/// Three digits after the point, or none where there are none.
fn signed(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:+.0}") } else { format!("{value:+.3}") }
}

fn interval(estimate: &Estimate) -> String {
    match estimate.interval {
        Some([low, high]) => format!("{low:+.3} to {high:+.3}"),
        None => "one seed".to_owned(),
    }
}

fn table_1(chosen: &Point) -> Vec<Accuracy> {
    let mut rows = Vec::new();
    for (network, paper) in paper::TABLE_1.iter().enumerate() {
        for (split, (name, &reported)) in
            ["train", "validation", "test"].into_iter().zip(&paper.accuracies).enumerate()
        {
            let last = |run: &Run| {
                let row = run.metrics.last()?;
                [row.train_accuracy, row.validation_accuracy, row.test_accuracy].get(split).copied()
            };
            let seeds: Vec<f64> =
                chosen.runs(network).filter_map(last).map(|accuracy| 100.0 * accuracy).collect();
            let count = seeds.len() as f64;
            let mean = seeds.iter().sum::<f64>() / count;
            let squares: f64 = seeds.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
            let deviation = (seeds.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
            let (network, difference) = (paper.network, mean - reported);
            rows.push(Accuracy { network, split: name, paper: reported, mean, deviation, difference, seeds });
        }
    }
    rows
}

fn explained(explanation: &Explanation) -> Explained {
    // Nothing is +0.00, and not -0.00.
    let hundredths = |value: f64| format!("{:+.2}", if value.abs() < 0.005 { 0.0 } else { value });
    let part = |estimate: &Estimate| match estimate.interval {
        Some([low, high]) => {
            format!("{} ({} to {})", hundredths(estimate.mean), hundredths(low), hundredths(high))
        }
        None => hundredths(estimate.mean),
    };
    Explained {
        quantity: quantity(explanation),
        statistics: explanation.statistics.clone(),
        when: explanation.when.clone(),
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
fn conclusions(chosen: &Point) -> Vec<String> {
    let findings = &chosen.findings;
    let explained = findings.explanations.iter().filter_map(conclusion);
    let folded = [("lambda_1", "λ₁"), ("kappa'", "κ′")].into_iter().filter_map(|(name, symbol)| {
        let what = format!("{name} of FC+BN (folded) is smaller at the end");
        let verdict = findings.verdicts.iter().find(|verdict| verdict.what == what)?;
        Some(format!(
            "Conditioning or only units? With batch norm folded into the next layer, which is the same function of the \
             images with features of FC's own kind, {symbol} at the end is {:.2} of FC's.",
            10f64.powf(-verdict.estimate.mean)
        ))
    });
    explained.chain(folded).collect()
}

fn conclusion(explanation: &Explanation) -> Option<String> {
    if explanation.when != "at the end" {
        return None;
    }
    let factor = |estimate: &Estimate| format!("{:.2}", 10f64.powf(-estimate.mean));
    Some(format!(
        "At the end {} of FC+BN ({} statistics) is {} of FC's: {} for centring FC's features, times {} for scaling \
         them to variance one, times {} for what is left (geometric means over the seeds). Scaling to unit mean square \
         without centring would make it {}.",
        quantity(explanation),
        explanation.statistics,
        factor(&explanation.whole),
        factor(&explanation.centring),
        factor(&explanation.scaling),
        factor(&explanation.rest),
        factor(&explanation.scaling_alone),
    ))
}

fn quantity(explanation: &Explanation) -> &'static str {
    if explanation.quantity == "lambda_1" { "λ₁" } else { "κ′" }
}
