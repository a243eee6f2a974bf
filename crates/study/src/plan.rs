//! Which runs a study needs, and what each is called.

use kappa_run::{Config, RunError, StudyConfig};

/// One run of a study: an arm with these values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The place of its arm in the study.
    pub arm: usize,
    /// The learning rate.
    pub learning_rate: f64,
    /// The L2 parameter.
    pub l2: f64,
    /// Hidden units of the last hidden layer; the arm's own if none.
    pub hidden: Option<usize>,
    /// The seed.
    pub seed: u64,
}

/// A study's arms, each with its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Arms {
    configs: Vec<Config>,
    reference: usize,
}

impl Arms {
    /// Those of `study`.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] names the arm whose values do not fit the recipe.
    pub fn new(study: &StudyConfig) -> Result<Self, RunError> {
        let configs = study.arms.iter().map(|arm| study.config_of(arm)).collect::<Result<_, _>>()?;
        Ok(Self { configs, reference: study.reference_index() })
    }

    /// Refuses an arm with batch norm whose mini-batches leave a single sample: no point of a
    /// study has other batches than its arm.
    ///
    /// # Errors
    ///
    /// [`RunError::LoneSample`].
    pub fn check_batches(&self) -> Result<(), RunError> {
        self.configs.iter().try_for_each(Config::check_batches)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.configs.len()
    }

    /// The configuration of the run at `point`.
    pub fn config(&self, point: Point) -> Config {
        let mut config = self.configs[point.arm].clone();
        config.seed = point.seed;
        if let (Some(width), Some(last)) = (point.hidden, config.network.hidden.last_mut()) {
            *last = width;
        }
        *config.training.optimizer.learning_rate_mut() = point.learning_rate;
        config.training.l2 = point.l2;
        config
    }

    /// Hidden units of the last hidden layer at `point`.
    pub fn hidden(&self, point: Point) -> usize {
        point.hidden.unwrap_or(self.configs[point.arm].network.features())
    }

    /// The name of the run directory of `point`, the same for the same values.
    pub fn name(&self, point: Point) -> String {
        format!(
            "{}_lr{:e}_l2-{:e}_m{}_s{}",
            self.configs[point.arm].name,
            point.learning_rate,
            point.l2,
            self.hidden(point),
            point.seed
        )
    }

    /// The same point for every arm, in their order.
    pub fn all(&self, point: Point) -> impl Iterator<Item = Point> + use<> {
        (0..self.count()).map(move |arm| Point { arm, ..point })
    }
}

/// The reference along the grid, with the first seed.
pub fn grid(study: &StudyConfig) -> Vec<Point> {
    let arm = study.reference_index();
    let points = study.grid.learning_rates.iter().flat_map(|&learning_rate| {
        let at = move |&l2: &f64| Point { arm, learning_rate, l2, hidden: None, seed: study.recipe.seed };
        study.grid.l2.iter().map(at)
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
pub fn widths(study: &StudyConfig, arms: &Arms, chosen: Point) -> Vec<Point> {
    let mut widths: Vec<usize> = study.sweep.widths.iter().map(|width| width.get()).collect();
    widths.push(arms.hidden(chosen));
    widths.sort_unstable();
    widths.dedup();
    widths.into_iter().map(|hidden| Point { hidden: Some(hidden), ..chosen }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = include_str!("../../../configs/paper.toml");
    const CHOSEN: Point = Point { arm: 0, learning_rate: 3e-4, l2: 0.0, hidden: Some(7), seed: 0 };

    fn paper(settings: &[&str]) -> StudyConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paper.toml");
        std::fs::write(&path, STUDY).unwrap();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        StudyConfig::load(&path, &settings).unwrap()
    }

    #[test]
    fn names_tell_every_value_apart() {
        let arms = Arms::new(&paper(&[])).unwrap();
        assert_eq!(arms.name(CHOSEN), "fc_lr3e-4_l2-0e0_m7_s0");
        let others = [
            Point { arm: 1, ..CHOSEN },
            Point { learning_rate: 3e-5, ..CHOSEN },
            Point { l2: 1e-5, ..CHOSEN },
            Point { hidden: Some(8), ..CHOSEN },
            Point { hidden: None, ..CHOSEN },
            Point { seed: 1, ..CHOSEN },
        ];
        for other in others {
            assert_ne!(arms.name(other), arms.name(CHOSEN));
        }
        assert_eq!(arms.name(Point { arm: 1, ..CHOSEN }), "fc-bn_lr3e-4_l2-0e0_m7_s0");
    }

    #[test]
    fn the_grid_trains_the_reference_and_the_widths_hold_its_own() {
        let study = paper(&["reference=FC+BN"]);
        let arms = Arms::new(&study).unwrap();
        let grid = grid(&study);
        assert!(grid.iter().all(|point| point.arm == 1));
        let widths = widths(&study, &arms, grid[0]);
        assert_eq!(widths.iter().map(|point| point.hidden).collect::<Vec<_>>(), [25, 50, 100, 200].map(Some));
        // The chosen width by its number is the run that has it from the recipe.
        assert_eq!(arms.name(widths[2]), arms.name(grid[0]));
        assert_eq!(arms.config(widths[2]), arms.config(grid[0]));
    }

    #[test]
    fn the_papers_two_networks_as_single_runs_are_the_studys_arms_at_the_chosen_point() {
        let study = paper(&[]);
        let arms = Arms::new(&study).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        for (arm, name) in [(0, "fc-paper"), (1, "fc-bn-paper")] {
            // What the grid chooses (docs/decisions/recipe.md).
            let chosen = Point { arm, learning_rate: 3e-4, l2: 1e-4, hidden: None, seed: study.recipe.seed };
            assert!(grid(&study).contains(&Point { arm: 0, ..chosen }));
            let alone = Config::load(&folder.join(format!("{name}.toml")), &[]).unwrap();
            assert_eq!(alone.name, name);
            assert_eq!(Config { name: arms.config(chosen).name, ..alone }, arms.config(chosen));
        }
    }
}
