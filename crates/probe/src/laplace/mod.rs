//! The posterior of a last layer by Laplace's method: which prior, what it says of other samples, and its evidence.

mod cheaper;
mod predictions;

use std::time::Instant;

use kappa_hessian::{Factor, Hessian, faer::Mat, product, verify};
use kappa_posterior::{Posterior, precision};
use kappa_run::{CheckRecord, LAPLACE_VERSION, LaplaceRecord, LaplaceRequest, PosteriorRecord, SavedTensor};

use crate::{
    Classifier, Observer, OtherSet, ProbeError, check_record,
    classifier::{Known, Settled},
};
use cheaper::Exact;
pub(crate) use predictions::{mean, method_record};
use predictions::{predictions, separations};

/// Points of the marginal likelihood's curve, and how many powers of ten they go to either side of its top.
const CURVE: (usize, f64) = (121, 6.0);
/// Samples whose covariances are computed by another way, too.
const SOLVED: usize = 8;
/// A posterior, as it stands on disk, and the arrays beside it.
#[derive(Debug, Clone)]
pub struct Laplaced {
    /// In short.
    pub record: LaplaceRecord,
    /// N lambda_i, weights, and of each set logits, covariances, probabilities.
    pub tensors: Vec<SavedTensor>,
}

/// The posterior of `classifier` as `asked`, and what it says of `sets`; how well the samples of the first are told
/// from those of the others.
///
/// # Errors
///
/// [`ProbeError`]. A check that did not pass is no error, but stands in the record.
pub fn laplace(
    classifier: &Classifier,
    sets: &[OtherSet],
    asked: &LaplaceRequest,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<Laplaced, ProbeError> {
    let start = Instant::now();
    let top = asked.top.map(usize::from);
    let Settled { point, delta, record: optimum, known } =
        classifier.settled(asked.delta, asked.newton, top, observer)?;
    let mut checks = vec![optimum_check(optimum.reached, optimum.bound)];
    let (posterior, hessian) = match known {
        Known::Leading(posterior) => (posterior, None),
        Known::Matrix(hessian) => {
            let pairs = hessian.eigenpairs()?;
            let evidence = verify(&hessian, &pairs, &point.samples)?;
            checks.extend(evidence.checks.iter().map(check_record));
            (Posterior::of_pairs(&point, pairs), Some(hessian))
        }
    };
    if let Some(hessian) = &hessian {
        let features = match sets.first() {
            Some(set) => set.features.iter().take(SOLVED * hessian.features()).copied().collect(),
            None => {
                let rows = 0..SOLVED.min(point.samples.count());
                rows.map(|row| point.samples.features_of(row)).collect::<Result<Vec<_>, _>>()?.concat()
            }
        };
        checks.extend(against_factor(&posterior, hessian, &features, delta)?);
    }
    let [k, m] = classifier.sizes();
    let mut tensors = vec![
        SavedTensor::of_doubles("curvatures", vec![posterior.curvatures().len()], posterior.curvatures()),
        SavedTensor::of_doubles("weights", vec![k, m], &point.weights.elements),
        SavedTensor::of_doubles("offsets", vec![k], &point.weights.offsets),
    ];
    let mut predicted = Vec::new();
    for set in sets {
        observer.stage(&set.name, Some(set.count(m)));
        predicted.push(predictions(&posterior, &point.weights, set, delta, asked, observer)?);
    }
    let cheaper = match (&hessian, sets.split_first(), predicted.first()) {
        (Some(hessian), Some((set, others)), Some(predicted)) => {
            let other = others.first();
            let exact =
                Exact { posterior: &posterior, weights: &point.weights, delta, set, predicted, other };
            exact.beside_cheaper(&point, hessian)?
        }
        _ => Vec::new(),
    };
    let separations = separations(sets, &predicted);
    let predictions = sets.iter().zip(&predicted).map(|(set, found)| found.record(set)).collect();
    for (set, found) in sets.iter().zip(predicted) {
        tensors.extend(found.tensors(set, k));
    }
    Ok(Laplaced {
        record: LaplaceRecord {
            schema_version: LAPLACE_VERSION,
            kappa_version: kappa_version.to_owned(),
            settings: classifier.settings.clone(),
            asked: asked.clone(),
            optimum,
            posterior: posterior_record(&posterior, delta, k * m),
            predictions,
            separations,
            cheaper,
            checks,
            seconds: start.elapsed().as_secs_f64(),
        },
        tensors,
    })
}

/// Whether weights are near enough to an optimum.
pub(crate) fn optimum_check(reached: f64, bound: f64) -> CheckRecord {
    CheckRecord {
        name: "optimum".to_owned(),
        quantity: "sqrt(s' A^-1 s), s = N grad L + delta W: deviations of the posterior from its optimum"
            .to_owned(),
        value: reached.is_finite().then_some(reached),
        bound,
        passed: reached <= bound,
    }
}

pub(crate) fn posterior_record(posterior: &Posterior, delta: f64, size: usize) -> PosteriorRecord {
    let value = |delta: f64| {
        let bounds = posterior.log_marginal(delta);
        [bounds.low, bounds.high]
    };
    let best_delta = posterior.best_delta();
    let (points, powers) = CURVE;
    let centre = best_delta.unwrap_or(delta);
    let curve = (0..points).map(|index| {
        let power = powers * (2.0 * index as f64 / (points - 1) as f64 - 1.0);
        let delta = centre * 10f64.powf(power);
        let [low, high] = value(delta);
        [delta, low, high]
    });
    PosteriorRecord {
        delta,
        best_delta,
        log_marginal: value(delta),
        best_log_marginal: best_delta.map(value),
        determined: posterior.determined(delta),
        size,
        least_share: posterior.least_share(delta),
        curve: curve.filter(|point| point.iter().all(|number| number.is_finite())).collect(),
    }
}

/// The determinant and some covariances by Cholesky's factor, which shares nothing with the eigenpairs but the matrix.
///
/// Either way is off by n roundings of |A|, n = K m, which moves ln a_i by that over a_i, and a covariance by that
/// over the least a_i.
fn against_factor(
    posterior: &Posterior,
    hessian: &Hessian,
    features: &[f64],
    delta: f64,
) -> Result<[CheckRecord; 2], ProbeError> {
    let (k, m, size) = (hessian.classes(), hessian.features(), hessian.size());
    let factor = Factor::of(precision(hessian, delta))?;
    let largest = posterior.curvatures().first().copied().unwrap_or(0.0) + delta;
    let unit = 4.0 * size as f64 * f64::EPSILON * largest;
    let by_pairs = posterior.log_determinant_ratio(delta).low + size as f64 * delta.ln();
    let apart = (by_pairs - factor.log_determinant()).abs();
    let bound: f64 = posterior.curvatures().iter().map(|curvature| unit / (curvature + delta)).sum();
    let determinant = CheckRecord {
        name: "determinant".to_owned(),
        quantity: "|ln det A by eigenvalues - by Cholesky's factor|".to_owned(),
        value: apart.is_finite().then_some(apart),
        bound,
        passed: apart <= bound,
    };
    let covariances = posterior.covariances(features, delta);
    let mut worst = 0.0f64;
    for (g, found) in features.chunks_exact(m).zip(covariances.chunks_exact(k * k)) {
        let of_class = |row: usize, class: usize| {
            if row / m == class { g.get(row % m).copied().unwrap_or(0.0) } else { 0.0 }
        };
        let right = Mat::from_fn(size, k, of_class);
        let mut solved = right.clone();
        factor.solve(solved.as_mut())?;
        let by_factor = product(right.transpose(), solved.as_ref());
        let (mut difference, mut norm) = (0.0, 0.0);
        for (index, found) in found.iter().enumerate() {
            difference += (found - by_factor[(index / k, index % k)]).powi(2);
            norm += found * found;
        }
        if norm > 0.0 {
            worst = worst.max(f64::sqrt(difference / norm));
        }
    }
    let bound = unit / delta;
    let covariances = CheckRecord {
        name: "covariances".to_owned(),
        quantity: "max |Sigma by eigenpairs - by Cholesky's factor|_F / |Sigma|_F".to_owned(),
        value: worst.is_finite().then_some(worst),
        bound,
        passed: worst <= bound,
    };
    Ok([determinant, covariances])
}
