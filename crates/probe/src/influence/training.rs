//! What is known of every training sample, block after block.

use kappa_hessian::{faer::MatRef, loss_of_logits};
use kappa_posterior::{Projected, softmax};
use kappa_run::SuspectRecord;

use super::{Block, solved::error};

/// Training samples that are named first.
const SUSPECTS: usize = 20;

/// What is known of every training sample.
#[derive(Default)]
pub(super) struct Training {
    pub losses: Vec<f64>,
    /// |e (x) g|.
    pub gradients: Vec<f64>,
    pub likeliest: Vec<usize>,
    pub self_influences: Vec<f64>,
    pub leverages: Vec<f64>,
    /// The mean over the test samples.
    pub on_mean: Vec<f64>,
    pub spread: f64,
}

impl Training {
    /// Takes in samples with their effects [n, t] on some of `tests` test samples, the first of them or others.
    pub fn add(&mut self, block: Block<'_>, effects: MatRef<'_, f64>, is_first: bool, tests: usize) {
        let means = effects.row_iter().map(|row| row.iter().sum::<f64>() / tests as f64);
        if !is_first {
            self.on_mean.iter_mut().skip(block.first).zip(means).for_each(|(sum, mean)| *sum += mean);
            return;
        }
        self.on_mean.extend(means);
        let count = block.labels.len().max(1);
        let (m, k) = (block.features.len() / count, block.logits.len() / count);
        let rows = block.features.chunks_exact(m.max(1)).zip(block.logits.chunks_exact(k.max(1)));
        for ((g, z), &label) in rows.zip(block.labels) {
            let square: f64 = error(z, label).iter().map(|e| e * e).sum();
            self.gradients.push((square * g.iter().map(|g| g * g).sum::<f64>()).sqrt());
            self.losses.push(loss_of_logits(z, label));
            let p = softmax(z);
            let likeliest = p.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
            self.likeliest.push(likeliest.map_or(0, |(class, _)| class));
        }
    }

    /// What influence sees of them.
    pub fn add_seen(&mut self, seen: &Projected) {
        self.self_influences.extend(&seen.self_influences);
        self.leverages.extend(&seen.leverages);
        self.spread = seen.spreads.iter().copied().fold(self.spread, f64::max);
    }

    /// What training samples are ranked by.
    fn ranking(&self) -> &[f64] {
        if self.self_influences.is_empty() { &self.losses } else { &self.self_influences }
    }

    pub fn suspects(&self, labels: &[usize]) -> Vec<SuspectRecord> {
        let suspect = |&sample: &usize| {
            Some(SuspectRecord {
                sample,
                label: *labels.get(sample)?,
                likeliest: *self.likeliest.get(sample)?,
                loss: *self.losses.get(sample)?,
                self_influence: self.self_influences.get(sample).copied(),
            })
        };
        ranked(self.ranking()).iter().take(SUSPECTS).filter_map(suspect).collect()
    }
}

/// Numbers of samples, those of the largest value first.
pub(super) fn ranked(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let value = |index: &usize| values.get(*index).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order
}
