//! Whether a measure orders the arms as their speed does: Kendall's tau_b over the arms, its interval by
//! resampling arms and seeds.

use kappa_run::{Tau, Word};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Resampled sets of arms and seeds.
const RESAMPLES: usize = 4000;
/// The chance of an interval that misses, of all measures together.
const CHANCE: f64 = 0.05;

/// Kendall's tau_b of pairs (x, y): concordant less discordant pairs, over the geometric mean of those that are
/// no ties in x and in y (Kendall 1945). Nothing where all are ties.
pub fn tau(pairs: &[(f64, f64)]) -> Option<f64> {
    let (mut score, mut in_x, mut in_y) = (0.0, 0.0, 0.0);
    for (index, a) in pairs.iter().enumerate() {
        for b in pairs.iter().skip(index + 1) {
            let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
            let (x, y) = (sign(a.0 - b.0), sign(a.1 - b.1));
            score += x * y;
            in_x += x * x;
            in_y += y * y;
        }
    }
    (in_x > 0.0 && in_y > 0.0).then(|| score / (in_x * in_y).sqrt())
}

/// Of arms by seeds, x and y of each: the tau of their means over the seeds, and its interval, of which so many
/// are looked at together (Bonferroni).
pub fn ordering(arms: &[Vec<(f64, f64)>], measures: usize) -> Option<Tau> {
    let mean = |seeds: &mut dyn Iterator<Item = (f64, f64)>| {
        let (x, y, count) = seeds.fold((0.0, 0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1, sum.2 + 1.0));
        (x / count, y / count)
    };
    let means: Vec<_> = arms.iter().map(|arm| mean(&mut arm.iter().copied())).collect();
    let found = tau(&means)?;
    let seeds = arms.iter().map(Vec::len).min().filter(|&seeds| seeds > 0)?;
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    let mut resampled = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        // All arms of a seed have one start: the same seeds are drawn for all.
        let drawn: Vec<usize> = (0..seeds).map(|_| generator.random_range(0..seeds)).collect();
        let pairs: Vec<_> = (0..arms.len())
            .filter_map(|_| arms.get(generator.random_range(0..arms.len())))
            .map(|arm| mean(&mut drawn.iter().filter_map(|&seed| arm.get(seed).copied())))
            .collect();
        resampled.extend(tau(&pairs));
    }
    resampled.sort_by(f64::total_cmp);
    let tail = CHANCE / 2.0 / measures.max(1) as f64;
    let at = |part: f64| {
        let index = (part * (resampled.len().max(1) - 1) as f64).round() as usize;
        resampled.get(index).copied().unwrap_or(f64::NAN)
    };
    let interval = [at(tail), at(1.0 - tail)];
    let word = match interval {
        [low, _] if low > 0.0 => Word::Holds,
        [_, high] if high < 0.0 => Word::Fails,
        _ => Word::Mixed,
    };
    Some(Tau { tau: found, interval, word })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_counts_pairs_in_order_less_those_against_it() {
        // Six pairs of four, of which one is against the order; ties leave their pairs out of the root.
        assert_eq!(tau(&[(1.0, 1.0), (2.0, 2.0), (3.0, 4.0), (4.0, 3.0)]), Some(4.0 / 6.0));
        assert_eq!(tau(&[(1.0, 2.0), (2.0, 1.0)]), Some(-1.0));
        let tied = tau(&[(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)]).unwrap();
        assert!((tied - 2.0 / 6f64.sqrt()).abs() < 1e-15);
        assert_eq!(tau(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn arms_that_a_measure_orders_are_told_from_those_that_it_does_not() {
        let arm = |x: f64, y: f64| (0..5).map(|seed| (x + 0.01 * f64::from(seed), y)).collect::<Vec<_>>();
        let ordered: Vec<_> = (0..9).map(|i| arm(f64::from(i), f64::from(i).sqrt())).collect();
        let found = ordering(&ordered, 13).unwrap();
        assert_eq!((found.tau, found.word), (1.0, Word::Holds));
        let against: Vec<_> = (0..9).map(|i| arm(f64::from(i), -f64::from(i))).collect();
        assert_eq!(ordering(&against, 13).unwrap().word, Word::Fails);
        // 0, 5, 3, 8, 1, 6, 4, 2, 7: neither.
        let none: Vec<_> = (0..9).map(|i| arm(f64::from(i), f64::from(i * 5 % 9 * 7 % 9))).collect();
        let found = ordering(&none, 13).unwrap();
        assert_eq!(found.word, Word::Mixed);
        assert!(found.interval[0] < 0.0 && found.interval[1] > 0.0);
    }
}
