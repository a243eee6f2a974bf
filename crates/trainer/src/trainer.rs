//! Steps and epochs.

use std::{num::NonZeroUsize, ops::ControlFlow};

use burn::{
    module::ParamGroup,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
};
use kappa_fused::{Adam, cross_entropy};
use kappa_model::{Network, Pass};
use kappa_run::{AdamConfig, BatchSize, Optimizer, Reduction, TrainingConfig};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    DeviceSplit, TrainError,
    adam::AllMoments,
    descent,
    evaluate::read,
    watch::{Watch, zero_if_finite},
};

/// The ChaCha stream of epoch 0; docs/decisions/randomness.md lists all streams.
const EPOCH_STREAM: u64 = 1000;
/// Steps after which it is looked whether the numbers are finite: on a GPU a look waits for all
/// that is queued.
const STEPS_A_LOOK: usize = 64;
/// Samples below which it is not the images that a device has no memory for.
const LEAST_PIECE: usize = 256;

/// What an optimiser has kept.
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// Adam.
    Moments(AllMoments),
    /// Momentum.
    Velocities(Vec<(String, TensorData)>),
}

fn adam(settings: &AdamConfig) -> Adam {
    Adam { beta_1: settings.beta_1 as f32, beta_2: settings.beta_2 as f32, epsilon: settings.epsilon as f32 }
}

/// A network being trained on a split.
pub struct Trainer {
    network: Network,
    optimizer: ModuleOptimizer,
    /// Both as the epoch began with them.
    start: Option<(Network, ModuleOptimizer)>,
    split: DeviceSplit,
    settings: TrainingConfig,
    /// Samples of a full batch that go through the first layer at once, at the most.
    piece: NonZeroUsize,
    device: Device,
    seed: u64,
    epoch: usize,
}

impl Trainer {
    /// A trainer of `network`, which must be on `device` with autodiff.
    pub fn new(
        network: Network,
        split: DeviceSplit,
        settings: &TrainingConfig,
        device: &Device,
        seed: u64,
    ) -> Self {
        Self {
            piece: split.piece(),
            network,
            optimizer: match &settings.optimizer {
                Optimizer::Adam(settings) => adam(settings).into(),
                Optimizer::Descent(settings) => descent::begin(settings),
            },
            start: None,
            split,
            settings: settings.clone(),
            device: device.clone().without_autodiff(),
            seed,
            epoch: 0,
        }
    }

