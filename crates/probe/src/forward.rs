//! What rounding makes of a network: features and logits of some samples, once more in double
//! precision on the host, by plain loops that share nothing with the device's operations.

use burn::tensor::{Int, Tensor, TensorData};
use kappa_hessian::InputError;
use kappa_model::{Kind, Layer as NetworkLayer, Network, NetworkShape, Parameter, Place, Role, Statistics};
use kappa_run::Precision;
use kappa_trainer::DeviceSplit;
use kappa_world::Combine;

use crate::{ProbeError, samples::numbers, statistics};

/// Samples that are gone through again, spread over all.
const ROWS: usize = 128;
/// An eigenvalue sums what its samples are off by, and not all have the same part in it: the mean
/// error of these samples, times this, is taken for that of all.
const MARGIN: f64 = 2.0;

/// How far the features and probabilities of `network`, as it is looked at, are from those of the same
/// parameters in exact arithmetic. What the logits of a sample are off by alike is nothing to its
/// probabilities; by how much one is more than another, so much a probability is off, relatively, at the
/// most.
pub(crate) fn input_error(
    network: &Network,
    split: &DeviceSplit,
    statistics: Statistics,
    forward: Precision,
) -> Result<InputError, ProbeError> {
    let samples = split.samples();
    let rows: Vec<i32> = match statistics {
        // The first batch, whole: its statistics are of all that is in it.
        Statistics::Batch(size) => (0..samples.min(size.get())).map(|row| row as i32).collect(),
        _ => {
            let count = samples.min(ROWS);
            (0..count).map(|row| (row * samples / count) as i32).collect()
        }
    };
    let device = network.output_parameters().0.device();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(rows.clone(), [rows.len()]), &device);
    let images = split.images_at(indices);
    let inputs = images.values()?;
    let preactivations = images.preactivations(network);
    let features = statistics::features(network, statistics, preactivations);
    let logits = numbers(network.logits(features.clone()))?;
    let features = numbers(features)?;

    let exact = Exact::new(network)?;
    let (exact_features, exact_logits) = exact.forward(inputs, matches!(statistics, Statistics::Batch(_)));
    let (m, classes) = (exact.shape.features(), exact.shape.classes);
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = |found: &[f64], exact: &[f64]| -> Vec<f64> {
        found.iter().zip(exact).map(|(found, exact)| found - exact).collect()
    };
    let of_features =
        mean(features.chunks_exact(m).zip(exact_features.chunks_exact(m)).map(|(found, exact)| {
            let length = norm(exact);
            let error = norm(&apart(found, exact));
            if length > 0.0 { error / length } else { error }
        }));
    let of_logits =
        mean(logits.chunks_exact(classes).zip(exact_logits.chunks_exact(classes)).map(|(found, exact)| {
            let apart = apart(found, exact);
            let ends = apart.iter().fold([0.0, f64::NAN, f64::NAN], |[nan, low, high], &x| {
                [nan + x, f64::min(low, x), f64::max(high, x)]
            });
            // What is not a number stays so.
            ends[2] - ends[1] + 0.0 * ends[0]
        }));
    // Statistics of the whole split are sums of which 4 sqrt(N) roundings add up at the most
    // (Higham and Mary 2019, theorem 2.4), and these few samples cannot tell.
    let of_statistics = match statistics {
        Statistics::Dataset if exact.shape.normalisation.has_statistics() => {
            4.0 * (split.all() as f64).sqrt() * forward.epsilon() / 2.0
        }
        _ => 0.0,
    };
    let size = mean(exact_logits.chunks_exact(classes).map(norm));
    // The processes' means, and each has as many rows or nearly so.
    let mut means = [of_features, of_logits, size];
    split.world().combine(&mut means, Combine::Sum)?;
    let [of_features, of_logits, size] = means.map(|sum| sum / split.world().processes() as f64);
    Ok(InputError {
        features: MARGIN * of_features + of_statistics,
        probabilities: MARGIN * of_logits + 2.0 * of_statistics * size,
        logits: 0.0,
        underflow: 0.0,
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// A network's parameters, on the host.
struct Exact {
    shape: NetworkShape,
    parameters: Vec<(Parameter, Vec<f64>)>,
}

impl Exact {
    fn new(network: &Network) -> Result<Self, ProbeError> {
        Ok(Self { shape: network.shape(), parameters: network.parameters()? })
    }

    fn of(&self, layer: NetworkLayer, role: Role) -> &[f64] {
        let of_it = |parameter: &Parameter| parameter.layer == layer && parameter.role == role;
        let found = self.parameters.iter().find(|(parameter, _)| of_it(parameter));
        found.map_or(&[], |(_, values)| values)
    }

    /// Features [n, m] and logits [n, K] of inputs [n, d]; batch norm by its running statistics, or by those
    /// of these rows.
    fn forward(&self, inputs: Vec<f64>, by_batch: bool) -> (Vec<f64>, Vec<f64>) {
        let mut rows = inputs;
        for index in 0..self.shape.hidden.len() {
            let layer = NetworkLayer::Hidden(index);
            let relu = |values: &mut Vec<f64>| values.iter_mut().for_each(|x| *x = x.max(0.0));
            rows = self.affine(layer, &rows);
            let place = self.shape.normalisation.place;
            if place == Place::After {
                relu(&mut rows);
            }
            self.normalise(layer, &mut rows, by_batch);
            if place == Place::Before {
                relu(&mut rows);
            }
        }
        let logits = self.affine(NetworkLayer::Output, &rows);
        (rows, logits)
    }

    /// W x + b of each row.
    fn affine(&self, layer: NetworkLayer, rows: &[f64]) -> Vec<f64> {
        let (mut weights, biases) = (self.of(layer, Role::Weight).to_vec(), self.of(layer, Role::Bias));
        let width = weights.len() / biases.len().max(1);
        // w = g v / |v|
        for (v, g) in weights.chunks_exact_mut(width).zip(self.of(layer, Role::Length)) {
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x *= g / length);
        }
        let of_unit = |(weights, bias): (&[f64], &f64), row: &[f64]| {
            weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>() + bias
        };
        let of_row = |row: &[f64]| -> Vec<f64> {
            weights.chunks_exact(width).zip(biases).map(|unit| of_unit(unit, row)).collect()
        };
        rows.chunks_exact(width).flat_map(of_row).collect()
    }

    /// gamma (x - mu) / sqrt(sigma^2 + epsilon) + beta of each unit, or what of it the kind has.
    fn normalise(&self, layer: NetworkLayer, rows: &mut [f64], by_batch: bool) {
        let numbers = |role| self.of(layer, role).to_vec();
        let (kind, epsilon) = (self.shape.normalisation.kind, self.shape.normalisation.epsilon);
        let (gains, shifts) = (numbers(Role::Gain), numbers(Role::Shift));
        let units = gains.len().max(shifts.len());
        if units == 0 {
            return;
        }
        let count = (rows.len() / units) as f64;
        let (mut means, mut variances) = (numbers(Role::RunningMean), numbers(Role::RunningVariance));
        if by_batch && kind != Kind::Layer {
            let mean_of = |f: &dyn Fn(usize, f64) -> f64| {
                let mut sums = vec![0.0; units];
                for row in rows.chunks_exact(units) {
                    sums.iter_mut().zip(row).enumerate().for_each(|(i, (sum, &x))| *sum += f(i, x) / count);
                }
                sums
            };
            let of_units = mean_of(&|_, x| x);
            let squares = mean_of(&|unit, x| (x - of_units.get(unit).copied().unwrap_or(0.0)).powi(2));
            means = if kind == Kind::Scale { Vec::new() } else { of_units };
            variances = if kind == Kind::Centre { Vec::new() } else { squares };
        }
        for row in rows.chunks_exact_mut(units) {
            if kind == Kind::Layer {
                let mean = row.iter().sum::<f64>() / units as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / units as f64;
                (means, variances) = (vec![mean; units], vec![variance; units]);
            }
            let of = |numbers: &[f64], unit: usize| numbers.get(unit).copied();
            for (unit, x) in row.iter_mut().enumerate() {
                let deviation = of(&variances, unit).map_or(1.0, |variance| (variance + epsilon).sqrt());
                let scale = of(&gains, unit).unwrap_or(1.0) / deviation;
                *x = scale * (*x - of(&means, unit).unwrap_or(0.0)) + of(&shifts, unit).unwrap_or(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use burn::tensor::Device;
    use kappa_data::LabelledImages;
    use kappa_model::{Initialisation, Normalisation};
    use kappa_run::Scaling;
    use kappa_trainer::PixelScaling;

    use super::*;
    use crate::samples::looked_at;

    fn error(kind: Kind, place: Place, statistics: Statistics, forward: Precision) -> InputError {
        let device = Device::flex();
        let pixels: Vec<u8> = (0..40 * 30).map(|i: u32| (i * 97 % 251) as u8).collect();
        let images = LabelledImages::new("made", [5, 6], pixels, vec![0; 40]).unwrap();
        let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
        let split = DeviceSplit::new(&images, 3, scaling, &device);
        let normalisation = Normalisation { kind, place, ..Normalisation::default() };
        let shape = NetworkShape { inputs: 30, hidden: vec![8, 7], classes: 3, normalisation };
        let network = Network::new(&shape, Initialisation::KaimingUniform, 3, &device);
        let network = looked_at(&network, &split, statistics, forward).unwrap();
        input_error(&network, &split, statistics, forward).unwrap()
    }

    /// A wrong formula would be off by order one, and one layer in single precision by 6e-8.
    #[test]
    fn a_network_is_off_by_some_units_of_the_rounding_of_its_arithmetic() {
        let batch = Statistics::Batch(NonZeroUsize::new(20).unwrap());
        for (kind, place, statistics) in [
            (Kind::None, Place::After, Statistics::Running),
            (Kind::Batch, Place::After, Statistics::Running),
            (Kind::Batch, Place::Before, Statistics::Running),
            (Kind::Batch, Place::After, batch),
            (Kind::Batch, Place::Before, batch),
            (Kind::Centre, Place::After, Statistics::Running),
            (Kind::Centre, Place::After, batch),
            (Kind::Scale, Place::Before, Statistics::Running),
            (Kind::Scale, Place::After, batch),
            (Kind::Layer, Place::After, Statistics::Running),
            (Kind::Layer, Place::Before, batch),
            (Kind::Weight, Place::After, Statistics::Running),
        ] {
            for forward in [Precision::F32, Precision::F64] {
                let found = error(kind, place, statistics, forward);
                // Sums of 30 terms, in three layers: some tens of half an epsilon.
                let is_rounding = |error: f64| error > 0.0 && error < 100.0 * forward.epsilon();
                assert!(
                    is_rounding(found.features) && is_rounding(found.probabilities),
                    "{place:?} {forward}: {found:?}"
                );
            }
        }
    }
}
