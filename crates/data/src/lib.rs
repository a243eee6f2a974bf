//! Labelled images: read from IDX files, checked, split.
//!
//! ```text
//! four IDX files (gzipped or not)  ->  DataSet { train, test }  ->  Splits { train, validation, test }
//! ```
//!
//! Images stay as the bytes they were stored as; whoever trains on them scales
//! them, on its own device. Nothing here knows a network or a tensor: the only
//! thing taken from burn is its [`Dataset`](burn::data::dataset::Dataset) trait,
//! which [`LabelledImages`] implements.
#![deny(missing_docs)]

mod error;
mod idx;
mod images;
mod set;
mod split;

pub use error::DataError;
pub use images::{LabelledImage, LabelledImages};
pub use set::{DataSet, FileDigest};
pub use split::{SplitOrder, SplitSizes, Splits};
