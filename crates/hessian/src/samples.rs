//! Features and probabilities, kept to be gone through more than once.

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use rayon::prelude::*;

use crate::{Accumulator, DeviceError, Hessian, HessianError, accumulator::BINDING_BYTES};

/// Samples that a thread takes at once, at the least,
const TASK: usize = 1024;
/// and tasks that a chunk is cut into, at the most: so few that their results fit, so
/// many that all threads have some.
pub(crate) const TASKS: usize = 16;

/// Features [N, m] and probabilities [N, K] of N samples, in chunks on a device.
///
/// The sums need them once; evidence, the matrix-free product and all that is
/// asked about directions go through them again.
#[derive(Debug, Clone)]
pub struct Samples {
    features: usize,
    classes: usize,
    count: usize,
    dtype: DType,
    chunks: Vec<Chunk>,
    input_error: InputError,
}

/// How far features and probabilities may be from what was asked about, by all that was rounded
/// before they came here. What is given as it is has none.
///
/// It belongs to the error bar of an eigenvalue: with p_a wrong by a relative delta_a, each term of
/// v' S v = sum_(a<b) p_a p_b (v_a - v_b)^2 is by delta_a + delta_b, and so is every eigenvalue at the
/// most; with features wrong by |dg| <= eta |g|, a square root of one moves by eta sqrt(tr H); with
/// probabilities wrong by u, absolutely, an eigenvalue moves by u K mean |g|^2.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InputError {
    /// eta, the error of a sample's features over their norm.
    pub features: f64,
    /// The relative error of a probability,
    pub probabilities: f64,
    /// and as much more for each unit of ln(p_c / p_a), c being the likeliest class: so far an
    /// exponential carries on what its argument was rounded by.
    pub logits: f64,
    /// u, the absolute error of a probability that may be too small for its arithmetic.
    pub underflow: f64,
}

impl InputError {
    /// That of a softmax over K `classes` in an arithmetic of unit `epsilon`: K + 4 roundings and two
    /// units of the exponential's own, and a rounding of its argument; what is too small for it is zero.
    pub fn of_softmax(classes: usize, epsilon: f64) -> Self {
        Self {
            features: 0.0,
            probabilities: (classes as f64 + 6.0) * epsilon,
            logits: epsilon,
            underflow: Self::underflow(epsilon),
        }
    }

    /// The smallest number that has all digits in an arithmetic of unit `epsilon`.
    pub fn underflow(epsilon: f64) -> f64 {
        if epsilon > f64::EPSILON { f32::MIN_POSITIVE.into() } else { f64::MIN_POSITIVE }
    }
}

/// Some of the samples.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// [n, m]
    pub features: Tensor<2>,
    /// [n, K]
    pub probabilities: Tensor<2>,
}

/// Samples in the host's memory, in f64, whatever they were computed in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostChunk {
    /// The number of samples before it.
    pub first: usize,
    pub rows: usize,
    /// [rows, m], row by row.
    pub features: Vec<f64>,
    /// [rows, K], row by row.
    pub probabilities: Vec<f64>,
}

