//! report.md and report.html.

use askama::Template;

use crate::{
    ReportError,
    evidence::{Evidence, Point},
    figures::{Figure, NETWORKS},
    spectrum::SpectrumView,
    tables::Tables,
};

/// What both pages begin with.
struct Head {
    name: String,
    data: String,
    splits: String,
    networks: String,
    chosen: String,
    /// Why this is not the paper's own recipe, where that is to be said.
    inferred: bool,
    seeds: usize,
    epochs: usize,
    hessians: usize,
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
    fn new(evidence: &Evidence) -> Self {
        let (config, manifest) = (&evidence.config, &evidence.manifest);
        let recipe = &config.recipe;
        let findings = &evidence.chosen.findings;
        let batch = match recipe.training.batch_size {
            kappa_run::BatchSize::Full => "the whole training split (one step an epoch)".to_owned(),
            kappa_run::BatchSize::Samples(size) => size.to_string(),
        };
        let runs = evidence.chosen.pairs.iter().flat_map(|pair| &pair.runs);
        let with = manifest.sessions.first().map(|session| &session.with);
        let probed = |run: &crate::evidence::Run| {
            run.variants().first().map_or(0, |variant| run.spectra_of(variant).count())
        };
        Self {
            name: config.name.clone(),
            data: manifest.data.clone(),
            splits: format!(
                "{} / {} / {} images for training, validation and test",
                recipe.data.train, recipe.data.validation, recipe.data.test
            ),
            networks: format!(
                "{} inputs, {} hidden units (ReLU), {} classes; FC+BN has batch norm after the ReLU",
                manifest.inputs, recipe.network.hidden, manifest.classes
            ),
            chosen: format!(
                "Adam, learning rate {:e}, L2 {:e}, batches of {batch}",
                findings.learning_rate, findings.l2
            ),
            inferred: recipe.training.batch_size == kappa_run::BatchSize::Full,
            seeds: evidence.chosen.pairs.len(),
            epochs: recipe.training.epochs.get(),
            hessians: runs.clone().map(probed).sum(),
            machine: with.map_or_else(String::new, |with| format!("{} on {}", with.backend, with.device)),
            version: with.map_or_else(String::new, version),
            cost: cost(evidence),
            checked: checked(evidence),
            runs: evidence
                .points()
                .map(|point| {
                    let names = point.pairs.iter().flat_map(|pair| &pair.runs).map(|run| run.name.clone());
                    [point.findings.point.clone(), names.collect::<Vec<_>>().join(", ")]
                })
                .collect(),
        }
    }
}

/// How many spectra were checked, and what did not pass.
fn checked(evidence: &Evidence) -> String {
    let runs = evidence.points().flat_map(|point| &point.pairs).flat_map(|pair| &pair.runs);
    let (mut spectra, mut checks, mut failed) = (0, 0, Vec::new());
    for run in runs {
        for row in &run.spectra {
            spectra += 1;
            checks += row.checks.len();
            let bad = row.checks.iter().filter(|check| !check.passed);
            failed.extend(bad.map(|check| format!("{} of {}, epoch {}", check.name, run.name, row.epoch)));
        }
    }
    let verdict = match failed.is_empty() {
        true => "all of them passed".to_owned(),
        false => format!("these FAILED: {}", failed.join(", ")),
    };
    format!("{spectra} spectra, {checks} checks of them, {verdict}")
}

/// Where the time went, from what the runs say of themselves.
fn cost(evidence: &Evidence) -> String {
    let of = |point: &Point| {
        let runs = point.pairs.iter().flat_map(|pair| &pair.runs);
        runs.fold((0.0, 0.0), |(training, spectra), run| {
            let last = run.metrics.last().map_or(0.0, |row| row.seconds);
            (training + last, spectra + run.spectra_seconds)
        })
    };
    let (training, spectra) = of(&evidence.chosen);
    let sweep = evidence.sweep.iter().map(of).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    format!(
        "at the chosen point {training:.0} s for training and evaluation and {spectra:.0} s for the spectra; along the \
         sweeps {:.0} s and {:.0} s",
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
    networks: Vec<(&'static str, Vec<&'a str>)>,
    last_epoch: usize,
}

/// report.md.
pub fn markdown(evidence: &Evidence, tables: &Tables, figures: &[Figure]) -> Result<String, ReportError> {
    Markdown { head: Head::new(evidence), tables, figures }.render().map_err(failed)
}

/// report.html, with everything in it.
pub fn html(evidence: &Evidence, tables: &Tables, figures: &[Figure]) -> Result<String, ReportError> {
    let view = SpectrumView::new(evidence)?;
    let page = Html {
        head: Head::new(evidence),
        tables,
        figures,
        style: include_str!("../templates/page.css"),
        script: include_str!("../templates/page.js"),
        seeds: view.seeds.clone(),
        networks: NETWORKS
            .into_iter()
            .enumerate()
            .map(|(network, name)| (name, evidence.chosen.variants(network)))
            .collect(),
        last_epoch: view.epochs.len().saturating_sub(1),
        // In a script element a `<` could end it.
        view: serde_json::to_string(&view).map_err(failed)?.replace('<', "\\u003c"),
    };
    page.render().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> ReportError {
    ReportError::Page(error.to_string())
}

impl Figure {
    /// Its number, or its name.
    fn title(&self) -> String {
        self.name.replace("figure-", "Figure ")
    }

    /// The file that a document shows.
    fn picture(&self) -> String {
        format!("figures/{}.{}", self.name, if self.png.is_some() { "png" } else { "svg" })
    }

    /// The drawing to stand in a page: as wide as there is room.
    fn inline(&self) -> String {
        self.svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", self.title()), 1)
    }
}
