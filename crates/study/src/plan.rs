//! Which runs a study needs, and what each is called.

use kappa_run::{BatchSize, Config, StudyConfig, TrainingConfig};

use crate::BatchNormStatistics;

/// One run of a study: the recipe with these values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Whether there is batch norm.
    pub batch_norm: bool,
    /// The learning rate.
    pub learning_rate: f64,
    /// The L2 parameter.
    pub l2: f64,
    /// Hidden units.
    pub hidden: usize,
    /// The seed.
    pub seed: u64,
}

impl Point {
    /// The name of its run directory, the same for the same values.
    pub fn name(&self) -> String {
        format!(
            "{}_lr{:e}_l2-{:e}_m{}_s{}",
            if self.batch_norm { "fc-bn" } else { "fc" },
            self.learning_rate,
            self.l2,
            self.hidden,
            self.seed
        )
    }

    /// Its configuration.
    pub fn config(&self, study: &StudyConfig) -> Config {
        let mut config = study.recipe.clone();
        config.name = if self.batch_norm { "fc-bn" } else { "fc" }.to_owned();
        config.seed = self.seed;
        config.network.hidden = self.hidden;
        config.network.batch_norm = self.batch_norm.then_some(study.batch_norm);
        config.training.adam.learning_rate = self.learning_rate;
        config.training.l2 = self.l2;
        config
    }

    /// The same point for both networks, FC first.
    pub fn both(self) -> [Self; 2] {
        [false, true].map(|batch_norm| Self { batch_norm, ..self })
    }
}

/// FC along the grid, with the first seed.
pub fn grid(study: &StudyConfig) -> Vec<Point> {
    let points = study.grid.learning_rates.iter().flat_map(|&learning_rate| {
        study.grid.l2.iter().map(move |&l2| Point {
            batch_norm: false,
            learning_rate,
            l2,
            hidden: study.recipe.network.hidden,
            seed: study.recipe.seed,
        })
    });
    points.collect()
}

/// The paired seeds.
pub fn seeds(study: &StudyConfig) -> impl Iterator<Item = u64> {
    (0..study.seeds.get() as u64).map(|offset| study.recipe.seed.wrapping_add(offset))
}

/// A point of the sweeps, and what was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// "learning_rate = 0.01", say.
    pub label: String,
    /// The chosen point with that value changed.
    pub point: Point,
}

/// The points along the learning rate and L2, besides the chosen one.
pub fn sweep(study: &StudyConfig, chosen: Point) -> Vec<SweepPoint> {
    let along = |name: &str, values: &[f64], change: fn(Point, f64) -> Point| -> Vec<SweepPoint> {
        let point =
            |&value: &f64| SweepPoint { label: format!("{name} = {value}"), point: change(chosen, value) };
        values.iter().map(point).filter(|sweep| sweep.point != chosen).collect()
    };
    let rates = along("learning_rate", &study.sweep.learning_rates, |point, learning_rate| Point {
        learning_rate,
        ..point
    });
    [rates, along("l2", &study.sweep.l2, |point, l2| Point { l2, ..point })].concat()
}

/// The widths at which the singularity is counted, ascending, the chosen one included.
pub fn widths(study: &StudyConfig, chosen: Point) -> Vec<Point> {
    let mut widths: Vec<usize> = study.sweep.widths.iter().map(|width| width.get()).collect();
    widths.push(chosen.hidden);
    widths.sort_unstable();
    widths.dedup();
    widths.into_iter().map(|hidden| Point { hidden, ..chosen }).collect()
}

/// By which statistics FC+BN is probed. A full batch is the whole split, so that
/// its statistics are the split's.
pub fn statistics(training: &TrainingConfig) -> Vec<BatchNormStatistics> {
    let mut statistics = vec![BatchNormStatistics::Running, BatchNormStatistics::Dataset];
    if let BatchSize::Samples(size) = training.batch_size {
        statistics.push(BatchNormStatistics::Batch(size));
    }
    statistics
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOSEN: Point = Point { batch_norm: false, learning_rate: 3e-4, l2: 0.0, hidden: 7, seed: 0 };

    #[test]
    fn names_tell_every_value_apart() {
        assert_eq!(CHOSEN.name(), "fc_lr3e-4_l2-0e0_m7_s0");
        let others = [
            Point { batch_norm: true, ..CHOSEN },
            Point { learning_rate: 3e-5, ..CHOSEN },
            Point { l2: 1e-5, ..CHOSEN },
            Point { hidden: 8, ..CHOSEN },
            Point { seed: 1, ..CHOSEN },
        ];
        for other in others {
            assert_ne!(other.name(), CHOSEN.name());
        }
    }
}
