//! Matrices of f32 or f64, and what is asked of their elements.

use std::ops::Range;

/// How far the probabilities of a sample may be from adding up to 1.
const ROW_SUM_TOLERANCE: f64 = 1e-3;

/// A matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Its number of rows.
    pub rows: usize,
    /// Its number of columns.
    pub columns: usize,
    /// Its `rows * columns` elements: row 0, then row 1, and so on.
    pub elements: Elements,
}

/// Numbers in the precision that they were saved in.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
}

/// An element that is not what it should be.
#[derive(Debug, PartialEq)]
pub(super) struct Stray {
    pub row: usize,
    pub column: usize,
    pub value: f64,
}

/// What keeps a matrix from being one distribution a row.
#[derive(Debug, PartialEq)]
pub(super) enum NotDistributions {
    Element(Stray),
    RowSum { row: usize, sum: f64 },
}

impl Matrix {
    /// The first element, row by row, that is not finite.
    pub(super) fn first_not_finite(&self) -> Option<Stray> {
        self.first(|value| !value.is_finite())
    }

    /// The first element, row by row, that is neither finite nor -inf.
    pub(super) fn first_no_logit(&self) -> Option<Stray> {
        self.first(|value| value.is_nan() || value == f64::INFINITY)
    }

    /// The first row of nothing but -inf.
    pub(super) fn first_row_without_a_class(&self) -> Option<usize> {
        let nothing = f64::NEG_INFINITY;
        match &self.elements {
            Elements::F32(elements) => elements
                .chunks_exact(self.columns)
                .position(|row| row.iter().all(|&z| f64::from(z) == nothing)),
            Elements::F64(elements) => {
                elements.chunks_exact(self.columns).position(|row| row.iter().all(|&z| z == nothing))
            }
        }
    }

    /// The first element, row by row, that is not from 0 to 1.
    pub(super) fn first_no_probability(&self) -> Option<Stray> {
        self.first(|value| !(0.0..=1.0).contains(&value))
    }

    /// An element; nothing outside.
    pub(super) fn element(&self, row: usize, column: usize) -> Option<f64> {
        let index = row.checked_mul(self.columns)?.checked_add(column)?;
        match &self.elements {
            Elements::F32(elements) => elements.get(index).map(|&element| element.into()),
            Elements::F64(elements) => elements.get(index).copied(),
        }
    }

    /// The rows of `range`, which there are.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let rows = range.len();
        let range = range.start * self.columns..range.end * self.columns;
        let elements = match &self.elements {
            Elements::F32(elements) => Elements::F32(elements.get(range).unwrap_or_default().to_vec()),
            Elements::F64(elements) => Elements::F64(elements.get(range).unwrap_or_default().to_vec()),
        };
        Self { rows, columns: self.columns, elements }
    }

    /// Makes every row add up to 1 exactly, if it nearly does.
    ///
    /// A softmax in single precision, or probabilities that were rounded or clipped
    /// when they were saved, add up to 1 + e. The Hessian's diagonal blocks are sums
    /// of p_a p_b over b /= a, which stands for p_a (1 - p_a) only where the row sums
    /// to 1: e would go into every eigenvalue. So each row is divided by its sum, both
    /// in f64; the quotient is rounded to the precision of the matrix.
    pub(super) fn normalise_rows(&mut self) -> Result<(), NotDistributions> {
        if let Some(stray) = self.first_no_probability() {
            return Err(NotDistributions::Element(stray));
        }
        match &mut self.elements {
            Elements::F32(elements) => normalise(elements, self.columns, |value| value as f32),
            Elements::F64(elements) => normalise(elements, self.columns, |value| value),
        }
    }

    /// Whether every row is a distribution, by what [`Self::normalise_rows`] asks of one.
    pub(super) fn has_distributions(&self) -> bool {
        self.first_no_probability().is_none()
            && match &self.elements {
                Elements::F32(elements) => sums(elements, self.columns).all(is_one),
                Elements::F64(elements) => sums(elements, self.columns).all(is_one),
            }
    }

    fn first(&self, is_stray: impl Fn(f64) -> bool) -> Option<Stray> {
        let (index, value) = match &self.elements {
            Elements::F32(elements) => first(elements, is_stray),
            Elements::F64(elements) => first(elements, is_stray),
        }?;
        Some(Stray { row: index / self.columns, column: index % self.columns, value })
    }
}

