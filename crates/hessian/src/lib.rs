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
//! A class whose probability is zero in every sample has a block of zeros. One logit z a sample is the
//! sigmoid's: with p = sigmoid(z) of class 1 and 1 - p = sigmoid(-z) of class 0,
//!
//! ```text
//! H = 1/N sum_n p_n (1 - p_n) g_n g_n^T          [m, m]
//! ```
//!
//! is the sum of the class pair (0, 1), and half of the nonzero spectrum of the softmax of [0, z].
//!
//! The sums S_ab are the one operation that differs by backend ([`grams`]
//! declares it once): WGSL kernels on a GPU, faer's matrix products on a CPU.
//! Samples come in chunks, and the chunks are added up in f64 on the host.
//!
//! # All of it
//!
//! From features and probabilities, or logits, to all eigenvalues and eigenvectors, and the
//! proof that they are right:
//!
//! ```
//! use kappa_hessian::{Samples, burn::tensor::Device, verify};
//!
//! // Three samples of two features, and logits of three classes.
//! let features = [1.0f32, 0.5, 0.0, 2.0, 3.0, 1.0];
//! let logits = [0.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.5, 0.5, 0.0];
//! let samples = Samples::from_logits(2, 3, &features, &logits, &Device::flex())?;
//!
//! let hessian = samples.hessian()?;
//! let pairs = hessian.eigenpairs()?;
//! assert_eq!(pairs.spectrum.eigenvalues().len(), 6);
//! assert_eq!(pairs.null_space.explained(), 2, "softmax ignores a shift: a zero for each feature");
//!
//! let evidence = verify(&hessian, &pairs, &samples)?;
//! assert!(evidence.passed(), "{:?}", evidence.checks);
//! assert!(evidence.known.lambda_1 >= 5, "decimal digits, of sums in single precision");
//! # Ok::<(), kappa_hessian::HessianError>(())
//! ```
//!
//! A matrix remembers the unit of the arithmetic that it was summed in, by which zeros are
//! told from numbers: [`Hessian::epsilon`], [`Spectrum::rank`].
//!
//! # Without the matrix
//!
//! What needs products with vectors only is written for a [`SymmetricOperator`]: [`Samples`],
//! a [`Hessian`], a [`DenseMatrix`], or what you make one.
//!
//! ```
//! use kappa_hessian::{
//!     DensityOptions, Samples, burn::tensor::Device, density, largest_pairs, memory, smallest_pairs, verify_pairs,
//! };
//!
//! let features: Vec<f64> = (0..600).map(|i| f64::from(i).sin()).collect();
//! let logits: Vec<f64> = (0..200).map(|i| 2.0 * f64::from(i).cos()).collect();
//! let samples = Samples::from_logits(30, 10, &features, &logits, &Device::flex())?;
//!
//! assert!(memory::krylov_bytes(samples.size(), 5) < 1 << 20);
//! let pairs = largest_pairs(&samples, 5, &())?;
//! assert!(verify_pairs(&samples, &pairs, &())?.iter().all(|check| check.passed()));
//! let zeros = smallest_pairs(&samples, 5, &())?;
//! assert!(zeros.eigenvalues.iter().all(|value| value.abs() < 1e-12));
//!
//! let density = density(&samples, DensityOptions { probes: 5, steps: 10, seed: 0 }, &())?;
//! assert!((density.trace - samples.trace()?).abs() < 5.0 * density.trace_error);
//! assert_eq!(density.known_zeros, 0.1);
//! # Ok::<(), kappa_hessian::HessianError>(())
//! ```
//!
//! Each takes a [`Progress`], which is told how far it is and may stop it; `()` lets it run.
//!
//! # And more
//!
//! - [`SampleSource`]: samples that are made when they are asked for, more than the memory holds.
//! - [`Accumulator`]: sums over chunks that come and go; [`ClassPairSums`] of several
//!   machines are merged. [`AccumulatorWithConstant`]: the Hessians of centred or scaled
//!   features from the same sums, and the bias.
//! - [`Hessian::leading_direction`], [`LeadingDirection::shares`], [`Hessian::without`]: what
//!   a single sample carries of lambda_1.
//! - [`growing_subsets`]: how many samples a spectrum needs.
//! - [`overlap`], [`share`], [`Samples::kronecker`], [`Samples::gradient`],
//!   [`Hessian::preconditioned_spectrum`]: what lies in the leading directions.
//! - [`verify_values`]: what can be checked of eigenvalues alone. [`memory`]: bytes, before
//!   they are taken.
//!
//! ```text
//! samples, source, probabilities      samples, kept or made when they are asked for
//! host                                the same in the host's memory
//! weighted                            the same features under other weights
//! input_error                         what was rounded before
//! accumulator, sums, grams, classes   samples -> sums over class pairs
//! classes                             what their number says, and which of them occur
//! matrix, subspace, eigenpairs        sums -> H -> eigenpairs, with zeros by their reason
//! spectrum                            numbers read off eigenvalues
//! operator, last_layer, products      what has products with vectors; H is one
//! krylov, density, lanczos, trace     an operator -> some eigenpairs, the density of all, sums
//! scaled                              an operator in other units
//! evidence                            what is checked of all that
//! factor                              a positive definite matrix, solved with
//! influence, directions, subsets      what a sample, a direction, a subset carries
//! memory, progress, device, error     bytes, how far, what fails
//! ```
//!
//! The crate knows burn's tensors and faer's matrices, and no network, data set
//! or file: features and probabilities may come from anywhere.
#![deny(missing_docs)]

pub use {burn, faer};

mod accumulator;
mod classes;
mod decomposition;
mod density;
mod directions;
mod eigenpairs;
mod error;
mod evidence;
mod factor;
pub mod grams;
mod host;
mod influence;
mod input_error;
mod krylov;
mod lanczos;
mod last_layer;
mod matrix;
pub mod memory;
mod operator;
mod probabilities;
mod products;
mod progress;
mod samples;
mod scaled;
mod source;
mod spectrum;
mod subsets;
mod subspace;
mod sums;
mod trace;
mod weighted;
mod world;

pub use accumulator::{Accumulator, AccumulatorWithConstant, with_constant_feature};
pub use decomposition::eigenpairs as symmetric_eigenpairs;
pub use density::{Density, DensityOptions, density};
pub use directions::{Kronecker, logit_gradients, overlap, share};
pub use eigenpairs::{Eigenpairs, NullSpace};
pub use error::HessianError;
pub use evidence::{Check, Evidence, KnownDigits, verify, verify_pairs, verify_values};
pub use factor::Factor;
pub use host::HostChunk;
pub use influence::LeadingDirection;
pub use input_error::InputError;
pub use kappa_fused::{DeviceError, clear_upper_halves};
pub use krylov::{ExtremePairs, largest_pairs, largest_pairs_within, smallest_pairs, smallest_pairs_within};
pub use matrix::Hessian;
pub use operator::{DenseMatrix, SymmetricOperator};
pub use progress::Progress;
pub use samples::{Chunk, Samples};
pub use scaled::Scaled;
pub use source::SampleSource;
pub use spectrum::Spectrum;
pub use subsets::{Subset, growing_subsets};
pub use subspace::product;
pub use sums::{ClassPairSums, FeatureMap};
pub use trace::{estimated_trace, squared_blocks};
pub use weighted::{Moved, Weights, loss_of_logits};
