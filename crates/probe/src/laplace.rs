//! The posterior of a last layer by Laplace's method: which prior, what it says of other samples, and its evidence.

use std::time::Instant;

use kappa_hessian::{Factor, Hessian, Weights, faer::Mat, product, verify};
use kappa_posterior::{
    Cheaper, Diagonal, Kronecker, Leading, Posterior, Scores, auroc, bridge, contrast_variance, entropy,
    precision, probit, probit_of_contrasts, sampled, softmax,
};
use kappa_run::{
    CheaperRecord, CheckRecord, LAPLACE_VERSION, LaplaceRecord, LaplaceRequest, Method, MethodRecord,
    PosteriorRecord, PredictionRecord, SavedTensor, ScoresRecord, SeparationRecord,
};

use crate::{Classifier, Observer, OtherSet, ProbeError, check_record, classifier::Settled};

/// Points of the marginal likelihood's curve, and how many powers of ten they go to either side of its top.
const CURVE: (usize, f64) = (121, 6.0);
/// Samples whose covariances are computed by another way, too.
const SOLVED: usize = 8;
/// Bytes of covariances that are kept, at the most.
const KEPT_BYTES: usize = 256 << 20;
/// Samples whose probabilities are made together.
const TOGETHER: usize = 4096;

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
    let Settled { point, delta, record: optimum, posterior } =
        classifier.settled(asked.delta, asked.newton, top, observer)?;
    let mut checks = vec![optimum_check(optimum.reached, optimum.bound)];
    let (posterior, hessian) = match posterior {
        Some(posterior) => (posterior, None),
        None => {
            let hessian = point.hessian()?;
            let pairs = hessian.eigenpairs()?;
            let evidence = verify(&hessian, &pairs, &point.samples)?;
            checks.extend(evidence.checks.iter().map(check_record));
            (Posterior::of_pairs(&point, pairs), Some(hessian))
        }
    };
    if let Some(hessian) = &hessian {
        let first = sets.first().map(|set| set.features.clone());
        let features = match first {
            Some(features) => features,
            None => point.samples.on_host(|chunk| chunk.features)?.concat(),
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
    let cheaper = match (&hessian, sets.split_first(), predicted.split_first()) {
        (Some(hessian), Some((set, other_sets)), Some((exact, _))) => {
            let kronecker = Kronecker::of(&point.samples)?;
            let diagonal = Diagonal::of(hessian);
            let few = k.saturating_sub(1).max(1);
            let known = posterior.curvatures().iter().filter(|&&curvature| curvature > 0.0).count();
            let counts = [few, 10 * few].into_iter().filter(|&count| count < known);
            let leading: Vec<_> = counts.map(|count| (count, Leading::of(&posterior, count))).collect();
            let mut all: Vec<(String, &dyn Cheaper)> =
                vec![("diagonal".to_owned(), &diagonal), ("Kronecker".to_owned(), &kronecker)];
            all.extend(leading.iter().map(|(count, leading)| {
                (
                    format!("{count} eigenvector{}", if *count == 1 { "" } else { "s" }),
                    leading as &dyn Cheaper,
                )
            }));
            let compared = all.into_iter().map(|(name, cheaper)| {
                compare(name, cheaper, &posterior, &point.weights, set, other_sets.first(), exact, delta)
            });
            compared.collect()
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
    let rows = features.chunks_exact(m).take(SOLVED);
    let mut worst = 0.0f64;
    for g in rows {
        let of_class = |row: usize, class: usize| {
            if row / m == class { g.get(row % m).copied().unwrap_or(0.0) } else { 0.0 }
        };
        let right = Mat::from_fn(size, k, of_class);
        let mut solved = right.clone();
        factor.solve(solved.as_mut())?;
        let by_factor = product(right.transpose(), solved.as_ref());
        let found = posterior.covariances(g, delta);
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

/// What a posterior says of a set.
struct Predicted {
    logits: Vec<f64>,
    /// Of what probabilities see of the logits.
    variances: Vec<f64>,
    /// [T, K, K], where they are few enough to be kept.
    covariances: Option<Vec<f64>>,
    /// [T, columns] by each method.
    probabilities: Vec<(Method, Vec<f64>)>,
    columns: usize,
}

fn predictions(
    posterior: &Posterior,
    weights: &Weights,
    set: &OtherSet,
    delta: f64,
    asked: &LaplaceRequest,
    observer: &dyn Observer,
) -> Result<Predicted, ProbeError> {
    let (k, m) = (posterior.classes(), posterior.features());
    let columns = k.max(2);
    let count = set.count(m);
    let logits = weights.logits(&set.features);
    let keeps = count.saturating_mul(k * k).saturating_mul(size_of::<f64>()) <= KEPT_BYTES;
    let mut kept = Vec::new();
    let mut variances = Vec::with_capacity(count);
    let mut probabilities: Vec<(Method, Vec<f64>)> =
        Method::ALL.iter().map(|&method| (method, Vec::with_capacity(count * columns))).collect();
    let together = (TOGETHER * 100 / (k * k)).clamp(1, TOGETHER);
    let blocks = set.features.chunks(together * m).zip(logits.chunks(together * k)).enumerate();
    for (block, (features, z)) in blocks {
        let covariances = posterior.covariances(features, delta);
        let each = || z.chunks_exact(k).zip(covariances.chunks_exact(k * k));
        variances.extend(each().map(|(_, covariance)| contrast_variance(covariance, k)));
        for (method, to) in &mut probabilities {
            match method {
                Method::Map => to.extend(each().flat_map(|(z, _)| softmax(z))),
                Method::ProbitOfContrasts => {
                    to.extend(each().flat_map(|(z, covariance)| probit_of_contrasts(z, covariance)));
                }
                Method::Probit => to.extend(each().flat_map(|(z, covariance)| probit(z, covariance))),
                Method::Bridge => to.extend(each().flat_map(|(z, covariance)| bridge(z, covariance))),
                Method::Sampling => {
                    let first = block * together;
                    to.extend(sampled(z, &covariances, k, asked.draws.get(), asked.seed, first)?);
                }
            }
        }
        if observer.advance(z.len() / k).is_break() {
            return Err(kappa_hessian::HessianError::Stopped.into());
        }
        if keeps {
            kept.extend(covariances);
        }
    }
    let covariances = keeps.then_some(kept);
    Ok(Predicted { logits, variances, covariances, probabilities, columns })
}

impl Predicted {
    fn record(&self, set: &OtherSet) -> PredictionRecord {
        let methods = self.probabilities.iter();
        let methods =
            methods.map(|(method, p)| method_record(*method, p, self.columns, set.labels.as_deref()));
        PredictionRecord {
            set: set.name.clone(),
            files: set.files.clone(),
            samples: self.variances.len(),
            mean_variance: mean(&self.variances),
            methods: methods.collect(),
        }
    }

    fn tensors(self, set: &OtherSet, classes: usize) -> Vec<SavedTensor> {
        let (count, name) = (self.variances.len(), |what: &str| format!("{}.{what}", set.name));
        let mut tensors = vec![
            SavedTensor::of_doubles(&name("logits"), vec![count, classes], &self.logits),
            SavedTensor::of_doubles(&name("variances"), vec![count], &self.variances),
        ];
        if let Some(covariances) = &self.covariances {
            tensors.push(SavedTensor::of_doubles(
                &name("covariances"),
                vec![count, classes, classes],
                covariances,
            ));
        }
        for (method, p) in &self.probabilities {
            tensors.push(SavedTensor::of_doubles(&name(method.name()), vec![count, self.columns], p));
        }
        if let Some(labels) = &set.labels {
            tensors.push(SavedTensor::of_integers(&name("labels"), vec![count], labels));
        }
        tensors
    }
}

/// How good probabilities are that were made in one way.
pub(crate) fn method_record(
    method: Method,
    p: &[f64],
    columns: usize,
    labels: Option<&[usize]>,
) -> MethodRecord {
    MethodRecord {
        method,
        mean_entropy: mean(&entropy(p, columns)),
        scores: labels.map(|labels| scores_record(&Scores::of(p, labels))),
    }
}

/// Scores as they stand in a record.
pub(crate) fn scores_record(scores: &Scores) -> ScoresRecord {
    ScoresRecord {
        accuracy: scores.accuracy,
        log_loss: Some(scores.log_loss).filter(|loss| loss.is_finite()),
        brier: scores.brier,
        calibration_error: scores.calibration_error,
        bins: scores.bins.iter().map(|bin| (bin.samples, bin.confidence, bin.accuracy)).collect(),
    }
}

fn separations(sets: &[OtherSet], predicted: &[Predicted]) -> Vec<SeparationRecord> {
    let Some((own, others)) = predicted.split_first() else { return Vec::new() };
    let names = sets.iter().skip(1).map(|set| set.name.clone());
    let of_set = |(set, other): (String, &Predicted)| {
        let by_entropy = own.probabilities.iter().zip(&other.probabilities).map(|((method, p), (_, q))| {
            let score = format!("entropy, {}", method.name());
            (score, auroc(&entropy(p, own.columns), &entropy(q, other.columns)))
        });
        let by_variance = ("variance of logits".to_owned(), auroc(&own.variances, &other.variances));
        let all = by_entropy.chain([by_variance]);
        let records = all
            .filter_map(|(score, auroc)| Some(SeparationRecord { set: set.clone(), score, auroc: auroc? }));
        records.collect::<Vec<_>>()
    };
    names.zip(others).flat_map(of_set).collect()
}

#[allow(clippy::too_many_arguments)]
fn compare(
    name: String,
    cheaper: &dyn Cheaper,
    posterior: &Posterior,
    weights: &Weights,
    set: &OtherSet,
    other: Option<&OtherSet>,
    exact: &Predicted,
    delta: f64,
) -> CheaperRecord {
    let (k, m) = (posterior.classes(), posterior.features());
    let (mut difference, mut norm, mut variances, mut probabilities) = (0.0, 0.0, Vec::new(), Vec::new());
    let together = (TOGETHER * 100 / (k * k)).clamp(1, TOGETHER);
    for (block, features) in set.features.chunks(together * m).enumerate() {
        let found = cheaper.covariances(features, delta);
        let kept = exact.covariances.as_ref().and_then(|all| all.chunks(together * k * k).nth(block));
        let truth = kept.map_or_else(|| posterior.covariances(features, delta), <[f64]>::to_vec);
        let logits = weights.logits(features);
        for ((found, truth), z) in
            found.chunks_exact(k * k).zip(truth.chunks_exact(k * k)).zip(logits.chunks_exact(k))
        {
            let apart: Vec<f64> = found.iter().zip(truth).map(|(a, b)| a - b).collect();
            difference += contrast_norm(&apart, k);
            norm += contrast_norm(truth, k);
            variances.push(contrast_variance(found, k));
            probabilities.extend(probit_of_contrasts(z, found));
        }
    }
    let of_other = other.map(|other| {
        let blocks = other.features.chunks(together * m).flat_map(|features| {
            let covariances = cheaper.covariances(features, delta);
            covariances
                .chunks_exact(k * k)
                .map(|covariance| contrast_variance(covariance, k))
                .collect::<Vec<_>>()
        });
        blocks.collect::<Vec<f64>>()
    });
    let ratio = mean(&variances) / mean(&exact.variances);
    CheaperRecord {
        posterior: name,
        distance: if norm > 0.0 { f64::sqrt(difference / norm) } else { 0.0 },
        ratio: if ratio.is_finite() { ratio } else { 1.0 },
        scores: set.labels.as_ref().map(|labels| scores_record(&Scores::of(&probabilities, labels))),
        auroc: of_other.and_then(|other| auroc(&variances, &other)),
    }
}

/// |P M P|_F^2 with P taking off what all classes share: what probabilities see of a matrix [K, K] of logits.
fn contrast_norm(matrix: &[f64], k: usize) -> f64 {
    let square = |matrix: &[f64]| matrix.iter().map(|x| x * x).sum::<f64>();
    if k == 1 {
        return square(matrix);
    }
    let count = k as f64;
    let rows: Vec<f64> = matrix.chunks_exact(k).map(|row| row.iter().sum::<f64>() / count).collect();
    let all = rows.iter().sum::<f64>() / count;
    let element = |(index, x): (usize, &f64)| {
        let of = |i: usize| rows.get(i).copied().unwrap_or(0.0);
        x - of(index / k) - of(index % k) + all
    };
    matrix.iter().enumerate().map(element).map(|x| x * x).sum()
}

pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}
