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
//! Samples come in chunks, and the chunks are added up in f64 on the host. What comes
//! out can be held against the samples that went in ([`verify`]):
//!
//! ```
//! use burn::tensor::{DType, Device, Tensor, activation::softmax};
//! use kappa_hessian::{Samples, verify};
//!
//! let device = Device::flex();
//! let features = Tensor::<2>::from_floats([[1.0, 0.5], [0.0, 2.0], [3.0, 1.0]], &device);
//! let logits = Tensor::<2>::from_floats([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], &device);
//!
//! let mut samples = Samples::new(2, 3, DType::F32)?;
//! samples.push(features, softmax(logits, 1))?;
//! let hessian = samples.hessian()?;
//! let pairs = hessian.eigenpairs(samples.epsilon())?;
//! assert_eq!(pairs.spectrum.eigenvalues().len(), 6);
//! assert_eq!(pairs.null_space.explained(), 2, "softmax ignores a shift: a zero for each feature");
//! assert!(verify(&hessian, &pairs, &samples)?.passed());
//! # Ok::<(), kappa_hessian::HessianError>(())
//! ```
//!
//! Where H does not fit, [`Samples::leading_pairs`] and [`Samples::density`] do without it.
//!
//! ```text
//! samples, accumulator, grams   samples -> sums over class pairs
//! matrix, subspace, eigenpairs  sums -> H -> eigenpairs, with zeros by their reason
//! spectrum                      numbers read off eigenvalues
//! evidence                      what is checked of all that
//! krylov, density               without H
//! influence, directions, subsets   what a sample, a direction, a subset carries
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
