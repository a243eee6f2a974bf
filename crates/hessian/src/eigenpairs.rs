//! All eigenpairs of the Hessian, with the zeros that its structure explains.

use faer::{Mat, MatRef};
use rayon::prelude::*;

use crate::{
    Hessian, HessianError, Spectrum, classes, decomposition,
    subspace::{Subspace, summed_diagonal_blocks},
};

/// All eigenvalues and eigenvectors of a Hessian.
///
/// They are computed on the subspace in which it can be anything but zero by its
/// structure, so that the zeros outside are zeros and no rounding errors.
#[derive(Debug, Clone)]
pub struct Eigenpairs {
    /// All K m eigenvalues, largest first.
    pub spectrum: Spectrum,
    /// Their eigenvectors, a column each: [K m, K m].
    pub vectors: Mat<f64>,
    /// Why zeros are zero.
    pub null_space: NullSpace,
}

/// The zeros among K m eigenvalues, by their reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullSpace {
    /// m: softmax ignores a shift of all logits. 0 of one logit.
    pub shift: usize,
    /// Classes that never occur, a: their probability is zero in every sample that leaves any
    /// doubt; each is m zeros.
    pub absent_classes: usize,
    /// Features that are zero in every sample that leaves any doubt (tr S_n > 0); each is
    /// K - a - 1 zeros.
    pub silent_features: usize,
    /// Features less that the others already say in the samples that leave any doubt:
    /// collinear ones, constant ones among each other, or more features than such
    /// samples; each is K - a - 1 zeros.
    pub dependent_features: usize,
    /// K - a - 1, or 1 of one logit.
    pub contrasts: usize,
    /// Eigenvalues that no structure explains and that are yet below the rank
    /// tolerance: small or saturated, they cannot be told from zero.
    pub numerical: usize,
}

impl NullSpace {
    /// The zeros that structure explains, (1 + a) m + (K - a - 1)(m - rank G), G without the
    /// samples whose probabilities leave no doubt; m - rank G of one logit.
    pub fn explained(&self) -> usize {
        self.shift * (1 + self.absent_classes)
            + self.contrasts * (self.silent_features + self.dependent_features)
    }
}

impl Hessian {
    /// All eigenpairs. Zeros are counted by the unit of the arithmetic that the sums over
    /// samples were taken in ([`Self::epsilon`], [`Spectrum::rank`]).
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let (features, probabilities) = ([1.0, 0.5, 0.0, 2.0, 3.0, 1.0], [0.2, 0.3, 0.5, 0.6, 0.2, 0.2, 0.4, 0.4, 0.2]);
    /// let samples = Samples::from_slices(2, 3, &features, &probabilities, &Device::flex())?;
    /// let pairs = samples.hessian()?.eigenpairs()?;
    /// assert_eq!(pairs.spectrum.eigenvalues()[4..], [0.0, 0.0], "a zero for each feature: softmax ignores a shift");
    /// assert_eq!((pairs.null_space.explained(), pairs.spectrum.rank()), (2, 4));
    /// assert_eq!(pairs.leading(1).nrows(), 6);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`].
    pub fn eigenpairs(&self) -> Result<Eigenpairs, HessianError> {
        let epsilon = self.epsilon();
        // Only what is zero in double precision is taken as zero in the computation ..
        let subspace = Subspace::of(self, f64::EPSILON)?;
        let (size, dimension) = (self.size(), subspace.dimension());
        let restricted = subspace.restrict(self);
        let restricted = MatRef::from_column_major_slice(&restricted, dimension, dimension);
        let (values, solved) = decomposition::eigenpairs(restricted)?;
        let null_vectors = subspace.null_vectors();

        // Numbers of eigenvalues, those of the subspace before those outside, largest first.
        let value = |index: usize| if index < dimension { values[index] } else { 0.0 };
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
        let mut vectors = Mat::zeros(size, size);
        vectors.par_col_iter_mut().zip(&order).for_each(|(mut vector, &index)| {
            if index < dimension {
                let lifted = subspace.lift(solved.col(index));
                vector.iter_mut().zip(lifted).for_each(|(element, lifted)| *element = lifted);
            } else {
                vector.copy_from(null_vectors.col(index - dimension));
            }
        });
        let spectrum = Spectrum::from_eigenvalues(order.into_iter().map(value).collect(), epsilon);
        // .. but what the sums cannot tell from zero is counted as zero.
        let nullity =
            if epsilon > f64::EPSILON { Subspace::of(self, epsilon)?.nullity() } else { subspace.nullity() };
        let null_space = self.null_space(&spectrum, &subspace, nullity);
        Ok(Eigenpairs { spectrum, vectors, null_space })
    }

    /// All eigenvalues alone, those that its structure makes zero being zero, as in
    /// [`Self::eigenpairs`]: of a smaller matrix than [`Self::spectrum`] decomposes.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let (features, probabilities) = ([1.0, 0.5, 0.0, 2.0, 3.0, 1.0], [0.2, 0.3, 0.5, 0.6, 0.2, 0.2, 0.4, 0.4, 0.2]);
    /// let hessian = Samples::from_slices(2, 3, &features, &probabilities, &Device::flex())?.hessian()?;
    /// assert_eq!(hessian.eigenvalues()?.eigenvalues()[4..], [0.0, 0.0]);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`].
    pub fn eigenvalues(&self) -> Result<Spectrum, HessianError> {
        let subspace = Subspace::of(self, f64::EPSILON)?;
        let (size, dimension) = (self.size(), subspace.dimension());
        let restricted = subspace.restrict(self);
        let restricted = MatRef::from_column_major_slice(&restricted, dimension, dimension);
        let mut values = decomposition::eigenvalues(restricted)?;
        values.resize(size, 0.0);
        Ok(Spectrum::from_eigenvalues(values, self.epsilon()))
    }

    /// Why so many of this Hessian's eigenvalues are zero.
    fn null_space(&self, spectrum: &Spectrum, subspace: &Subspace, nullity: usize) -> NullSpace {
        let m = self.features();
        let summed = summed_diagonal_blocks(self);
        let silent_features = (0..m).filter(|&feature| summed[(feature, feature)] == 0.0).count();
        let structural = NullSpace {
            shift: classes::zeros_of_shift(m, self.classes()),
            absent_classes: subspace.absent(),
            silent_features,
            dependent_features: nullity.saturating_sub(silent_features),
            contrasts: subspace.contrasts(),
            numerical: 0,
        };
        let zeros = self.size() - spectrum.rank();
        NullSpace { numerical: zeros.saturating_sub(structural.explained()), ..structural }
    }

    /// H as a matrix; it is symmetric, so rows and columns are one.
    pub(crate) fn matrix(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(self.elements(), self.size(), self.size())
    }
}

impl Eigenpairs {
    /// The eigenvectors of the `count` largest eigenvalues: [K m, count].
    pub fn leading(&self, count: usize) -> MatRef<'_, f64> {
        self.vectors.subcols(0, count.min(self.vectors.ncols()))
    }
}
