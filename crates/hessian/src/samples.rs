//! Features and probabilities, kept to be gone through more than once.

use std::sync::Arc;

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use kappa_world::World;

use crate::{
    Accumulator, Hessian, HessianError, InputError, SampleSource,
    accumulator::BINDING_BYTES,
    classes,
    probabilities::{softmax, uncertainty},
    world::Share,
};

/// Features [N, m] and probabilities [N, K] of N samples, in chunks on a device, or made when they
/// are asked for ([`SampleSource`]).
///
/// The sums need them once; evidence, the matrix-free product and all that is
/// asked about directions go through them again.
///
/// K = 1 is one logit a sample, and its sigmoid p the probability of class 1: the Hessian is
/// 1/N sum_n p_n (1 - p_n) g_n g_n^T [m, m], of the mean binary cross-entropy.
///
/// ```
/// use kappa_hessian::{Samples, burn::tensor::Device};
///
/// let (features, logits) = ([1.0, 2.0], [0.0, 1.0]);
/// let sigmoid = Samples::from_logits(1, 1, &features, &logits, &Device::flex())?.hessian()?.spectrum()?;
/// // The softmax of two logits [0, z] has the same probabilities, and twice the eigenvalues.
/// let softmax = Samples::from_logits(1, 2, &features, &[0.0, 0.0, 0.0, 1.0], &Device::flex())?;
/// let twice = softmax.hessian()?.spectrum()?.eigenvalues()[0];
/// assert!((2.0 * sigmoid.eigenvalues()[0] - twice).abs() < 1e-15);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Samples {
    features: usize,
    classes: usize,
    pub(crate) count: usize,
    pub(crate) dtype: DType,
    /// What comes before the chunks.
    pub(crate) source: Option<Arc<dyn SampleSource>>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) input_error: InputError,
    /// Of which these are a process's own, where there are several.
    pub(crate) share: Option<Share>,
}

/// Some of the samples.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// [n, m]
    pub features: Tensor<2>,
    /// [n, K]. Of one logit [n, 1], of class 1, or [n, 2], of class 0 and of class 1: where a sample is
    /// all but certain 1 - p has lost the digits that the other column has.
    pub probabilities: Tensor<2>,
}

