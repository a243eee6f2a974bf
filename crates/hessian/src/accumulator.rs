//! From features and probabilities, chunk by chunk, to the Hessian.

use burn::tensor::{DType, Tensor, TensorData};

use crate::{
    ClassPairSums, DeviceError, FeatureMap, Hessian, HessianError, Samples,
    classes::pairs_of,
    grams::class_pair_grams,
    samples::{Chunk, unit},
};

/// Bytes of Gram matrices that one launch computes. An eighth of the smallest
/// binding that WebGPU promises, so that a GPU has room for several parts.
const LAUNCH_BYTES: usize = 16 << 20;
/// The binding that every WebGPU adapter has.
pub(crate) const BINDING_BYTES: usize = 128 << 20;

/// Sums features and probabilities into a Hessian, chunk by chunk.
///
/// ```
/// use kappa_hessian::{Accumulator, burn::tensor::{Device, Tensor}};
///
/// let device = Device::flex();
/// let mut sums = Accumulator::new(2, 2)?;
/// for (features, probabilities) in [([[1.0, 2.0]], [[0.5, 0.5]]), ([[0.0, 3.0]], [[0.9, 0.1]])] {
///     let features = Tensor::<2>::from_floats(features, &device);
///     sums.add(features, Tensor::from_floats(probabilities, &device))?;
/// }
/// let hessian = sums.finish()?;
/// assert_eq!((hessian.size(), hessian.samples()), (4, 2));
/// assert_eq!(hessian.epsilon(), f64::from(f32::EPSILON), "it remembers what it was summed in");
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Accumulator {
    sums: ClassPairSums,
}

impl Accumulator {
    /// Sums for `features` features (m) and `classes` classes (K).
    ///
    /// # Errors
    ///
    /// As [`ClassPairSums::new`].
    pub fn new(features: usize, classes: usize) -> Result<Self, HessianError> {
        Ok(Self { sums: ClassPairSums::new(features, classes)? })
    }

    /// Adds N samples: features [N, m] and probabilities [N, K], of one logit [N, 1] or [N, 2]
    /// ([`Chunk`]), both f32 or both f64. They may be on any device, and in as many chunks as one likes.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongShape`], [`HessianError::WrongType`],
    /// [`HessianError::BlockTooLarge`], or [`HessianError::Device`] if the sums
    /// could not be computed or read back. Nothing is added then.
    pub fn add(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        let (m, k) = (self.sums.features(), self.sums.classes());
        let chunk = self.checked(Chunk { features, probabilities })?;
        let samples = chunk.rows();
        let Chunk { features, probabilities } = chunk;
        if samples == 0 {
            return Ok(());
        }
        // A GPU's kernel computes blocks of four by four: its parts are as large as if m were.
        let block_bytes = m.next_multiple_of(4).pow(2) * features.dtype().size();
        let pairs_a_launch = (LAUNCH_BYTES / block_bytes).max(1);
        let all_pairs = pairs_of(k);

        let mut grams = Vec::new();
        for first in (0..all_pairs).step_by(pairs_a_launch) {
            let count = pairs_a_launch.min(all_pairs - first);
            let sums = class_pair_grams(features.clone(), probabilities.clone(), first, count);
            grams.push(sums.try_into_data().map_err(DeviceError::new)?);
        }
        let blocks = grams.iter().flat_map(|data| blocks(data, m));
        for (triangle, gram) in self.sums.triangles_mut().zip(blocks) {
            let rows = gram.enumerate().flat_map(|(i, row)| row.take(i + 1));
            for (sum, addend) in triangle.iter_mut().zip(rows) {
                *sum += addend;
            }
        }
        self.sums.count(samples, unit(features.dtype()));
        Ok(())
    }

    /// Adds all of `samples`, chunk by chunk, those of other processes too.
    ///
    /// # Errors
    ///
    /// As [`Self::add`] and [`Samples::chunks`], and [`HessianError::World`].
    pub fn add_samples(&mut self, samples: &Samples) -> Result<(), HessianError> {
        if samples.processes() == 1 {
            return self.add_own(samples);
        }
        // What is here already is not added up again.
        let mut own = Self::new(self.sums.features(), self.sums.classes())?;
        own.add_own(samples)?;
        self.add_sums_of_own(own, samples, samples.count())
    }

    fn add_own(&mut self, samples: &Samples) -> Result<(), HessianError> {
        for chunk in samples.chunks() {
            let Chunk { features, probabilities } = chunk?;
            self.add(features, probabilities)?;
        }
        Ok(())
    }

    /// Adds other sums, which are of `count` among `samples` and of this process's own alone.
    pub(crate) fn add_sums_of_own(
        &mut self,
        mut own: Self,
        samples: &Samples,
        count: usize,
    ) -> Result<(), HessianError> {
        own.sums.of_all(samples, count)?;
        self.sums.merge(&own.sums)
    }

    fn checked(&self, chunk: Chunk) -> Result<Chunk, HessianError> {
        let m = self.sums.features();
        let chunk = chunk.checked(m, self.sums.classes())?;
        let dtype = chunk.features.dtype();
        let bytes = m * m * dtype.size();
        if dtype == DType::F32 && bytes > BINDING_BYTES {
            return Err(HessianError::BlockTooLarge { features: m, megabytes: bytes >> 20 });
        }
        Ok(chunk)
    }

