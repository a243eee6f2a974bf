//! The layer of a normalisation.

use burn::{
    module::{Module, Param, RunningState},
    tensor::{DType, Device, Tensor, module::batch_norm},
};
use kappa_fused::batch_norm as batch_norm_by_batch;

use crate::{Kind, Normalisation, Pass, Role};

/// A normalisation of [n, m] units: what its kind has of these is there.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    gamma: Option<Param<Tensor<1>>>,
    beta: Option<Param<Tensor<1>>>,
    running_mean: Option<RunningState<Tensor<1>>>,
    running_var: Option<RunningState<Tensor<1>>>,
    #[module(skip)]
    settings: Normalisation,
}

impl Norm {
    /// That of `units` hidden units as it begins: gamma 1, beta 0, running mean 0 and variance 1.
    /// Nothing for a kind that has no layer.
    pub fn begin(settings: &Normalisation, units: usize, device: &Device) -> Option<Self> {
        Self::of(settings, |role| match role {
            Role::Gain | Role::RunningVariance => Tensor::ones([units], device),
            _ => Tensor::zeros([units], device),
        })
    }

    /// That of these tensors, \[m\] each.
    pub fn of(settings: &Normalisation, mut tensor: impl FnMut(Role) -> Tensor<1>) -> Option<Self> {
        let tensors = settings.kind.tensors();
        let mut of = |role: Role| tensors.iter().any(|row| row.0 == role).then(|| tensor(role));
        (!tensors.is_empty()).then(|| Self {
            gamma: of(Role::Gain).map(Param::from_tensor),
            beta: of(Role::Shift).map(Param::from_tensor),
            running_mean: of(Role::RunningMean).map(RunningState::new),
            running_var: of(Role::RunningVariance).map(RunningState::new),
            settings: *settings,
        })
    }

    /// One of its tensors, if its kind has it.
    pub fn tensor(&self, role: Role) -> Option<Tensor<1>> {
        match role {
            Role::Gain => self.gamma.as_ref().map(Param::val),
            Role::Shift => self.beta.as_ref().map(Param::val),
            Role::RunningMean => self.running_mean.as_ref().map(RunningState::value_sync),
            Role::RunningVariance => self.running_var.as_ref().map(RunningState::value_sync),
            _ => None,
        }
    }

    /// The same of tensors that `change` makes of those that are there.
    pub fn changed(&self, change: impl Fn(Role, Tensor<1>) -> Tensor<1>) -> Self {
        let of = |role| self.tensor(role).map(|tensor| change(role, tensor));
        Self {
            gamma: of(Role::Gain).map(Param::from_tensor),
            beta: of(Role::Shift).map(Param::from_tensor),
            running_mean: of(Role::RunningMean).map(RunningState::new),
            running_var: of(Role::RunningVariance).map(RunningState::new),
            settings: self.settings,
        }
    }