impl Samples {
    /// No samples yet, of m `features` and K `classes`, whose elements are of type `dtype`.
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`] for m < 1 or K < 2, [`HessianError::WrongType`] for a type
    /// that is not computed in.
    pub fn new(features: usize, classes: usize, dtype: DType) -> Result<Self, HessianError> {
        if features == 0 || classes < 2 {
            return Err(HessianError::TooSmall { features, classes });
        }
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(wrong_type(dtype, dtype));
        }
        let input_error = InputError::default();
        Ok(Self { features, classes, count: 0, dtype, chunks: Vec::new(), input_error })
    }

    /// Samples of m `features` and K `classes` from slices of f32 or f64, row by row:
    /// `feature_rows` [N, m] and `probability_rows` [N, K], put onto `device`.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let samples = Samples::from_slices(2, 2, &[1.0, 2.0, 0.0, 3.0], &[0.5, 0.5, 0.9, 0.1], &Device::flex())?;
    /// assert_eq!((samples.count(), samples.epsilon()), (2, f64::EPSILON));
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::new`], and [`HessianError::WrongLength`] for slices that are not as many rows.
    pub fn from_slices<T: Element>(
        features: usize,
        classes: usize,
        feature_rows: &[T],
        probability_rows: &[T],
        device: &Device,
    ) -> Result<Self, HessianError> {
        let mut samples = Self::new(features, classes, T::dtype())?;
        samples.check_lengths(feature_rows, probability_rows)?;
        let rows = (BINDING_BYTES / (features.max(classes) * size_of::<T>())).max(1);
        let tensor = |rows: &[T], columns: usize| {
            let data = TensorData::new(rows.to_vec(), [rows.len() / columns, columns]);
            Tensor::<2>::from_data(data, (device, T::dtype()))
        };
        let chunks = feature_rows.chunks(rows * features).zip(probability_rows.chunks(rows * classes));
        for (feature_rows, probability_rows) in chunks {
            samples.push(tensor(feature_rows, features), tensor(probability_rows, classes))?;
        }
        Ok(samples)
    }

    /// As [`Self::from_slices`] from logits [N, K], whose softmax is taken in f64.
    ///
    /// ```
    /// use kappa_hessian::{Samples, burn::tensor::Device};
    ///
    /// let samples = Samples::from_logits(1, 2, &[3.0f32], &[0.0, 0.0], &Device::flex())?;
    /// // p = 1/2 for either class: tr H = (1 - |p|^2) g^2.
    /// assert_eq!(samples.trace()?, 4.5);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::from_slices`].
    pub fn from_logits<T: Element>(
        features: usize,
        classes: usize,
        feature_rows: &[T],
        logit_rows: &[T],
        device: &Device,
    ) -> Result<Self, HessianError> {
        Self::new(features, classes, T::dtype())?.check_lengths(feature_rows, logit_rows)?;
        let probabilities: Vec<T> = logit_rows.chunks_exact(classes).flat_map(softmax).collect();
        let samples = Self::from_slices(features, classes, feature_rows, &probabilities, device)?;
        let softmax = InputError::of_softmax(classes, f64::EPSILON);
        let probabilities = softmax.probabilities + unit(T::dtype());
        let underflow = InputError::underflow(unit(T::dtype()));
        Ok(samples.with_input_error(InputError { probabilities, underflow, ..softmax }))
    }

    /// The same samples, known to be so far from what was asked about.
    pub fn with_input_error(self, input_error: InputError) -> Self {
        Self { input_error, ..self }
    }

    /// How far they may be from what was asked about.
    pub fn input_error(&self) -> InputError {
        self.input_error
    }

    fn check_lengths<T>(&self, feature_rows: &[T], score_rows: &[T]) -> Result<(), HessianError> {
        let (features, scores, m, k) = (feature_rows.len(), score_rows.len(), self.features, self.classes);
        let whole = features.is_multiple_of(m) && scores.is_multiple_of(k);
        if !whole || features / m != scores / k {
            return Err(HessianError::WrongLength { features, scores, m, k });
        }
        Ok(())
    }

    /// Adds samples: features [n, m] and probabilities [n, K].
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`].
    pub fn push(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        let chunk = Chunk { features, probabilities };
        let count = chunk.check(self.features, self.classes)?;
        if chunk.features.dtype() != self.dtype {
            return Err(chunk.wrong_type());
        }
        self.count += count;
        self.chunks.push(chunk);
        Ok(())
    }

    /// The number of features m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples N.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// K m.
    pub fn size(&self) -> usize {
        self.features * self.classes
    }

    /// The unit of the arithmetic that the samples are in: the distance from 1 to
    /// the next number.
    pub fn epsilon(&self) -> f64 {
        unit(self.dtype)
    }

    /// The exact Hessian of their mean loss.
    ///
    /// # Errors
    ///
    /// As [`Accumulator::add`] and [`Accumulator::finish`].
    pub fn hessian(&self) -> Result<Hessian, HessianError> {
        let mut sums = Accumulator::new(self.features, self.classes)?;
        sums.add_samples(self)?;
        sums.finish()
    }

    /// tr H = mean_n (1 - |p_n|^2) |g_n|^2, without H.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`].
    pub fn trace(&self) -> Result<f64, HessianError> {
        let parts = self.on_host(|chunk| {
            let samples = chunk.features.chunks_exact(self.features);
            let samples = samples.zip(chunk.probabilities.chunks_exact(self.classes));
            samples.map(|(g, p)| uncertainty(p) * g.iter().map(|g| g * g).sum::<f64>()).sum::<f64>()
        })?;
        Ok(parts.into_iter().sum::<f64>() / self.count as f64)
    }

    /// Applies `sum` to all samples on the host, in f64, some at a time and on all
    /// threads; the results come in order.
    pub(crate) fn on_host<T: Send>(
        &self,
        sum: impl Fn(HostChunk) -> T + Sync,
    ) -> Result<Vec<T>, HessianError> {
        let (mut parts, mut before) = (Vec::new(), 0);
        for chunk in &self.chunks {
            let [samples, _] = chunk.features.dims();
            let rows = samples.div_ceil(TASKS).max(TASK);
            let starts: Vec<usize> = (0..samples).step_by(rows).collect();
            let read = |start: usize| -> Result<T, HessianError> {
                let rows = start..(start + rows).min(samples);
                let part = |tensor: &Tensor<2>| doubles(tensor.clone().slice(rows.clone()));
                let features = part(&chunk.features)?;
                let probabilities = part(&chunk.probabilities)?;
                Ok(sum(HostChunk { first: before + start, rows: rows.len(), features, probabilities }))
            };
            parts.extend(starts.into_par_iter().map(read).collect::<Result<Vec<_>, _>>()?);
            before += samples;
        }
        Ok(parts)
    }
}

