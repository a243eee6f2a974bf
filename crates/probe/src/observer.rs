//! How far a measurement is, told to whoever watches.

use kappa_hessian::Progress;

/// Watches a measurement: each of its stages is announced, and counted as [`Progress`] says,
/// which may also stop it. `()` watches nothing.
pub trait Observer: Progress {
    /// A stage begins, of so many pieces of work where that is known.
    fn stage(&self, what: &str, length: Option<usize>);
}

impl Observer for () {
    fn stage(&self, _what: &str, _length: Option<usize>) {}
}
