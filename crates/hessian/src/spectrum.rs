//! Eigenvalues and the numbers read off them.

/// The eigenvalues of a symmetric matrix, from the largest down, and the unit of the
/// arithmetic that the matrix was summed in, by which zeros are told from numbers.
///
/// ```
/// use kappa_hessian::Spectrum;
///
/// let spectrum = Spectrum::from_eigenvalues(vec![1.0, 4.0, 1e-9], f32::EPSILON.into());
/// assert_eq!(spectrum.lambda(1), Some(4.0));
/// assert_eq!(spectrum.ratio(1, 2), Some(4.0));
/// assert_eq!(spectrum.rank(), 2, "1e-9 of 4 is below what single precision tells from zero");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    eigenvalues: Vec<f64>,
    epsilon: f64,
}

impl Spectrum {
    /// From eigenvalues in ascending order, as faer gives them.
    pub(crate) fn from_ascending(mut eigenvalues: Vec<f64>, epsilon: f64) -> Self {
        eigenvalues.reverse();
        Self { eigenvalues, epsilon }
    }

    /// From eigenvalues in any order, of a matrix that was summed in an arithmetic of unit
    /// `epsilon`.
    pub fn from_eigenvalues(mut eigenvalues: Vec<f64>, epsilon: f64) -> Self {
        eigenvalues.sort_by(|a, b| b.total_cmp(a));
        Self { eigenvalues, epsilon }
    }

    /// All eigenvalues, largest first: lambda_1, lambda_2, ..
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// lambda_`rank`, counted from 1, if there are that many.
    pub fn lambda(&self, rank: usize) -> Option<f64> {
        self.eigenvalues.get(rank.checked_sub(1)?).copied()
    }

    /// The smallest eigenvalue.
    pub fn lambda_min(&self) -> Option<f64> {
        self.eigenvalues.last().copied()
    }

    /// The condition number lambda_1 / lambda_min of the matrix with
    /// `shift` added to its diagonal (0 for the matrix itself).
    ///
    /// The Hessian of a softmax layer is singular: its lambda_min is zero up to
    /// rounding, of either sign, and without a shift this number is a rounding
    /// error's reciprocal. `None` if the denominator is exactly zero.
    pub fn kappa(&self, shift: f64) -> Option<f64> {
        ratio(self.lambda(1)? + shift, self.lambda_min()? + shift)
    }

    /// The pseudo-condition number kappa' = lambda_1 / lambda_10 (Reyes and
    /// Levy), again with `shift` added to every eigenvalue. `None` if there are
    /// fewer than ten eigenvalues, or the tenth is zero.
    pub fn kappa_prime(&self, shift: f64) -> Option<f64> {
        ratio(self.lambda(1)? + shift, self.lambda(10)? + shift)
    }

    /// lambda_`larger` / lambda_`smaller`, counted from 1. `None` if there are not so
    /// many eigenvalues, or the smaller one is zero.
    pub fn ratio(&self, larger: usize, smaller: usize) -> Option<f64> {
        ratio(self.lambda(larger)?, self.lambda(smaller)?)
    }

    /// sum_i lambda_i / lambda_1, the number of directions as curved as the first that
    /// would make up the trace (the stable rank of H^(1/2)). `None` for a zero matrix.
    pub fn effective_rank(&self) -> Option<f64> {
        ratio(self.trace(), self.lambda(1)?)
    }

    /// exp(-sum_i q_i ln q_i) with q_i = lambda_i / sum_j lambda_j: how many eigenvalues
    /// share the trace (Roy and Vetterli 2007, "The effective rank", equation 3, here of
    /// eigenvalues). What rounding made negative counts as zero. `None` for a zero matrix.
    pub fn entropy_rank(&self) -> Option<f64> {
        let positive = || self.eigenvalues.iter().filter(|&&value| value > 0.0);
        let sum: f64 = positive().sum();
        let entropy: f64 = positive().map(|value| -(value / sum) * (value / sum).ln()).sum();
        (sum > 0.0).then(|| entropy.exp())
    }

    /// The sum of the eigenvalues.
    pub fn trace(&self) -> f64 {
        self.eigenvalues.iter().sum()
    }

    /// The unit of the arithmetic that the matrix was summed in.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The eigenvalue below which there is only rounding: size x epsilon x the largest
    /// magnitude, epsilon being the unit of the arithmetic that the matrix was summed in.
    /// The convention of LAPACK's users (MATLAB's and numpy's rank).
    pub fn rank_tolerance(&self) -> f64 {
        let largest = self.eigenvalues.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        self.eigenvalues.len() as f64 * self.epsilon * largest
    }

    /// The numerical rank: how many eigenvalues are larger in magnitude than
    /// [`Self::rank_tolerance`].
    pub fn rank(&self) -> usize {
        let tolerance = self.rank_tolerance();
        self.eigenvalues.iter().filter(|value| value.abs() > tolerance).count()
    }
}

fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator != 0.0).then(|| numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twelve() -> Spectrum {
        Spectrum::from_ascending((0..12).map(f64::from).collect(), f64::EPSILON)
    }

    #[test]
    fn the_largest_comes_first() {
        let spectrum = twelve();
        assert_eq!(spectrum.lambda(1), Some(11.0));
        assert_eq!(spectrum.lambda(12), Some(0.0));
        assert_eq!(spectrum.lambda(13), None);
        assert_eq!(spectrum.lambda(0), None);
        assert_eq!(spectrum.lambda_min(), Some(0.0));
        assert_eq!(spectrum.trace(), 66.0);
    }

    #[test]
    fn condition_numbers_are_ratios_of_shifted_eigenvalues() {
        let spectrum = twelve();
        assert_eq!(spectrum.kappa(0.0), None);
        assert_eq!(spectrum.kappa(1.0), Some(12.0));
        assert_eq!(spectrum.kappa_prime(0.0), Some(11.0 / 2.0));
        assert_eq!(spectrum.kappa_prime(1.0), Some(4.0));
        let short = Spectrum::from_ascending(vec![1.0, 2.0], f64::EPSILON);
        assert_eq!(short.kappa_prime(0.0), None);
    }

    #[test]
    fn rank_counts_what_stands_above_rounding() {
        let values = vec![-1e-16, 1e-17, 1e-10, 0.5, 1.0];
        assert_eq!(Spectrum::from_ascending(values.clone(), f64::EPSILON).rank(), 3);
        assert_eq!(Spectrum::from_ascending(values, f32::EPSILON.into()).rank(), 2);
    }
}
