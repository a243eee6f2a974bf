//! Whether each measure orders the arms as their speed does.

use kappa_run::{Measure, Ordering, Tau, WhyConfig};

use crate::{experiment::Trained, findings::between, tau::ordering, training::steps_to};

/// Arms, to be ordered.
pub struct Orders<'a> {
    pub why: &'a WhyConfig,
    pub arms: &'a [Trained],
}

/// What a measure is of each arm with each seed, in logarithms: [arms][seeds].
type Logs = Vec<Vec<f64>>;

impl Orders<'_> {
    /// Of each measure that all arms have.
    pub fn all(&self) -> Vec<Ordering> {
        let measured = Measure::ALL.into_iter().filter_map(|measure| {
            let logs = match measure {
                Measure::InverseStableRate => self.inverse_stable_rates().map(|logs| (logs.clone(), logs)),
                measure => Some((self.at_steps(measure)?, self.at_losses(measure)?)),
            };
            logs.map(|logs| (measure, logs))
        });
        let measured: Vec<(Measure, (Logs, Logs))> = measured.collect();
        let together = measured.len();
        measured
            .into_iter()
            .filter_map(|(measure, (at_steps, at_losses))| {
                Some(Ordering {
                    measure,
                    by_steps: self.told(&at_steps, &self.steps(Self::at_matched), together)?,
                    by_losses: self.told(&at_losses, &self.steps(Self::at_matched), together)?,
                    at_best: self.told(&at_losses, &self.steps(Self::at_best), together)?,
                    values: at_losses.iter().map(|arm| arm.iter().map(|log| log.exp()).collect()).collect(),
                })
            })
            .collect()
    }

    fn seeds(&self) -> usize {
        self.why.seeds.get()
    }

    fn at_matched(&self, arm: &Trained, seed: usize) -> Option<f64> {
        steps_to(&arm.matched.get(seed)?.losses, *self.why.losses.last()?)
    }

    fn at_best(&self, arm: &Trained, seed: usize) -> Option<f64> {
        arm.best.get(seed)?.as_ref().map(|best| best.steps)
    }

    /// An arm that does not get there is slower than all that do; one that begins there has a logarithm too.
    fn steps(&self, of: impl Fn(&Self, &Trained, usize) -> Option<f64>) -> Logs {
        let slow = self.why.steps.get() as f64 * 2.0;
        let log = |arm, seed| of(self, arm, seed).unwrap_or(slow).max(0.1).ln();
        self.arms.iter().map(|arm| (0..self.seeds()).map(|seed| log(arm, seed)).collect()).collect()
    }

    fn told(&self, measure: &Logs, steps: &Logs, together: usize) -> Option<Tau> {
        let arms = measure.iter().zip(steps);
        let pairs = arms.map(|(x, y)| x.iter().copied().zip(y.iter().copied()).collect());
        ordering(&pairs.collect::<Vec<_>>(), together)
    }

    /// (step, ln loss, ln of the measure) of each point of a training at the matched rate.
    fn points(&self, arm: &Trained, seed: usize, measure: Measure) -> Vec<(usize, f64, f64)> {
        let measures = arm.matched.get(seed).map(|training| training.measures.as_slice()).unwrap_or_default();
        let logs = measures.iter().filter_map(|at| {
            let value = at.values.get(&measure).copied().filter(|value| *value > 0.0)?;
            Some((at.step, at.loss.ln(), value.ln()))
        });
        logs.collect()
    }

    /// The mean over the steps that all arms have been measured after.
    fn at_steps(&self, measure: Measure) -> Option<Logs> {
        let at = |arm: &Trained, seed, step: &usize| {
            let points = self.points(arm, seed, measure);
            points.iter().find(|point| point.0 == *step).map(|point| point.2)
        };
        self.means(&self.why.measured, at)
    }

    /// The mean over the losses that all arms come to.
    fn at_losses(&self, measure: Measure) -> Option<Logs> {
        let at = |arm: &Trained, seed, loss: &f64| between(&self.points(arm, seed, measure), loss.ln());
        self.means(&self.why.losses, at)
    }

    fn means<T>(&self, of: &[T], at: impl Fn(&Trained, usize, &T) -> Option<f64>) -> Option<Logs> {
        let seeds = 0..self.seeds();
        let everywhere =
            |place: &&T| self.arms.iter().all(|arm| seeds.clone().all(|seed| at(arm, seed, place).is_some()));
        let places: Vec<&T> = of.iter().filter(everywhere).collect();
        let mean = |arm: &Trained, seed| {
            let sum: f64 = places.iter().filter_map(|place| at(arm, seed, place)).sum();
            sum / places.len() as f64
        };
        let logs = self.arms.iter().map(|arm| seeds.clone().map(|seed| mean(arm, seed)).collect());
        (!places.is_empty()).then(|| logs.collect())
    }

    fn inverse_stable_rates(&self) -> Option<Logs> {
        let of = |arm: &Trained| arm.stable.iter().map(|rate| Some(-((*rate)?.ln()))).collect();
        self.arms.iter().map(of).collect()
    }
}
