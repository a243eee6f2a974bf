//! `kappa influence`: which training samples made a prediction.

use kappa_data::LabelledImages;
use kappa_probe::{Influences, influence};
use kappa_report::{FoundInfluences, SampleImages, save_influence};
use kappa_run::{
    InfluenceRecord, InfluenceRequest, LeftOutRecord, PlantedRecord, SuspectRecord, claim_answer, shown,
};

use super::posterior::{Subject, heading, judged, tell_optimum};
use crate::{args::InfluenceArguments, error::CliError, output::say, progress::Measuring};

pub fn run(arguments: &InfluenceArguments) -> Result<(), CliError> {
    let of = &arguments.classifier;
    let subject = Subject::of(of, None, None)?;
    let asked = InfluenceRequest {
        delta: arguments.delta,
        newton: of.newton,
        most: arguments.most,
        checked: arguments.check,
        seed: arguments.seed,
        planted: arguments.plant,
        top: of.top,
    };
    let settings = subject.classifier.settings();
    let folder = subject.place.of_answer::<InfluenceRecord>(settings, &question(&asked));
    claim_answer::<InfluenceRecord>(&folder, settings, &asked)?;
    let test = subject.sets.first().ok_or(CliError::NoTestSamples)?;
    let version = &subject.chosen.machine.provenance.kappa_version;
    let watch = Measuring::new(of.common.quiet);
    let found = influence(&subject.classifier, test, &asked, arguments.save_table, version, &watch);
    drop(watch);
    let Influences { record, tensors, table } = found?;
    let found = FoundInfluences { record: &record, tensors: &tensors, table: table.as_deref() };
    save_influence(&folder, found, subject.images.as_ref().map(images))?;
    print(&record);
    let judged = judged(&record);
    say(format_args!("{} -> {}", record.settings.network, shown(&folder)));
    judged
}

fn images([train, test]: &[LabelledImages; 2]) -> SampleImages<'_> {
    SampleImages {
        size: train.size(),
        pixels: [train.pixels(), test.pixels()],
        labels: [train.labels(), test.labels()],
    }
}

/// What is asked, as the end of a folder's name: what nobody has to ask for is not in it.
fn question(asked: &InfluenceRequest) -> String {
    let mut parts = vec![format!("delta{:e}", asked.delta)];
    parts.extend(asked.newton.then(|| "newton".to_owned()));
    parts.extend(asked.top.map(|top| format!("top{top}")));
    parts.extend((asked.most.get() != 10).then(|| format!("most{}", asked.most)));
    parts.extend((asked.checked != 10).then(|| format!("check{}", asked.checked)));
    parts.extend((asked.planted > 0.0).then(|| format!("plant{}", asked.planted)));
    parts.extend((asked.seed != 0).then(|| format!("seed{}", asked.seed)));
    parts.iter().map(|part| format!("-{part}")).collect()
}

fn print(record: &InfluenceRecord) {
    say(format_args!("\n{}\n", heading(&record.settings)));
    tell_optimum(&record.optimum, record.asked.newton || record.asked.planted > 0.0);
    say(format_args!(
        "  prior's delta     {:e}: damping of {:.3e} on the mean loss",
        record.asked.delta,
        record.asked.delta / record.settings.samples as f64
    ));
    tell_suspects(&record.suspects);
    if let Some(planted) = &record.planted {
        tell_planted(planted);
    }
    if let Some(left_out) = &record.left_out {
        tell_left_out(left_out);
    }
    say(format_args!("\n  seconds           {:.2}", record.seconds));
}

fn tell_suspects(suspects: &[SuspectRecord]) {
    say(format_args!("\nTraining samples that are hardest to explain without them"));
    say(format_args!(
        "  {:>8}{:>8}{:>10}{:>12}{:>16}",
        "sample", "label", "likeliest", "loss", "without it +"
    ));
    for suspect in suspects.iter().take(10) {
        say(format_args!(
            "  {:>8}{:>8}{:>10}{:>12.4}{:>16}",
            suspect.sample,
            suspect.label,
            suspect.likeliest,
            suspect.loss,
            suspect.self_influence.map_or("-".to_owned(), |own| format!("{own:.4}"))
        ));
    }
}

fn tell_planted(planted: &PlantedRecord) {
    say(format_args!(
        "\n{} labels were made wrong: the share of the first k of a ranking that are of them",
        planted.count
    ));
    for ranking in &planted.rankings {
        let shares: Vec<String> = ranking
            .precision
            .iter()
            .map(|(first, share)| format!("{:.2} % of {first}", 100.0 * share))
            .collect();
        say(format_args!("  {:<18}{}", ranking.by, shares.join(", ")));
    }
}

fn tell_left_out(left_out: &LeftOutRecord) {
    let correlation = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.6}"));
    say(format_args!(
        "\n{} training samples left out for real, {} Newton steps: {} pairs with a test sample",
        left_out.samples.len(),
        left_out.steps,
        left_out.pairs
    ));
    say(format_args!(
        "  prediction        correlation {}, largest error {:.3e} of effects up to {:.3e} nats",
        correlation(left_out.correlation),
        left_out.largest_error,
        left_out.largest_effect
    ));
    say(format_args!(
        "  first order       correlation {}, largest error {:.3e}",
        correlation(left_out.first_order_correlation),
        left_out.first_order_error
    ));
    match left_out.worst_share {
        Some(share) => say(format_args!(
            "  bounded           {} pairs; the largest error is {:.2} % of its bound",
            left_out.bounded,
            100.0 * share
        )),
        None => {
            say(format_args!("  bounded           none: the steps are too large for their third derivative"))
        }
    }
}
