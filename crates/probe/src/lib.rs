//! A network or a last layer, and a request: what was measured of the Hessian.
//!
//! ```text
//! TrainedNetwork (a run's epoch, or a checkpoint, with images) --\
//!                                                                 >-- layer(request) -> Layer
//! LayerArrays    (features and logits of any network)         --/
//!
//! measure(Layer, Request) -> Measured
//! ```
//!
//! What a layer's samples are:
//!
//! ```text
//! for each chunk of the split:  g = network.features(x),  p = softmax(network.logits(g))
//! H = 1/N sum_n (diag(p_n) - p_n p_n^T) (x) g_n g_n^T
//! ```
//!
//! ```text
//! network      a run's checkpoint, or any, on images
//! arrays       a last layer in files or in memory
//! belonging    whether logits are of features and weights
//! layer        Layer: what both give, ready to be measured
//! loss         the mean cross-entropy of logits
//! samples      a network on a split -> Samples
//! statistics   the statistics that a network is looked at by
//! fold         normalisation folded away, and how far both networks are apart
//! forward      what single precision makes of features and logits
//! measure      the whole spectrum, its evidence, and what else was asked
//! directions   what lies in the space of the leading eigenvectors
//! matrix_free  leading eigenvalues and density
//! classifier   a last layer as a convex problem, at its weights or at its optimum
//! laplace      the posterior about it, and what it says of other samples
//! influence    what leaving out a training sample does, predicted and done
//! whole        the curvature of a whole network, in any of its parameters, as an operator
//! curvature    both ends of its spectrum, what is read off them, and their evidence
//! variants     all spectra of one epoch of a study's run
//! network_rows what a study takes of a whole network's Hessian
//! follows      what a record says against the eigenvalues beside it
//! memory       what is free, asked before it is taken
//! observer     how far it is, told to whoever watches
//! ```
//!
//! `kappa hessian`, a study and whoever else measures call the same. Nothing here is written
//! to disk.
#![deny(missing_docs)]
// What a file says is no index before it is checked.
#![deny(clippy::indexing_slicing)]

mod arrays;
mod belonging;
mod classifier;
mod curvature;
mod directions;
mod error;
mod fold;
mod follows;
mod forward;
mod influence;
mod laplace;
mod layer;
mod loss;
mod matrix_free;
mod measure;
mod memory;
mod network;
mod network_rows;
mod observer;
mod parts;
mod reading;
mod samples;
mod statistics;
mod variants;
mod whole;

pub use arrays::LayerArrays;
pub use classifier::{Classifier, OtherSet};
pub use curvature::{NetworkPoint, Proof, chosen, curvature};
pub use error::ProbeError;
pub use fold::{Folded, fold};
pub use follows::{
    curvature_mismatches, influence_mismatches, laplace_mismatches, matrix_free_mismatches,
    network_row_mismatches, row_mismatches, spectrum_mismatches,
};
pub use influence::{Influences, influence};
pub use laplace::{Laplaced, laplace};
pub use layer::Layer;
pub use measure::{Measured, Subject, WholeSpectrum, check_record, measure};
pub use network::TrainedNetwork;
pub use network_rows::{network_row, recompute_network_row};
pub use observer::Observer;
pub use samples::{looked_at, precision_of, samples};
pub use variants::{EpochSpectra, recompute, variants};
pub use whole::{Curvature, NetworkHessian};
