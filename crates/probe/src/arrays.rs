//! The last layer of any network, in arrays, which may be larger than the memory.

use std::{ops::Range, sync::Arc, time::Instant};

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, LayerError, Matrix, Rows, Scores};
use kappa_hessian::{Chunk, HessianError, InputError, SampleSource, Samples, with_constant_feature};
use kappa_run::{FileChecksum, IgnoredSamples, Request, SpectrumSettings};
use kappa_trainer::Machine;

use crate::{Layer, Observer, ProbeError, belonging::belonging, loss::share_of_loss, memory, samples::dtype};

/// Bytes of the wider array in one chunk, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// A last layer's features and logits, and what is known beside them.
#[derive(Debug)]
pub struct LayerArrays<'a> {
    /// The arrays.
    pub arrays: Arc<LastLayer>,
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
    /// The layer, as `request` wants to see it. Arrays that are not in memory stay where they are, and
    /// are read again whenever the samples are gone through.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoDoublePrecision`], [`ProbeError::NoMemoryToKeep`], [`ProbeError::Device`],
    /// [`ProbeError::Hessian`], which [`LayerError`] may be the source of.
    pub fn layer(&self, request: &Request, observer: &dyn Observer) -> Result<Layer, ProbeError> {
        let start = Instant::now();
        let samples = self.samples(request, observer)?;
        let belonging = if request.verify { belonging(&self.arrays).map_err(of_source)? } else { None };
        let labels = self.arrays.labels.as_ref().and_then(|labels| labels.get(..samples.count()));
        let loss = match labels {
            Some(labels) => loss(&self.arrays.scores, labels).map_err(of_source)?,
            None => None,
        };
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
                ignored: self
                    .arrays
                    .ignored
                    .map(|ignored| IgnoredSamples { label: ignored.label, samples: ignored.samples }),
                input_checks: belonging.into_iter().collect(),
                backend: self.machine.provenance.backend,
                device: self.machine.provenance.device.clone(),
                l2: self.l2,
            },
            // With the bias among the parameters the weights are not all of them.
            weights: self.arrays.weights.as_ref().filter(|_| !request.bias).map(doubles),
            loss,
            labels: labels.map(<[usize]>::to_vec),
            samples,
            adam: None,
            others: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn samples(&self, request: &Request, observer: &dyn Observer) -> Result<Samples, ProbeError> {
        let (device, dtype) = (self.machine.device.clone(), dtype(request.precision));
        if !device.supports_dtype(dtype) {
            return Err(ProbeError::NoDoublePrecision);
        }
        let (features, scores) = (&self.arrays.features, self.arrays.scores.rows());
        let count = features.count().min(request.limit.map_or(usize::MAX, usize::from));
        let (m, classes) = (features.columns() + usize::from(request.bias), scores.columns());
        let rows = (CHUNK_BYTES / (features.columns().max(classes) * size_of::<f64>())).max(1);
        let arrays = self.arrays.clone();
        let parts = Parts { arrays, bias: request.bias, device, dtype, rows, count };
        let samples = if features.is_in_memory() && scores.is_in_memory() {
            observer.stage(&self.name, Some(count));
            let mut samples = Samples::new(m, classes, dtype)?;
            for index in 0..parts.chunks() {
                let Chunk { features, probabilities } = parts.chunk(index)?;
                samples.push(features, probabilities)?;
                if observer.advance(parts.range(index).len()).is_break() {
                    return Err(HessianError::Stopped.into());
                }
            }
            samples
        } else {
            if request.keep_matrix {
                memory::check_kept(count, m + classes)?;
            }
            Samples::from_source(m, classes, count, dtype, Arc::new(parts))?
        };
        let error = self.input_error(samples.epsilon());
        Ok(samples.with_input_error(error))
    }

    /// How far what is computed with, in an arithmetic of unit `epsilon`, is from what is in the files.
    fn input_error(&self, epsilon: f64) -> InputError {
        let rounded = |rows: &Rows| if rows.is_double() && epsilon > f64::EPSILON { epsilon } else { 0.0 };
        let (features, scores) = (&self.arrays.features, self.arrays.scores.rows());
        let columns = scores.columns();
        let of_scores = match self.arrays.scores {
            // Rounded after the largest was taken off: so by a unit of the difference.
            Scores::Logits(_) => {
                // Of one logit it is that of [0, z].
                let softmax = InputError::of_softmax(columns.max(2), epsilon);
                InputError { logits: softmax.logits + rounded(scores), ..softmax }
            }
            // Rounded, and divided by a sum of K.
            Scores::Probabilities(_) => InputError {
                probabilities: rounded(scores) + (columns as f64 + 1.0) * epsilon,
                underflow: if rounded(scores) > 0.0 { InputError::underflow(epsilon) } else { 0.0 },
                ..InputError::default()
            },
        };
        InputError { features: rounded(features), ..of_scores }
    }
}

