//! By which statistics a normalisation normalises.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use serde::{Deserialize, Serialize};

/// By which statistics a network that has any is looked at. Without them they are all one.
///
/// On disk and on the screen: `running`, `dataset`, `batch 128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Statistics {
    /// The running ones, as at inference.
    Running,
    /// Those of mini-batches of so many consecutive samples, as in training.
    Batch(NonZeroUsize),
    /// Those of the whole split.
    Dataset,
}

impl Statistics {
    /// A number that the length of a chunk of samples must be a multiple of.
    pub fn granularity(self) -> usize {
        match self {
            Self::Batch(size) => size.get(),
            Self::Running | Self::Dataset => 1,
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => formatter.write_str("running"),
            Self::Batch(size) => write!(formatter, "batch {size}"),
            Self::Dataset => formatter.write_str("dataset"),
        }
    }
}

/// A name that is none of a statistics.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} are no statistics; expected running, dataset, or batch with a size (batch 128)")]
pub struct UnknownStatistics(String);

impl FromStr for Statistics {
    type Err = UnknownStatistics;

    fn from_str(text: &str) -> Result<Self, UnknownStatistics> {
        let size = || text.strip_prefix("batch ")?.parse().ok();
        match text {
            "running" => Ok(Self::Running),
            "dataset" => Ok(Self::Dataset),
            _ => size().map(Self::Batch).ok_or_else(|| UnknownStatistics(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Statistics {
    type Error = UnknownStatistics;

    fn try_from(text: String) -> Result<Self, UnknownStatistics> {
        text.parse()
    }
}

impl From<Statistics> for String {
    fn from(statistics: Statistics) -> Self {
        statistics.to_string()
    }
}

/// How one forward pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// A step of training: batch norm by the batch's own mean and (biased) variance, of which
    /// the running ones take their part.
    Training,
    /// Batch norm by the running statistics.
    Running,
    /// The rows are one batch, normalised by its own mean and (biased) variance; the running
    /// ones are left as they are.
    Batch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_as_they_are_written() {
        let all =
            [Statistics::Running, Statistics::Dataset, Statistics::Batch(NonZeroUsize::new(128).unwrap())];
        for statistics in all {
            assert_eq!(statistics.to_string().parse::<Statistics>().unwrap(), statistics);
        }
        for other in ["", "batch", "batch 0", "batch -1", "Running"] {
            assert!(other.parse::<Statistics>().is_err(), "{other}");
        }
    }
}
