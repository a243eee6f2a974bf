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

/// Mini-batches, one of which is a single sample: its variance is zero, and what batch norm makes
/// of it is beta alone, whatever the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{samples} samples in mini-batches of {batch_size} leave one of a single sample, which has no variance for \
     batch norm; {}",
    self.others()
)]
pub struct LoneSample {
    /// Samples in all.
    pub samples: usize,
    /// Samples of a mini-batch.
    pub batch_size: usize,
}

impl LoneSample {
    /// Whether so many samples in mini-batches of `batch_size`, the last one being the rest, leave
    /// one alone.
    ///
    /// ```
    /// # use kappa_model::LoneSample;
    /// let lone = LoneSample::of(55_000, 97).unwrap();
    /// assert_eq!((lone.below(), lone.above()), (Some(96), Some(98)));
    /// assert!(LoneSample::of(55_000, 128).is_none());
    /// ```
    pub fn of(samples: usize, batch_size: usize) -> Option<Self> {
        let alone = batch_size <= 1 || samples % batch_size == 1;
        (alone && samples > 0).then_some(Self { samples, batch_size })
    }

    /// The next smaller size that leaves none alone.
    pub fn below(&self) -> Option<usize> {
        (2..self.batch_size.min(self.samples)).rev().find(|&size| Self::of(self.samples, size).is_none())
    }

    /// The next larger one.
    pub fn above(&self) -> Option<usize> {
        (self.batch_size.saturating_add(1)..=self.samples)
            .find(|&size| Self::of(self.samples, size).is_none())
    }

    fn others(&self) -> String {
        match (self.below(), self.above()) {
            (Some(below), Some(above)) => format!("{below} and {above} leave none"),
            (Some(other), None) | (None, Some(other)) => format!("{other} leaves none"),
            (None, None) => "no other size leaves none".to_owned(),
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
    fn a_rest_of_one_sample_and_batches_of_one_are_found_with_the_sizes_beside() {
        for (samples, size, below, above) in [
            (55_000, 97, Some(96), Some(98)),
            (55_000, 1, None, Some(2)),
            // 7 = 3 + 3 + 1 = 2 + 2 + 2 + 1, and 4 leaves 3.
            (7, 3, None, Some(4)),
            (7, 6, Some(5), Some(7)),
            (3, 2, None, Some(3)),
            (1, 1, None, None),
            (1, 8, None, None),
        ] {
            let lone = LoneSample::of(samples, size).unwrap();
            assert_eq!((lone.below(), lone.above()), (below, above), "{samples} in {size}");
        }
        for (samples, size) in [(55_000, 128), (55_000, 55_000), (6, 3), (7, 4), (2, 2), (2, 3)] {
            assert_eq!(LoneSample::of(samples, size), None, "{samples} in {size}");
        }
        let message = LoneSample::of(55_000, 97).unwrap().to_string();
        assert!(message.contains("55000") && message.contains("96 and 98 leave none"), "{message}");
    }

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