fn first<T: Copy + Into<f64>>(elements: &[T], is_stray: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
    elements.iter().map(|&element| element.into()).enumerate().find(|&(_, value)| is_stray(value))
}

/// The sum of each row, in f64.
fn sums<T: Copy + Into<f64>>(elements: &[T], columns: usize) -> impl Iterator<Item = f64> {
    elements.chunks_exact(columns).map(|row| row.iter().map(|&element| element.into()).sum())
}

fn is_one(sum: f64) -> bool {
    (sum - 1.0).abs() <= ROW_SUM_TOLERANCE
}

fn normalise<T: Copy + Into<f64>>(
    elements: &mut [T],
    columns: usize,
    rounded: fn(f64) -> T,
) -> Result<(), NotDistributions> {
    for (row, probabilities) in elements.chunks_exact_mut(columns).enumerate() {
        let sum: f64 = probabilities.iter().map(|&probability| probability.into()).sum();
        if !is_one(sum) {
            return Err(NotDistributions::RowSum { row, sum });
        }
        for probability in probabilities {
            *probability = rounded((*probability).into() / sum);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_columns(elements: Elements) -> Matrix {
        Matrix { rows: 2, columns: 2, elements }
    }

    #[test]
    fn rows_that_nearly_add_up_to_one_do_so_afterwards() {
        let mut matrix = two_columns(Elements::F64(vec![0.25, 0.7503, 1.0, 0.0]));
        matrix.normalise_rows().unwrap();
        let sum = 0.25 + 0.7503;
        assert_eq!(matrix.elements, Elements::F64(vec![0.25 / sum, 0.7503 / sum, 1.0, 0.0]));
    }

    #[test]
    fn single_precision_is_summed_and_divided_in_double() {
        let mut matrix = two_columns(Elements::F32(vec![0.2, 0.8004, 0.5, 0.5]));
        matrix.normalise_rows().unwrap();
        let sum = f64::from(0.2f32) + f64::from(0.8004f32);
        let quotients = [0.2f32, 0.8004].map(|p| (f64::from(p) / sum) as f32);
        assert_eq!(matrix.elements, Elements::F32(vec![quotients[0], quotients[1], 0.5, 0.5]));
    }

    #[test]
    fn the_first_row_that_misses_one_is_told_with_its_sum() {
        // 0.5 + 0.5009 is off by 9e-4 and passes, 0.5 + 0.5011 is not.
        let mut matrix = two_columns(Elements::F64(vec![0.5, 0.5009, 0.5, 0.5011]));
        let sum = 0.5 + 0.5011;
        assert_eq!(matrix.normalise_rows(), Err(NotDistributions::RowSum { row: 1, sum }));
    }

    #[test]
    fn distributions_are_told_from_numbers_of_which_one_row_is_none() {
        let third = 1.0f32 / 3.0;
        let thirds = |last| Matrix { rows: 2, columns: 3, elements: Elements::F32(last) };
        assert!(thirds(vec![third, third, third, 0.0, 1.0, 0.0]).has_distributions());
        assert!(!thirds(vec![third, third, third, 0.0, 0.0, 0.0]).has_distributions());
        assert!(!two_columns(Elements::F64(vec![0.5, 0.5, 1.5, -0.5])).has_distributions());
        assert!(!two_columns(Elements::F64(vec![0.5, 0.5, 0.5, 0.6])).has_distributions());
    }

    #[test]
    fn what_is_no_probability_is_told_with_its_place() {
        for value in [-1e-9, 1.5] {
            let mut matrix = two_columns(Elements::F64(vec![0.5, 0.5, value, 1.0 - value]));
            let stray = Stray { row: 1, column: 0, value };
            assert_eq!(matrix.normalise_rows(), Err(NotDistributions::Element(stray)));
        }
    }

    #[test]
    fn the_first_element_that_is_not_finite_is_found() {
        let matrix = two_columns(Elements::F32(vec![0.0, f32::NEG_INFINITY, f32::NAN, 0.0]));
        let stray = Stray { row: 0, column: 1, value: f64::NEG_INFINITY };
        assert_eq!(matrix.first_not_finite(), Some(stray));
        assert_eq!(two_columns(Elements::F64(vec![f64::MAX; 4])).first_not_finite(), None);
    }
}
