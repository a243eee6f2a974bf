//! The median over the seeds, and the extremes.

/// The median and the extremes of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The median; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Band {
    /// Of `values`, those that are not finite left out; `None` if none is left.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = |index: usize| values.get(index).copied();
        let median = 0.5 * (middle((values.len() - 1) / 2)? + middle(values.len() / 2)?);
        Some(Self { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(Band::of([3.0, 1.0, 2.0]), Some(Band { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Band::of([4.0, 1.0]), Some(Band { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Band::of([f64::NAN, 7.0]), Some(Band { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(Band::of([]), None);
    }
}
