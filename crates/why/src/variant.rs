//! Arms and interventions.

use burn::tensor::Device;
use kappa_data::DataSet;
use kappa_model::{Kind, Network, Statistics};
use kappa_probe::{ProbeError, looked_at};
use kappa_run::{Change, Config, Precision, RunError, WhyConfig, slug};
use kappa_trainer::{DeviceSplit, TrainError, training_split};

/// What is trained: an arm, and what is changed in it.
#[derive(Debug, Clone)]
pub struct Variant {
    pub name: String,
    /// The arm's configuration.
    pub config: Config,
    /// The place of its arm.
    pub arm: usize,
    pub change: Option<Change>,
    /// The arm that the change is taken from.
    pub like: Option<(usize, Config)>,
}

impl Variant {
    /// All arms, then all interventions.
    pub fn all(why: &WhyConfig) -> Result<Vec<Self>, RunError> {
        let mut all = Vec::new();
        for (arm, named) in why.arms.iter().enumerate() {
            let (name, config) = (named.name.clone(), why.config_of(named)?);
            all.push(Self { name, config, arm, change: None, like: None });
        }
        let place = |name: &str| why.arms.iter().position(|arm| arm.name == name);
        for intervention in &why.interventions {
            let find = |name: &str| {
                let arm = place(name)?;
                Some((arm, why.arms.get(arm)?))
            };
            let Some((arm, named)) = find(&intervention.arm) else { continue };
            let like = match intervention.like.as_deref().and_then(find) {
                Some((like, named)) => Some((like, why.config_of(named)?)),
                None => None,
            };
            let (name, change) = (intervention.name.clone(), Some(intervention.change));
            all.push(Self { name, config: why.config_of(named)?, arm, change, like });
        }
        Ok(all)
    }

    /// What its trainings are called.
    pub fn training_name(&self, seed: u64, rate: f64) -> String {
        format!("{}_s{seed}_lr{rate:.3e}", slug(&self.name))
    }

    /// Its images.
    pub fn images(&self, set: &DataSet, device: &Device) -> Result<DeviceSplit, TrainError> {
        training_split(set, &self.config, device)
    }

    /// Its network as it begins.
    pub fn network(
        &self,
        set: &DataSet,
        split: &DeviceSplit,
        seed: u64,
        device: &Device,
    ) -> Result<Network, ProbeError> {
        let begin = |config: &Config| {
            let shape = config.network.shape(set.train.inputs(), set.classes);
            Network::new(&shape, config.network.initialisation, seed, device)
        };
        let (change, like) = match (self.change, &self.like) {
            (Some(change), Some((_, like))) => (change, begin(like)),
            _ => return Ok(begin(&self.config)),
        };
        match change {
            Change::FoldedIntoNext => {
                Ok(looked_at(&like, split, Statistics::Dataset, Precision::F32)?.folded())
            }
            Change::FoldedIntoOwn => {
                let like = looked_at(&like, split, Statistics::Dataset, Precision::F32)?;
                Ok(like.folded_into_own_layers())
            }
            _ => Ok(begin(&self.config)),
        }
    }

    /// Whether its last layer's weights are what is trained, and not another parametrisation of them.
    pub fn trains_output_weights(&self) -> bool {
        self.config.network.normalisation.kind != Kind::Weight
    }
}
