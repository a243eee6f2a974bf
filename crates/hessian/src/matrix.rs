//! The Hessian as a matrix.

use std::ops::RangeInclusive;

use faer::MatRef;

use crate::{
    ClassPairSums, HessianError, Spectrum,
    classes::columns,
    decomposition,
    grams::class_pairs,
    sums::{too_large, zeros},
};

/// The sizes of a largest element below and above which sums in f32 and in f64 lose digits.
const SINGLE_RANGE: RangeInclusive<f64> = 1e-30..=1e37;
const DOUBLE_RANGE: RangeInclusive<f64> = 1e-304..=1e304;

/// The Hessian of the mean loss with respect to the last layer's weights
/// [K, m], flattened class by class: index = k m + i.
#[derive(Debug, Clone)]
pub struct Hessian {
    features: usize,
    classes: usize,
    samples: usize,
    epsilon: f64,
    /// [K m, K m], row by row; both triangles are filled.
    elements: Vec<f64>,
}

impl Hessian {
    /// Assembles H, the mean over the samples of `sums`.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoSamples`], [`HessianError::NotFinite`], [`HessianError::OutOfRange`] or
    /// [`HessianError::TooLarge`].
    pub fn from_pair_sums(sums: &ClassPairSums) -> Result<Self, HessianError> {
        let (m, classes, samples) = (sums.features(), sums.classes(), sums.samples());
        if samples == 0 {
            return Err(HessianError::NoSamples);
        }
        let elements =
            (m * classes).checked_mul(m * classes).and_then(zeros).ok_or_else(|| too_large(m, classes))?;
        let mut hessian = Self { features: m, classes, samples, epsilon: sums.epsilon(), elements };
        let size = hessian.size();
        let scale = 1.0 / samples as f64;
        for ((a, b), triangle) in class_pairs(columns(classes)).zip(sums.triangles()) {
            let mut sums = triangle.iter();
            for i in 0..m {
                for (j, &sum) in (0..=i).zip(&mut sums) {
                    let element = sum * scale;
                    if !element.is_finite() {
                        return Err(HessianError::NotFinite { value: element, class: a, feature: i });
                    }
                    if classes == 1 {
                        // H = S_01 / N
                        hessian.elements[i * size + j] = element;
                        continue;
                    }
                    for (i, j) in [(i, j), (j, i)] {
                        // H_ab = H_ba = -S_ab / N
                        hessian.elements[(a * m + i) * size + b * m + j] = -element;
                        hessian.elements[(b * m + i) * size + a * m + j] = -element;
                    }
                    for class in [a, b] {
                        // H_aa = sum over b /= a of S_ab / N
                        hessian.elements[(class * m + i) * size + class * m + j] += element;
                    }
                }
            }
        }
        hessian.mirror_diagonal_blocks();
        hessian.check_range()?;
        Ok(hessian)
    }

    /// A Hessian that was computed elsewhere, to be decomposed or verified: `elements`
    /// [K m, K m], row by row, index = k m + i, the mean over `samples`, summed in an
    /// arithmetic of unit `epsilon` (`f64::EPSILON`, or `f32::EPSILON.into()`).
    ///
    /// ```
    /// use kappa_hessian::Hessian;
    ///
    /// // One feature g = 2 and two classes of p = 1/2: p (1 - p) g^2 = 1.
    /// let hessian = Hessian::from_elements(1, 2, 1, f64::EPSILON, vec![1.0, -1.0, -1.0, 1.0])?;
    /// let spectrum = hessian.spectrum()?;
    /// assert!((spectrum.eigenvalues()[0] - 2.0).abs() < 1e-15);
    /// assert_eq!(spectrum.rank(), 1);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`], or [`HessianError::WrongSize`] for another number of elements.
    pub fn from_elements(
        features: usize,
        classes: usize,
        samples: usize,
        epsilon: f64,
        elements: Vec<f64>,
    ) -> Result<Self, HessianError> {
        if features == 0 || classes == 0 {
            return Err(HessianError::TooSmall { features, classes });
        }
        let size = features.saturating_mul(classes);
        if elements.len() != size.saturating_mul(size) {
            return Err(HessianError::WrongSize { found: elements.len(), size });
        }
        Ok(Self { features, classes, samples, epsilon, elements })
    }

    /// Refuses a matrix so large or so small that its elements have lost digits to the arithmetic's
    /// range: what is 2^-24 or 2^-53 of the largest is to be a number still.
    fn check_range(&self) -> Result<(), HessianError> {
        let range = if self.epsilon > f64::EPSILON { SINGLE_RANGE } else { DOUBLE_RANGE };
        // Of a semi-definite matrix it is on the diagonal.
        let diagonal = self.elements.iter().step_by(self.size() + 1);
        let largest = diagonal.fold(0.0f64, |max, element| max.max(element.abs()));
        if largest == 0.0 || range.contains(&largest) {
            return Ok(());
        }
        Err(HessianError::OutOfRange { largest, from: *range.start(), to: *range.end() })
    }

    fn mirror_diagonal_blocks(&mut self) {
        let (m, size) = (self.features, self.size());
        for start in (0..size).step_by(m) {
            for i in start..start + m {
                for j in start..i {
                    self.elements[j * size + i] = self.elements[i * size + j];
                }
            }
        }
    }

    /// Takes one sample out of the mean, H' = (N H - S (x) g g^T) / (N - 1); `probabilities` of one logit
    /// are those of both classes.
    pub(crate) fn remove(&mut self, features: &[f64], probabilities: &[f64]) {
        let (m, size) = (self.features, self.size());
        let (all, others) = (self.samples as f64, self.samples as f64 - 1.0);
        for (row, elements) in self.elements.chunks_exact_mut(size).enumerate() {
            let (a, i) = (row / m, row % m);
            for (b, block) in elements.chunks_exact_mut(m).enumerate() {
                let p = probabilities[a] * probabilities[b];
                let s = match self.classes {
                    1 => probabilities.iter().product(),
                    _ if a == b => probabilities[a] - p,
                    _ => -p,
                };
                for (element, g) in block.iter_mut().zip(features) {
                    *element = (all * *element - s * features[i] * g) / others;
                }
            }
        }
        self.samples -= 1;
    }

    /// K m, the number of rows and of columns.
    pub fn size(&self) -> usize {
        self.classes * self.features
    }

    /// The number of features m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples N that H is the mean over.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The unit of the arithmetic that the sums over samples were taken in: the distance
    /// from 1 to the next number.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// All elements, row by row: [K m, K m].
    pub fn elements(&self) -> &[f64] {
        &self.elements
    }

    /// The sum of the diagonal.
    pub fn trace(&self) -> f64 {
        self.elements.iter().step_by(self.size() + 1).sum()
    }

    /// All eigenvalues, by faer's symmetric eigensolver in f64, which makes rounding
    /// errors of zeros; [`Self::eigenvalues`] and [`Self::eigenpairs`] make zeros of zeros.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`].
    pub fn spectrum(&self) -> Result<Spectrum, HessianError> {
        let size = self.size();
        let values = decomposition::eigenvalues(MatRef::from_row_major_slice(&self.elements, size, size))?;
        Ok(Spectrum::from_ascending(values, self.epsilon))
    }
}
