//! The steps that an optimiser takes, as vectors of all parameters.

use kappa_run::{AdamConfig, DescentConfig, Optimizer};

/// An optimiser with what it has kept of the steps before.
#[derive(Debug, Clone)]
pub struct Stepper {
    optimizer: Optimizer,
    /// v of momentum, or Adam's m; empty before the first step.
    first: Vec<f64>,
    /// Adam's v.
    second: Vec<f64>,
    taken: i32,
}

impl Stepper {
    /// `optimizer` before its first step, with another learning rate.
    pub fn new(optimizer: &Optimizer, rate: f64) -> Self {
        let mut optimizer = *optimizer;
        *optimizer.learning_rate_mut() = rate;
        Self { optimizer, first: Vec::new(), second: Vec::new(), taken: 0 }
    }

    /// The direction d of the step that `gradient` g makes it take, theta - rate d, and what it has kept then.
    pub fn after(&self, gradient: &[f64]) -> (Vec<f64>, Self) {
        match self.optimizer {
            Optimizer::Descent(descent) => self.descended(gradient, &descent),
            Optimizer::Adam(adam) => self.adapted(gradient, &adam),
        }
    }

    /// d = v = momentum v + g.
    fn descended(&self, gradient: &[f64], descent: &DescentConfig) -> (Vec<f64>, Self) {
        let kept = self.first.iter().chain(std::iter::repeat(&0.0));
        let velocity: Vec<f64> = gradient.iter().zip(kept).map(|(g, v)| descent.momentum * v + g).collect();
        let first = if descent.momentum > 0.0 { velocity.clone() } else { Vec::new() };
        (velocity, Self { first, taken: self.taken + 1, ..self.clone() })
    }

    /// d = m_hat / (sqrt(v_hat) + epsilon) (Kingma and Ba 2015, algorithm 1).
    fn adapted(&self, gradient: &[f64], adam: &AdamConfig) -> (Vec<f64>, Self) {
        let mean = |kept: &[f64], beta: f64, power: i32| -> Vec<f64> {
            let kept = kept.iter().chain(std::iter::repeat(&0.0));
            gradient.iter().zip(kept).map(|(g, m)| beta * m + (1.0 - beta) * g.powi(power)).collect()
        };
        let next = Self {
            first: mean(&self.first, adam.beta_1, 1),
            second: mean(&self.second, adam.beta_2, 2),
            taken: self.taken + 1,
            ..self.clone()
        };
        let correction = 1.0 - adam.beta_1.powi(next.taken);
        let divisors = next.divisors().unwrap_or_default();
        let direction = next.first.iter().zip(divisors).map(|(m, d)| m / correction / d).collect();
        (direction, next)
    }

    /// Adam's sqrt(v_hat) + epsilon after its last step; nothing for descent, and before the first step.
    pub fn divisors(&self) -> Option<Vec<f64>> {
        let adam = self.optimizer.adam().filter(|_| self.taken > 0)?;
        let correction = 1.0 - adam.beta_2.powi(self.taken);
        Some(self.second.iter().map(|v| (v / correction).sqrt() + adam.epsilon).collect())
    }

    /// Its learning rate.
    pub fn rate(&self) -> f64 {
        self.optimizer.learning_rate()
    }

    /// The largest eigenvalue that its steps stand: of H, and for Adam of H over [`Self::divisors`].
    pub fn threshold(&self) -> f64 {
        self.optimizer.stability_threshold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps along gradients that are known, element by element.
    fn directions(optimizer: &Optimizer) -> Vec<f64> {
        let mut stepper = Stepper::new(optimizer, 0.5);
        assert_eq!(stepper.rate(), 0.5);
        let mut all = Vec::new();
        for g in [1.0, 2.0, -4.0] {
            let (direction, next) = stepper.after(&[g]);
            all.extend(direction);
            stepper = next;
        }
        all
    }

    #[test]
    fn momentum_adds_what_it_keeps_and_descent_keeps_nothing() {
        let descent = |momentum| Optimizer::Descent(DescentConfig { learning_rate: 1.0, momentum });
        assert_eq!(directions(&descent(0.0)), [1.0, 2.0, -4.0]);
        assert_eq!(directions(&descent(0.5)), [1.0, 2.5, -2.75]);
        let stable = |momentum| Stepper::new(&descent(momentum), 0.5).threshold();
        assert_eq!([stable(0.0), stable(0.5)], [4.0, 6.0]);
    }

    #[test]
    fn adam_divides_a_mean_of_gradients_by_the_root_of_a_mean_of_squares() {
        let adam = AdamConfig { learning_rate: 1.0, beta_1: 0.5, beta_2: 0.75, epsilon: 0.25 };
        // m = 1/2, 5/4, -11/8 over 1/2, 3/4, 7/8; v = 1/4, 19/16, 313/64 over 1/4, 7/16, 37/64.
        let expected = [
            1.0 / 1.25,
            5.0 / 3.0 / ((19f64 / 7.0).sqrt() + 0.25),
            -11.0 / 7.0 / ((313f64 / 37.0).sqrt() + 0.25),
        ];
        for (found, expected) in directions(&Optimizer::Adam(adam)).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15 * 8.0, "{found}, expected {expected}");
        }
        assert_eq!(Stepper::new(&Optimizer::Adam(adam), 0.5).threshold(), 2.0 * 1.5 / (0.5 * 0.5));
        assert!(Stepper::new(&Optimizer::Adam(adam), 0.5).divisors().is_none());
    }
}
