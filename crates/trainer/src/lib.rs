//! One network, trained.
//!
//! ```text
//! Config + DataSet --> DeviceSplit (images on the device, once, as bytes)
//!                  --> Trainer (one epoch at a time: steps of burn's autodiff and Adam, or descent)
//!                  --> EpochMetrics + checkpoint + optimiser's state, an epoch --> RunDir
//! ```
//!
//! Inside an epoch no tensor goes to the host: losses are summed on the device,
//! and the sum is looked at a few times an epoch. The order of the batches comes from the seed
//! on the host, so it is the same on every backend and for both networks.
#![deny(missing_docs)]
// What a file says is no index before it is checked.
#![deny(clippy::indexing_slicing)]

mod adam;
mod checkpoint;
mod descent;
mod error;
mod evaluate;
mod import;
mod names;
mod run;
mod split;
mod trainer;
mod watch;

pub use adam::{AdamState, OutputLayer, load_adam_state, preconditioner, save_adam_state};
pub use checkpoint::{CheckpointError, load_checkpoint, save_checkpoint};
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use import::{Reading, import_checkpoint};
pub use run::{
    Machine, Observer, other_file, prolong, resume, split_data, train, training_images, training_split,
};
pub use split::{Chunk, DeviceSplit, Images, PixelScaling};
pub use trainer::{Trainer, order_of_epoch};