    /// The sums so far.
    pub fn sums(&self) -> &ClassPairSums {
        &self.sums
    }

    /// The sums, to be kept, sent or merged with others.
    pub fn into_sums(self) -> ClassPairSums {
        self.sums
    }

    /// The mean over the samples as a matrix [K m, K m].
    ///
    /// # Errors
    ///
    /// As [`Hessian::from_pair_sums`].
    pub fn finish(&self) -> Result<Hessian, HessianError> {
        Hessian::from_pair_sums(&self.sums)
    }
}

/// As [`Accumulator`], with a constant feature beside the m that are added, so that
/// centring and scaling them cost no second pass over the samples.
///
/// ```
/// use kappa_hessian::{AccumulatorWithConstant, FeatureMap, burn::tensor::{Device, Tensor}};
///
/// let device = Device::flex();
/// let features = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 2.0]], &device);
/// let probabilities = Tensor::<2>::from_floats([[0.5, 0.5], [0.9, 0.1]], &device);
/// let mut sums = AccumulatorWithConstant::new(2, 2)?;
/// sums.add(features, probabilities)?;
///
/// let centred = sums.finish_mapped(&FeatureMap { shift: vec![2.0, 2.0], scale: vec![1.0, 1.0] })?;
/// // g = (-1, 0) and (1, 0), p (1 - p) = 0.25 and 0.09.
/// assert!((centred.trace() - 2.0 * (0.25 + 0.09) / 2.0).abs() < 1e-6);
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AccumulatorWithConstant {
    /// Of m + 1 features, of which the last is one for every sample.
    all: Accumulator,
}

impl AccumulatorWithConstant {
    /// Sums for `features` features (m), the constant not counted, and `classes` classes (K).
    ///
    /// # Errors
    ///
    /// As [`ClassPairSums::new`].
    pub fn new(features: usize, classes: usize) -> Result<Self, HessianError> {
        if features == 0 {
            return Err(HessianError::TooSmall { features, classes });
        }
        Ok(Self { all: Accumulator::new(features.saturating_add(1), classes)? })
    }

    /// Adds N samples: features [N, m] and probabilities [N, K].
    ///
    /// # Errors
    ///
    /// As [`Accumulator::add`].
    pub fn add(&mut self, features: Tensor<2>, probabilities: Tensor<2>) -> Result<(), HessianError> {
        self.all.add(with_constant_feature(features), probabilities)
    }

    /// Adds the sums over other samples.
    ///
    /// # Errors
    ///
    /// As [`ClassPairSums::merge`].
    pub fn merge(&mut self, other: &Self) -> Result<(), HessianError> {
        self.all.sums.merge(&other.all.sums)
    }

    /// The Hessian with respect to weights and bias, the bias as the weight of the last
    /// of m + 1 features.
    ///
    /// # Errors
    ///
    /// As [`Hessian::from_pair_sums`].
    pub fn finish_with_bias(&self) -> Result<Hessian, HessianError> {
        self.all.finish()
    }

    /// The sums for mapped features and the same probabilities: of m features.
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongMap`] if the map is not for m features.
    pub fn mapped(&self, map: &FeatureMap) -> Result<ClassPairSums, HessianError> {
        self.all.sums.mapped(map)
    }

    /// The Hessian for mapped features and the same probabilities.
    ///
    /// # Errors
    ///
    /// As [`Self::mapped`] and [`Hessian::from_pair_sums`].
    pub fn finish_mapped(&self, map: &FeatureMap) -> Result<Hessian, HessianError> {
        Hessian::from_pair_sums(&self.mapped(map)?)
    }
}

/// Appends a feature that is 1 for every sample, so that the Hessian is with
/// respect to the bias too: [N, m] -> [N, m + 1].
///
/// ```
/// use kappa_hessian::{burn::tensor::{Device, Tensor}, with_constant_feature};
///
/// let features = Tensor::<2>::from_floats([[2.0], [3.0]], &Device::flex());
/// assert_eq!(with_constant_feature(features).into_data().to_vec::<f32>().unwrap(), [2.0, 1.0, 3.0, 1.0]);
/// ```
pub fn with_constant_feature(features: Tensor<2>) -> Tensor<2> {
    let [samples, _] = features.dims();
    let ones = Tensor::ones([samples, 1], (&features.device(), features.dtype()));
    Tensor::cat(vec![features, ones], 1)
}

/// The m x m blocks of [pairs, m, m] as rows of f64.
fn blocks(
    data: &TensorData,
    m: usize,
) -> impl Iterator<Item = impl Iterator<Item = impl Iterator<Item = f64>>> {
    let width = data.dtype().size();
    data.as_bytes().chunks_exact(m * m * width).map(move |block| {
        block.chunks_exact(m * width).map(move |row| {
            row.chunks_exact(width).map(|element| match *element {
                [a, b, c, d] => f64::from(f32::from_ne_bytes([a, b, c, d])),
                [a, b, c, d, e, f, g, h] => f64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                _ => f64::NAN,
            })
        })
    })
}