impl Samples {
    /// No samples yet, of m `features` and K `classes`, whose elements are of type `dtype`.
    ///
    /// # Errors
    ///
    /// [`HessianError::TooSmall`] for m < 1 or K < 1, [`HessianError::WrongType`] for a type
    /// that is not computed in.
    pub fn new(features: usize, classes: usize, dtype: DType) -> Result<Self, HessianError> {
        if features == 0 || classes == 0 {
            return Err(HessianError::TooSmall { features, classes });
        }
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(wrong_type(dtype, dtype));
        }
        let input_error = InputError::default();
        let chunks = Vec::new();
        Ok(Self { features, classes, count: 0, dtype, source: None, chunks, input_error, share: None })
    }

    /// `count` samples of m `features` and K `classes`, of type `dtype`, that `source` makes when they are
    /// asked for. Whatever is computed of them has the same bits as of the same chunks in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]. Whether the chunks are what is promised here shows when they are made.
    pub fn from_source(
        features: usize,
        classes: usize,
        count: usize,
        dtype: DType,
        source: Arc<dyn SampleSource>,
    ) -> Result<Self, HessianError> {
        Ok(Self { count, source: Some(source), ..Self::new(features, classes, dtype)? })
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
        let samples = Self::new(features, classes, T::dtype())?;
        samples.check_lengths(feature_rows, probability_rows)?;
        samples.with_rows(feature_rows, probability_rows, classes, device)
    }

    /// The same samples and those of rows of m features and of so many `columns` of probabilities.
    fn with_rows<T: Element>(
        mut self,
        feature_rows: &[T],
        probability_rows: &[T],
        columns: usize,
        device: &Device,
    ) -> Result<Self, HessianError> {
        let features = self.features;
        let rows = (BINDING_BYTES / (features.max(columns) * size_of::<T>())).max(1);
        let tensor = |rows: &[T], columns: usize| {
            let data = TensorData::new(rows.to_vec(), [rows.len() / columns, columns]);
            Tensor::<2>::from_data(data, (device, T::dtype()))
        };
        let chunks = feature_rows.chunks(rows * features).zip(probability_rows.chunks(rows * columns));
        for (feature_rows, probability_rows) in chunks {
            self.push(tensor(feature_rows, features), tensor(probability_rows, columns))?;
        }
        Ok(self)
    }

    /// As [`Self::from_slices`] from logits [N, K], whose softmax is taken in f64, or the sigmoid of one.
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
        let samples = Self::new(features, classes, T::dtype())?;
        samples.check_lengths(feature_rows, logit_rows)?;
        let columns = classes::columns(classes);
        let probabilities: Vec<T> = match logit_rows {
            // 1 / (1 + exp(-z)) is the softmax of [0, z].
            _ if classes == 1 => logit_rows.iter().flat_map(|&z| softmax(&[T::from_elem(0.0), z])).collect(),
            _ => logit_rows.chunks_exact(classes).flat_map(softmax).collect(),
        };
        let samples = samples.with_rows(feature_rows, &probabilities, columns, device)?;
        let softmax = InputError::of_softmax(columns, f64::EPSILON);
        let probabilities = softmax.probabilities + unit(T::dtype());
        let underflow = InputError::underflow(unit(T::dtype()));
        Ok(samples.with_input_error(InputError { probabilities, underflow, ..softmax }))
    }

    /// The same samples, known to be so far from what was asked about.
    pub fn with_input_error(self, input_error: InputError) -> Self {
        Self { input_error, ..self }
    }

    /// The same samples as the own ones of a process of `world`, with `first` samples before them of `all`. What is
    /// computed of them is of all processes' samples then: each has to ask for the same.
    pub fn shared(self, world: Arc<dyn World>, first: usize, all: usize) -> Self {
        Self { share: Some(Share { world, first, all }), ..self }
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

    /// Adds samples: features [n, m] and probabilities [n, K], of one logit [n, 1] or [n, 2] ([`Chunk`]).
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`].
    pub fn push(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        let chunk = self.checked(Chunk { features, probabilities })?;
        self.count += chunk.rows();
        self.chunks.push(chunk);
        Ok(())
    }

    /// A chunk that is as these samples are.
    fn checked(&self, chunk: Chunk) -> Result<Chunk, HessianError> {
        let chunk = chunk.checked(self.features, self.classes)?;
        if chunk.features.dtype() == self.dtype { Ok(chunk) } else { Err(chunk.wrong_type()) }
    }

    /// The number of features m.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples N, of all processes.
    pub fn count(&self) -> usize {
        self.share.as_ref().map_or(self.count, |share| share.all)
    }

    /// The chunks, in order, of this process: what a source makes it makes now. One logit has two columns of
    /// probabilities here ([`Chunk`]).
    ///
    /// # Errors
    ///
    /// Of each the source's own, or [`HessianError::WrongShape`] or [`HessianError::WrongType`] of what it
    /// made; and [`HessianError::WrongCount`] where it made more samples than promised, or fewer.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Chunk, HessianError>> {
        let of_source = self.source.as_ref().map_or(0, |source| source.chunks());
        let chunks = of_source + self.chunks.len();
        let mut found = 0;
        (0..=chunks).filter_map(move |index| {
            let wrong = |found| Err(HessianError::WrongCount { found, promised: self.count });
            let chunk = match (&self.source, self.chunks.get(index.wrapping_sub(of_source))) {
                (_, Some(chunk)) => chunk.clone(),
                (Some(source), None) if index < of_source => {
                    match source.chunk(index).and_then(|chunk| self.checked(chunk)) {
                        Ok(chunk) => chunk,
                        Err(error) => return Some(Err(error)),
                    }
                }
                _ => return (found != self.count).then(|| wrong(found)),
            };
            found += chunk.rows();
            Some(if found > self.count { wrong(found) } else { Ok(chunk) })
        })
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

    /// tr H = mean_n (1 - |p_n|^2) |g_n|^2, without H; of one logit mean_n p_n (1 - p_n) |g_n|^2.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`], and as [`Self::chunks`].
    pub fn trace(&self) -> Result<f64, HessianError> {
        let parts = self.on_host(|chunk| {
            let samples = chunk.features.chunks_exact(self.features);
            let samples = samples.zip(chunk.probabilities.chunks_exact(classes::columns(self.classes)));
            samples
                .map(|(g, p)| uncertainty(p, self.classes) * g.iter().map(|g| g * g).sum::<f64>())
                .sum::<f64>()
        })?;
        Ok(self.sum_of_all(parts.into_iter().sum())? / self.count() as f64)
    }
}

impl Chunk {
    /// The number of samples.
    pub(crate) fn rows(&self) -> usize {
        self.features.dims()[0]
    }

    /// The samples, if they are of m features and K classes and of a type that is computed in; of
    /// one logit with the probabilities of both classes.
    pub(crate) fn checked(self, m: usize, k: usize) -> Result<Self, HessianError> {
        let (features, probabilities) = (self.features.dims(), self.probabilities.dims());
        let is_wide = probabilities[1] == k || probabilities[1] == classes::columns(k);
        if features[0] != probabilities[0] || features[1] != m || !is_wide {
            return Err(HessianError::WrongShape { features, probabilities, m, k });
        }
        match (self.features.dtype(), self.probabilities.dtype()) {
            (DType::F32, DType::F32) | (DType::F64, DType::F64) if probabilities[1] == 1 => {
                let p = self.probabilities;
                let both = Tensor::cat(vec![p.ones_like() - p.clone(), p], 1);
                Ok(Self { features: self.features, probabilities: both })
            }
            (DType::F32, DType::F32) | (DType::F64, DType::F64) => Ok(self),
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
