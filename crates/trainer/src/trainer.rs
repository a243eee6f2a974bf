//! Steps and epochs.

use std::{num::NonZeroUsize, ops::ControlFlow};

use burn::{
    module::ParamGroup,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
};
use kappa_fused::{Adam, cross_entropy};
use kappa_model::TwoLayerNet;
use kappa_run::{BatchSize, Reduction, TrainingConfig};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{DeviceSplit, TrainError, adam::AllMoments, evaluate::read};

/// The ChaCha stream of epoch 0; see ARCHITECTURE.md, "Randomness".
const EPOCH_STREAM: u64 = 1000;

/// A network being trained on a split.
pub struct Trainer {
    network: TwoLayerNet,
    adam: Adam,
    optimizer: ModuleOptimizer,
    split: DeviceSplit,
    settings: TrainingConfig,
    /// Samples that go through the first layer at once, at the most.
    piece: NonZeroUsize,
    device: Device,
    seed: u64,
    epoch: usize,
}

impl Trainer {
    /// A trainer of `network`, which must be on `device` with autodiff.
    pub fn new(
        network: TwoLayerNet,
        split: DeviceSplit,
        settings: &TrainingConfig,
        device: &Device,
        seed: u64,
    ) -> Self {
        let adam = Adam {
            beta_1: settings.adam.beta_1 as f32,
            beta_2: settings.adam.beta_2 as f32,
            epsilon: settings.adam.epsilon as f32,
        };
        Self {
            piece: NonZeroUsize::MAX,
            network,
            adam,
            optimizer: adam.into(),
            split,
            settings: settings.clone(),
            device: device.clone().without_autodiff(),
            seed,
            epoch: 0,
        }
    }

    /// Takes at most `piece` samples of a full batch through the first layer at once,
    /// instead of as many as the device can. It changes rounding, and nothing else.
    pub fn in_pieces_of(mut self, piece: NonZeroUsize) -> Self {
        self.piece = piece;
        self
    }

    /// The network as it is now.
    pub fn network(&self) -> &TwoLayerNet {
        &self.network
    }

    /// The optimiser, with its state after the last step.
    pub(crate) fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// Samples a step.
    fn batch_size(&self) -> usize {
        match self.settings.batch_size {
            BatchSize::Full => self.split.samples(),
            BatchSize::Samples(size) => size.get().min(self.split.samples()),
        }
    }

    /// Steps an epoch; the last one may have fewer samples.
    pub fn steps(&self) -> usize {
        self.split.samples().div_ceil(self.batch_size())
    }

    /// Goes on as after `epoch` epochs, at whose end Adam had these moments.
    pub(crate) fn after(mut self, epoch: usize, moments: AllMoments) -> Self {
        self.epoch = epoch;
        for (path, moments) in moments {
            let continued = self.adam.continued(moments);
            self.optimizer = self.optimizer.with_group(ParamGroup::from_path(path), continued, None);
        }
        self
    }

    /// Trains for one epoch. `after_step` is called after each step is queued,
    /// with that step's objective, which is still on the device, and says whether to go on.
    ///
    /// Returns the mean over the steps of what was minimised: the batch's loss
    /// plus the penalty.
    ///
    /// # Errors
    ///
    /// [`TrainError::Diverged`] if that is not a finite number,
    /// [`TrainError::Stopped`] if `after_step` said so,
    /// [`TrainError::Device`] if the device failed.
    pub fn epoch(
        &mut self,
        mut after_step: impl FnMut(&Tensor<1>) -> ControlFlow<()>,
    ) -> Result<f64, TrainError> {
        self.epoch += 1;
        let order = self.order();
        let mut objectives: Option<Tensor<1>> = None;
        for start in (0..self.split.samples()).step_by(self.batch_size()) {
            let end = (start + self.batch_size()).min(self.split.samples());
            let indices = order.clone().slice(start..end);
            let objective = self.step(indices);
            if after_step(&objective).is_break() {
                return Err(TrainError::Stopped);
            }
            objectives = Some(match objectives {
                Some(sum) => sum + objective,
                None => objective,
            });
        }
        let mean = read(objectives)? / self.steps() as f64;
        if mean.is_finite() {
            Ok(mean)
        } else {
            Err(TrainError::Diverged { what: "objective", value: mean, epoch: self.epoch })
        }
    }

    /// One step on the samples at `indices`; returns the objective before it.
    fn step(&mut self, indices: Tensor<1, Int>) -> Tensor<1> {
        let [samples] = indices.dims();
        let logits = self.network.logits(self.network.features_of(self.preactivations(&indices)));
        let loss = cross_entropy(logits, self.split.targets_at(indices).autodiff());
        let loss = match self.settings.reduction {
            Reduction::Mean => loss.div_scalar(samples as f64),
            Reduction::Sum => loss,
        };
        // l2 * (sum W1^2 + sum W2^2), the Keras convention
        let objective = match self.settings.l2 {
            0.0 => loss,
            l2 => loss + self.network.squared_weights().mul_scalar(l2),
        };
        let gradients = GradientsParams::from_grads(objective.backward(), &self.network);
        let learning_rate = self.settings.adam.learning_rate;
        self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);
        objective.inner()
    }

    /// W1 x + b1 for the samples at `indices`. Where a device has no bytes, inputs are many
    /// times wider than hidden units, so a full batch goes through the first layer in
    /// pieces; from there on it is whole, as batch norm needs it.
    fn preactivations(&self, indices: &Tensor<1, Int>) -> Tensor<2> {
        if self.steps() > 1 {
            return self.split.images_at(indices.clone()).preactivations(&self.network);
        }
        let pieces = self.split.pieces(self.piece.get());
        let mut pieces: Vec<Tensor<2>> = pieces.map(|images| images.preactivations(&self.network)).collect();
        if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(pieces, 0) }
    }

    /// This epoch's order of the samples, from the seed; the files' order if an
    /// epoch is one step.
    fn order(&self) -> Tensor<1, Int> {
        let samples = self.split.samples();
        let mut order: Vec<i32> = (0..samples as i32).collect();
        if self.steps() > 1 {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(EPOCH_STREAM + self.epoch as u64);
            order.shuffle(&mut generator);
        }
        Tensor::from_data(TensorData::new(order, [samples]), &self.device)
    }
}
