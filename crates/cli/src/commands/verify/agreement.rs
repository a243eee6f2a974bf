//! How near two computations of the same eigenvalues come to each other.

/// How far eigenvalues are from those that were saved.
#[derive(Debug, PartialEq)]
pub enum Agreement {
    /// Not at all: bit by bit.
    Same { count: usize },
    /// At the most so far, in units of lambda_1, and how far rounding can take them.
    Apart { count: usize, distance: f64, bound: f64 },
    /// Not the same number of them.
    Other { saved: usize, found: usize },
}

impl Agreement {
    /// Compares what was `saved` with what was `found` for a network of so many `inputs`, each with
    /// residuals of so many lambda_1 (none of a whole decomposition).
    pub fn of(saved: &[f64], found: &[f64], inputs: usize, residual: f64) -> Self {
        let count = saved.len();
        if count != found.len() || count == 0 {
            return Self::Other { saved: count, found: found.len() };
        }
        if saved.iter().zip(found).all(|(saved, found)| saved.to_bits() == found.to_bits()) {
            return Self::Same { count };
        }
        let lambda_1 = saved.iter().chain(found).copied().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
        // Not a number is farther than anything.
        let farther = |far: f64, (saved, found): (&f64, &f64)| {
            let distance = (saved - found).abs() / lambda_1;
            if far.is_nan() || distance <= far { far } else { distance }
        };
        let distance = saved.iter().zip(found).fold(0.0, farther);
        // By Weyl no eigenvalue moves farther than H does. Another machine or backend adds in
        // another order: inputs d in the first layer, in single precision on all of them, and
        // with the size K m of the matrix in the decomposition; a residual more is its eigenvalue's.
        let bound = (inputs + count) as f64 * f64::from(f32::EPSILON) + 2.0 * residual;
        Self::Apart { count, distance, bound }
    }

    pub fn is_within(&self) -> bool {
        match self {
            Self::Same { .. } => true,
            Self::Apart { distance, bound, .. } => distance <= bound,
            Self::Other { .. } => false,
        }
    }

    /// In words, of what is called `numbers`.
    pub fn describe(&self, numbers: &str) -> String {
        match self {
            Self::Same { count } => format!("{count} {numbers}, the same to the last bit"),
            Self::Apart { count, distance, bound } => format!(
                "{}{count} {numbers}, at most {distance:.1e} lambda_1 apart (rounding: up to {bound:.1e})",
                if self.is_within() { "" } else { "WRONG: " }
            ),
            Self::Other { saved, found } => {
                format!("WRONG: {saved} {numbers} were saved, {found} came out")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_cannot_explain_is_wrong() {
        let saved = [4.0, 1.0, 0.0];
        assert_eq!(Agreement::of(&saved, &saved, 7, 0.0), Agreement::Same { count: 3 });
        // Ten additions in single precision, 1.2e-7 each.
        let apart = |by: f64| Agreement::of(&saved, &[4.0, 1.0 + 4.0 * by, 0.0], 7, 0.0);
        assert!(apart(1.1e-6).is_within() && !apart(1.3e-6).is_within());
        assert!(apart(1.3e-6).describe("eigenvalues").contains("WRONG"));
        assert!(!apart(f64::NAN).is_within() && !apart(f64::INFINITY).is_within());
        assert!(!Agreement::of(&saved, &saved[..2], 7, 0.0).is_within());
        assert!(
            !Agreement::of(&saved, &[], 7, 0.0).is_within() && !Agreement::of(&[], &[], 7, 0.0).is_within()
        );
        // What is known to a residual may be apart by two.
        assert!(Agreement::of(&saved, &[4.0, 1.0 + 1e-3, 0.0], 7, 1.3e-4).is_within());
    }
}
