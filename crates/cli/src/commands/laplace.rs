//! `kappa laplace`: error bars on what a classifier says.

use kappa_probe::{Laplaced, laplace};
use kappa_report::save_laplace;
use kappa_run::{
    LaplaceRecord, LaplaceRequest, PosteriorRecord, PredictionRecord, ScoresRecord, claim_answer, shown,
};

use super::posterior::{Subject, heading, judged, tell_optimum};
use crate::{args::LaplaceArguments, error::CliError, output::say, progress::Measuring};

pub fn run(arguments: &LaplaceArguments) -> Result<(), CliError> {
    let of = &arguments.classifier;
    let subject = Subject::of(of, arguments.other_features.as_deref(), arguments.other_data.as_deref())?;
    let asked = LaplaceRequest {
        delta: arguments.delta,
        newton: of.newton,
        draws: arguments.draws,
        seed: arguments.seed,
        top: of.top,
    };
    let settings = subject.classifier.settings();
    let folder = subject.place.of_answer::<LaplaceRecord>(settings, &question(&asked, &subject));
    claim_answer::<LaplaceRecord>(&folder, settings, &asked)?;
    let version = &subject.chosen.machine.provenance.kappa_version;
    let watch = Measuring::new(of.common.quiet);
    let found = laplace(&subject.classifier, &subject.sets, &asked, version, &watch);
    drop(watch);
    let Laplaced { record, tensors } = found?;
    save_laplace(&folder, &record, &tensors)?;
    print(&record);
    let judged = judged(&record);
    say(format_args!("{} -> {}", record.settings.network, shown(&folder)));
    judged
}

/// What is asked, as the end of a folder's name: what nobody has to ask for is not in it.
fn question(asked: &LaplaceRequest, subject: &Subject) -> String {
    let mut parts = Vec::new();
    parts.extend(asked.delta.map(|delta| format!("delta{delta:e}")));
    parts.extend(asked.newton.then(|| "newton".to_owned()));
    parts.extend(asked.top.map(|top| format!("top{top}")));
    parts.extend((asked.draws.get() != 1000).then(|| format!("draws{}", asked.draws)));
    parts.extend((asked.seed != 0).then(|| format!("seed{}", asked.seed)));
    let others = subject.sets.iter().filter(|set| !set.files.is_empty() && set.name == "other");
    parts.extend(others.map(|set| format!("other-{}", kappa_run::short_of(&set.files))));
    parts.iter().map(|part| format!("-{part}")).collect()
}

fn print(record: &LaplaceRecord) {
    say(format_args!("\n{}\n", heading(&record.settings)));
    tell_optimum(&record.optimum, record.asked.newton);
    tell_posterior(&record.posterior, record.asked.delta.is_some());
    for prediction in &record.predictions {
        tell_predictions(prediction);
    }
    tell_separations(record);
    tell_cheaper(record);
    say(format_args!("\n  seconds           {:.2}", record.seconds));
}

fn tell_posterior(posterior: &PosteriorRecord, is_given: bool) {
    let how = match (is_given, posterior.least_share < 1.0) {
        (true, _) => "given",
        (false, true) => "where the marginal likelihood that is certain is largest",
        (false, false) => "where the marginal likelihood is largest",
    };
    say(format_args!("  prior's delta     {:.6e}, {how}", posterior.delta));
    let between = |[low, high]: [f64; 2]| {
        if low == high { format!("{low:.6}") } else { format!("between {low:.3} and {high:.3}") }
    };
    say(format_args!("  ln p(D | delta)   {}", between(posterior.log_marginal)));
    if is_given && let Some((best, value)) = posterior.best_delta.zip(posterior.best_log_marginal) {
        say(format_args!("  its largest       {} at delta {best:.6e}", between(value)));
    }
    say(format_args!(
        "  determined        {}{:.1} of {} parameters by the data rather than the prior",
        if posterior.least_share < 1.0 { "at least " } else { "" },
        posterior.determined,
        posterior.size
    ));
    if posterior.least_share < 1.0 {
        say(format_args!(
            "  variances         too large, if anything: of each at least {:.2} % is right",
            100.0 * posterior.least_share
        ));
    }
}

fn tell_predictions(prediction: &PredictionRecord) {
    say(format_args!(
        "\n{}: {} samples, mean variance of their logits {:.4e}",
        prediction.set, prediction.samples, prediction.mean_variance
    ));
    let labelled = prediction.methods.iter().any(|method| method.scores.is_some());
    if labelled {
        say(format_args!(
            "  {:<22}{:>10}{:>12}{:>12}{:>14}{:>10}",
            "", "accuracy", "log loss", "Brier", "calibration", "entropy"
        ));
    }
    for method in &prediction.methods {
        let name = method.method.name().replace('_', " ");
        match &method.scores {
            Some(scores) => say(format_args!("  {name:<22}{}{:>10.4}", scored(scores), method.mean_entropy)),
            None => say(format_args!("  {name:<22}mean entropy {:.4}", method.mean_entropy)),
        }
    }
}

fn scored(scores: &ScoresRecord) -> String {
    let loss = scores.log_loss.map_or("infinite".to_owned(), |loss| format!("{loss:.5}"));
    format!(
        "{:>8.2} %{loss:>12}{:>12.5}{:>12.2} %",
        100.0 * scores.accuracy,
        scores.brier,
        100.0 * scores.calibration_error
    )
}

fn tell_separations(record: &LaplaceRecord) {
    let mut set = "";
    for separation in &record.separations {
        if separation.set != set {
            set = &separation.set;
            say(format_args!("\n{set} told from test by its score, the share of pairs (AUROC)"));
        }
        say(format_args!("  {:<30}{:>10.4}", separation.score.replace('_', " "), separation.auroc));
    }
}

fn tell_cheaper(record: &LaplaceRecord) {
    if record.cheaper.is_empty() {
        return;
    }
    say(format_args!(
        "\n{:<24}{:>10}{:>12}{:>12}{:>14}{:>10}",
        "cheaper posteriors", "distance", "variance", "log loss", "calibration", "AUROC"
    ));
    for cheaper in &record.cheaper {
        let scores = cheaper.scores.as_ref();
        let or_dash = |value: Option<String>| value.unwrap_or("-".to_owned());
        say(format_args!(
            "  {:<22}{:>10.4}{:>10.2} x{:>12}{:>14}{:>10}",
            cheaper.posterior,
            cheaper.distance,
            cheaper.ratio,
            or_dash(scores.and_then(|scores| scores.log_loss).map(|loss| format!("{loss:.5}"))),
            or_dash(scores.map(|scores| format!("{:.2} %", 100.0 * scores.calibration_error))),
            or_dash(cheaper.auroc.map(|auroc| format!("{auroc:.4}"))),
        ));
    }
}
