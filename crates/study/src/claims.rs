//! The paper's claims, and what runs with paired seeds say of each.
//!
//! A claim is turned into one number a seed, its effect, which is above zero where
//! the claim holds. Over the seeds there is the mean, its 95 % confidence interval
//! (Student's t, paired), and one word:
//!
//! - `holds`: the effect is above zero with every seed, and so is the interval;
//! - `fails`: it is zero or below with every seed, and so is the interval's upper end;
//! - `mixed`: anything else.
//!
//! One seed has no interval and is judged by its sign alone; the count says so.

use kappa_run::{Estimate, Verdict, Word};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The mean of what the seeds say, and its interval; `None` if they say nothing,
/// or one of them nothing finite.
pub fn estimate(effects: Vec<f64>) -> Option<Estimate> {
    if effects.is_empty() || effects.iter().any(|effect| !effect.is_finite()) {
        return None;
    }
    let mean = effects.iter().sum::<f64>() / effects.len() as f64;
    let interval = confidence_interval(&effects, mean);
    Some(Estimate { effects, mean, interval })
}

/// Judges the effects of the seeds; `None` as for [`estimate`].
pub fn verdict(
    claim: u8,
    arm: &str,
    what: impl Into<String>,
    unit: &str,
    effects: Vec<f64>,
) -> Option<Verdict> {
    let estimate = estimate(effects)?;
    let seeds = estimate.effects.len();
    let holding = estimate.effects.iter().filter(|&&effect| effect > 0.0).count();
    let word = match estimate.interval {
        interval if holding == seeds && interval.is_none_or(|[low, _]| low > 0.0) => Word::Holds,
        interval if holding == 0 && interval.is_none_or(|[_, high]| high <= 0.0) => Word::Fails,
        _ => Word::Mixed,
    };
    Some(Verdict {
        claim,
        arm: arm.to_owned(),
        what: what.into(),
        unit: unit.to_owned(),
        estimate,
        holding,
        control: false,
        spectral: None,
        word,
    })
}

/// mean +- t s / sqrt(n), with t the 0.975 quantile of Student's law with n - 1
/// degrees of freedom and s the sample's standard deviation.
fn confidence_interval(effects: &[f64], mean: f64) -> Option<[f64; 2]> {
    let n = effects.len() as f64;
    let law = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    let squares: f64 = effects.iter().map(|effect| (effect - mean).powi(2)).sum();
    let half = law.inverse_cdf(0.975) * (squares / (n - 1.0) / n).sqrt();
    Some([mean - half, mean + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(effects: &[f64]) -> Verdict {
        verdict(1, "arm", "made up", "points", effects.to_vec()).unwrap()
    }

    #[test]
    fn the_interval_is_students() {
        // Mean 3, s = 1.5811, n = 5: 3 +- 2.7764 * 1.5811 / sqrt(5) = 3 +- 1.9632 (t from tables).
        let [low, high] = judged(&[1.0, 2.0, 3.0, 4.0, 5.0]).estimate.interval.unwrap();
        assert!((low - 1.0368).abs() < 1e-4 && (high - 4.9632).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn a_claim_that_holds_in_every_seed_and_by_its_interval_holds() {
        let verdict = judged(&[1.0, 1.2, 0.9, 1.1]);
        assert_eq!((verdict.word, verdict.holding), (Word::Holds, 4));
    }

    #[test]
    fn a_claim_that_is_wrong_in_every_seed_fails() {
        assert_eq!(judged(&[-1.0, -1.2, -0.9]).word, Word::Fails);
    }

    #[test]
    fn seeds_that_disagree_are_mixed() {
        assert_eq!(judged(&[1.0, -1.0, 0.5]).word, Word::Mixed);
        // Nine of ten, and an interval that is clear of zero: the tenth still disagrees.
        assert_eq!(judged(&[1.0, 1.0, 1.0, 1.1, 1.0, 0.9, 1.0, 1.0, 1.0, -0.1]).word, Word::Mixed);
        // All above zero, but so far apart that the interval is not.
        assert_eq!(judged(&[0.001, 10.0]).word, Word::Mixed);
        assert_eq!(judged(&[-0.001, -10.0]).word, Word::Mixed);
    }

    #[test]
    fn no_difference_at_all_is_no_effect() {
        let verdict = judged(&[0.0, 0.0, 0.0]);
        assert_eq!((verdict.word, verdict.estimate.interval), (Word::Fails, Some([0.0, 0.0])));
    }

    #[test]
    fn one_seed_is_judged_by_its_sign() {
        for (effect, word) in [(0.5, Word::Holds), (-0.5, Word::Fails), (0.0, Word::Fails)] {
            let verdict = judged(&[effect]);
            assert_eq!((verdict.word, verdict.estimate.interval), (word, None));
        }
    }

    #[test]
    fn nothing_is_judged_by_nothing() {
        assert!(verdict(1, "arm", "x", "", vec![]).is_none());
        assert!(verdict(1, "arm", "x", "", vec![1.0, f64::NAN]).is_none());
    }
}
