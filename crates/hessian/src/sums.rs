//! The sums over class pairs: all that the Hessian is made of.

use std::ops::Index;

use kappa_world::Combine;

use crate::{HessianError, Samples, classes::pairs_of};

/// S_ab = sum_n p_na p_nb g_n g_n^T for every class pair a < b, over N samples, in f64 on
/// the host. Sums over other samples can be added ([`Self::merge`]), so that samples may be
/// spread over threads, processes or machines.
///
/// ```
/// use kappa_hessian::{Accumulator, Hessian, Samples, burn::tensor::Device};
///
/// let device = Device::flex();
/// let sums = |features: &[f64], probabilities: &[f64]| {
///     let samples = Samples::from_slices(2, 2, features, probabilities, &device)?;
///     let mut sums = Accumulator::new(2, 2)?;
///     sums.add_samples(&samples)?;
///     Ok::<_, kappa_hessian::HessianError>(sums.into_sums())
/// };
/// let mut all = sums(&[1.0, 2.0], &[0.5, 0.5])?;
/// assert_eq!(all[(0, 1, 0)], 0.5 * 0.5 * 2.0 * 1.0, "pair 0, features 1 and 0");
/// all.merge(&sums(&[3.0, 0.0, 1.0, 1.0], &[0.2, 0.8, 0.9, 0.1])?)?;
/// assert_eq!((all.samples(), Hessian::from_pair_sums(&all)?.size()), (3, 4));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPairSums {
    features: usize,
    classes: usize,
    samples: usize,
    epsilon: f64,
    /// For each class pair the lower triangle of its m x m block, row by row.
    elements: Vec<f64>,
}

/// An affine map of the features, g'_i = scale_i (g_i - shift_i).
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMap {
    /// What is taken from each feature, m numbers.
    pub shift: Vec<f64>,
    /// What the difference is multiplied by, m numbers.
    pub scale: Vec<f64>,
}

impl ClassPairSums {
    /// Sums over no samples, of m `features` and K `classes`.
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`] for m < 1 or K < 1, [`HessianError::TooLarge`] if they do
    /// not fit into memory.
    pub fn new(features: usize, classes: usize) -> Result<Self, HessianError> {
        if features == 0 || classes == 0 {
            return Err(HessianError::TooSmall { features, classes });
        }
        let length = features
            .checked_mul(features + 1)
            .map(|double| double / 2)
            .and_then(|triangle| triangle.checked_mul(pairs_of(classes)));
        let elements = length.and_then(zeros).ok_or_else(|| too_large(features, classes))?;
        Ok(Self { features, classes, samples: 0, epsilon: f64::EPSILON, elements })
    }

    /// The number of features m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples N.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The unit of the arithmetic that they were summed in, the coarsest if there were several.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The lower triangles, row by row, one class pair after the other in the order of
    /// [`crate::grams::class_pairs`]; of one logit that of its two classes.
    pub fn triangles(&self) -> impl Iterator<Item = &[f64]> {
        self.elements.chunks_exact(triangle(self.features))
    }

    /// As [`Self::triangles`], to be added to.
    pub(crate) fn triangles_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.elements.chunks_exact_mut(triangle(self.features))
    }

    /// Counts `samples` that were added, in an arithmetic of unit `epsilon`.
    pub(crate) fn count(&mut self, samples: usize, epsilon: f64) {
        self.samples += samples;
        self.epsilon = self.epsilon.max(epsilon);
    }

    /// Makes of sums over a process's own of `count` among `samples` those over all of these.
    pub(crate) fn of_all(&mut self, samples: &Samples, count: usize) -> Result<(), HessianError> {
        samples.combine(&mut self.elements, Combine::Sum)?;
        // A process without samples has computed in no arithmetic.
        (self.samples, self.epsilon) = (count, self.epsilon.max(samples.epsilon()));
        Ok(())
    }

    /// Adds the sums over other samples.
    ///
    /// # Errors
    ///
    /// [`HessianError::OtherSums`] for sums of other features or classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), HessianError> {
        if (self.features, self.classes) != (other.features, other.classes) {
            return Err(HessianError::OtherSums {
                features: [self.features, other.features],
                classes: [self.classes, other.classes],
            });
        }
        self.elements.iter_mut().zip(&other.elements).for_each(|(sum, other)| *sum += other);
        self.count(other.samples, other.epsilon);
        Ok(())
    }

    /// The sums for mapped features, from sums whose last feature is one for every sample:
    /// m features where here are m + 1. With S for one class pair, c for the constant's index
    /// and mu for the shift,
    ///
    /// ```text
    /// S'[i, j] = scale_i scale_j (S[i, j] - mu_i S[c, j] - mu_j S[i, c] + mu_i mu_j S[c, c])
    /// ```
    ///
    /// Whether the last feature is the constant, [`crate::AccumulatorWithConstant`] knows.
    pub(crate) fn mapped(&self, map: &FeatureMap) -> Result<Self, HessianError> {
        let m = self.features - 1;
        if map.shift.len() != m || map.scale.len() != m {
            return Err(HessianError::WrongMap { found: [map.shift.len(), map.scale.len()], expected: m });
        }
        let mut elements = Vec::with_capacity(triangle(m) * pairs_of(self.classes));
        for pair in 0..pairs_of(self.classes) {
            let at = |i: usize, j: usize| self[(pair, i, j)];
            for i in 0..m {
                for j in 0..=i {
                    let (mu_i, mu_j) = (map.shift[i], map.shift[j]);
                    let centred = at(i, j) - mu_i * at(m, j) - mu_j * at(m, i) + mu_i * mu_j * at(m, m);
                    elements.push(map.scale[i] * map.scale[j] * centred);
                }
            }
        }
        Ok(Self { features: m, elements, ..*self })
    }
}

/// S_ab[i, j] for the class pair of that number; i and j may change places.
impl Index<(usize, usize, usize)> for ClassPairSums {
    type Output = f64;

    fn index(&self, (pair, i, j): (usize, usize, usize)) -> &f64 {
        let (row, column) = (i.max(j), i.min(j));
        &self.elements[pair * triangle(self.features) + triangle(row) + column]
    }
}

/// 1 + 2 + .. + side.
const fn triangle(side: usize) -> usize {
    side * (side + 1) / 2
}

/// `length` zeros, or nothing if there is no memory for them.
pub(crate) fn zeros(length: usize) -> Option<Vec<f64>> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(length).ok()?;
    zeros.resize(length, 0.0);
    Some(zeros)
}

pub(crate) fn too_large(features: usize, classes: usize) -> HessianError {
    let size = features.saturating_mul(classes);
    HessianError::TooLarge {
        features,
        classes,
        size,
        gigabytes: size as f64 * size as f64 * size_of::<f64>() as f64 / 1e9,
    }
}
