//! Images of one size with a label each.

use std::convert::Infallible;

use burn::data::dataset::Dataset;

use crate::DataError;

/// Grey images of one size, each with a class label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImages {
    rows: usize,
    columns: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// One image and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// `rows * columns` pixels, row by row, 0 to 255.
    pub pixels: Vec<u8>,
    /// The class, from 0.
    pub label: u8,
}

impl LabelledImages {
    /// Images of `rows x columns` pixels, stored one after the other, and their labels.
    ///
    /// # Errors
    ///
    /// [`DataError::Malformed`] (with `name` for a file) if the number of labels
    /// is not the number of images.
    pub fn new(
        name: &str,
        [rows, columns]: [usize; 2],
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let size = rows * columns;
        if size == 0 || pixels.len() != labels.len() * size {
            return Err(DataError::Malformed {
                file: name.to_owned(),
                problem: format!(
                    "{} labels for {} images",
                    labels.len(),
                    pixels.len().checked_div(size).unwrap_or(0)
                ),
            });
        }
        Ok(Self { rows, columns, pixels, labels })
    }

    /// Rows and columns of every image, in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Pixels per image.
    pub fn inputs(&self) -> usize {
        self.rows * self.columns
    }

    /// All pixels, image by image, row by row: N * rows * columns bytes.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The N labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// How many images there are of each class, for classes 0 to `classes - 1`.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        counts
    }

    /// The images at `indices`, in that order. Indices past the end are left out.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        let size = self.inputs();
        let mut pixels = Vec::with_capacity(indices.len() * size);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            if let (Some(&label), Some(image)) =
                (self.labels.get(index), self.pixels.get(index * size..(index + 1) * size))
            {
                pixels.extend_from_slice(image);
                labels.push(label);
            }
        }
        Self { pixels, labels, ..*self }
    }

    /// The first `count` images (all of them, if there are fewer).
    pub fn truncated(mut self, count: usize) -> Self {
        self.labels.truncate(count);
        self.pixels.truncate(self.labels.len() * self.rows * self.columns);
        self
    }
}

impl LabelledImages {
    /// The images of a range, cut where they end.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let end = range.end.min(self.labels.len());
        let (start, size) = (range.start.min(end), self.rows * self.columns);
        let pixels = self.pixels.get(start * size..end * size).unwrap_or_default().to_vec();
        Self { pixels, labels: self.labels.get(start..end).unwrap_or_default().to_vec(), ..*self }
    }
}

impl Dataset<LabelledImage, Infallible> for LabelledImages {
    // A dataset's index is the caller's, as a slice's is: never one from a file.
    #[expect(clippy::indexing_slicing)]
    fn get(&self, index: usize) -> Result<LabelledImage, Infallible> {
        let size = self.inputs();
        Ok(LabelledImage {
            pixels: self.pixels[index * size..(index + 1) * size].to_vec(),
            label: self.labels[index],
        })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> LabelledImages {
        LabelledImages::new("three", [1, 2], vec![1, 2, 3, 4, 5, 6], vec![0, 2, 2]).unwrap()
    }

    #[test]
    fn is_a_burn_dataset() {
        let images = three();
        assert_eq!(images.len(), 3);
        let Ok(second) = images.get(1);
        assert_eq!(second, LabelledImage { pixels: vec![3, 4], label: 2 });
    }

    #[test]
    fn counts_classes() {
        assert_eq!(three().class_counts(4), [1, 0, 2, 0]);
    }

    #[test]
    fn selects_in_the_given_order() {
        let selected = three().select(&[2, 0]);
        assert_eq!(selected.pixels(), [5, 6, 1, 2]);
        assert_eq!(selected.labels(), [2, 0]);
    }

    #[test]
    fn truncates_images_with_their_labels() {
        let two = three().truncated(2);
        assert_eq!((two.pixels(), two.labels()), ([1, 2, 3, 4].as_slice(), [0, 2].as_slice()));
        assert_eq!(three().truncated(9), three());
    }

    #[test]
    fn as_many_labels_as_images_or_an_error() {
        let error = LabelledImages::new("x", [1, 2], vec![1, 2, 3, 4], vec![0]).unwrap_err();
        assert!(error.to_string().contains("1 labels for 2 images"));
    }
}
