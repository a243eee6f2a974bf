//! What a posterior says of samples, and how good that is.

use kappa_hessian::{HessianError, Weights};
use kappa_posterior::{
    Covariances, Posterior, Scores, auroc, bridge, contrast_variance, entropy, probit, probit_of_contrasts,
    sampled, softmax,
};
use kappa_run::{
    LaplaceRequest, Method, MethodRecord, PredictionRecord, SavedTensor, ScoresRecord, SeparationRecord,
};

use crate::{Observer, OtherSet, ProbeError};

/// Bytes of covariances that are kept, at the most.
const KEPT_BYTES: usize = 256 << 20;

/// Samples whose covariances are made together: of few classes some thousand, of many as many fewer.
pub(super) fn together(classes: usize) -> usize {
    (4096 * 100 / (classes * classes)).clamp(1, 4096)
}

/// What a posterior says of a set.
pub(super) struct Predicted {
    pub logits: Vec<f64>,
    /// Of what probabilities see of the logits.
    pub variances: Vec<f64>,
    /// [T, K, K], where they are few enough to be kept.
    pub covariances: Option<Vec<f64>>,
    /// [T, columns] by each method.
    pub probabilities: Vec<(Method, Vec<f64>)>,
    pub columns: usize,
}

/// What `posterior` says of `set` at `weights`.
pub(super) fn predictions(
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
    let (together, predictive) = (together(k), posterior.predictive(delta));
    let blocks = set.features.chunks(together * m).zip(logits.chunks(together * k)).enumerate();
    for (block, (features, z)) in blocks {
        let covariances = predictive.covariances(features);
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
            return Err(HessianError::Stopped.into());
        }
        if keeps {
            kept.extend(covariances);
        }
    }
    let covariances = keeps.then_some(kept);
    Ok(Predicted { logits, variances, covariances, probabilities, columns })
}

impl Predicted {
    pub fn record(&self, set: &OtherSet) -> PredictionRecord {
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

    pub fn tensors(self, set: &OtherSet, classes: usize) -> Vec<SavedTensor> {
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

/// How well the samples of the first set are told from those of each other one.
pub(super) fn separations(sets: &[OtherSet], predicted: &[Predicted]) -> Vec<SeparationRecord> {
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

/// Their mean; of none 0.
pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}
