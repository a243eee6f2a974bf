//! The exact Hessian of the loss with respect to a network's last layer, and
//! its spectrum.
//!
//! # What is computed
//!
//! A network ends in logits z = W g + b with features g (m of them), K classes
//! and probabilities p = softmax(z). For one sample with cross-entropy loss, the
//! second derivative with respect to the logits is the Jacobian of the softmax,
//! S = diag(p) - p p^T, whatever the label is. Since z is linear in W, the
//! Hessian with respect to W [K, m], flattened class by class, is
//!
//! ```text
//! H = 1/N sum_n S_n (x) g_n g_n^T          [K m, K m],   index = k m + i
//! ```
//!
//! in which nothing is approximated: for this layer the Hessian equals the
//! Fisher matrix and the Gauss-Newton matrix (Martens 2020, "New insights and
//! perspectives on the natural gradient method", section 9.2).
//!
//! # How
//!
//! Every row of S_n sums to zero. So only the K(K-1)/2 blocks with a < b are
//! computed, S_ab = sum_n p_a p_b g g^T, half of each since it is symmetric, and
//!
//! ```text
//! H_ab = -S_ab / N   (a /= b),      H_aa = sum_{b /= a} S_ab / N .
//! ```
//!
//! The diagonal blocks are thus sums of terms of one sign. The other way,
//! p_a (1 - p_a), loses digits when p_a is near 1, as it is after training.
//!
//! The sums S_ab are the one operation that differs by backend ([`grams`]
//! declares it once): WGSL kernels on a GPU, faer's matrix products on a CPU.
//! Samples come in chunks, and the chunks are added up in f64 on the host:
//!
//! ```
//! use burn::tensor::{Device, Tensor, activation::softmax};
//! use kappa_hessian::Accumulator;
//!
//! let device = Device::flex();
//! let features = Tensor::<2>::from_floats([[1.0, 0.5], [0.0, 2.0], [3.0, 1.0]], &device);
//! let logits = Tensor::<2>::from_floats([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], &device);
//!
//! let mut sums = Accumulator::new(2, 3)?;
//! sums.add(features, softmax(logits, 1))?;
//! let spectrum = sums.finish()?.spectrum()?;
//! assert_eq!(spectrum.eigenvalues().len(), 6);
//! # Ok::<(), kappa_hessian::HessianError>(())
//! ```
//!
//! The crate knows burn's tensors and faer's matrices, and no network, data set
//! or file: features and probabilities may come from anywhere.
#![deny(missing_docs)]

mod accumulator;
mod density;
mod directions;
mod eigenpairs;
mod error;
mod evidence;
pub mod grams;
mod influence;
mod krylov;
mod matrix;
mod samples;
mod spectrum;
mod subsets;
mod subspace;

pub use accumulator::{Accumulator, FeatureMap, with_constant_feature};
pub use density::{Density, DensityOptions};
pub use directions::{Kronecker, overlap, share};
pub use eigenpairs::{Eigenpairs, NullSpace};
pub use error::HessianError;
pub use evidence::{Check, Evidence, KnownDigits, verify, verify_values};
pub use influence::LeadingDirection;
pub use krylov::LeadingPairs;
pub use matrix::Hessian;
pub use samples::{Chunk, Samples};
pub use spectrum::Spectrum;
pub use subsets::{Subset, growing_subsets};