/// What goes wrong while arrays are read again.
fn of_source(error: LayerError) -> ProbeError {
    HessianError::Source(Box::new(error)).into()
}

/// The samples in parts, each made of some rows of the arrays when it is asked for.
#[derive(Debug)]
struct Parts {
    arrays: Arc<LastLayer>,
    bias: bool,
    device: Device,
    dtype: DType,
    /// Rows of a part.
    rows: usize,
    /// Rows of all.
    count: usize,
}

impl Parts {
    fn range(&self, index: usize) -> Range<usize> {
        let start = (index * self.rows).min(self.count);
        start..(start + self.rows).min(self.count)
    }

    fn make(&self, index: usize) -> Result<Chunk, LayerError> {
        let place = (&self.device, self.dtype);
        let features = tensor(self.arrays.features.read(self.range(index))?, place);
        let features = if self.bias { with_constant_feature(features) } else { features };
        let scores = self.arrays.scores.rows().read(self.range(index))?;
        let probabilities = match &self.arrays.scores {
            Scores::Logits(_) if scores.columns == 1 => {
                // The sigmoid of a logit is the softmax of [0, z].
                softmax(shifted(beside(&scores, |_| 0.0), place), 1)
            }
            Scores::Logits(_) => softmax(shifted(scores, place), 1),
            // 1 - p is formed before it is rounded.
            Scores::Probabilities(_) if scores.columns == 1 => tensor(beside(&scores, |p| 1.0 - p), place),
            Scores::Probabilities(_) => {
                let scores = tensor(scores, place);
                // In this precision's own rounding.
                scores.clone() / scores.sum_dim(1)
            }
        };
        Ok(Chunk { features, probabilities })
    }
}

impl SampleSource for Parts {
    fn chunks(&self) -> usize {
        self.count.div_ceil(self.rows)
    }

    fn chunk(&self, index: usize) -> Result<Chunk, HessianError> {
        self.make(index).map_err(|error| HessianError::Source(Box::new(error)))
    }
}

/// The mean loss by the logits; none of probabilities, or if it is not finite.
fn loss(scores: &Scores, labels: &[usize]) -> Result<Option<f64>, LayerError> {
    let Scores::Logits(logits) = scores else { return Ok(None) };
    let mut mean = 0.0;
    for range in logits.ranges(CHUNK_BYTES / size_of::<f64>()) {
        // Of a limited number of samples the last part is shorter, or there is none.
        let Some(of_part) = labels.get(range.start..range.end.min(labels.len())) else { break };
        let part = logits.read(range.start..range.start + of_part.len())?;
        let both = if part.columns == 1 { beside(&part, |_| 0.0) } else { part };
        mean += share_of_loss(&doubles(&both), both.columns, of_part, labels.len());
    }
    Ok(Some(mean).filter(|mean| mean.is_finite()))
}

/// What class 0 has beside what class 1 has, for each sample: [N, 1] -> [N, 2].
fn beside(of_class_1: &Matrix, of_class_0: impl Fn(f64) -> f64) -> Matrix {
    let elements = doubles(of_class_1).iter().flat_map(|&x| [of_class_0(x), x]).collect();
    Matrix { rows: of_class_1.rows, columns: 2, elements: Elements::F64(elements) }
}

/// A matrix's elements, row by row.
pub(crate) fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

/// Logits on a device and of a type. Where that type has fewer digits, each row's largest is taken
/// off before they are rounded: a softmax ignores what all logits share, and their differences are
/// not to be rounded to its size.
fn shifted(logits: Matrix, place: (&Device, DType)) -> Tensor<2> {
    let (Elements::F64(elements), DType::F32) = (&logits.elements, place.1) else {
        return tensor(logits, place);
    };
    let row = |z: &[f64]| {
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter().map(|z| (z - largest) as f32).collect::<Vec<_>>()
    };
    let data: Vec<f32> = elements.chunks_exact(logits.columns).flat_map(row).collect();
    Tensor::from_data(TensorData::new(data, [logits.rows, logits.columns]), place)
}

