//! Which images train, which validate, which test.

use burn::data::dataset::Dataset;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{DataError, DataSet, LabelledImages};

/// How many images each split takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitSizes {
    /// Images to train on, from the training files.
    pub train: usize,
    /// Images to validate on, from what the training split left.
    pub validation: usize,
    /// Images to test on, from the test files.
    pub test: usize,
}

/// In which order the splits take their images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitOrder {
    /// As they stand in the files: the first `train`, then the next `validation`.
    File,
    /// In a random order drawn from the seed, training and test files apart.
    Shuffled {
        /// The generator's seed.
        seed: u64,
    },
}

/// Training, validation and test images.
#[derive(Debug, Clone)]
pub struct Splits {
    /// Images to train on.
    pub train: LabelledImages,
    /// Images to validate on.
    pub validation: LabelledImages,
    /// Images to test on.
    pub test: LabelledImages,
}

/// The ChaCha streams of the two shuffles; docs/decisions/randomness.md lists all streams.
const TRAINING_FILES_STREAM: u64 = 1;
const TEST_FILES_STREAM: u64 = 2;

impl DataSet {
    /// Splits the set. Training and validation images come from the training
    /// files and never overlap; test images come from the test files.
    ///
    /// # Errors
    ///
    /// [`DataError::SplitTooLarge`] if there are too few images.
    pub fn split(&self, sizes: SplitSizes, order: SplitOrder) -> Result<Splits, DataError> {
        let from_training = sizes.train.saturating_add(sizes.validation);
        for (asked, what, available) in [
            (from_training, "training and validation", self.train.len()),
            (sizes.test, "test", self.test.len()),
        ] {
            if asked > available {
                return Err(DataError::SplitTooLarge { asked, what, available });
            }
        }
        let training_files = indices(self.train.len(), order, TRAINING_FILES_STREAM);
        let test_files = indices(self.test.len(), order, TEST_FILES_STREAM);
        let some = |indices: &[usize], skip, take| -> Vec<usize> {
            indices.iter().copied().skip(skip).take(take).collect()
        };
        Ok(Splits {
            train: self.train.select(&some(&training_files, 0, sizes.train)),
            validation: self.train.select(&some(&training_files, sizes.train, sizes.validation)),
            test: self.test.select(&some(&test_files, 0, sizes.test)),
        })
    }
}

fn indices(count: usize, order: SplitOrder, stream: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..count).collect();
    if let SplitOrder::Shuffled { seed } = order {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        indices.shuffle(&mut generator);
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten_and_four() -> DataSet {
        let images = |count: u8| {
            LabelledImages::new("images", [1, 1], (0..count).collect(), vec![0; count.into()]).unwrap()
        };
        DataSet {
            name: "made up".to_owned(),
            train: images(10),
            test: images(4),
            classes: 2,
            files: Vec::new(),
        }
    }

    const SIZES: SplitSizes = SplitSizes { train: 6, validation: 3, test: 2 };

    #[test]
    fn in_file_order_the_splits_follow_each_other() {
        let splits = ten_and_four().split(SIZES, SplitOrder::File).unwrap();
        assert_eq!(splits.train.pixels(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(splits.validation.pixels(), [6, 7, 8]);
        assert_eq!(splits.test.pixels(), [0, 1]);
    }

    #[test]
    fn shuffled_splits_do_not_overlap_and_repeat_with_their_seed() {
        let split = |seed| ten_and_four().split(SIZES, SplitOrder::Shuffled { seed }).unwrap();
        let splits = split(3);
        let mut all = [splits.train.pixels(), splits.validation.pixels()].concat();
        assert_ne!(all, (0..9).collect::<Vec<u8>>());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
        assert_eq!(splits.train, split(3).train);
        assert_ne!(splits.train, split(4).train);
    }

    #[test]
    fn too_few_images_are_told_with_both_numbers() {
        let sizes = SplitSizes { train: 8, ..SIZES };
        let message = ten_and_four().split(sizes, SplitOrder::File).unwrap_err().to_string();
        assert!(message.contains("asks for 11 images (training and validation), and the set has 10"));
        let sizes = SplitSizes { test: 5, ..SIZES };
        assert!(ten_and_four().split(sizes, SplitOrder::File).is_err());
        let sizes = SplitSizes { train: usize::MAX, ..SIZES };
        assert!(ten_and_four().split(sizes, SplitOrder::File).is_err());
    }
}
