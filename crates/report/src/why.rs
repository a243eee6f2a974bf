//! The report of a `kappa why`: two figures and three tables.

use std::{fmt::Write as _, path::PathBuf};

use kappa_run::{
    Answer, Checksums, Estimate, Measure, Moved, Ordering, RunError, Speeds, Tau, WhyConfig, WhyDir,
    WhyFindings, Word,
};

use crate::{
    ReportError,
    band::Band,
    figures::{Figure, MeasurePanel, arms_by_measure, rates},
};

/// Writes `report.md` and its figures into the directory of a `kappa why`, and returns the page.
///
/// # Errors
///
/// [`ReportError`].
pub fn write_why_report(why: &WhyDir) -> Result<PathBuf, ReportError> {
    let (config, findings) = (why.config()?, why.findings()?);
    let folder = why.report();
    let drawn = folder.join("figures");
    std::fs::create_dir_all(&drawn).map_err(|source| RunError::Write { path: drawn, source })?;
    let figures = figures(&config, &findings)?;
    let mut files = Checksums::default();
    for figure in &figures {
        for (extension, bytes) in figure.files() {
            files.write_file(&folder, &format!("figures/{}.{extension}", figure.name), bytes)?;
        }
    }
    files.write_file(&folder, "report.md", page(&config, &findings, &figures).as_bytes())?;
    files.write(&folder)?;
    Ok(folder.join("report.md"))
}

fn figures(config: &WhyConfig, findings: &WhyFindings) -> Result<Vec<Figure>, ReportError> {
    let matched = |of: &Speeds| -> Vec<Option<f64>> {
        of.matched.iter().map(|losses| losses.last().copied().flatten()).collect()
    };
    let best = |of: &Speeds| of.best.clone();
    let speeds = |steps: &dyn Fn(&Speeds) -> Vec<Option<f64>>| -> Vec<(String, Vec<Option<f64>>)> {
        findings.arms.iter().map(|arm| (arm.variant.clone(), steps(arm))).collect()
    };
    let last = config.losses.last().copied().unwrap_or(f64::NAN);
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
        .map(|order| panel(order, &format!("{}", config.rates.matched), speeds(&matched)))
        .into_iter()
        .chain(orders_best.map(|order| panel(order, "the best rate", speeds(&best))))
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

fn page(config: &WhyConfig, findings: &WhyFindings, figures: &[Figure]) -> String {
    let mut page = format!("# {}: why it is faster\n\n", config.name);
    let last = config.losses.last().copied().unwrap_or(f64::NAN);
    let _ = writeln!(
        page,
        "{} arms and {} interventions, {} seeds, the full batch of {} images. Steps are those of gradient descent to a \
         training loss of {last} nats, between two steps by the logarithm; numbers are geometric means over the \
         seeds, a dash where one of them does not get there in {} steps.\n",
        findings.arms.len(),
        findings.interventions.len(),
        config.seeds,
        config.recipe.data.train,
        config.steps
    );
    for figure in figures {
        let _ = writeln!(page, "![{}](figures/{}.svg)\n\n*{}*\n", figure.name, figure.name, figure.caption);
    }
    let _ = writeln!(
        page,
        "## How fast\n\n2 / λ₁ is of the whole network at equal losses on the way at the matched rate.\n\n| | steps at {} | \
         steps at its best rate | that rate | stable up to | 2 / λ₁ |\n|---|---|---|---|---|---|",
        config.rates.matched
    );
    let lambda_1 = findings.orders.iter().find(|order| order.measure == Measure::Lambda1);
    let thresholds = lambda_1.map(|order| order.values.iter()).into_iter().flatten();
    let mut thresholds =
        thresholds.map(|seeds| mean(&seeds.iter().map(|lambda| Some(2.0 / lambda)).collect::<Vec<_>>()));
    for of in findings.arms.iter().chain(findings.interventions.iter().map(|moved| &moved.speeds)) {
        let threshold = thresholds.next().unwrap_or_else(|| "-".to_owned());
        let matched: Vec<Option<f64>> =
            of.matched.iter().map(|losses| losses.last().copied().flatten()).collect();
        let cells = [&matched, &of.best, &of.best_rate, &of.stable_rate].map(|values| mean(values));
        let _ = writeln!(page, "| {} | {} | {threshold} |", of.variant, cells.join(" | "));
    }
    let _ = writeln!(
        page,
        "\n## What an intervention does\n\nIts steps over those of its arm, with the 95 % interval over the seeds \
         (Student's t on the logarithm, paired).\n\n| | of | at {} | at the best rate of each |\n|---|---|---|---|",
        config.rates.matched
    );
    for Moved { speeds, arm, matched, best, .. } in &findings.interventions {
        let _ = writeln!(page, "| {} | {arm} | {} | {} |", speeds.variant, times(matched), times(best));
    }
    let _ = writeln!(
        page,
        "\n## Does a measure order the arms as their speed does?\n\nKendall's τ over the arms, 1 where less of it always \
         goes with fewer steps; the interval by resampling arms and seeds, at 95 % for all {} measures together. \
         *Holds*: above zero; *fails*: below; *mixed*: not decided.\n\n| | at equal steps | at equal losses | against the \
         steps at the best rates |\n|---|---|---|---|",
        Measure::ALL.len()
    );
    for order in &findings.orders {
        let cells = [&order.by_steps, &order.by_losses, &order.at_best].map(tau);
        let _ = writeln!(page, "| {} | {} |", order.measure.label(), cells.join(" | "));
    }
    let _ = writeln!(
        page,
        "\n## What explains it?\n\nAn explanation *fails* where a change of what it speaks of moves the steps by less \
         than a tenth, interval included, or its measures order the arms the other way; it *holds* where orders and \
         changes all say so.\n\n| | orders the arms at {} | at the best rates | what changes it alone | |\n|---|---|---|---|---|",
        config.rates.matched
    );
    for Answer { explanation, at_matched, at_best, changed, word } in &findings.answers {
        let said = |word: &Option<Word>| word.map_or("-", Word::as_str);
        let parts: Vec<String> =
            changed.iter().map(|part| format!("{}: {}", part.name, part.word.as_str())).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | **{}** |",
            explanation.label(),
            said(at_matched),
            said(at_best),
            if parts.is_empty() { "-".to_owned() } else { parts.join(", ") },
            word.as_str()
        );
    }
    page
}

/// The geometric mean, if every seed has one.
pub fn mean(values: &[Option<f64>]) -> String {
    let logs: Option<Vec<f64>> = values.iter().map(|value| value.map(f64::ln)).collect();
    match logs.filter(|logs| !logs.is_empty()) {
        Some(logs) => {
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            if mean < 10.0 { format!("{mean:.3}") } else { format!("{mean:.1}") }
        }
        None => "-".to_owned(),
    }
}

/// An estimate in octaves, as a factor with its interval.
pub fn times(estimate: &Option<Estimate>) -> String {
    match estimate {
        None => "does not get there".to_owned(),
        Some(Estimate { mean, interval: None, .. }) => format!("{:.2}", mean.exp2()),
        Some(Estimate { mean, interval: Some([low, high]), .. }) => {
            format!("{:.2} [{:.2}, {:.2}]", mean.exp2(), low.exp2(), high.exp2())
        }
    }
}

/// A tau with its interval and its word.
pub fn tau(Tau { tau, interval: [low, high], word }: &Tau) -> String {
    format!("{tau:+.2} [{low:+.2}, {high:+.2}] {}", word.as_str())
}
