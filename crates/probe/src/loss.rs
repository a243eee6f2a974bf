//! The mean cross-entropy of logits, in f64 on the host.

/// What some samples add to the mean over `count` of ln sum_a exp(z_a - z_y), for their logits
/// [n, K] row by row and their n labels.
///
/// With c the class of the largest logit, a sample's loss is
///
/// ```text
/// (z_c - z_y) + ln(1 + sum_(a /= c) exp(z_a - z_c))
/// ```
///
/// where logits stand in differences alone: what all of them share cancels before anything is
/// rounded to its size, and a sample that is all but certain keeps the digits of what is left.
pub(crate) fn share_of_loss(logits: &[f64], classes: usize, labels: &[usize], count: usize) -> f64 {
    let count = count as f64;
    let share = |(z, &label): (&[f64], &usize)| {
        let largest = z.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (likeliest, top) = largest.unwrap_or((0, f64::NAN));
        let others = z.iter().enumerate().filter(|&(class, _)| class != likeliest);
        let rest: f64 = others.map(|(_, other)| (other - top).exp()).sum();
        let of_label = z.get(label).copied().unwrap_or(f64::NAN);
        let apart = match top - of_label {
            apart if apart.is_finite() => apart / count,
            // Finite logits may be farther apart than the largest number, and their mean not.
            _ => top / count - of_label / count,
        };
        apart + rest.ln_1p() / count
    };
    logits.chunks_exact(classes).zip(labels).map(share).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_loss(logits: &[f64], classes: usize, labels: &[usize]) -> f64 {
        share_of_loss(logits, classes, labels, labels.len())
    }

    /// By a handful of roundings of f64.
    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 8.0 * f64::EPSILON, "{found} {expected}");
    }

    /// What all logits share was in the sum before the label's was taken off: 0.875 and 0.
    #[test]
    fn what_all_logits_share_leaves_the_loss_as_it_is() {
        // ln(1 + e^-1) and ln(1 + e)
        let expected = (f64::ln_1p((-1.0f64).exp()) + f64::ln_1p(1.0f64.exp())) / 2.0;
        for shift in [0.0, 1e15, -1e15] {
            let logits = [1.0, 0.0, 0.0, 1.0].map(|z| z + shift);
            close(mean_loss(&logits, 2, &[0, 0]), expected);
        }
        for size in [1.7e308, -1.7e308, 3.0] {
            close(mean_loss(&[size; 4], 4, &[2]), 4.0f64.ln());
        }
    }

    #[test]
    fn a_sample_that_is_all_but_certain_keeps_its_digits() {
        close(mean_loss(&[40.0, 0.0, 1.0], 3, &[0]), (-40.0f64).exp() + (-39.0f64).exp());
        // exp(-800) is no number; as a distance it is one.
        close(mean_loss(&[0.0, 800.0], 2, &[0]), 800.0);
    }

    #[test]
    fn differences_that_overflow_are_told_only_where_the_mean_does() {
        assert!(mean_loss(&[1.7e308, -1.7e308], 2, &[1]).is_infinite());
        close(mean_loss(&[1.7e308, -1.7e308, 1.7e308, -1.7e308], 2, &[1, 0]), 1.7e308);
        assert_eq!(mean_loss(&[1.7e308, -1.7e308], 2, &[0]), 0.0);
    }
}
