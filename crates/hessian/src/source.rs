//! Samples that are not kept.

use std::fmt::Debug;

use crate::{Chunk, HessianError};

/// Samples that are made when they are asked for: more of them than the memory holds, read from a file
/// or computed again each time.
///
/// ```
/// use std::sync::Arc;
/// use kappa_hessian::{Chunk, HessianError, SampleSource, Samples, burn::tensor::{DType, Device, Tensor}};
///
/// #[derive(Debug)]
/// struct Halves;
///
/// impl SampleSource for Halves {
///     fn chunks(&self) -> usize {
///         1000
///     }
///     fn chunk(&self, index: usize) -> Result<Chunk, HessianError> {
///         let device = Device::flex();
///         let features = Tensor::from_floats([[index as f32]], &device);
///         Ok(Chunk { features, probabilities: Tensor::from_floats([[0.5, 0.5]], &device) })
///     }
/// }
///
/// let samples = Samples::from_source(1, 2, 1000, DType::F32, Arc::new(Halves))?;
/// assert_eq!(samples.hessian()?.samples(), 1000);
/// # Ok::<(), HessianError>(())
/// ```
pub trait SampleSource: Debug + Send + Sync {
    /// The number of chunks.
    fn chunks(&self) -> usize;

    /// A chunk by its number, counted from 0: the same each time. Their order is that of the samples.
    ///
    /// # Errors
    ///
    /// [`HessianError::Source`], by which the source's own error is told.
    fn chunk(&self, index: usize) -> Result<Chunk, HessianError>;
}