    /// The same by other settings, of the same kind.
    pub fn with_settings(mut self, change: impl FnOnce(&mut Normalisation)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The same with running statistics of its own: those of a clone are one with the original's.
    pub fn with_own_statistics(mut self) -> Self {
        for running in [&mut self.running_mean, &mut self.running_var].into_iter().flatten() {
            *running = RunningState::new(running.value_sync());
        }
        self
    }

    pub fn settings(&self) -> &Normalisation {
        &self.settings
    }

    /// The same in double precision.
    pub fn in_double_precision(&self) -> Self {
        self.changed(|_, tensor| tensor.cast(DType::F64))
    }

    /// s \[m\] and o \[m\] of the affine map s x + o that it is by its running statistics:
    /// s = gamma / sqrt(sigma^2 + epsilon), o = beta - s mu. Nothing where it has none.
    pub fn affine_map(&self) -> Option<(Tensor<1>, Tensor<1>)> {
        let any = self.tensor(Role::RunningMean).or_else(|| self.tensor(Role::RunningVariance))?;
        let (ones, zeros) = (any.ones_like(), any.zeros_like());
        let mut scale = self.tensor(Role::Gain).unwrap_or(ones);
        if let Some(variance) = self.tensor(Role::RunningVariance) {
            scale = scale / variance.add_scalar(self.settings.epsilon).sqrt();
        }
        let mut offset = self.tensor(Role::Shift).unwrap_or(zeros);
        if let Some(mean) = self.tensor(Role::RunningMean) {
            offset = offset - scale.clone() * mean;
        }
        Some((scale, offset))
    }

    /// Batch norm whose affine map is |s| x + |o|; a kind that is no such map stays as it is.
    pub fn magnitudes(&self) -> Self {
        let Some((scale, offset)) = self.affine_map() else { return self.clone() };
        let settings = Normalisation { kind: Kind::Batch, ..self.settings };
        let whole = Self::of(&settings, |role| match role {
            // Of these it is |gamma| / sqrt(sigma^2 + epsilon) of the usual kind as well.
            Role::Gain => match (self.tensor(Role::Gain), self.settings.kind) {
                (Some(gain), Kind::Batch) => gain.abs(),
                _ => scale.clone().abs(),
            },
            Role::Shift => offset.clone().abs(),
            Role::RunningVariance if self.settings.kind == Kind::Batch => {
                self.tensor(role).unwrap_or_else(|| scale.ones_like())
            }
            Role::RunningVariance => scale.ones_like().sub_scalar(self.settings.epsilon),
            _ => offset.zeros_like(),
        });
        whole.unwrap_or_else(|| self.clone())
    }

    /// Of [n, m] units, by the statistics that `pass` names.
    pub fn forward(&self, inputs: Tensor<2>, pass: Pass) -> Tensor<2> {
        match (self.settings.kind, pass) {
            (Kind::Layer, _) => self.by_rows(inputs),
            (_, Pass::Running) => {
                let device = inputs.device();
                let of = |role| self.tensor(role).map(|tensor| tensor.to_device(&device));
                self.by_statistics(inputs, of(Role::RunningMean), of(Role::RunningVariance))
            }
            (Kind::Batch, Pass::Batch) => {
                let mean = inputs.clone().mean_dim(0);
                let variance = (inputs.clone() - mean.clone()).powi_scalar(2).mean_dim(0);
                self.by_statistics(inputs, Some(mean.squeeze_dim(0)), Some(variance.squeeze_dim(0)))
            }
            (Kind::Batch, Pass::Training) => {
                let (gain, shift) = (self.gain(&inputs), self.shift(&inputs));
                let (outputs, mean, variance) =
                    batch_norm_by_batch(inputs.clone(), gain, shift, self.settings.epsilon);
                self.update(inputs.dims()[0], Some(mean), Some(variance));
                outputs
            }
            (kind, pass) => {
                let mean = mean_of_rows(inputs.clone());
                let variance = kind.scales().then(|| {
                    let centred = inputs.clone() - mean.clone();
                    mean_of_rows(centred.clone() * centred).squeeze_dim::<1>(0)
                });
                let mean = kind.centres().then(|| mean.squeeze_dim::<1>(0));
                if pass == Pass::Training {
                    self.update(inputs.dims()[0], mean.clone(), variance.clone());
                }
                self.by_statistics(inputs, mean, variance)
            }
        }
    }

    /// By statistics \[m\], of which those are given that its kind has.
    fn by_statistics(
        &self,
        inputs: Tensor<2>,
        mean: Option<Tensor<1>>,
        variance: Option<Tensor<1>>,
    ) -> Tensor<2> {
        let row = |vector: Tensor<1>| vector.unsqueeze_dim::<2>(0);
        match (mean, variance) {
            (Some(mean), Some(variance)) => {
                let (gain, shift) = (self.gain(&inputs), self.shift(&inputs));
                batch_norm(inputs, gain, shift, mean, variance, self.settings.epsilon)
            }
            (Some(mean), None) => {
                let shift = self.shift(&inputs);
                inputs - row(mean) + row(shift)
            }
            (None, Some(variance)) => {
                let deviation = variance.add_scalar(self.settings.epsilon).sqrt();
                let gain = self.gain(&inputs);
                inputs * row(gain / deviation)
            }
            (None, None) => inputs,
        }
    }

    /// Each row by its own mean and variance.
    fn by_rows(&self, inputs: Tensor<2>) -> Tensor<2> {
        let (gain, shift) = (self.gain(&inputs), self.shift(&inputs));
        let centred = inputs.clone() - inputs.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let normalised = centred / variance.add_scalar(self.settings.epsilon).sqrt();
        normalised * gain.unsqueeze_dim(0) + shift.unsqueeze_dim(0)
    }

    /// gamma, or ones: \[m\].
    pub fn gain(&self, like: &Tensor<2>) -> Tensor<1> {
        let ones = || Tensor::ones([like.dims()[1]], (&like.device(), like.dtype()));
        self.tensor(Role::Gain).unwrap_or_else(ones)
    }

    /// beta, or zeros: \[m\].
    pub fn shift(&self, like: &Tensor<2>) -> Tensor<1> {
        let zeros = || Tensor::zeros([like.dims()[1]], (&like.device(), like.dtype()));
        self.tensor(Role::Shift).unwrap_or_else(zeros)
    }

    /// The running statistics take their part of those of a batch of `samples`.
    fn update(&self, samples: usize, mean: Option<Tensor<1>>, variance: Option<Tensor<1>>) {
        let momentum = self.settings.momentum;
        let of_variance = momentum * self.settings.running_variance.factor(samples);
        for (running, newest, part) in
            [(&self.running_mean, mean, momentum), (&self.running_var, variance, of_variance)]
        {
            if let (Some(running), Some(newest)) = (running, newest) {
                let kept = running.value_sync().to_device(&newest.device()).mul_scalar(1.0 - momentum);
                running.update(kept.add(newest.detach().mul_scalar(part)).detach());
            }
        }
    }
}

/// [n, m] -> [1, m], as a product: burn's reduction over the first dimension takes several times as
/// long on a CPU, and may use atomics on a GPU.
fn mean_of_rows(rows: Tensor<2>) -> Tensor<2> {
    let [count, _] = rows.dims();
    let part = Tensor::<2>::ones([1, count], (&rows.device(), rows.dtype())) * (1.0 / count as f64);
    part.matmul(rows)
}
