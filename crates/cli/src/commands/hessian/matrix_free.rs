//! Leading eigenvalues and density, without H.

use std::time::Instant;

use kappa_hessian::{DensityOptions, HessianError};
use kappa_run::{DensityRecord, MATRIX_FREE_VERSION, MatrixFreeRecord, TopRecord, write_matrix_free};
use kappa_study::ProbeError;

use super::{Settings, Subject, memory};
use crate::{
    args::FurtherArguments,
    error::CliError,
    output::say,
    progress::{bar, spinner},
};

/// The largest residual that is not told as a failure, over lambda_1, in f64 and f32: ten
/// times what the solver stops at.
const RESIDUAL_BOUNDS: [f64; 2] = [1e-6, 1e-4];

/// What is asked for.
pub struct Asked {
    top: Option<usize>,
    density: Option<DensityOptions>,
}

impl Asked {
    pub fn from(arguments: &FurtherArguments) -> Option<Self> {
        let density = arguments.density.then_some(DensityOptions {
            probes: arguments.probes.get(),
            steps: arguments.steps.get(),
            seed: arguments.seed,
        });
        let top = arguments.top.map(std::num::NonZeroUsize::get);
        (top.is_some() || density.is_some()).then_some(Self { top, density })
    }
}

/// Measures `subject`, prints and writes what came out.
pub fn measure(subject: &Subject, asked: &Asked, settings: &Settings) -> Result<(), CliError> {
    let samples = &subject.samples;
    let name = &subject.settings.network;
    let failed = |error: HessianError| CliError::from(ProbeError::Hessian(error));
    say(format_args!(
        "\n{name}: {} samples, {} classes x {} features; H would be {3} x {3}\n",
        samples.count(),
        samples.classes(),
        samples.features(),
        samples.size()
    ));
    let mut record = MatrixFreeRecord {
        schema_version: MATRIX_FREE_VERSION,
        kappa_version: settings.machine.provenance.kappa_version.clone(),
        settings: subject.settings.clone(),
        top: None,
        density: None,
    };
    if let Some(count) = asked.top {
        memory::check_directions(samples.size(), 4 * count.max(32))?;
        let start = Instant::now();
        let spinner = spinner("products with H", settings.quiet);
        let pairs = samples.leading_pairs(count, &|| spinner.inc(1)).map_err(failed)?;
        spinner.finish_and_clear();
        let bound = RESIDUAL_BOUNDS[usize::from(samples.epsilon() > 1e-10)];
        let passed = pairs.residuals.iter().all(|&residual| residual <= bound);
        let verify = settings.asked.verify;
        record.top = Some(TopRecord {
            eigenvalues: pairs.eigenvalues,
            residuals: pairs.residuals,
            residual_bound: verify.then_some(bound),
            passed: verify.then_some(passed),
            products: pairs.products,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    if let Some(options) = asked.density {
        memory::check_directions(samples.size(), options.steps + 4)?;
        let start = Instant::now();
        let bar = bar(options.probes * options.steps, "density", settings.quiet);
        let density = samples.density(options, || bar.inc(1)).map_err(failed)?;
        bar.finish_and_clear();
        record.density = Some(DensityRecord {
            probes: density.probes,
            shift: density.shift,
            trace: density.trace,
            trace_error: density.trace_error.is_finite().then_some(density.trace_error),
            trace_of_samples: samples.trace().map_err(failed)?,
            products: density.products,
            seed: options.seed,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    let plot =
        record.density.as_ref().map(|density| kappa_report::density_plot(name, density)).transpose()?;
    write_matrix_free(&subject.out, &record, plot.as_deref())?;
    print(&record);
    say(format_args!("{name} -> {}", subject.out.display()));
    match record.top {
        Some(TopRecord { passed: Some(false), .. }) => {
            Err(CliError::Unproven { failed: format!("{name}: residual") })
        }
        _ => Ok(()),
    }
}

fn print(record: &MatrixFreeRecord) {
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
        let error = density.trace_error.map_or_else(|| "?".to_owned(), |error| format!("{error:.1e}"));
        say(format_args!(
            "trace {:.6e} +- {error} by {} random vectors, {:.6e} by the samples; {} products with H, {:.1} s",
            density.trace,
            density.probes.len(),
            density.trace_of_samples,
            density.products,
            density.seconds
        ));
    }
}
