//! Normalisation folded into a layer beside it, and how far both networks are apart.

use burn::tensor::Tensor;
use kappa_fused::DeviceError;
use kappa_model::{Network, Pass, Statistics};
use kappa_run::{CheckRecord, Precision};
use kappa_trainer::DeviceSplit;
use kappa_world::Combine;

use crate::{ProbeError, samples::looked_at};

/// A network whose normalisation was folded away.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The same function, without normalisation.
    pub network: Network,
    /// max over samples and classes of |z - z'| over what is added up for z, z and z' being
    /// both networks' logits.
    pub difference: f64,
    /// The most that rounding can make of it.
    pub bound: f64,
}

impl Folded {
    /// Whether both are the same function, as a check.
    pub fn check(&self) -> CheckRecord {
        CheckRecord {
            name: "folding".to_owned(),
            quantity: "max |z - z'| / z of all magnitudes, z' the folded network's logits".to_owned(),
            value: Some(self.difference).filter(|difference| difference.is_finite()),
            bound: self.bound,
            passed: self.difference <= self.bound,
        }
    }
}

/// `network` with its normalisation, by `statistics`, folded away ([`Network::folded`]), and how
/// far both are apart on `split`; both in the arithmetic of `forward`.
///
/// # Errors
///
/// [`ProbeError::NotAffine`] for the statistics of mini-batches, and as [`crate::samples`].
pub fn fold(
    network: &Network,
    split: &DeviceSplit,
    statistics: Statistics,
    forward: Precision,
) -> Result<Folded, ProbeError> {
    if let Statistics::Batch(_) = statistics {
        return Err(ProbeError::NotAffine);
    }
    let network = looked_at(network, split, statistics, forward)?;
    let (folded, magnitudes) = (network.folded(), network.magnitudes());
    let mut difference = 0.0;
    for chunk in split.chunks() {
        let logits = |network: &Network| {
            let preactivations = chunk.images.clone().preactivations(network);
            network.logits(network.features(preactivations, Pass::Running))
        };
        let sizes = chunk.images.magnitudes().preactivations(&magnitudes);
        let sizes = magnitudes.logits(magnitudes.features(sizes, Pass::Running));
        let apart: Tensor<2> =
            (logits(&network) - logits(&folded)).abs() / sizes.clamp_min(f32::MIN_POSITIVE);
        let apart = apart.max().try_into_scalar::<f64>().map_err(DeviceError::new)?;
        // What is not a number is to fail, and not to be passed over as `max` would.
        difference = if apart > difference || apart.is_nan() { apart } else { difference };
    }
    let mut differences = [difference];
    split.world().combine(&mut differences, Combine::Largest)?;
    let [difference] = differences;
    // Of the n roundings of a sum 4 sqrt(n) add up at the most, and a feature or a folded weight
    // goes through eight operations, in each layer and in both networks; what a layer rounds is
    // carried on by magnitudes no larger than those that it is divided by.
    let shape = network.shape();
    let fans = [shape.inputs].into_iter().chain(shape.hidden);
    let roundings: f64 = fans.map(|fan_in| 2.0 * (4.0 * (fan_in as f64).sqrt() + 8.0)).sum();
    Ok(Folded { network: folded, difference, bound: roundings * forward.epsilon() / 2.0 })
}
