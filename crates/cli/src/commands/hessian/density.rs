//! What was found without H, on the screen.

use kappa_run::{DensityRecord, MatrixFreeRecord};

use crate::output::say;

/// Prints the largest eigenvalues with their residuals, and the trace that a density gives.
pub fn print(record: &MatrixFreeRecord) {
    if let Some(top) = &record.top {
        say(format_args!("{:>10}  {:>14}  {:>22}", "", "eigenvalue", "|Hv - lv| / lambda_1"));
        for (rank, (value, residual)) in top.eigenvalues.iter().zip(&top.residuals).enumerate() {
            say(format_args!("lambda_{:<3}  {value:>14.6e}  {residual:>22.1e}", rank + 1));
        }
        let verdict = match (top.residual_bound, top.passed) {
            (Some(bound), Some(passed)) => {
                format!("residuals <= {bound:.0e}: {}", if passed { "PASS" } else { "FAIL" })
            }
            _ => "residuals not checked".to_owned(),
        };
        say(format_args!("{verdict}; {} products with H, {:.1} s", top.products, top.seconds));
    }
    if let Some(density) = &record.density {
        print_trace(density);
    }
}

/// Prints the trace that a density gives.
pub fn print_trace(density: &DensityRecord) {
    let error = density.trace_error.map_or_else(|| "?".to_owned(), |error| format!("{error:.1e}"));
    let of_samples = density.trace_of_samples;
    let of_samples = of_samples.map_or_else(String::new, |trace| format!(", {trace:.6e} by the samples"));
    say(format_args!(
        "trace {:.6e} +- {error} by {} random vectors{of_samples}; {} products with H, {:.1} s",
        density.trace,
        density.probes.len(),
        density.products,
        density.seconds
    ));
}
