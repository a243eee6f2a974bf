//! Adam in one pass.

use std::sync::Arc;

use burn::{
    optim::{AdamState, AdaptiveMomentumState, LearningRate, Optimizer},
    tensor::{Device, Tensor, TensorData},
};

use crate::operations::{AdamFactors, dispatch};

/// Adam (Kingma and Ba 2015, algorithm 1), with burn's arithmetic and burn's state, so
/// that its records are burn's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// The first moment's decay.
    pub beta_1: f32,
    /// The second moment's decay.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let AdaptiveMomentumState { time, moment_1, moment_2, .. } = match state {
            Some(state) => state.momentum,
            None => AdaptiveMomentumState::new(0, gradient.zeros_like(), gradient.zeros_like()),
        };
        let steps = time as i32 + 1;
        let root = (1.0 - self.beta_2.powi(steps)).sqrt();
        let factors = AdamFactors {
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            correction: root / (1.0 - self.beta_1.powi(steps)),
            epsilon: self.epsilon * root,
            rate: learning_rate as f32,
        };
        let [parameter, moment_1, moment_2] =
            dispatch::adam_step([parameter, gradient, moment_1, moment_2], factors);
        (parameter, Some(AdamState::new(AdaptiveMomentumState::new(time + 1, moment_1, moment_2))))
    }

    fn to_device<const D: usize>(mut state: AdamState<D>, device: &Device) -> AdamState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// What Adam has kept of one parameter after some steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The steps taken t.
    pub steps: usize,
    /// m, of the parameter's shape, in f32.
    pub first: TensorData,
    /// v, likewise.
    pub second: TensorData,
}

/// [`Adam`] for one parameter, taken up where it was left. (burn's own way, loading a record,
/// puts it on burn's default device, which on a machine without a GPU may be a GPU.)
#[derive(Debug, Clone)]
pub struct ContinuedAdam {
    adam: Adam,
    moments: Arc<Moments>,
}

impl Adam {
    /// Goes on from `moments`.
    pub fn continued(self, moments: Moments) -> ContinuedAdam {
        ContinuedAdam { adam: self, moments: Arc::new(moments) }
    }
}

impl Optimizer for ContinuedAdam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let state = state.unwrap_or_else(|| {
            let Moments { steps, first, second } = &*self.moments;
            let [first, second] =
                [first, second].map(|moment| Tensor::from_data(moment.clone(), &gradient.device()));
            AdamState::new(AdaptiveMomentumState::new(*steps, first, second))
        });
        self.adam.step(learning_rate, parameter, gradient, Some(state))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        Adam::to_device(state, device)
    }
}
