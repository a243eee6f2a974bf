//! Cross-entropy between one-hot targets and softmax probabilities.

use burn::tensor::{Tensor, activation::log_softmax};

/// - sum_n sum_k y_nk log softmax(z_n)_k, in nats: logits [N, K] and targets
///   [N, K] -> [1].
pub(crate) fn summed_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (log_softmax(logits, 1) * targets).sum().neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_number_of_classes() {
        let device = Device::flex();
        let logits = Tensor::<2>::full([3, 4], 7.5, &device);
        let targets = Tensor::<2>::eye(4, &device).slice(0..3);
        let loss: f64 = summed_cross_entropy(logits, targets).into_scalar();
        // Three samples, each rounded a few times in f32.
        assert!((loss - 3.0 * 4.0f64.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn a_confident_mistake_costs_the_difference_of_the_logits() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[200.0, -100.0]], &device);
        let targets = Tensor::<2>::from_floats([[0.0, 1.0]], &device);
        let loss: f64 = summed_cross_entropy(logits, targets).into_scalar();
        assert_eq!(loss, 300.0);
    }
}
