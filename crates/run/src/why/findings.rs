//! What the trainings of a `kappa why` say: measures, orders, answers.

use serde::{Deserialize, Serialize};

use crate::{Change, Estimate, Word};

/// Something that an explanation speaks of, as its paper measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// lambda_1 / lambda_10 of the last layer's H.
    KappaPrimeOfOutput,
    /// Its largest eigenvalue.
    Lambda1OfOutput,
    /// Its tenth.
    Lambda10OfOutput,
    /// lambda_1 / lambda_10 of the whole network's H.
    KappaPrime,
    /// Its largest eigenvalue.
    Lambda1,
    /// lambda_1 times the learning rate over 2: above 1 descent overshoots along its eigenvector.
    EdgeOfStability,
    /// The share of the squared gradient that the last layer's weights have.
    GradientShareOfOutput,
    /// The share that the first layer's have.
    GradientShareOfFirst,
    /// The range of the loss along the gradient, for steps of 1/2 to 4 times the learning rate (Santurkar et
    /// al. 2018, figure 4a).
    LossRange,
    /// The largest change of the gradient along those steps (figure 4b).
    GradientChange,
    /// The largest change of the gradient over the distance (figure 4c).
    EffectiveSmoothness,
    /// The norm of the change of a layer's gradient by the step of the layers below it, over that gradient's,
    /// the mean over the layers but the first (the same paper, definition 2.1).
    CovariateShift,
    /// 1 - the cosine of the two gradients, likewise.
    CovariateTurn,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::KappaPrimeOfOutput,
        Self::Lambda1OfOutput,
        Self::Lambda10OfOutput,
        Self::KappaPrime,
        Self::Lambda1,
        Self::EdgeOfStability,
        Self::GradientShareOfOutput,
        Self::GradientShareOfFirst,
        Self::LossRange,
        Self::GradientChange,
        Self::EffectiveSmoothness,
        Self::CovariateShift,
        Self::CovariateTurn,
    ];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::KappaPrimeOfOutput => "kappa' of the last layer",
            Self::Lambda1OfOutput => "lambda_1 of the last layer",
            Self::Lambda10OfOutput => "lambda_10 of the last layer",
            Self::KappaPrime => "kappa' of the whole network",
            Self::Lambda1 => "lambda_1 of the whole network",
            Self::EdgeOfStability => "lambda_1 over 2 / learning rate",
            Self::GradientShareOfOutput => "the last layer's share of the gradient",
            Self::GradientShareOfFirst => "the first layer's share of the gradient",
            Self::LossRange => "range of the loss",
            Self::GradientChange => "change of the gradient",
            Self::EffectiveSmoothness => "effective beta-smoothness",
            Self::CovariateShift => "internal covariate shift",
            Self::CovariateTurn => "1 - cosine of the shift",
        }
    }
}

/// What the trainings say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyFindings {
    /// [`WHY_VERSION`](crate::WHY_VERSION).
    pub schema_version: u32,
    /// The version of kappa that judged.
    pub kappa_version: String,
    /// Of each arm, the first one first.
    pub arms: Vec<Speeds>,
    /// Of each intervention.
    pub interventions: Vec<Moved>,
    /// Of each measure: whether it orders the arms as their speed does.
    pub orders: Vec<Ordering>,
    /// Of each explanation: whether it holds.
    pub answers: Vec<Answer>,
}

/// An explanation of why a normalisation trains faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explains {
    /// A lower kappa' of the last layer (Reyes and Levy).
    ConditioningOfOutput,
    /// A lower kappa' of the whole network.
    Conditioning,
    /// A lower lambda_1 of the whole network, which allows a larger rate (Bjorck et al. 2018).
    LargestEigenvalue,
    /// A smoother loss (Santurkar et al. 2018).
    Smoothness,
    /// Less internal covariate shift (Ioffe and Szegedy 2015).
    CovariateShift,
}

impl Explains {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ConditioningOfOutput,
        Self::Conditioning,
        Self::LargestEigenvalue,
        Self::Smoothness,
        Self::CovariateShift,
    ];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConditioningOfOutput => "kappa' of the last layer (the paper)",
            Self::Conditioning => "kappa' of the whole network",
            Self::LargestEigenvalue => "lambda_1 of the whole network",
            Self::Smoothness => "a smoother loss",
            Self::CovariateShift => "internal covariate shift",
        }
    }
}

/// Whether an explanation holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Which one.
    pub explanation: Explains,
    /// Whether its measures order the arms as their steps at the matched rate do, at equal losses; none where
    /// they were not taken.
    pub at_matched: Option<Word>,
    /// The same of the steps at each arm's best rate.
    pub at_best: Option<Word>,
    /// Whether what changes it alone moves the speed as it should.
    pub changed: Vec<Part>,
    /// Fails where a change moves nothing or an order is against it; holds where all say so.
    pub word: Word,
}

/// An intervention's part in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The intervention.
    pub name: String,
    /// Holds where its interval says so, fails where it says no more than a tenth of the steps.
    pub word: Word,
}

/// How fast an arm or an intervention trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// The arm or intervention.
    pub variant: String,
    /// Steps to each loss at the matched rate, by seed; none where it is not reached.
    pub matched: Vec<Vec<Option<f64>>>,
    /// Steps to the last loss at the best rate, by seed.
    pub best: Vec<Option<f64>>,
    /// That rate, by seed.
    pub best_rate: Vec<Option<f64>>,
    /// The largest stable rate, by seed; none where none was found.
    pub stable_rate: Vec<Option<f64>>,
}

/// What an intervention does to the speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Its speeds.
    pub speeds: Speeds,
    /// The arm that it is of.
    pub arm: String,
    /// What was changed.
    pub change: Change,
    /// log2 of its steps over the arm's at the matched rate, seed by seed; none where one of them does not get
    /// there.
    pub matched: Option<Estimate>,
    /// The same at the best rate of each.
    pub best: Option<Estimate>,
}

/// Whether a measure orders the arms as their speed does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ordering {
    /// The measure.
    pub measure: Measure,
    /// What it is at equal losses, of each arm and seed: geometric means.
    pub values: Vec<Vec<f64>>,
    /// At the matched rate, the measure at equal steps.
    pub by_steps: Tau,
    /// The same, the measure at equal losses.
    pub by_losses: Tau,
    /// Against the steps at each arm's best rate, the measure at equal losses.
    pub at_best: Tau,
}

/// Kendall's tau_b of the arms' measure and steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tau {
    /// 1 where the arms with less of it need fewer steps, all of them.
    pub tau: f64,
    /// By resampling seeds and arms, at 95 % over all measures together.
    pub interval: [f64; 2],
    /// Whether it orders them: holds where the interval is above zero, fails where it is below.
    pub word: Word,
}
