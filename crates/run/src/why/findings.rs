//! What the trainings of a `kappa why` say: measures, orders, answers.

use std::collections::BTreeMap;

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
    /// Its tenth.
    Lambda10,
    /// lambda_1 over the largest that the optimiser's steps stand, for Adam of H as it divides it: above 1 they
    /// overshoot along its eigenvector.
    EdgeOfStability,
    /// lambda_1 / lambda_10 of the whole network's H as Adam divides it.
    KappaPrimeSeen,
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
    /// 1 over the largest stable learning rate: of an arm, not of a step.
    InverseStableRate,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::KappaPrimeOfOutput,
        Self::Lambda1OfOutput,
        Self::Lambda10OfOutput,
        Self::KappaPrime,
        Self::Lambda1,
        Self::Lambda10,
        Self::EdgeOfStability,
        Self::KappaPrimeSeen,
        Self::GradientShareOfOutput,
        Self::GradientShareOfFirst,
        Self::LossRange,
        Self::GradientChange,
        Self::EffectiveSmoothness,
        Self::CovariateShift,
        Self::CovariateTurn,
        Self::InverseStableRate,
    ];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::KappaPrimeOfOutput => "kappa' of the last layer",
            Self::Lambda1OfOutput => "lambda_1 of the last layer",
            Self::Lambda10OfOutput => "lambda_10 of the last layer",
            Self::KappaPrime => "kappa' of the whole network",
            Self::Lambda1 => "lambda_1 of the whole network",
            Self::Lambda10 => "lambda_10 of the whole network",
            Self::EdgeOfStability => "lambda_1 over the largest stable one",
            Self::KappaPrimeSeen => "kappa' of what Adam sees",
            Self::GradientShareOfOutput => "the last layer's share of the gradient",
            Self::GradientShareOfFirst => "the first layer's share of the gradient",
            Self::LossRange => "range of the loss",
            Self::GradientChange => "change of the gradient",
            Self::EffectiveSmoothness => "effective beta-smoothness",
            Self::CovariateShift => "internal covariate shift",
            Self::CovariateTurn => "1 - cosine of the shift",
            Self::InverseStableRate => "1 / the largest stable rate",
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
    /// Of each arm: the share of the squared gradient that each tensor has.
    pub shares: Vec<Shares>,
    /// Of each arm but the first: what its speed is made of.
    pub chains: Vec<Chain>,
    /// Of each explanation: whether it holds.
    pub answers: Vec<Answer>,
    /// What else the paper says, for which there are arms.
    pub statements: Vec<Statement>,
}

/// The share of the squared gradient that each tensor has, at equal losses: means over losses and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// The arm.
    pub variant: String,
    /// By the name of the tensor.
    pub tensors: BTreeMap<String, f64>,
}

/// What an arm's speed over the first arm's is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The arm.
    pub variant: String,
    /// At the matched rate; none where one of the two does not get there.
    pub matched: Option<Factors>,
    /// At the best rate of each.
    pub best: Option<Factors>,
}

/// The first arm's steps over another's as a product, geometric means over the seeds:
/// times = rate slope realised distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Factors {
    /// The first arm's steps over this one's.
    pub times: f64,
    /// Its learning rate over the first arm's.
    pub rate: f64,
    /// Its slope over the first arm's: the mean over the steps of d . g / L, which is |g|^2 / L for descent.
    pub slope: f64,
    /// The parts of that by tensor: their sum is `slope`.
    pub slopes: BTreeMap<String, f64>,
    /// What of the first-order fall of ln L the steps have realised, over what the first arm's have: curvature
    /// takes the rest.
    pub realised: f64,
    /// The first arm's way, ln of its first loss over the last, over this one's.
    pub distance: f64,
}

/// What else the paper says of speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyClaim {
    /// Batch norm after the ReLU does as well as before it, or better (its reference 10).
    AfterTheRelu,
    /// Normalised inputs help as normalised features do (its references 6 and 11).
    InputsLikeFeatures,
    /// Batch norm allows larger learning rates (its introduction).
    LargerRates,
}

impl WhyClaim {
    /// What it says.
    pub fn label(self) -> &'static str {
        match self {
            Self::AfterTheRelu => "after the ReLU batch norm is as fast as before it, or faster",
            Self::InputsLikeFeatures => "standardised inputs help as much as batch norm does",
            Self::LargerRates => "batch norm allows larger learning rates",
        }
    }
}

/// Whether a claim holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Which one.
    pub claim: WhyClaim,
    /// What is compared.
    pub compared: Vec<Compared>,
    /// The word of all, if they agree.
    pub word: Word,
}

/// log2 of a ratio of two arms, seed by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What of them.
    pub what: Told,
    /// The ratio's logarithm.
    pub ratio: Estimate,
    /// Whether it is as claimed.
    pub word: Word,
}

/// What two arms are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Steps at the matched rate.
    StepsAtMatched,
    /// Steps at the best rate of each.
    StepsAtBest,
    /// The largest stable rate.
    StableRate,
}

impl Told {
    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::StepsAtMatched => "steps at the matched rate",
            Self::StepsAtBest => "steps at the best rates",
            Self::StableRate => "largest stable rates",
        }
    }
}

/// An explanation of why a normalisation trains faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explains {
    /// A lower kappa' of the last layer (Reyes and Levy).
    ConditioningOfOutput,
    /// A lower kappa' of the whole network.
    Conditioning,
    /// A lower lambda_1 of the whole network.
    LargestEigenvalue,
    /// A smoother loss (Santurkar et al. 2018).
    Smoothness,
    /// Less internal covariate shift (Ioffe and Szegedy 2015).
    CovariateShift,
    /// A larger stable learning rate (Bjorck et al. 2018).
    LearningRate,
    /// Length and direction of weights decoupled (Salimans and Kingma 2016), by the weight-normalised network.
    Decoupling,
    /// Inputs that are preconditioned (LeCun et al. 1998), by the network with standardised ones.
    InputPreconditioning,
}

impl Explains {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ConditioningOfOutput,
        Self::Conditioning,
        Self::LargestEigenvalue,
        Self::Smoothness,
        Self::CovariateShift,
        Self::LearningRate,
        Self::Decoupling,
        Self::InputPreconditioning,
    ];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConditioningOfOutput => "kappa' of the last layer (the paper)",
            Self::Conditioning => "kappa' of the whole network",
            Self::LargestEigenvalue => "lambda_1 of the whole network",
            Self::Smoothness => "a smoother loss",
            Self::CovariateShift => "internal covariate shift",
            Self::LearningRate => "a larger learning rate",
            Self::Decoupling => "length decoupled from direction",
            Self::InputPreconditioning => "preconditioned inputs",
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

/// An intervention's part in an answer, or an arm's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which one.
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