/// A matrix on a device and of a type.
fn tensor(matrix: Matrix, place: (&Device, DType)) -> Tensor<2> {
    let shape = [matrix.rows, matrix.columns];
    let data = match matrix.elements {
        Elements::F32(elements) => TensorData::new(elements, shape),
        Elements::F64(elements) => TensorData::new(elements, shape),
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
        let single = shifted(logits.clone(), (&device, DType::F32));
        let expected = [0.0, -1.0, -3.0, 0.0, 0.0, f64::NEG_INFINITY];
        assert_eq!(numbers(single.clone()).unwrap(), expected);
        assert!(numbers(softmax(single, 1)).unwrap().iter().all(|p| p.is_finite()));
        // Where no digits are lost all are as they are.
        assert_eq!(numbers(shifted(logits, (&device, DType::F64))).unwrap()[2..4], [-1e15, 3.0 - 1e15]);
    }

    /// The probability of the class that a certain sample is not of keeps its digits, and the loss is that of
    /// labels 0 and 1.
    #[test]
    fn one_logit_is_a_sigmoid() {
        let column = |elements: &[f64]| {
            let elements = Elements::F64(elements.to_vec());
            Rows::from(Matrix { rows: 3, columns: 1, elements })
        };
        let made = |scores: &Scores, dtype: DType| {
            let features = Rows::from(Matrix { rows: 3, columns: 1, elements: Elements::F64(vec![1.0; 3]) });
            let arrays = Arc::new(layer_of(features, scores.clone()));
            let parts = Parts { arrays, bias: false, device: Device::flex(), dtype, rows: 3, count: 3 };
            numbers(parts.make(0).unwrap().probabilities).unwrap()
        };
        let logits = Scores::Logits(column(&[40.0, -40.0, 0.5]));
        let small = (-40.0f64).exp();
        for (dtype, epsilon) in [(DType::F64, f64::EPSILON), (DType::F32, f64::from(f32::EPSILON))] {
            let half = 1.0 / (1.0 + (-0.5f64).exp());
            for (found, expected) in
                made(&logits, dtype).iter().zip([small, 1.0, 1.0, small, 1.0 - half, half])
            {
                // The softmax of two: K + 6 roundings, and an argument of 40 rounded by half a unit.
                assert!((found / expected - 1.0).abs() < 28.0 * epsilon, "{found} {expected}");
            }
        }
        let probabilities = Scores::Probabilities(column(&[1.0 - 1e-9, 0.25, 0.0]));
        let found = made(&probabilities, DType::F32);
        assert!((found[0] / 1e-9 - 1.0).abs() < 1e-6 && found[2..4] == [0.75, 0.25], "{found:?}");

        let expected = (small.ln_1p() + (40.0 + small.ln_1p()) + (0.5f64.exp()).ln_1p()) / 3.0;
        let found = loss(&logits, &[1, 1, 0]).unwrap().unwrap();
        assert!((found / expected - 1.0).abs() < 8.0 * f64::EPSILON, "{found} {expected}");
    }

    /// The means of two parts were added up.
    #[test]
    fn the_loss_of_logits_in_several_parts_is_their_mean() {
        let count = CHUNK_BYTES / size_of::<f64>() / 2 + 50_000;
        let elements = (0..count).flat_map(|n| [0.0, (n % 3) as f32]).collect();
        let logits =
            Scores::Logits(Matrix { rows: count, columns: 2, elements: Elements::F32(elements) }.into());
        assert!(logits.rows().ranges(CHUNK_BYTES / size_of::<f64>()).count() == 2);
        let labels: Vec<usize> = (0..count).map(|n| n % 2).collect();
        for taken in [1000, count - 60_000, count] {
            let of_sample = |n: usize| {
                let z = (n % 3) as f64;
                z.exp().ln_1p() - if n % 2 == 1 { z } else { 0.0 }
            };
            let expected = (0..taken).map(of_sample).sum::<f64>() / taken as f64;
            let found = loss(&logits, &labels[..taken]).unwrap().unwrap();
            // Two sums of so many numbers of one sign, a rounding each.
            let bound = 2.0 * taken as f64 * f64::EPSILON;
            assert!((found / expected - 1.0).abs() < bound, "{taken}: {found} {expected}");
        }
    }

    fn layer_of(features: Rows, scores: Scores) -> LastLayer {
        LastLayer { features, scores, weights: None, labels: None, ignored: None, files: Vec::new() }
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
        let arrays = layer_of(matrix(m, features).into(), Scores::Logits(matrix(k, logits).into()));
        let machine = Machine { device: Device::flex(), provenance: Provenance::default() };
        let layer = LayerArrays {
            arrays: Arc::new(arrays),
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
