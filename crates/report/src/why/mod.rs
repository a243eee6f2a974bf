//! The report of a `kappa why`: report.md and report.html, of the same tables and figures.

mod tables;
mod view;

use std::path::PathBuf;

use askama::Template;
use kappa_run::{
    Checksums, Estimate, Measure, Ordering, RunError, Speeds, Tau, WhyConfig, WhyDir, WhyFindings,
};

use self::{
    tables::{Table, tables},
    view::WhyView,
};
use crate::{
    ReportError,
    band::Band,
    figures::{Figure, MeasurePanel, arms_by_measure, rates},
};

/// A `kappa why` as its report has it.
struct Results {
    config: WhyConfig,
    findings: WhyFindings,
    /// What was done again, and what came out: each with its name.
    again: Vec<(String, WhyConfig, WhyFindings)>,
}

impl Results {
    fn read(why: &WhyDir) -> Result<Self, RunError> {
        let config = why.config()?;
        let mut again = Vec::new();
        for set in &config.again {
            // What was left out, since its data are not here, or is not done yet.
            let Ok(directory) = WhyDir::open(&why.again().join(set.slug())) else { continue };
            let Ok(findings) = directory.findings() else { continue };
            again.push((set.name.clone(), directory.config()?, findings));
        }
        Ok(Self { findings: why.findings()?, config, again })
    }

    /// The loss to which steps are counted.
    fn last(&self) -> f64 {
        last(&self.config)
    }
}

fn last(config: &WhyConfig) -> f64 {
    config.losses.last().copied().unwrap_or(f64::NAN)
}

/// Writes `report.md`, `report.html` and their figures into the directory of a `kappa why`, and returns the page.
///
/// # Errors
///
/// [`ReportError`].
pub fn write_why_report(why: &WhyDir) -> Result<PathBuf, ReportError> {
    let results = Results::read(why)?;
    let folder = why.report();
    let drawn = folder.join("figures");
    std::fs::create_dir_all(&drawn).map_err(|source| RunError::Write { path: drawn, source })?;
    let figures = figures(&results)?;
    let mut files = Checksums::default();
    for figure in &figures {
        for (extension, bytes) in figure.files() {
            files.write_file(&folder, &format!("figures/{}.{extension}", figure.name), bytes)?;
        }
    }
    let tables = tables(&results);
    let view = WhyView::new(&results);
    let failed = |error: &dyn std::fmt::Display| ReportError::Page(error.to_string());
    let name = &results.config.name;
    let how = how(&results);
    let page = Markdown { name, how: &how, tables: &tables, figures: &figures };
    let page = page.render().map_err(|error| failed(&error))?;
    files.write_file(&folder, "report.md", page.as_bytes())?;
    let page = Html {
        name,
        how: &how,
        tables: &tables,
        figures: &figures,
        style: include_str!("../../templates/page.css"),
        script: concat!(include_str!("../../templates/draw.js"), include_str!("../../templates/why.js")),
        measures: view.measures.iter().map(|measure| measure.label.clone()).collect(),
        steps: view.steps.iter().map(|steps| steps.label.clone()).collect(),
        // In a script element a `<` could end it.
        view: serde_json::to_string(&view).map_err(|error| failed(&error))?.replace('<', "\\u003c"),
    };
    let page = page.render().map_err(|error| failed(&error))?;
    files.write_file(&folder, "report.html", page.as_bytes())?;
    files.write(&folder)?;
    Ok(folder.join("report.html"))
}

#[derive(Template)]
#[template(path = "why.md", escape = "none")]
struct Markdown<'a> {
    name: &'a str,
    how: &'a str,
    tables: &'a [Table],
    figures: &'a [Figure],
}

#[derive(Template)]
#[template(path = "why.html")]
struct Html<'a> {
    name: &'a str,
    how: &'a str,
    tables: &'a [Table],
    figures: &'a [Figure],
    style: &'static str,
    script: &'static str,
    /// What the view's axes can be.
    measures: Vec<String>,
    steps: Vec<String>,
    view: String,
}

