//! How far a long computation is, and whether it shall go on.

use std::ops::ControlFlow;

use crate::HessianError;

/// Somebody who watches a computation and may stop it. `()` lets it run.
///
/// ```
/// use std::{ops::ControlFlow, sync::atomic::{AtomicUsize, Ordering}};
/// use kappa_hessian::{DenseMatrix, HessianError, Progress, faer::Mat, largest_pairs};
///
/// /// Stops after some products.
/// struct AtMost(AtomicUsize);
///
/// impl Progress for AtMost {
///     fn advance(&self, by: usize) -> ControlFlow<()> {
///         let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(by));
///         if left.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
///     }
/// }
///
/// let matrix = DenseMatrix::new(Mat::from_fn(100, 100, |i, j| ((i * j) as f64).cos()), f64::EPSILON)?;
/// let stopped = largest_pairs(&matrix, 3, &AtMost(AtomicUsize::new(10)));
/// assert!(matches!(stopped, Err(HessianError::Stopped)));
/// # Ok::<(), HessianError>(())
/// ```
pub trait Progress: Sync {
    /// Is told that `by` more pieces of work are done: products with an operator, or
    /// spectra. What it answers with [`ControlFlow::Break`] ends in [`HessianError::Stopped`].
    fn advance(&self, by: usize) -> ControlFlow<()>;
}

impl Progress for () {
    fn advance(&self, _by: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Tells `progress` of `by` more, and stops where it says so.
pub(crate) fn advance(progress: &dyn Progress, by: usize) -> Result<(), HessianError> {
    match progress.advance(by) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HessianError::Stopped),
    }
}
