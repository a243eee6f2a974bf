//! The last layer of any network, in arrays.

use std::{ops::Range, time::Instant};

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, Matrix, Scores};
use kappa_hessian::{HessianError, InputError, Samples, with_constant_feature};
use kappa_run::{FileChecksum, Request, SpectrumSettings};
use kappa_trainer::Machine;

use crate::{Layer, Observer, ProbeError, belonging::belonging, loss::mean_loss, samples::dtype};

/// Bytes of the wider array in one chunk, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// A last layer's features and logits, and what is known beside them.
#[derive(Debug)]
pub struct LayerArrays<'a> {
    /// The arrays.
    pub arrays: &'a LastLayer,
    /// What it is called.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// The L2 penalty of its training, 0 if it is not known.
    pub l2: f64,
    /// What computes.
    pub machine: &'a Machine,
}

impl LayerArrays<'_> {
    /// The layer, as `request` wants to see it.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoDoublePrecision`], [`ProbeError::Device`], [`ProbeError::Hessian`].
    pub fn layer(&self, request: &Request, observer: &dyn Observer) -> Result<Layer, ProbeError> {
        let start = Instant::now();
        let samples = self.samples(request, observer)?;
        let belonging = if request.verify { belonging(self.arrays) } else { None };
        let labels = self.arrays.labels.as_ref().and_then(|labels| labels.get(..samples.count()));
        let checksum = |file: &kappa_data::FileDigest| FileChecksum {
            file: file.file.clone(),
            sha256: file.sha256.clone(),
        };
        Ok(Layer {
            settings: SpectrumSettings {
                request: request.clone(),
                source: self.source.clone(),
                network: self.name.clone(),
                epoch: None,
                data: None,
                data_files: Vec::new(),
                scaling: None,
                samples: samples.count(),
                features: samples.features(),
                classes: samples.classes(),
                statistics: None,
                epsilon: None,
                interpretation: kappa_run::Interpretation::default(),
                files: self.arrays.files.iter().map(checksum).collect(),
                scores: Some(match self.arrays.scores {
                    Scores::Logits(_) => kappa_run::Scores::Logits,
                    Scores::Probabilities(_) => kappa_run::Scores::Probabilities,
                }),
                input_checks: belonging.into_iter().collect(),
                backend: self.machine.provenance.backend,
                device: self.machine.provenance.device.clone(),
                l2: self.l2,
            },
            // With the bias among the parameters the weights are not all of them.
            weights: self.arrays.weights.as_ref().filter(|_| !request.bias).map(doubles),
            loss: labels.and_then(|labels| loss(&self.arrays.scores, labels)),
            labels: labels.map(<[usize]>::to_vec),
            samples,
            adam: None,
            others: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn samples(&self, request: &Request, observer: &dyn Observer) -> Result<Samples, ProbeError> {
        let place = (&self.machine.device, dtype(request.precision));
        if !place.0.supports_dtype(place.1) {
            return Err(ProbeError::NoDoublePrecision);
        }
        let (features, scores) = (&self.arrays.features, self.arrays.scores.matrix());
        let count = features.rows.min(request.limit.map_or(usize::MAX, usize::from));
        observer.stage(&self.name, Some(count));
        let mut samples =
            Samples::new(features.columns + usize::from(request.bias), scores.columns, place.1)?;
        for rows in self.chunks(count) {
            let taken = rows.len();
            let features = tensor(features, rows.clone(), place);
            let features = if request.bias { with_constant_feature(features) } else { features };
            let probabilities = match &self.arrays.scores {
                _ if scores.columns == 1 => of_one_logit(&self.arrays.scores, rows, place),
                Scores::Logits(_) => softmax(shifted(scores, rows, place), 1),
                Scores::Probabilities(_) => {
                    let scores = tensor(scores, rows, place);
                    // In this precision's own rounding.
                    scores.clone() / scores.sum_dim(1)
                }
            };
            samples.push(features, probabilities)?;
            if observer.advance(taken).is_break() {
                return Err(HessianError::Stopped.into());
            }
        }
        let error = self.input_error(samples.epsilon());
        Ok(samples.with_input_error(error))
    }

    /// How far what is computed with, in an arithmetic of unit `epsilon`, is from what is in the files.
    fn input_error(&self, epsilon: f64) -> InputError {
        let rounded = |matrix: &Matrix| match matrix.elements {
            Elements::F64(_) if epsilon > f64::EPSILON => epsilon,
            _ => 0.0,
        };
        let (features, scores) = (&self.arrays.features, self.arrays.scores.matrix());
        let of_scores = match self.arrays.scores {
            // Rounded after the largest was taken off: so by a unit of the difference.
            Scores::Logits(_) => {
                // Of one logit it is that of [0, z].
                let softmax = InputError::of_softmax(scores.columns.max(2), epsilon);
                InputError { logits: softmax.logits + rounded(scores), ..softmax }
            }
            // Rounded, and divided by a sum of K.
            Scores::Probabilities(_) => InputError {
                probabilities: rounded(scores) + (scores.columns as f64 + 1.0) * epsilon,
                underflow: if rounded(scores) > 0.0 { InputError::underflow(epsilon) } else { 0.0 },
                ..InputError::default()
            },
        };
        InputError { features: rounded(features), ..of_scores }
    }

    /// The first `count` samples, as many at once as a chunk holds.
    fn chunks(&self, count: usize) -> impl Iterator<Item = Range<usize>> {
        let columns = self.arrays.features.columns.max(self.arrays.scores.matrix().columns);
        let rows = (CHUNK_BYTES / (columns * size_of::<f64>())).max(1);
        (0..count).step_by(rows).map(move |start| start..(start + rows).min(count))
    }
}

fn loss(scores: &Scores, labels: &[usize]) -> Option<f64> {
    let Scores::Logits(logits) = scores else { return None };
    match logits.columns {
        1 => mean_loss(&beside(&doubles(logits), |_| 0.0), 2, labels),
        columns => mean_loss(&doubles(logits), columns, labels),
    }
}

/// What class 0 has beside what class 1 has, for each sample: [N] -> [N, 2].
fn beside(of_class_1: &[f64], of_class_0: impl Fn(f64) -> f64) -> Vec<f64> {
    of_class_1.iter().flat_map(|&x| [of_class_0(x), x]).collect()
}

/// The probabilities [n, 2] of class 0 and of class 1 of some samples with one score each: the sigmoid of a
/// logit is the softmax of [0, z], and of a probability 1 - p is formed before it is rounded.
fn of_one_logit(scores: &Scores, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let of_class_1 = doubles(scores.matrix());
    let of_class_1 = of_class_1.get(rows.clone()).unwrap_or_default();
    let both = |elements| Matrix { rows: rows.len(), columns: 2, elements: Elements::F64(elements) };
    match scores {
        Scores::Logits(_) => softmax(shifted(&both(beside(of_class_1, |_| 0.0)), 0..rows.len(), place), 1),
        Scores::Probabilities(_) => tensor(&both(beside(of_class_1, |p| 1.0 - p)), 0..rows.len(), place),
    }
}

/// A matrix's elements, row by row.
pub(crate) fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

/// Some rows of logits, on a device and of a type. Where that type has fewer digits, each row's
/// largest is taken off before they are rounded: a softmax ignores what all logits share, and
/// their differences are not to be rounded to its size.
fn shifted(logits: &Matrix, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let (Elements::F64(elements), DType::F32) = (&logits.elements, place.1) else {
        return tensor(logits, rows, place);
    };
    let (columns, shape) = (logits.columns, [rows.len(), logits.columns]);
    let taken = elements.get(rows.start * columns..rows.end * columns).unwrap_or_default();
    let row = |z: &[f64]| {
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter().map(|z| (z - largest) as f32).collect::<Vec<_>>()
    };
    let data: Vec<f32> = taken.chunks_exact(columns).flat_map(row).collect();
    Tensor::from_data(TensorData::new(data, shape), place)
}

/// Some rows of a matrix, on a device and of a type.
fn tensor(matrix: &Matrix, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let shape = [rows.len(), matrix.columns];
    let range = rows.start * matrix.columns..rows.end * matrix.columns;
    let data = match &matrix.elements {
        Elements::F32(elements) => TensorData::new(elements.get(range).unwrap_or_default().to_vec(), shape),
        Elements::F64(elements) => TensorData::new(elements.get(range).unwrap_or_default().to_vec(), shape),
    };
    Tensor::from_data(data.convert_dtype(place.1), place)
}

#[cfg(test)]
mod tests {
    use kappa_hessian::verify;
    use kappa_run::{Precision, Provenance};

    use super::*;
    use crate::samples::numbers;

    /// In f32 1e15 + 1 and 1e15 are one number, and so were their probabilities.
    #[test]
    fn what_logits_share_is_taken_off_before_they_lose_digits() {
        let device = Device::flex();
        let elements = Elements::F64([1e15 + 1.0, 1e15, -1e15, 3.0 - 1e15, 1.7e308, -1.7e308].to_vec());
        let logits = Matrix { rows: 3, columns: 2, elements };
        let single = shifted(&logits, 0..3, (&device, DType::F32));
        let expected = [0.0, -1.0, -3.0, 0.0, 0.0, f64::NEG_INFINITY];
        assert_eq!(numbers(single.clone()).unwrap(), expected);
        assert!(numbers(softmax(single, 1)).unwrap().iter().all(|p| p.is_finite()));
        // Some of the rows, and where no digits are lost, all as they are.
        assert_eq!(numbers(shifted(&logits, 1..2, (&device, DType::F32))).unwrap(), [-3.0, 0.0]);
        assert_eq!(numbers(shifted(&logits, 1..2, (&device, DType::F64))).unwrap(), [-1e15, 3.0 - 1e15]);
    }

    /// The probability of the class that a certain sample is not of keeps its digits, and the loss is that of
    /// labels 0 and 1.
    #[test]
    fn one_logit_is_a_sigmoid() {
        let column = |elements: &[f64]| {
            let elements = Elements::F64(elements.to_vec());
            Matrix { rows: 3, columns: 1, elements }
        };
        let device = Device::flex();
        let logits = Scores::Logits(column(&[40.0, -40.0, 0.5]));
        let small = (-40.0f64).exp();
        for (dtype, epsilon) in [(DType::F64, f64::EPSILON), (DType::F32, f64::from(f32::EPSILON))] {
            let found = numbers(of_one_logit(&logits, 0..3, (&device, dtype))).unwrap();
            let half = 1.0 / (1.0 + (-0.5f64).exp());
            for (found, expected) in found.iter().zip([small, 1.0, 1.0, small, 1.0 - half, half]) {
                // The softmax of two: K + 6 roundings, and an argument of 40 rounded by half a unit.
                assert!((found / expected - 1.0).abs() < 28.0 * epsilon, "{found} {expected}");
            }
        }
        let probabilities = Scores::Probabilities(column(&[1.0 - 1e-9, 0.25, 0.0]));
        let found = numbers(of_one_logit(&probabilities, 0..2, (&device, DType::F32))).unwrap();
        assert!((found[0] / 1e-9 - 1.0).abs() < 1e-6 && found[2..] == [0.75, 0.25], "{found:?}");

        let expected = (small.ln_1p() + (40.0 + small.ln_1p()) + (0.5f64.exp()).ln_1p()) / 3.0;
        let found = loss(&logits, &[1, 1, 0]).unwrap();
        assert!((found / expected - 1.0).abs() < 8.0 * f64::EPSILON, "{found} {expected}");
    }

    /// Numbers without a pattern, of mean 0 and variance 1.
    fn normal(count: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24)
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
    }

    /// The arrays' lambda_1 and lambda_10, and how many digits are claimed of each.
    fn known(features: &[f64], logits: &[f64], [m, k]: [usize; 2], precision: Precision) -> [(f64, u32); 2] {
        let matrix = |columns: usize, elements: &[f64]| Matrix {
            rows: elements.len() / columns,
            columns,
            elements: Elements::F64(elements.to_vec()),
        };
        let arrays = LastLayer {
            features: matrix(m, features),
            scores: Scores::Logits(matrix(k, logits)),
            weights: None,
            labels: None,
            files: Vec::new(),
        };
        let machine = Machine { device: Device::flex(), provenance: Provenance::default() };
        let layer = LayerArrays {
            arrays: &arrays,
            name: String::new(),
            source: String::new(),
            l2: 0.0,
            machine: &machine,
        };
        let samples = layer.samples(&Request::new(precision), &()).unwrap();
        let hessian = samples.hessian().unwrap();
        let pairs = hessian.eigenpairs().unwrap();
        let evidence = verify(&hessian, &pairs, &samples).unwrap();
        let lambda = |rank| pairs.spectrum.lambda(rank).unwrap();
        [(lambda(1), evidence.known.lambda_1), (lambda(10), evidence.known.lambda_10.unwrap())]
    }

    /// Five digits were claimed where three were right: what f64 files lose on their way to f32 was
    /// left out.
    #[test]
    fn the_digits_that_are_claimed_of_f64_files_in_f32_are_right() {
        let [n, m, k] = [500, 20, 6];
        for (seed, shared, scale) in
            [(1, 0.0, 1.0), (2, 1e5, 1.0), (3, 1e5, 0.1), (4, 0.0, 30.0), (5, 1e3, 10.0), (6, 0.0, 1e-3)]
        {
            let (features, weights) = (normal(n * m, seed), normal(k * m, seed + 100));
            let shift = normal(n, seed + 200);
            let rows = features.chunks_exact(m).zip(&shift);
            let logits: Vec<f64> = rows
                .flat_map(|(g, shift)| {
                    let of_class = |w: &[f64]| w.iter().zip(g).map(|(w, g)| w * g).sum::<f64>();
                    weights
                        .chunks_exact(m)
                        .map(move |w| scale * of_class(w) + shared * shift)
                        .collect::<Vec<_>>()
                })
                .collect();
            let of = |precision| known(&features, &logits, [m, k], precision);
            for ((rough, digits), (fine, of_fine)) in of(Precision::F32).into_iter().zip(of(Precision::F64)) {
                let error = (rough / fine - 1.0).abs();
                assert!(error < 10f64.powi(-(digits as i32)), "{seed}: {rough} {fine}, {digits} digits");
                assert!((3..=7).contains(&digits) && of_fine >= 11, "{seed}: {digits} {of_fine}");
            }
        }
    }
}
