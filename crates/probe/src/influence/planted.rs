//! Labels that are made wrong, to see how well they are found.

use kappa_posterior::Problem;
use kappa_run::{InfluenceRequest, PlantedRecord, RankingRecord};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::training::{Training, ranked};
use crate::{Classifier, ProbeError};

/// The stream of what is made wrong; docs/decisions/randomness.md lists all streams.
const STREAM: u64 = 911;

/// A classifier some of whose labels were made wrong.
pub(super) struct Planted {
    pub classifier: Classifier,
    wrong: Vec<usize>,
}

pub(super) fn plant(classifier: &Classifier, asked: &InfluenceRequest) -> Result<Planted, ProbeError> {
    let mut labels = classifier.problem.labels().to_vec();
    let columns = classifier.sizes()[0].max(2);
    let mut generator = ChaCha8Rng::seed_from_u64(asked.seed);
    generator.set_stream(STREAM);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.shuffle(&mut generator);
    order.truncate((asked.planted * labels.len() as f64).round() as usize);
    for &index in &order {
        if let Some(label) = labels.get_mut(index) {
            // Any other class.
            *label = (*label + generator.random_range(1..columns)) % columns;
        }
    }
    order.sort_unstable();
    let problem = Problem::new(classifier.given.samples.clone(), labels)?;
    let weights = classifier.given.weights.clone();
    let classifier = Classifier::of(classifier.settings.clone(), problem, weights)?;
    Ok(Planted { classifier, wrong: order })
}

impl Planted {
    /// How well rankings find them, and which they are.
    pub fn found(&self, training: &Training) -> (PlantedRecord, Vec<usize>) {
        let Training { self_influences, losses, gradients, .. } = training;
        let rankings = precisions(&self.wrong, self_influences, losses, gradients);
        (PlantedRecord { count: self.wrong.len(), rankings }, self.wrong.clone())
    }
}

/// The share of the first samples of each ranking that are `wrong`, at a tenth of them, a half, and all.
pub(crate) fn precisions(
    wrong: &[usize],
    self_influences: &[f64],
    losses: &[f64],
    gradients: &[f64],
) -> Vec<RankingRecord> {
    let mut is_wrong = vec![false; losses.len()];
    for &index in wrong {
        if let Some(wrong) = is_wrong.get_mut(index) {
            *wrong = true;
        }
    }
    let all = [("self-influence", self_influences), ("loss", losses), ("gradient norm", gradients)];
    let rankings = all.into_iter().filter(|(_, values)| !values.is_empty()).map(|(by, values)| {
        let order = ranked(values);
        let share = |first: usize| {
            let found = order.iter().take(first).filter(|&&index| is_wrong.get(index) == Some(&true)).count();
            (first, found as f64 / first as f64)
        };
        let firsts = [wrong.len() / 10, wrong.len() / 2, wrong.len()].into_iter().filter(|&first| first > 0);
        RankingRecord { by: by.to_owned(), precision: firsts.map(share).collect() }
    });
    rankings.collect()
}
