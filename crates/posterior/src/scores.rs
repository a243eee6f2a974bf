//! How good probabilities are, by the labels that came.

/// The bins of a calibration error, of equal width in confidence (Guo et al. 2017, "On calibration of modern neural
/// networks").
const BINS: usize = 15;

/// Numbers that say how good probabilities are.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Samples.
    pub samples: usize,
    /// The share whose likeliest class is their label.
    pub accuracy: f64,
    /// The mean of -ln p_y, in nats; not finite where a label had no probability.
    pub log_loss: f64,
    /// The mean over the samples of sum_k (p_k - [k = y])^2 (Brier 1950).
    pub brier: f64,
    /// The expected calibration error: the mean over the samples of |accuracy - confidence| of their bin.
    pub calibration_error: f64,
    /// The bins that have samples.
    pub bins: Vec<Bin>,
}

/// The samples whose likeliest class has a probability within some bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// How many.
    pub samples: usize,
    /// The mean probability of their likeliest class.
    pub confidence: f64,
    /// The share of them whose likeliest class is their label.
    pub accuracy: f64,
}

impl Scores {
    /// Of probabilities [n, K] with a label each; of one logit [n, 2].
    pub fn of(probabilities: &[f64], labels: &[usize]) -> Self {
        let columns = probabilities.len() / labels.len().max(1);
        let samples = labels.len();
        let count = samples.max(1) as f64;
        let mut bins = [(0usize, 0.0, 0usize); BINS];
        let (mut right, mut log_loss, mut brier) = (0usize, 0.0, 0.0);
        for (p, &label) in probabilities.chunks_exact(columns.max(1)).zip(labels) {
            let likeliest = (1..p.len()).fold(0, |best, class| if p[class] > p[best] { class } else { best });
            let is_right = likeliest == label;
            right += usize::from(is_right);
            log_loss -= p[label].ln();
            brier +=
                p.iter().enumerate().map(|(k, p)| (p - f64::from(u8::from(k == label))).powi(2)).sum::<f64>();
            // A confidence on a bound is in the bin below it, as there.
            let bin = ((p[likeliest] * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            let (samples, confidence, accurate) = &mut bins[bin];
            *samples += 1;
            *confidence += p[likeliest];
            *accurate += usize::from(is_right);
        }
        let bins: Vec<Bin> = bins
            .iter()
            .filter(|(samples, ..)| *samples > 0)
            .map(|&(samples, confidence, accurate)| Bin {
                samples,
                confidence: confidence / samples as f64,
                accuracy: accurate as f64 / samples as f64,
            })
            .collect();
        let apart = |bin: &Bin| bin.samples as f64 * (bin.accuracy - bin.confidence).abs();
        Self {
            samples,
            accuracy: right as f64 / count,
            log_loss: log_loss / count,
            brier: brier / count,
            calibration_error: bins.iter().map(apart).sum::<f64>() / count,
            bins,
        }
    }
}

/// -sum_k p_k ln p_k of each sample's probabilities [n, columns], in nats.
pub fn entropy(probabilities: &[f64], columns: usize) -> Vec<f64> {
    let of_one = |p: &f64| if *p > 0.0 { -p * p.ln() } else { 0.0 };
    probabilities.chunks_exact(columns).map(|p| p.iter().map(of_one).sum()).collect()
}

/// The area under the receiver operating characteristic of a score that is to be larger for `others`: the share of
/// all pairs of one of each in which it is, a tie being half (Mann and Whitney 1947). None where one set is empty.
pub fn auroc(own: &[f64], others: &[f64]) -> Option<f64> {
    if own.is_empty() || others.is_empty() {
        return None;
    }
    let mut all: Vec<(f64, bool)> =
        own.iter().map(|&x| (x, false)).chain(others.iter().map(|&x| (x, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The sum of the ranks of the others, those that are equal sharing theirs.
    let (mut ranks, mut before) = (0.0, 0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        ranks += rank * equal.iter().filter(|(_, other)| *other).count() as f64;
        before += equal.len();
    }
    let count = others.len() as f64;
    Some((ranks - count * (count + 1.0) / 2.0) / (count * own.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_their_formulas_say() {
        let scores = Scores::of(&[0.8, 0.2, 0.3, 0.7, 0.6, 0.4], &[0, 0, 0]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(scores.accuracy, 2.0 / 3.0);
        close(scores.log_loss, -(0.8f64.ln() + 0.3f64.ln() + 0.6f64.ln()) / 3.0);
        close(scores.brier, (2.0 * 0.04 + 2.0 * 0.49 + 2.0 * 0.16) / 3.0);
        // Each is alone in its bin: |1 - 0.8|, |0 - 0.7|, |1 - 0.6|.
        close(scores.calibration_error, (0.2 + 0.7 + 0.4) / 3.0);
        assert_eq!(scores.bins.len(), 3);
    }

    #[test]
    fn probabilities_that_come_true_as_often_as_they_say_are_calibrated() {
        let p: Vec<f64> = (0..10).flat_map(|_| [0.7, 0.3]).collect();
        let labels: Vec<usize> = (0..10).map(|n| usize::from(n >= 7)).collect();
        assert!(Scores::of(&p, &labels).calibration_error < 1e-15);
        assert!(Scores::of(&[1.0, 0.0], &[1]).log_loss.is_infinite());
    }

    #[test]
    fn the_area_is_the_share_of_pairs() {
        let (own, others) = ([0.1, 0.4, 0.4, 0.9], [0.4, 0.5, 1.0]);
        let pairs = own.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
        let share = pairs
            .map(|(a, b)| {
                if b > a {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>()
            / 12.0;
        assert!((auroc(&own, &others).unwrap() - share).abs() < 1e-15);
        assert_eq!(auroc(&[], &others), None);
    }

    #[test]
    fn even_probabilities_have_the_largest_entropy() {
        assert_eq!(entropy(&[1.0, 0.0], 2), [0.0]);
        assert!((entropy(&[0.25; 4], 4)[0] - 4f64.ln()).abs() < 1e-15);
    }
}
