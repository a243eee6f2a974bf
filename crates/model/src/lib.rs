//! Networks as data: any number of hidden layers of rectified linear units, then a softmax
//! layer, with or without a normalisation after (or before) each ReLU, or of the weights.
//!
//! ```text
//! x [N, d]  --W1, b1-->  z [N, m1]  --ReLU, norm, (W, b, ReLU, norm ..)-->  g [N, m]  --W, b-->  logits [N, K]
//!           preactivations          features                                        logits
//! ```
//!
//! The features g are what the last layer sees, and with the logits all that its
//! Hessian depends on. The crate knows no loss, no data and no file.
//!
//! ```text
//! shape           NetworkShape, and the table of a network's parameters that follows from it
//! normalisation   kinds of normalisation, their settings
//! norm            the layer of one
//! dense           a dense layer, and weight norm
//! statistics      by which statistics one normalises; how a forward pass goes
//! initialisation  initial weights
//! network         Network: the forward pass, folding
//! linearised      a network at a point: its derivatives along directions of its parameters
//! parameters      a network's parameters on the host
//! ```
//!
//! By which statistics batch norm normalises is an argument of the forward pass ([`Pass`]), and
//! not asked of the device.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use kappa_model::{Initialisation, Network, NetworkShape, Normalisation, Pass};
//!
//! let shape = NetworkShape {
//!     inputs: 4,
//!     hidden: vec![3, 2],
//!     classes: 2,
//!     normalisation: Normalisation::default(),
//! };
//! let device = Device::flex();
//! let network = Network::new(&shape, Initialisation::GlorotUniform, 0, &device);
//! let z = network.preactivations(Tensor::ones([5, 4], &device));
//! let g = network.features(z, Pass::Running);
//! assert_eq!((g.dims(), network.logits(g).dims()), ([5, 2], [5, 2]));
//! assert_eq!(shape.parameters()[2].name, "hidden.1.weight");
//! ```
#![deny(missing_docs)]

mod dense;
mod initialisation;
mod linearised;
mod network;
mod norm;
mod normalisation;
mod parameters;
mod shape;
mod statistics;

pub use initialisation::Initialisation;
pub use linearised::{Direction, Inputs, LayerDirection, Linearised, Upstreams, together};
pub use network::Network;
pub use normalisation::{Kind, Normalisation, Place, RunningVariance};
pub use shape::{Layer, NetworkShape, Parameter, Role};
pub use statistics::{LoneSample, Pass, Statistics, UnknownStatistics};
