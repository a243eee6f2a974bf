//! Labelled images, read from IDX files, checked, split; and a last layer's arrays
//! of any network, read and checked.
//!
//! ```text
//! four IDX files (gzipped or not)  ->  DataSet { train, test }  ->  Splits { train, validation, test }
//! .npy files, or one .safetensors or .npz  ->  LastLayer { features, scores, weights, labels }
//! ```
//!
//! Images stay as the bytes they were stored as; whoever trains on them scales
//! them, on its own device. Nothing here knows a network or a tensor: the only
//! thing taken from burn is its [`Dataset`](burn::data::dataset::Dataset) trait,
//! which [`LabelledImages`] implements.
#![deny(missing_docs)]
// What a file says is no index before it is checked.
#![deny(clippy::indexing_slicing)]

mod error;
mod idx;
mod images;
mod layer;
mod set;
mod split;

pub use error::DataError;
pub use images::{LabelledImage, LabelledImages};
pub use layer::{
    Elements, HostArray, HostArrays, IGNORE_INDEX, Ignored, LastLayer, LastLayerFiles, LayerError, Matrix,
    OtherSamples, Rows, Scores,
};
pub use set::{DataSet, FileDigest};
pub use split::{SplitOrder, SplitSizes, Splits};
