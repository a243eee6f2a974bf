//! A `kappa why`'s directory: its trainings, and what they say.
//!
//! ```text
//! outputs/why/                        WhyDir
//!   why.toml                          WhyConfig, every value resolved
//!   trainings/fc_s0_lr1e-1.json       Training: the loss at each step, and what was measured
//!   why.json                          WhyFindings
//!   report/                           report.md and its figures
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Change, Estimate, Lock, RunError, WhyConfig, Word,
    checksum::{read_sealed, seal, write_sealed},
    json::{read_json, write_json},
    lock::LOCK,
    reading::is_there,
    write::{refuse_links, remove_partial_files},
};

/// The version of the schemas of a training and of the findings.
pub const WHY_VERSION: u32 = 1;

pub(crate) const CONFIG: &str = "why.toml";
pub(crate) const TRAININGS: &str = "trainings";
pub(crate) const FINDINGS: &str = "why.json";
const REPORT: &str = "report";

/// A descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// [`WHY_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that trained.
    pub kappa_version: String,
    /// The arm or intervention.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Its learning rate.
    pub rate: f64,
    /// The training loss before each step, and after the last one; it ends where a loss is not finite, or
    /// a hundred times the first.
    pub losses: Vec<f64>,
    /// Why it ended.
    pub end: End,
    /// What was measured on the way.
    pub measures: Vec<Measured>,
    /// lambda_i / lambda_1 of the last layer's ten leading eigenvalues, whenever an intervention may look at
    /// them; of a training at the matched rate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratios: BTreeMap<usize, Vec<f64>>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The last loss was reached.
    Reached,
    /// All steps were taken.
    Steps,
    /// A loss was not finite, or a hundred times the first.
    Diverged,
}

/// What was measured of a network on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Steps taken before.
    pub step: usize,
    /// The training loss there.
    pub loss: f64,
    /// The numbers.
    pub values: BTreeMap<Measure, f64>,
}

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
    /// [`WHY_VERSION`].
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

/// A directory of trainings that say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyDir(PathBuf);

impl WhyDir {
    /// Opens or makes the directory of `config` under `root`.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherStudy`] if another configuration has it, [`RunError::Link`] if part of it is a link,
    /// [`RunError::Write`].
    pub fn create(root: &Path, config: &WhyConfig) -> Result<Self, RunError> {
        let path = root.join(&config.name);
        let (file, text) = (path.join(CONFIG), config.to_toml()?);
        match read_sealed(&file) {
            Ok(there) if there == seal(&file, text.as_bytes())? => {}
            Ok(_) => return Err(RunError::OtherStudy(path)),
            Err(RunError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let trainings = path.join(TRAININGS);
                fs::create_dir_all(&trainings).map_err(|source| RunError::write(&trainings, source))?;
                write_sealed(&file, text.as_bytes())?;
            }
            Err(error) => return Err(error),
        }
        refuse_links(&path, &[LOCK, TRAININGS, REPORT])?;
        Ok(Self(path))
    }

    /// Keeps other processes from working on it.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`] if one does, [`RunError::Write`].
    pub fn lock(&self) -> Result<Lock, RunError> {
        let lock = Lock::of(&self.0)?;
        remove_partial_files(&self.0, &[TRAININGS])?;
        Ok(lock)
    }

    /// The one at `path`.
    ///
    /// # Errors
    ///
    /// [`RunError`] if there is none.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let why = Self(path.to_owned());
        why.config()?;
        Ok(why)
    }

    /// Whether `path` is one.
    pub fn is_one(path: &Path) -> bool {
        is_there(&path.join(CONFIG))
    }

    /// What was run there.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn config(&self) -> Result<WhyConfig, RunError> {
        let file = self.0.join(CONFIG);
        read_sealed(&file)?;
        WhyConfig::load(&file, &[])
    }

    /// Where its report goes.
    pub fn report(&self) -> PathBuf {
        self.0.join(REPORT)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn training_path(&self, name: &str) -> PathBuf {
        self.0.join(TRAININGS).join(format!("{name}.json"))
    }

    /// A training that was made, if it was.
    ///
    /// # Errors
    ///
    /// [`RunError`] if it cannot be read, or is altered.
    pub fn training(&self, name: &str) -> Result<Option<Training>, RunError> {
        let path = self.training_path(name);
        if is_there(&path) { read_json(&path, WHY_VERSION).map(Some) } else { Ok(None) }
    }

    /// Writes a training.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_training(&self, name: &str, training: &Training) -> Result<(), RunError> {
        write_json(&self.training_path(name), training)
    }

    /// Writes what was found.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_findings(&self, findings: &WhyFindings) -> Result<(), RunError> {
        write_json(&self.0.join(FINDINGS), findings)
    }

    /// What was found.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn findings(&self) -> Result<WhyFindings, RunError> {
        read_json(&self.0.join(FINDINGS), WHY_VERSION)
    }
}
