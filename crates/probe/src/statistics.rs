//! The statistics that a network is looked at by.

use burn::tensor::Tensor;
use kappa_model::{Network, Pass, Statistics, together};
use kappa_trainer::DeviceSplit;

/// `network`, or one whose running statistics are those of the whole split, of all processes, whose W1 x + b1 of
/// this one's are `preactivations`; layer by layer, since what a layer sees depends on those before it.
pub(crate) fn prepared(
    network: Network,
    statistics: Statistics,
    preactivations: &[Tensor<2>],
    split: &DeviceSplit,
) -> Network {
    let shape = network.shape();
    if statistics != Statistics::Dataset || !shape.normalisation.has_statistics() {
        return network;
    }
    let samples = split.all() as f64;
    let total = |terms: &mut dyn Iterator<Item = Tensor<2>>| {
        terms.reduce(|sum, term| sum + term).map(|own| together(&**split.world(), own))
    };
    (0..shape.hidden.len()).fold(network, |network, layer| {
        // Two passes, mean first: the variance is then a sum of squares and cancels nothing.
        let seen = || preactivations.iter().map(|chunk| network.normalisation_inputs(chunk.clone(), layer));
        let mean = total(&mut seen().map(column_sums)).map(|sum| sum.div_scalar(samples));
        let Some(mean) = mean else { return network };
        let mut squares = seen().map(|a| column_sums((a - mean.clone()).powi_scalar(2)));
        match total(&mut squares).map(|sum| sum.div_scalar(samples)) {
            Some(variance) => {
                network.clone().with_statistics(layer, mean.squeeze_dim(0), variance.squeeze_dim(0))
            }
            None => network,
        }
    })
}

/// g of consecutive samples' W1 x + b1 [n, m1], by the prepared network: [n, m].
pub(crate) fn features(network: &Network, statistics: Statistics, preactivations: Tensor<2>) -> Tensor<2> {
    let [samples, _] = preactivations.dims();
    match statistics {
        Statistics::Running | Statistics::Dataset => network.features(preactivations, Pass::Running),
        Statistics::Batch(size) if size.get() < samples => {
            let batches = (0..samples).step_by(size.get()).map(|start| {
                let rows = start..(start + size.get()).min(samples);
                network.features(preactivations.clone().slice(rows), Pass::Batch)
            });
            Tensor::cat(batches.collect(), 0)
        }
        Statistics::Batch(_) => network.features(preactivations, Pass::Batch),
    }
}

/// The sum over the rows, [n, m] -> [1, m], as a product: burn's reduction over
/// the first dimension takes several times as long on a CPU.
pub(crate) fn column_sums(rows: Tensor<2>) -> Tensor<2> {
    let [samples, _] = rows.dims();
    Tensor::ones([1, samples], (&rows.device(), rows.dtype())).matmul(rows)
}
