//! What was rounded before features and probabilities came here.

/// How far features and probabilities may be from what was asked about, by all that was rounded
/// before they came here. What is given as it is has none.
///
/// It belongs to the error bar of an eigenvalue: with p_a wrong by a relative delta_a, each term of
/// v' S v = sum_(a<b) p_a p_b (v_a - v_b)^2 is by delta_a + delta_b, and so is every eigenvalue at the
/// most; with features wrong by |dg| <= eta |g|, a square root of one moves by eta sqrt(tr H); with
/// probabilities wrong by u, absolutely, an eigenvalue moves by u K mean |g|^2.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InputError {
    /// eta, the error of a sample's features over their norm.
    pub features: f64,
    /// The relative error of a probability,
    pub probabilities: f64,
    /// and as much more for each unit of ln(p_c / p_a), c being the likeliest class: so far an
    /// exponential carries on what its argument was rounded by.
    pub logits: f64,
    /// u, the absolute error of a probability that may be too small for its arithmetic.
    pub underflow: f64,
}

impl InputError {
    /// That of a softmax over K `classes` in an arithmetic of unit `epsilon`: K + 4 roundings and two
    /// units of the exponential's own, and a rounding of its argument; what is too small for it is zero.
    pub fn of_softmax(classes: usize, epsilon: f64) -> Self {
        Self {
            features: 0.0,
            probabilities: (classes as f64 + 6.0) * epsilon,
            logits: epsilon,
            underflow: Self::underflow(epsilon),
        }
    }

    /// The smallest number that has all digits in an arithmetic of unit `epsilon`.
    pub fn underflow(epsilon: f64) -> f64 {
        if epsilon > f64::EPSILON { f32::MIN_POSITIVE.into() } else { f64::MIN_POSITIVE }
    }
}