impl Chunk {
    /// The number of samples, if they are of m features and K classes and of a type
    /// that is computed in.
    pub(crate) fn check(&self, m: usize, k: usize) -> Result<usize, HessianError> {
        let (features, probabilities) = (self.features.dims(), self.probabilities.dims());
        if features[0] != probabilities[0] || features[1] != m || probabilities[1] != k {
            return Err(HessianError::WrongShape { features, probabilities, m, k });
        }
        match (self.features.dtype(), self.probabilities.dtype()) {
            (DType::F32, DType::F32) | (DType::F64, DType::F64) => Ok(features[0]),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(&self) -> HessianError {
        wrong_type(self.features.dtype(), self.probabilities.dtype())
    }
}

fn wrong_type(features: DType, probabilities: DType) -> HessianError {
    HessianError::WrongType {
        features: features.name().to_owned(),
        probabilities: probabilities.name().to_owned(),
    }
}

/// The distance from 1 to the next number of a type that is computed in.
pub(crate) fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON.into(),
    }
}

/// The softmax of one sample's logits, in f64.
fn softmax<T: Element>(logits: &[T]) -> Vec<T> {
    let logits = || logits.iter().map(|logit| logit.elem::<f64>());
    let largest = logits().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| T::from_elem(power / sum)).collect()
}

/// The class that a sample most likely is of.
pub(crate) fn likeliest(p: &[f64]) -> usize {
    (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0)
}

/// 1 - |p|^2 = tr S, in which 1 - p_c of the likeliest class c would lose all digits of
/// what is left besides it.
pub(crate) fn uncertainty(p: &[f64]) -> f64 {
    let c = likeliest(p);
    let others = || p.iter().enumerate().filter(|&(a, _)| a != c).map(|(_, p)| p);
    let rest: f64 = others().sum();
    rest * (1.0 + p[c]) - others().map(|p| p * p).sum::<f64>()
}

/// A tensor's elements, row by row, in f64.
pub(crate) fn doubles(tensor: Tensor<2>) -> Result<Vec<f64>, HessianError> {
    let data = tensor.try_into_data().map_err(DeviceError::new)?;
    // burn's own conversion goes element by element through a match.
    Ok(match data.as_slice::<f32>() {
        Ok(single) => single.iter().map(|&x| f64::from(x)).collect(),
        Err(_) => data.try_into_vec::<f64>().map_err(DeviceError::new)?,
    })
}
