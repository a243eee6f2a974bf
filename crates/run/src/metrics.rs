//! `metrics.csv`: one row an epoch.

use serde::{Deserialize, Serialize};

/// What is measured after an epoch; row 0 is the network before training.
///
/// All six losses and accuracies are those of the saved network, evaluated on
/// whole splits (batch norm by its running statistics): the loss is the mean
/// cross-entropy in nats, without the L2 penalty, whatever the training's
/// reduction is; the accuracy is a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Epochs of training so far.
    pub epoch: usize,
    /// Seconds since the run began, evaluation and checkpoints included.
    pub seconds: f64,
    /// Seconds spent in training steps alone.
    pub training_seconds: f64,
    /// The mean over the epoch's steps of what was minimised: the batch's loss
    /// by the configured reduction, plus the L2 penalty. Empty for epoch 0.
    pub objective: Option<f64>,
    /// Loss on the training split.
    pub train_loss: f64,
    /// Accuracy on the training split.
    pub train_accuracy: f64,
    /// Loss on the validation split.
    pub validation_loss: f64,
    /// Accuracy on the validation split.
    pub validation_accuracy: f64,
    /// Loss on the test split.
    pub test_loss: f64,
    /// Accuracy on the test split.
    pub test_accuracy: f64,
}
