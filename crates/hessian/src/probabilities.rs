//! The probabilities of one sample.

use burn::tensor::Element;
use kappa_fused::clear_upper_halves;

/// The softmax of one sample's logits, in f64.
pub(crate) fn softmax<T: Element>(logits: &[T]) -> Vec<T> {
    let logits = || logits.iter().map(|logit| logit.elem::<f64>());
    clear_upper_halves();
    let largest = logits().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| T::from_elem(power / sum)).collect()
}

/// The class that a sample most likely is of.
pub(crate) fn likeliest(p: &[f64]) -> usize {
    (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0)
}

/// 1 - |p|^2 = tr S, in which 1 - p_c of the likeliest class c would lose all digits of
/// what is left besides it; of one logit the product of its two probabilities.
pub(crate) fn uncertainty(p: &[f64], classes: usize) -> f64 {
    if classes == 1 {
        return p.iter().product();
    }
    let c = likeliest(p);
    let others = || p.iter().enumerate().filter(|&(a, _)| a != c).map(|(_, p)| p);
    let rest: f64 = others().sum();
    rest * (1.0 + p[c]) - others().map(|p| p * p).sum::<f64>()
}
