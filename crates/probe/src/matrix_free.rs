//! Leading eigenvalues and density, without H.

use std::time::Instant;

use kappa_hessian::{DensityOptions, density, largest_pairs};
use kappa_run::{DensityRecord, MATRIX_FREE_VERSION, MatrixFreeRecord, TopRecord};

use crate::{Layer, Observer, ProbeError, memory};

/// What the layer's request asks for.
pub(crate) fn matrix_free(
    layer: Layer,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<MatrixFreeRecord, ProbeError> {
    let (samples, request) = (&layer.samples, &layer.settings.request);
    let top = match request.top {
        None => None,
        Some(asked) => {
            // There are no more than all.
            let count = asked.get().min(samples.size());
            memory::check_leading(samples.size(), count)?;
            let start = Instant::now();
            observer.stage("products with H", None);
            let pairs = largest_pairs(samples, count, observer)?;
            let pairs = if request.verify { pairs.measured_anew(samples, observer)? } else { pairs };
            Some(TopRecord {
                residual_bound: request.verify.then_some(pairs.residual_bound),
                passed: request.verify.then_some(pairs.passed()),
                eigenvalues: pairs.eigenvalues,
                residuals: pairs.residuals,
                products: pairs.products,
                seconds: start.elapsed().as_secs_f64(),
            })
        }
    };
    let density = match request.density {
        None => None,
        Some(asked) => {
            let (probes, steps) = (asked.probes.get(), asked.steps.get().min(samples.size()));
            memory::check_density(samples.size(), steps)?;
            let start = Instant::now();
            observer.stage("density", Some(probes.saturating_mul(steps)));
            let options = DensityOptions { probes, steps, seed: request.seed };
            let found = density(samples, options, observer)?;
            Some(DensityRecord {
                probes: found.probes,
                shift: found.known_zeros,
                trace: found.trace,
                trace_error: found.trace_error.is_finite().then_some(found.trace_error),
                trace_of_samples: Some(samples.trace()?),
                products: found.products,
                seed: request.seed,
                seconds: start.elapsed().as_secs_f64(),
            })
        }
    };
    Ok(MatrixFreeRecord {
        schema_version: MATRIX_FREE_VERSION,
        kappa_version: kappa_version.to_owned(),
        settings: layer.settings,
        top,
        density,
    })
}
