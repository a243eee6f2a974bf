//! A last layer, ready to be measured, wherever it comes from.

use kappa_hessian::Samples;
use kappa_run::{AdamConfig, SpectrumSettings};
use kappa_trainer::AdamState;

/// A last layer whose Hessian is asked for.
#[derive(Debug)]
pub struct Layer {
    /// What it is, and what was asked.
    pub(crate) settings: SpectrumSettings,
    pub(crate) samples: Samples,
    /// Of samples that are read again whenever they are gone through, those that are kept.
    pub(crate) kept: Option<usize>,
    /// The labels of the samples, where they are known.
    pub(crate) labels: Option<Vec<usize>>,
    /// Their mean loss, where logits say it better than probabilities, which underflow.
    pub(crate) loss: Option<f64>,
    /// The layer's weights [K m], class by class, where they are known.
    pub(crate) weights: Option<Vec<f64>>,
    /// The optimiser's state after the epoch, where it is known and was asked for.
    pub(crate) adam: Option<(AdamState, AdamConfig)>,
    /// The same network after other epochs.
    pub(crate) others: Vec<(usize, Samples)>,
    /// Seconds until there were samples.
    pub(crate) seconds: f64,
}

impl Layer {
    /// What it is, and what was asked.
    pub fn settings(&self) -> &SpectrumSettings {
        &self.settings
    }

    /// Where the samples are read again whenever they are gone through: how many of them are kept in memory.
    pub fn kept(&self) -> Option<usize> {
        self.kept
    }

    /// Features and probabilities of all samples.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }
}
