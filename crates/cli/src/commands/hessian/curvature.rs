//! What was found of other parameters than the last layer's weights, on the screen.

use kappa_run::{BlocksRecord, CurvatureRecord, CurvatureSummary, EndRecord};

use super::{density::print_trace, names, table::number};
use crate::output::say;

/// Eigenvectors whose shares are printed, unless all are asked for.
const SHOWN: usize = 3;
/// Tensors with a smaller share than this are not named.
const SMALL: f64 = 0.005;

/// Prints both ends of the spectrum and what was read off them; all eigenvalues if `full`.
pub fn print(record: &CurvatureRecord, full: bool) {
    let (settings, summary) = (&record.settings, &record.curvature);
    let statistics = settings.statistics.map_or_else(String::new, |statistics| format!(" by {statistics}"));
    let epoch = settings.epoch.map_or_else(String::new, |epoch| format!(" after epoch {epoch}"));
    let images = names::images(settings).map_or_else(String::new, |images| format!(", {images}"));
    say(format_args!(
        "\n{}{statistics}{epoch}{images}, {} samples: {} of {} elements\n",
        settings.network,
        settings.samples,
        settings.request.parameters,
        summary.size()
    ));
    ends(summary, full);
    read_off(record);
    if let Some(blocks) = &record.blocks {
        print_blocks(blocks, summary);
    }
    if let Some(density) = &record.density {
        print_trace(density);
    }
    evidence(record, full);
}

fn ends(summary: &CurvatureSummary, full: bool) {
    let shown = if full { usize::MAX } else { SHOWN };
    say(format_args!("{:>12}  {:>14}  {:>10}  of its eigenvector, in", "", "eigenvalue", "residual"));
    let line = |name: String, end: &EndRecord, index: usize, shares: &str| {
        let of = |values: &[f64]| values.get(index).copied().unwrap_or(f64::NAN);
        let (value, residual) = (of(&end.eigenvalues), of(&end.residuals));
        say(format_args!("{name:>12}  {value:>14.6e}  {residual:>10.1e}  {shares}"));
    };
    let largest = &summary.largest;
    for index in 0..largest.eigenvalues.len().min(shown) {
        line(format!("lambda_{}", index + 1), largest, index, &shares(summary, index));
    }
    let last = largest.eigenvalues.len().saturating_sub(1);
    if last >= shown {
        line(format!("lambda_{}", last + 1), largest, last, &shares(summary, last));
    }
    match &summary.smallest {
        Some(smallest) => {
            line("lambda_min".to_owned(), smallest, 0, "");
            say(format_args!("at least {} eigenvalues are negative", summary.negative));
        }
        None => {
            say(format_args!("none is negative: with these parameters alone the network is piecewise linear"))
        }
    }
    let products: usize = summary.ends().map(|end| end.products).sum();
    say(format_args!("{products} products with H"));
}

/// "93 % hidden.weight, 6 % norm.weight"
fn shares(summary: &CurvatureSummary, index: usize) -> String {
    let Some(shares) = summary.shares.get(index) else { return String::new() };
    let mut named: Vec<(f64, &str)> =
        shares.iter().copied().zip(summary.tensors.iter().map(|tensor| tensor.name.as_str())).collect();
    named.sort_by(|a, b| b.0.total_cmp(&a.0));
    let named = named.iter().filter(|(share, _)| *share >= SMALL);
    named.map(|(share, name)| format!("{:.0} % {name}", 100.0 * share)).collect::<Vec<_>>().join(", ")
}

fn read_off(record: &CurvatureRecord) {
    let summary = &record.curvature;
    let row = |name: &str, value: String| say(format_args!("{name:<38}{value}"));
    row("kappa' = lambda_1 / lambda_10", number(summary.kappa_prime));
    let error = summary.trace.error.map_or_else(String::new, |error| format!(" +- {error:.1e}"));
    row("trace", format!("{:.4e}{error}", summary.trace.value));
    row("lambda_1 of Gauss-Newton", number(Some(summary.gauss_newton_lambda_1)));
    let along = summary.gauss_newton_along.first().zip(summary.lambda_1());
    row("Gauss-Newton's share of lambda_1", number(along.map(|(along, lambda_1)| along / lambda_1)));
    row("|gradient|", number(Some(summary.gradient)));
    row("its share in the leading space", number(summary.gradient_share));
    if let Some(threshold) = record.descent_threshold {
        row("descent is stable up to", number(Some(threshold)));
    }
    if let Some(adam) = &record.adam {
        row("lambda_1 as Adam sees it", number(adam.top.first().copied()));
        row("its stability threshold", number(Some(adam.stability_threshold)));
    }
}

fn print_blocks(blocks: &BlocksRecord, summary: &CurvatureSummary) {
    say(format_args!("\n{:<20}{:>10}  {:>12}  {:>12}", "alone", "elements", "lambda_1", "kappa'"));
    for block in &blocks.blocks {
        let size = summary.tensors.iter().find(|tensor| tensor.name == block.tensor);
        say(format_args!(
            "{:<20}{:>10}  {:>12}  {:>12}",
            block.tensor,
            size.map_or(0, |tensor| tensor.elements),
            number(block.largest.first().copied()),
            number(block.kappa_prime)
        ));
    }
    say(format_args!(
        "without what lies between tensors, lambda_1 is {} and off by {} of it",
        number(blocks.largest.first().copied()),
        number(blocks.error)
    ));
    let error = blocks.between_error.map_or_else(String::new, |error| format!(" +- {error:.2}"));
    let between = blocks.between.map_or_else(|| "?".to_owned(), |between| format!("{between:.2}"));
    say(format_args!("between tensors lie {between}{error} of |H|_F^2\n"));
}

fn evidence(record: &CurvatureRecord, full: bool) {
    let Some(evidence) = &record.evidence else {
        say(format_args!("checks SKIPPED; {:.1} s", record.seconds));
        return;
    };
    for check in evidence.checks.iter().filter(|check| full || !check.passed) {
        let value = check.value.map_or_else(|| "nothing to see".to_owned(), |value| format!("{value:.1e}"));
        let word = if check.passed { "PASS" } else { "FAIL" };
        say(format_args!("{:<26}{value:>14} <= {:.1e}  {word}  {}", check.name, check.bound, check.quantity));
    }
    if let Some(rounding) = evidence.rounding.filter(|_| full) {
        say(format_args!("single precision takes |H v_1 - lambda_1 v_1| / |H| to {rounding:.1e}"));
    }
    let word = if evidence.passed { "PASS" } else { "FAIL" };
    say(format_args!(
        "{} checks: {word}; {} digits of lambda_1 are known; {:.1} s",
        evidence.checks.len(),
        evidence.known_digits_of_lambda_1,
        record.seconds
    ));
}

/// The checks that did not pass, by their names.
pub fn failed(record: &CurvatureRecord) -> Vec<String> {
    let checks = record.evidence.iter().flat_map(|evidence| &evidence.checks);
    let epoch = record.settings.epoch.map_or_else(String::new, |epoch| format!(" after epoch {epoch}"));
    let named = |name: &str| format!("{}{epoch}: {name}", record.settings.network);
    checks.filter(|check| !check.passed).map(|check| named(&check.name)).collect()
}