/// What was done, in two sentences.
fn how(results: &Results) -> String {
    let (config, findings) = (&results.config, &results.findings);
    let training = &config.recipe.training;
    let batch = match training.batch_size {
        kappa_run::BatchSize::Full => format!("the full batch of {} images", config.recipe.data.train),
        kappa_run::BatchSize::Samples(size) => {
            format!("mini-batches of {size} of {} images", config.recipe.data.train)
        }
    };
    let optimizer = match training.optimizer {
        kappa_run::Optimizer::Adam(_) => "Adam",
        kappa_run::Optimizer::Descent(_) => "gradient descent",
    };
    format!(
        "{} arms and {} interventions, {} seeds, {batch}. Steps are those of {optimizer} to a training loss of {} \
         nats, between two steps by the logarithm; numbers are geometric means over the seeds, a dash where one of \
         them does not get there in {} steps.",
        findings.arms.len(),
        findings.interventions.len(),
        config.seeds,
        results.last(),
        config.steps
    )
}

/// Steps to the last loss at the matched rate, by seed.
fn at_matched(of: &Speeds) -> Vec<Option<f64>> {
    of.matched.iter().map(|losses| losses.last().copied().flatten()).collect()
}

fn figures(results: &Results) -> Result<Vec<Figure>, ReportError> {
    let (config, findings) = (&results.config, &results.findings);
    let speeds = |steps: &dyn Fn(&Speeds) -> Vec<Option<f64>>| -> Vec<(String, Vec<Option<f64>>)> {
        findings.arms.iter().map(|arm| (arm.variant.clone(), steps(arm))).collect()
    };
    let last = results.last();
    let panel = |order: &Ordering, rate: &str, speeds| MeasurePanel {
        measure: order.measure.label().to_owned(),
        steps: format!("steps to a loss of {last}, at {rate}"),
        values: order.values.clone(),
        speeds,
    };
    let paper = findings.orders.iter().find(|order| order.measure == Measure::KappaPrimeOfOutput);
    let orders_best =
        findings.orders.iter().max_by(|a, b| a.at_best.tau.abs().total_cmp(&b.at_best.tau.abs()));
    let panels: Vec<MeasurePanel> = paper
        .map(|order| panel(order, &format!("{}", config.rates.matched), speeds(&at_matched)))
        .into_iter()
        .chain(orders_best.map(|order| panel(order, "the best rate", speeds(&|of| of.best.clone()))))
        .collect();
    let windows: Vec<(&str, Option<Band>, Option<Band>)> = findings
        .arms
        .iter()
        .map(|arm| {
            let band = |rates: &[Option<f64>]| Band::of(rates.iter().copied().flatten());
            (arm.variant.as_str(), band(&arm.best_rate), band(&arm.stable_rate))
        })
        .collect();
    Ok(vec![
        arms_by_measure(
            1,
            &format!(
                "Steps to a training loss of {last}, by what is measured at equal losses: a mark for each arm and \
                 seed. On the left what the paper holds to be the cause, at a learning rate of {}; on the right the \
                 measure that orders the arms best at the best rate of each. From why.json.",
                config.rates.matched
            ),
            &panels,
        )?,
        rates(
            2,
            "From the best learning rate of each arm to the largest stable one, medians over the seeds. From \
             why.json.",
            &windows,
        )?,
    ])
}

/// The geometric mean, if every seed has one.
pub fn mean(values: &[Option<f64>]) -> String {
    let logs: Option<Vec<f64>> = values.iter().map(|value| value.map(f64::ln)).collect();
    match logs.filter(|logs| !logs.is_empty()) {
        Some(logs) => {
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            // Rates of Adam are below a thousandth.
            match mean {
                mean if mean < 0.01 => format!("{mean:.2e}"),
                mean if mean < 10.0 => format!("{mean:.3}"),
                mean => format!("{mean:.1}"),
            }
        }
        None => "-".to_owned(),
    }
}

/// An estimate in octaves, as a factor with its interval.
pub fn times(estimate: &Option<Estimate>) -> String {
    estimate.as_ref().map_or_else(|| "does not get there".to_owned(), factor)
}

/// An estimate that is there, likewise.
pub fn factor(estimate: &Estimate) -> String {
    match estimate {
        Estimate { mean, interval: None, .. } => format!("{:.2}", mean.exp2()),
        Estimate { mean, interval: Some([low, high]), .. } => {
            format!("{:.2} [{:.2}, {:.2}]", mean.exp2(), low.exp2(), high.exp2())
        }
    }
}

/// A tau with its interval and its word.
pub fn tau(Tau { tau, interval: [low, high], word }: &Tau) -> String {
    format!("{tau:+.2} [{low:+.2}, {high:+.2}] {}", word.as_str())
}
