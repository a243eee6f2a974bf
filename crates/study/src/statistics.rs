//! By which statistics batch norm normalises when its features are probed.

use std::num::NonZeroUsize;

use burn::tensor::{Tensor, activation::relu};
use kappa_model::TwoLayerNet;

/// By which statistics batch norm normalises. Without batch norm they are all one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNormStatistics {
    /// The running ones, as at inference.
    Running,
    /// Those of mini-batches of so many consecutive samples, as in training.
    Batch(NonZeroUsize),
    /// Those of the whole split.
    Dataset,
}

impl BatchNormStatistics {
    /// "running", "batch" or "dataset".
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Batch(_) => "batch",
            Self::Dataset => "dataset",
        }
    }

    /// What a study calls a spectrum by these statistics.
    pub(crate) fn variant(self) -> kappa_run::Variant {
        match self {
            Self::Running => kappa_run::Variant::Running,
            Self::Batch(_) => kappa_run::Variant::Batch,
            Self::Dataset => kappa_run::Variant::Dataset,
        }
    }

    /// The network to probe a split with: its own, or one whose running statistics
    /// are those of the split, whose W1 x + b1 are `preactivations`.
    pub(crate) fn prepare(self, network: TwoLayerNet, preactivations: &[Tensor<2>]) -> TwoLayerNet {
        if self != Self::Dataset || network.shape().batch_norm.is_none() {
            return network;
        }
        // Two passes, mean first: the variance is then a sum of squares and cancels nothing.
        let samples = preactivations.iter().map(|chunk| chunk.dims()[0]).sum::<usize>() as f64;
        let activations = || preactivations.iter().map(|chunk| relu(chunk.clone()));
        let mean = total(activations().map(column_sums)).map(|sum| sum.div_scalar(samples));
        let Some(mean) = mean else { return network };
        let squares = activations().map(|a| column_sums((a - mean.clone()).powi_scalar(2)));
        let variance = total(squares).map(|sum| sum.div_scalar(samples));
        match variance {
            Some(variance) => network.clone().with_statistics(mean.squeeze_dim(0), variance.squeeze_dim(0)),
            None => network,
        }
    }

    /// g of consecutive samples' W1 x + b1 [n, m], by the prepared network.
    pub(crate) fn features(self, network: &TwoLayerNet, preactivations: Tensor<2>) -> Tensor<2> {
        let [samples, _] = preactivations.dims();
        match self {
            Self::Batch(size) if size.get() < samples => {
                let batches = (0..samples).step_by(size.get()).map(|start| {
                    let rows = start..(start + size.get()).min(samples);
                    network.features_of_batch(preactivations.clone().slice(rows))
                });
                Tensor::cat(batches.collect(), 0)
            }
            Self::Batch(_) => network.features_of_batch(preactivations),
            Self::Running | Self::Dataset => network.features_of(preactivations),
        }
    }

    /// A number that the length of a chunk must be a multiple of.
    pub(crate) fn granularity(self) -> usize {
        match self {
            Self::Batch(size) => size.get(),
            Self::Running | Self::Dataset => 1,
        }
    }
}

/// The sum over the rows, [n, m] -> [1, m], as a product: burn's reduction over
/// the first dimension takes several times as long on a CPU.
pub(crate) fn column_sums(rows: Tensor<2>) -> Tensor<2> {
    let [samples, _] = rows.dims();
    Tensor::ones([1, samples], (&rows.device(), rows.dtype())).matmul(rows)
}

fn total(terms: impl Iterator<Item = Tensor<2>>) -> Option<Tensor<2>> {
    terms.reduce(|sum, term| sum + term)
}
