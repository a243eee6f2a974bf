//! Initial weights, drawn on the host.
//!
//! No backend's generator is asked: the same seed gives the same bits on every
//! backend, and to a network with and without batch norm.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Layer;

/// How the weights of a layer are drawn. Biases start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialisation {
    /// Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).
    #[default]
    GlorotUniform,
    /// Uniform in +-sqrt(6 / fan_in) (He et al. 2015, eq. 10, as a uniform law of that variance).
    KaimingUniform,
}

/// The ChaCha stream of a layer's weights (docs/decisions/randomness.md lists all streams).
fn stream(layer: Layer) -> u64 {
    match layer {
        Layer::Hidden(0) => 3,
        Layer::Output => 4,
        Layer::Hidden(index) => 10 + index as u64,
    }
}

impl Initialisation {
    fn bound(self, fan_in: usize, fan_out: usize) -> f64 {
        let fans = match self {
            Self::GlorotUniform => fan_in + fan_out,
            Self::KaimingUniform => fan_in,
        };
        (6.0 / fans as f64).sqrt()
    }

    /// Weights [fan_out, fan_in], row by row.
    pub(crate) fn weights(self, layer: Layer, fan_in: usize, fan_out: usize, seed: u64) -> Vec<f32> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream(layer));
        let bound = self.bound(fan_in, fan_out);
        (0..fan_in * fan_out).map(|_| ((2.0 * generator.random::<f64>() - 1.0) * bound) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_uniform_within_their_bound() {
        for (law, bound) in [
            (Initialisation::GlorotUniform, (6.0f64 / 500.0).sqrt()),
            (Initialisation::KaimingUniform, (6.0f64 / 300.0).sqrt()),
        ] {
            let weights = law.weights(Layer::Hidden(0), 300, 200, 7);
            let n = weights.len() as f64;
            assert_eq!(weights.len(), 60_000);
            assert!(weights.iter().all(|&w| f64::from(w).abs() <= bound));
            // A uniform law on +-b has mean 0 and variance b^2 / 3. The bounds are five
            // standard errors: sd(mean) = b / sqrt(3 n), sd(w^2) = b^2 sqrt(4/45), n = 60,000.
            let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
            let square = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "{mean}");
            let error = (square - bound * bound / 3.0).abs();
            assert!(error < 5.0 * bound * bound * (4.0 / 45.0 / n).sqrt(), "{square}");
        }
    }

    #[test]
    fn layers_and_seeds_draw_different_weights() {
        let draw = |layer, seed| Initialisation::GlorotUniform.weights(layer, 3, 2, seed);
        assert_eq!(draw(Layer::Hidden(0), 0), draw(Layer::Hidden(0), 0));
        assert_ne!(draw(Layer::Hidden(0), 0), draw(Layer::Output, 0));
        assert_ne!(draw(Layer::Hidden(0), 0), draw(Layer::Hidden(1), 0));
        assert_ne!(draw(Layer::Hidden(0), 0), draw(Layer::Hidden(0), 1));
    }
}
