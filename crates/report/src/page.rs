//! report.md and report.html.

use askama::Template;
use kappa_run::Variant;

use crate::{
    ReportError,
    figures::{Figure, parameters_label},
    lead, paper,
    results::{Arms, Point, Run, StudyResults},
    spectrum::SpectrumView,
    tables::Tables,
};

/// What both pages begin with.
struct Head {
    name: String,
    data: String,
    splits: String,
    /// The arms' names.
    arms: Vec<String>,
    /// The one that the others are compared with.
    reference: String,
    /// The others.
    other: String,
    networks: String,
    chosen: String,
    /// What was found, in short.
    found: Vec<String>,
    /// Why this is not the paper's own recipe, where that is to be said.
    inferred: bool,
    seeds: usize,
    epochs: usize,
    hessians: usize,
    /// What was taken of more than the last layer, if anything was.
    whole: Option<String>,
    machine: String,
    version: String,
    cost: String,
    /// What was checked of the spectra.
    checked: String,
    runs: Vec<[String; 2]>,
}

/// The version of kappa, with its commit where that is known.
fn version(with: &kappa_run::Provenance) -> String {
    let commit = with.git_commit.as_ref().map_or_else(String::new, |commit| format!(" ({commit})"));
    format!("{}{commit}", with.kappa_version)
}

impl Head {
    fn new(results: &StudyResults) -> Self {
        let (config, manifest) = (&results.config, &results.manifest);
        let recipe = &config.recipe;
        let findings = &results.chosen.findings;
        let batch = match recipe.training.batch_size {
            kappa_run::BatchSize::Full => "the whole training split (one step an epoch)".to_owned(),
            kappa_run::BatchSize::Samples(size) => size.to_string(),
        };
        let arms = &results.arms;
        let with = manifest.sessions.first().map(|session| &session.with);
        let probed = |run: &Run| run.variants().first().map_or(0, |&variant| run.spectra_of(variant).count());
        Self {
            name: config.name.clone(),
            data: manifest.data.clone(),
            splits: format!(
                "{} / {} / {} images for training, validation and test",
                recipe.data.train, recipe.data.validation, recipe.data.test
            ),
            arms: arms.in_order().map(|arm| arms.name(arm).to_owned()).collect(),
            reference: arms.reference().to_owned(),
            other: arms.other().to_owned(),
            networks: format!(
                "{} inputs, {} hidden units (ReLU), {} classes{}",
                manifest.inputs,
                hidden(&recipe.network.hidden),
                manifest.classes,
                differences(results)
            ),
            found: lead::paragraphs(results),
            chosen: format!(
                "Adam, learning rate {:e}, L2 {:e}, batches of {batch}",
                findings.learning_rate, findings.l2
            ),
            inferred: recipe.training.batch_size == kappa_run::BatchSize::Full
                && paper::is_setting_of(manifest),
            seeds: results.chosen.seeds.len(),
            epochs: recipe.training.epochs.get(),
            hessians: results.chosen.all_runs().map(probed).sum(),
            whole: whole(results),
            machine: with.map_or_else(String::new, |with| format!("{} on {}", with.backend, with.device)),
            version: with.map_or_else(String::new, version),
            cost: cost(results),
            checked: checked(results),
            runs: results
                .points()
                .map(|point| {
                    let names = point.all_runs().map(|run| run.name.clone());
                    [point.findings.point.clone(), names.collect::<Vec<_>>().join(", ")]
                })
                .collect(),
        }
    }
}

/// "210 more with respect to all parameters, ..".
fn whole(results: &StudyResults) -> Option<String> {
    let samples = results.whole_samples()?;
    let count: usize = results.chosen.all_runs().map(|run| run.whole.len()).sum();
    let parameters: Vec<String> = results.parameters().iter().map(parameters_label).collect();
    let epochs = results.config.whole.as_ref().map(|whole| whole.epochs.clone()).unwrap_or_default();
    let epochs: Vec<String> = epochs.iter().map(ToString::to_string).collect();
    Some(format!(
        "{count} more Hessians are with respect to {}, over the first {samples} images of the training split, after \
         epochs {}: both ends of their spectra, by exact products",
        parameters.join(", "),
        epochs.join(", ")
    ))
}

