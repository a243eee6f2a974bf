//! Spectra side by side.

use kappa_run::SpectrumRecord;

use crate::output::say;

/// Prints a column for each spectrum, a row for each number.
pub fn print(records: &[SpectrumRecord]) {
    for line in lines(records) {
        say(format_args!("{line}"));
    }
}

fn lines(records: &[SpectrumRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&SpectrumRecord) -> String| {
        let values: String = records.iter().map(|record| format!("  {:>14}", value(record))).collect();
        lines.push(format!("{name:<24}{values}").trim_end().to_owned());
    };
    let nothing = |_: &SpectrumRecord| String::new();

    row("", &nothing);
    row("", &|record| record.settings.network.clone());
    row("epoch", &|record| record.settings.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()));
    if records.iter().any(|record| record.settings.bn_statistics.is_some()) {
        row("batch norm's statistics", &|record| {
            record.settings.bn_statistics.clone().unwrap_or_else(|| "-".to_owned())
        });
    }
    row("samples", &|record| format!("{} ({})", record.settings.samples, record.settings.split));
    row("classes x features", &|record| {
        format!("{} x {}", record.settings.classes, record.settings.features)
    });
    let ranks = records.iter().map(|record| record.spectrum.top.len()).max().unwrap_or(0);
    for rank in 0..ranks {
        row(&format!("lambda_{}", rank + 1), &|record| number(record.spectrum.top.get(rank).copied()));
    }
    row("kappa' = l_1 / l_10", &|record| number(record.spectrum.kappa_prime));
    row("lambda_min", &|record| number(Some(record.spectrum.lambda_min)));
    row("kappa = l_1 / l_min *", &|record| number(record.spectrum.kappa));
    row("trace", &|record| number(Some(record.spectrum.trace)));
    row("numerical rank", &|record| format!("{} of {}", record.spectrum.rank, record.spectrum.size));
    if records.iter().any(|record| record.settings.l2 > 0.0) {
        row("with L2, + 2 l2", &|record| number(Some(2.0 * record.settings.l2)));
        row("  kappa", &|record| number(record.spectrum.kappa_with_l2));
        row("  kappa'", &|record| number(record.spectrum.kappa_prime_with_l2));
    }
    row("seconds", &|record| seconds(record.timings.total));
    row("  features", &|record| seconds(record.timings.features));
    row("  sums over samples", &|record| seconds(record.timings.sums));
    row("  assembly", &|record| seconds(record.timings.assembly));
    row("  eigenvalues", &|record| seconds(record.timings.eigenvalues));
    lines.push(
        "* softmax ignores a shift of all logits, so H is singular: lambda_min is rounding, and so is kappa"
            .to_owned(),
    );
    lines
}

/// Five digits, in powers of ten where that is shorter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value == 0.0 || (1e-3..1e5).contains(&value.abs()) => format!("{value:.5}"),
        Some(value) => format!("{value:.4e}"),
    }
}

fn seconds(value: f64) -> String {
    format!("{value:.3}")
}