    /// Takes `piece` samples of a full batch through the first layer at once, instead of as
    /// many as any device can. It changes rounding, and nothing else.
    pub fn in_pieces_of(mut self, piece: NonZeroUsize) -> Self {
        self.piece = piece;
        self
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
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

    /// Goes on as after `epoch` epochs, at whose end the optimiser had kept this of each parameter, by
    /// burn's path of it.
    pub(crate) fn after(mut self, epoch: usize, kept: Kept) -> Self {
        self.epoch = epoch;
        match (kept, self.settings.optimizer) {
            (Kept::Moments(moments), Optimizer::Adam(settings)) => {
                for (path, moments) in moments {
                    let continued = adam(&settings).continued(moments);
                    self.optimizer = self.optimizer.with_group(ParamGroup::from_path(path), continued, None);
                }
            }
            (Kept::Velocities(velocities), Optimizer::Descent(settings)) => {
                for (path, velocity) in velocities {
                    let continued = descent::Continued::new(&settings, velocity);
                    self.optimizer = self.optimizer.with_group(ParamGroup::from_path(path), continued, None);
                }
            }
            _ => {}
        }
        self
    }

    /// What takes the steps.
    pub(crate) fn settings(&self) -> &Optimizer {
        &self.settings.optimizer
    }

    /// Trains for one epoch. `after_step` is called after each step is queued,
    /// with that step's objective, which is still on the device, and says whether to go on.
    ///
    /// Returns the mean over the steps of what was minimised: the batch's loss
    /// plus the penalty.
    ///
    /// # Errors
    ///
    /// [`TrainError::Diverged`] if a number is not finite, 64 steps later at the most,
    /// [`TrainError::Stopped`] if `after_step` said so,
    /// [`TrainError::Device`] if the device failed.
    pub fn epoch(
        &mut self,
        mut after_step: impl FnMut(&Tensor<1>) -> ControlFlow<()>,
    ) -> Result<f64, TrainError> {
        self.epoch += 1;
        self.start = Some((self.network.clone().with_own_statistics(), self.optimizer.clone()));
        loop {
            match self.steps_of_epoch(&mut after_step) {
                Err(TrainError::Device(error)) if error.is_out_of_memory() && self.halve_piece() => {
                    self.begin_again();
                }
                result => return result,
            }
        }
    }

    /// Takes half as many samples of a full batch at once from now on, if that can be done.
    fn halve_piece(&mut self) -> bool {
        let piece = self.piece.get().min(self.split.samples());
        let half = NonZeroUsize::new(piece.div_ceil(2)).filter(|_| self.steps() == 1 && piece > LEAST_PIECE);
        if let Some(half) = half {
            tracing::warn!(
                "the device has no memory for {piece} images at once: epoch {} begins again with {half}",
                self.epoch
            );
            self.piece = half;
        }
        half.is_some()
    }

    /// Goes back to where the epoch began.
    fn begin_again(&mut self) {
        if let Some((network, optimizer)) = self.start.clone() {
            (self.network, self.optimizer) = (network.with_own_statistics(), optimizer);
        }
    }

    fn steps_of_epoch(
        &mut self,
        after_step: &mut impl FnMut(&Tensor<1>) -> ControlFlow<()>,
    ) -> Result<f64, TrainError> {
        let order = self.order();
        let mut objectives: Option<Tensor<1>> = None;
        let mut total = 0.0;
        for step in 1..=self.steps() {
            let objective = self.step(self.batch(&order, step), None);
            if after_step(&objective).is_break() {
                return Err(TrainError::Stopped);
            }
            let sum = match objectives {
                Some(sum) => sum + objective,
                None => objective,
            };
            if step % STEPS_A_LOOK == 0 || step == self.steps() {
                total = read(Some(sum.clone()))?;
                let parameters = read(zero_if_finite(&self.network))?;
                for (what, value) in [("the objective", total), ("the network", parameters)] {
                    if !value.is_finite() {
                        return Err(self.diverged(what, value));
                    }
                }
            }
            objectives = Some(sum);
        }
        Ok(total / self.steps() as f64)
    }

    /// The indices of the samples of an epoch's `step`, counted from 1.
    fn batch(&self, order: &Tensor<1, Int>, step: usize) -> Tensor<1, Int> {
        let start = (step - 1) * self.batch_size();
        order.clone().slice(start..(start + self.batch_size()).min(self.split.samples()))
    }

    /// The error for the epoch that was just trained, at whose end `what` was `value`: goes
    /// through it again, looking at all tensors, to name the first step and tensor in which
    /// a number is not finite. To look at them each time would cost every good epoch.
    pub(crate) fn diverged(&mut self, what: &str, value: f64) -> TrainError {
        if self.start.is_some() {
            self.begin_again();
            let order = self.order();
            for step in 1..=self.steps() {
                let mut watch = Watch::default();
                self.step(self.batch(&order, step), Some(&mut watch));
                if let Some((tensor, value)) = watch.first {
                    return TrainError::Diverged { tensor, value, epoch: self.epoch, step: Some(step) };
                }
            }
        }
        TrainError::Diverged { tensor: what.to_owned(), value, epoch: self.epoch, step: None }
    }

    /// One step on the samples at `indices`, which `watch` sees; returns the objective before it.
    fn step(&mut self, indices: Tensor<1, Int>, mut watch: Option<&mut Watch>) -> Tensor<1> {
        let [samples] = indices.dims();
        let features = self.network.features(self.preactivations(&indices), Pass::Training);
        let logits = self.network.logits(features.clone());
        if let Some(watch) = &mut watch {
            watch.see("the features", &features);
            watch.see("the logits", &logits);
        }
        let loss = cross_entropy(logits, self.split.targets_at(indices).autodiff());
        let loss = match self.settings.reduction {
            Reduction::Mean => loss.div_scalar(samples as f64),
            Reduction::Sum => loss,
        };
        // l2 * sum W^2 over the weight matrices, the Keras convention
        let objective = match self.settings.l2 {
            0.0 => loss,
            l2 => loss + self.network.squared_weights().mul_scalar(l2),
        };
        let gradients = GradientsParams::from_grads(objective.backward(), &self.network);
        if let Some(watch) = &mut watch {
            watch.see("the objective", &objective);
            watch.see_gradients(&self.network, &gradients);
        }
        let learning_rate = self.settings.optimizer.learning_rate();
        self.network = self.optimizer.step(learning_rate, self.network.clone(), gradients);
        if let Some(watch) = watch {
            watch.see_parameters(&self.network);
        }
        objective.inner()
    }

    /// W1 x + b1 for the samples at `indices`. Where a device has no bytes, inputs are many
    /// times wider than hidden units, so a full batch goes through the first layer in
    /// pieces; from there on it is whole, as batch norm needs it.
    fn preactivations(&self, indices: &Tensor<1, Int>) -> Tensor<2> {
        if self.steps() > 1 {
            return self.split.images_at(indices.clone()).preactivations(&self.network);
        }
        let pieces = self.split.pieces(self.piece);
        let mut pieces: Vec<Tensor<2>> = pieces.map(|images| images.preactivations(&self.network)).collect();
        if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(pieces, 0) }
    }

    /// This epoch's order of the samples, from the seed; the files' order if an
    /// epoch is one step.
    fn order(&self) -> Tensor<1, Int> {
        let samples = self.split.samples();
        let order = match self.steps() {
            1 => (0..samples as i32).collect(),
            _ => order_of_epoch(samples, self.seed, self.epoch),
        };
        Tensor::from_data(TensorData::new(order, [samples]), &self.device)
    }
}

/// The order in which mini-batches take their samples in an epoch, counted from 1: a shuffle of their numbers.
pub fn order_of_epoch(samples: usize, seed: u64, epoch: usize) -> Vec<i32> {
    let mut order: Vec<i32> = (0..samples as i32).collect();
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(EPOCH_STREAM + epoch as u64);
    order.shuffle(&mut generator);
    order
}
