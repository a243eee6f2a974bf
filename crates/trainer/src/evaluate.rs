//! Loss and accuracy on a whole split.

use burn::{
    module::Module,
    tensor::{Int, Tensor, activation::softmax},
};
use kappa_fused::{DeviceError, cross_entropy};
use kappa_model::{Network, Pass};

use crate::{DeviceSplit, TrainError};

/// What a network does on a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean cross-entropy in nats.
    pub loss: f64,
    /// The fraction of samples whose most probable class is theirs.
    pub accuracy: f64,
}

/// Evaluates `network` on `split`, batch norm by its running statistics.
///
/// # Errors
///
/// [`TrainError::Device`] if the sums cannot be read back.
pub fn evaluate(network: &Network, split: &DeviceSplit) -> Result<Evaluation, TrainError> {
    let network = network.valid();
    let mut losses: Option<Tensor<1>> = None;
    let mut hits: Option<Tensor<1, Int>> = None;
    for chunk in split.chunks() {
        let logits = network.logits(network.features(chunk.images.preactivations(&network), Pass::Running));
        let right = softmax(logits.clone(), 1).argmax(1).equal(chunk.targets.clone().argmax(1)).int().sum();
        let loss = cross_entropy(logits, chunk.targets);
        losses = Some(losses.map_or_else(|| loss.clone(), |losses| losses + loss.clone()));
        hits = Some(hits.map_or_else(|| right.clone(), |hits| hits + right.clone()));
    }
    let samples = split.samples() as f64;
    Ok(Evaluation { loss: read(losses)? / samples, accuracy: read(hits.map(|hits| hits.float()))? / samples })
}

/// The one number of a tensor, 0 if there is no tensor.
pub(crate) fn read(number: Option<Tensor<1>>) -> Result<f64, TrainError> {
    number.map_or(Ok(0.0), |number| Ok(number.try_into_scalar::<f64>().map_err(DeviceError::new)?))
}