/// "100", or "100, 50" of two layers.
fn hidden(widths: &[usize]) -> String {
    widths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// "; FC+BN sets network.hidden=50", of each arm that sets anything.
fn differences(results: &StudyResults) -> String {
    let arms = results.config.arms.iter().filter(|arm| !arm.set.is_empty());
    arms.map(|arm| format!("; {} sets {}", arm.name, arm.settings().join(", "))).collect()
}

/// How many spectra were checked, and what did not pass.
fn checked(results: &StudyResults) -> String {
    let runs = results.points().flat_map(Point::all_runs);
    let (mut spectra, mut checks, mut failed) = (0, 0, Vec::new());
    for run in runs {
        for row in &run.spectra {
            spectra += 1;
            checks += row.checks.len();
            let bad = row.checks.iter().filter(|check| !check.passed);
            failed.extend(bad.map(|check| format!("{} of {}, epoch {}", check.name, run.name, row.epoch)));
        }
        for row in &run.whole {
            spectra += 1;
            checks += row.checks.len();
            let bad = row.checks.iter().filter(|check| !check.passed);
            let of = format!("{} of {}, epoch {}", row.name(), run.name, row.point.epoch);
            failed.extend(bad.map(|check| format!("{} of {of}", check.name)));
        }
    }
    let verdict = match failed.is_empty() {
        true => "all of them passed".to_owned(),
        false => format!("these FAILED: {}", failed.join(", ")),
    };
    format!("{spectra} spectra, {checks} checks of them, {verdict}")
}

/// Where the time went, from what the runs say of themselves.
fn cost(results: &StudyResults) -> String {
    let of = |point: &Point| {
        point.all_runs().fold((0.0, 0.0), |(training, spectra), run| {
            let last = run.metrics.last().map_or(0.0, |row| row.seconds);
            (training + last, spectra + run.spectra_seconds)
        })
    };
    let (training, spectra) = of(&results.chosen);
    let sweep = results.sweep.iter().map(of).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let whole: f64 =
        results.chosen.all_runs().filter_map(|run| run.whole_cost).map(|(_, seconds)| seconds).sum();
    let whole = if whole > 0.0 { format!(", {whole:.0} s for the whole network") } else { String::new() };
    format!(
        "at the chosen point {training:.0} s for training and evaluation and {spectra:.0} s for the spectra{whole}; \
         along the sweeps {:.0} s and {:.0} s",
        sweep.0, sweep.1
    )
}

#[derive(Template)]
#[template(path = "report.md", escape = "none")]
struct Markdown<'a> {
    head: Head,
    tables: &'a Tables,
    figures: &'a [Figure],
}

#[derive(Template)]
#[template(path = "report.html")]
struct Html<'a> {
    head: Head,
    tables: &'a Tables,
    figures: &'a [Figure],
    style: &'static str,
    script: &'static str,
    view: String,
    seeds: Vec<u64>,
    /// Each with its variants.
    arms: Vec<(&'a str, Vec<Variant>)>,
    last_epoch: usize,
    /// What else than the last layer's weights the view can show.
    parameters: Vec<String>,
}

/// report.md.
pub fn markdown(results: &StudyResults, tables: &Tables, figures: &[Figure]) -> Result<String, ReportError> {
    Markdown { head: Head::new(results), tables, figures }.render().map_err(failed)
}

/// report.html, with everything in it.
pub fn html(results: &StudyResults, tables: &Tables, figures: &[Figure]) -> Result<String, ReportError> {
    let view = SpectrumView::new(results)?;
    let page = Html {
        head: Head::new(results),
        tables,
        figures,
        style: include_str!("../templates/page.css"),
        script: concat!(include_str!("../templates/draw.js"), include_str!("../templates/page.js")),
        seeds: view.seeds.clone(),
        arms: in_order(&results.arms, &results.chosen),
        last_epoch: view.epochs.len().saturating_sub(1),
        parameters: view.parameters.clone(),
        // In a script element a `<` could end it.
        view: serde_json::to_string(&view).map_err(failed)?.replace('<', "\\u003c"),
    };
    page.render().map_err(failed)
}

/// The arms, the reference first, each with its variants.
fn in_order<'a>(arms: &'a Arms, chosen: &Point) -> Vec<(&'a str, Vec<Variant>)> {
    arms.in_order().map(|arm| (arms.name(arm), chosen.variants(arm))).collect()
}

fn failed(error: impl std::fmt::Display) -> ReportError {
    ReportError::Page(error.to_string())
}

impl Figure {
    /// Its number, or its name.
    pub(crate) fn title(&self) -> String {
        self.name.replace("figure-", "Figure ")
    }

    /// The file that a document shows.
    fn picture(&self) -> String {
        format!("figures/{}.{}", self.name, if self.png.is_some() { "png" } else { "svg" })
    }

    /// The drawing to stand in a page: as wide as there is room.
    pub(crate) fn inline(&self) -> String {
        self.svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", self.title()), 1)
    }
}
