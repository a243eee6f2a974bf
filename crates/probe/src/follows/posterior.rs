//! What a posterior's record says, and influences', against the arrays beside them.

use kappa_posterior::{Posterior, softmax};
use kappa_run::{
    InfluenceRecord, LaplaceRecord, MethodRecord, Mismatch, PosteriorAnswer, SavedTensor, mismatches,
};

use super::{check_mismatches, mismatch, under};
use crate::{
    influence::precisions,
    laplace::{mean, method_record, posterior_record},
};

/// Sums of logarithms and powers, which libraries of functions round otherwise.
const ROUNDING: f64 = 1e-11;

fn numbers(tensors: &[SavedTensor], name: &str) -> Option<Vec<f64>> {
    tensors.iter().find(|tensor| tensor.name == name)?.doubles()
}

fn integers(tensors: &[SavedTensor], name: &str) -> Option<Vec<usize>> {
    tensors.iter().find(|tensor| tensor.name == name)?.integers()
}

/// What in `record` does not follow from the arrays beside it: the marginal likelihood from the eigenvalues, all
/// scores from the probabilities, |W|^2 from the weights.
pub fn laplace_mismatches(record: &LaplaceRecord, tensors: &[SavedTensor]) -> Vec<Mismatch> {
    let mut found = check_mismatches("checks", &record.checks);
    let (Some(curvatures), Some(weights)) = (numbers(tensors, "curvatures"), numbers(tensors, "weights"))
    else {
        return vec![mismatch("laplace.safetensors", "without curvatures or weights", "both")];
    };
    let (optimum, settings) = (&record.optimum, &record.settings);
    let square: f64 = weights.iter().map(|w| w * w).sum();
    found.extend(under("optimum.square", mismatches(&optimum.square, &square, ROUNDING, |_| false)));
    let short_of = 0.5 * optimum.given * optimum.given;
    found.extend(under("optimum.short_of", mismatches(&optimum.short_of, &short_of, ROUNDING, |_| false)));
    // Of a posterior that leaves eigenvectors out the arrays do not say what is left.
    if record.asked.top.is_none() {
        let posterior = Posterior::of_curvatures(settings.samples, optimum.loss, optimum.square, curvatures);
        let size = settings.classes.saturating_mul(settings.features);
        let follows = posterior_record(&posterior, record.posterior.delta, size);
        found.extend(under("posterior.", mismatches(&record.posterior, &follows, ROUNDING, |_| false)));
    }
    let columns = settings.classes.max(2);
    for (index, prediction) in record.predictions.iter().enumerate() {
        let name = |what: &str| format!("{}.{what}", prediction.set);
        let labels = integers(tensors, &name("labels"));
        let of_method = |method: &MethodRecord| {
            let p = numbers(tensors, &name(method.method.name())).unwrap_or_default();
            // Labels that are no class, or not as many, are none of these probabilities'.
            let fits = |labels: &&[usize]| {
                labels.len().saturating_mul(columns) == p.len() && labels.iter().all(|&label| label < columns)
            };
            method_record(method.method, &p, columns, labels.as_deref().filter(fits))
        };
        let follows: Vec<MethodRecord> = prediction.methods.iter().map(of_method).collect();
        let place = format!("predictions[{index}].");
        found.extend(under(
            &(place.clone() + "methods"),
            mismatches(&prediction.methods, &follows, ROUNDING, |_| false),
        ));
        let variances = numbers(tensors, &name("variances")).unwrap_or_default();
        let variance = mismatches(&prediction.mean_variance, &mean(&variances), ROUNDING, |_| false);
        found.extend(under(&(place.clone() + "mean_variance"), variance));
        let logits = numbers(tensors, &name("logits")).unwrap_or_default();
        let map: Vec<f64> = logits.chunks(settings.classes.max(1)).flat_map(softmax).collect();
        let there = numbers(tensors, &name("map")).unwrap_or_default();
        found.extend(under(&(place + "map"), mismatches(&there, &map, ROUNDING, |_| false)));
    }
    found
}

/// What in `record` does not follow from the arrays beside it: which training samples are named first, and how well
/// wrong labels are found.
pub fn influence_mismatches(record: &InfluenceRecord, tensors: &[SavedTensor]) -> Vec<Mismatch> {
    let mut found = check_mismatches("checks", &record.checks().into_iter().cloned().collect::<Vec<_>>());
    let Some(losses) = numbers(tensors, "losses") else {
        return vec![mismatch("influence.safetensors", "without losses", "losses")];
    };
    let own = numbers(tensors, "self_influences");
    let at = |values: &[f64], index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    for (index, suspect) in record.suspects.iter().enumerate() {
        let place = |name: &str| format!("suspects[{index}].{name}");
        let loss = at(&losses, suspect.sample);
        found.extend(under(&place("loss"), mismatches(&suspect.loss, &loss, 0.0, |_| false)));
        let own = own.as_ref().map(|own| at(own, suspect.sample));
        found.extend(under(
            &place("self_influence"),
            mismatches(&suspect.self_influence, &own, 0.0, |_| false),
        ));
    }
    if let (Some(planted), Some(wrong)) = (&record.planted, integers(tensors, "planted")) {
        let gradients = numbers(tensors, "gradient_norms").unwrap_or_default();
        let rankings = precisions(&wrong, own.as_deref().unwrap_or_default(), &losses, &gradients);
        found.extend(under("planted.rankings", mismatches(&planted.rankings, &rankings, 0.0, |_| false)));
        found.extend(under("planted.count", mismatches(&planted.count, &wrong.len(), 0.0, |_| false)));
    }
    found
}
