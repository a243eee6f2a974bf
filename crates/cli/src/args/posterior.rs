//! What can be typed after `kappa laplace` and `kappa influence`.
// These comments are what `--help` prints: [N] is a shape there, and no link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::{num::NonZeroUsize, path::PathBuf};

use bytesize::ByteSize;
use clap::Args;
use kappa_data::IGNORE_INDEX;
use kappa_run::Precision;

use super::CommonArguments;

/// Put error bars on what a classifier says, by Laplace's method on its last layer.
///
/// The weights get a Gaussian posterior of precision N H + delta I, H being the exact Hessian of
/// the mean loss and delta the precision of the prior: that which makes the marginal likelihood
/// largest, if none is given. What it says of other samples is scored beside what the weights
/// alone say. All of it is about an optimum of the loss with the prior: weights that are none make
/// the exit status 1, and --newton goes there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa laplace --features G.npy --logits Z.npy --labels y.npy --weights W.npy --bias --newton \\
    --test-features T.npy --test-labels t.npy
  kappa laplace outputs/fc-s0-20260314-150926 --bias --newton \\
    --other-data /usr/share/datasets/fashion-mnist")]
pub struct LaplaceArguments {
    #[command(flatten)]
    pub classifier: ClassifierArguments,
    /// The precision of the prior on each weight; that which makes the marginal likelihood largest, if
    /// not given
    #[arg(long, value_name = "DELTA", value_parser = positive, allow_negative_numbers = true)]
    pub delta: Option<f64>,
    /// Draws of each sample's logits
    #[arg(long, value_name = "N", default_value = "1000")]
    pub draws: NonZeroUsize,
    /// Their seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Samples of another kind, [T, m], to be told from the test samples
    #[arg(long, value_name = "O.npy", requires = "features")]
    pub other_features: Option<PathBuf>,
    /// Likewise of a run: the test images of the IDX files in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "features")]
    pub other_data: Option<PathBuf>,
}

/// Say which training samples made a prediction: what leaving each out does to test losses.
///
/// Of each test sample the most helpful and the most harmful training samples are found, by one
/// exact Newton step of the last layer without them; of each training sample what leaving it out
/// adds to its own loss, by which mislabelled ones stand out. The last layer is convex, so some are
/// left out for real (--check), and prediction and truth are held together. All of it is about an
/// optimum of the loss with the prior: weights that are none make the exit status 1, and --newton
/// goes there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa influence --features G.npy --logits Z.npy --labels y.npy --weights W.npy --delta 1 --newton \\
    --test-features T.npy --test-labels t.npy
  kappa influence outputs/fc-s0-20260314-150926 --delta 1 --newton --bias --plant 0.05")]
pub struct InfluenceArguments {
    #[command(flatten)]
    pub classifier: ClassifierArguments,
    /// The precision of the prior on each weight: N times the damping of the mean loss's Hessian
    #[arg(long, value_name = "DELTA", value_parser = positive, default_value = "1", allow_negative_numbers = true)]
    pub delta: f64,
    /// The most helpful and the most harmful training samples of each test sample that are kept
    #[arg(long, value_name = "N", default_value = "10")]
    pub most: NonZeroUsize,
    /// Leave so many training samples out for real
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub check: usize,
    /// The seed of what is chosen by chance
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Make this share of the labels wrong first, and say how well they are found
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.0, allow_negative_numbers = true)]
    pub plant: f64,
    /// Also write all influences, [T, N] of f32, as influences.npy
    #[arg(long)]
    pub save_table: bool,
}

/// A classifier: a run's, or a last layer in files.
#[derive(Debug, Clone, Args)]
pub struct ClassifierArguments {
    /// A run directory
    #[arg(value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// The epoch whose checkpoint is taken; the last one if not given
    #[arg(long, value_name = "N", requires = "run")]
    pub epoch: Option<usize>,
    /// Take the images from the IDX files in this folder
    #[arg(long, value_name = "DIR", requires = "run")]
    pub data: Option<PathBuf>,
    /// Take the first N training samples only
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// The arithmetic of the sums over samples; f64 on a CPU and f32 on a GPU if not given
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Count the bias among the weights
    #[arg(long)]
    pub bias: bool,
    /// Go to the optimum of the loss with the prior, by Newton's method with the exact Hessian
    #[arg(long)]
    pub newton: bool,
    /// So many leading eigenpairs and the prior elsewhere, without ever forming H; with bounds of what
    /// is left out
    #[arg(long, value_name = "K")]
    pub top: Option<NonZeroUsize>,
    /// Take so much memory at the most, 500MB or 4GiB say; what is free, if not given
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Write the results here; an answer to another question that is there is not overwritten
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArguments,
    // Last, since a heading holds for all that follows.
    #[command(flatten)]
    pub files: ClassifierFiles,
}

/// A last layer in files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Any network's last layer")]
pub struct ClassifierFiles {
    /// Its features G [N, m], f32 or f64; or one file with tensors named features, logits, weights, labels
    #[arg(long, value_name = "G.npy|FILE.safetensors|FILE.npz", conflicts_with = "run")]
    pub features: Option<PathBuf>,
    /// Its logits Z [N, K]; of one logit a sample, [N] or [N, 1], a sigmoid is meant
    #[arg(long, value_name = "Z.npy", requires = "features")]
    pub logits: Option<PathBuf>,
    /// The samples' classes [N], 0 being the first
    #[arg(long, value_name = "y.npy", requires = "features")]
    pub labels: Option<PathBuf>,
    /// Its weights W [K, m]; its bias is what the logits have beside W g
    #[arg(long, value_name = "W.npy", requires = "features")]
    pub weights: Option<PathBuf>,
    /// Take logits for logits though every row of them lies in 0 .. 1 and sums to 1
    #[arg(long, requires = "features")]
    pub logits_are_meant: bool,
    /// Samples with this label are left out, as PyTorch's loss leaves them out
    #[arg(
        long,
        value_name = "LABEL",
        requires = "features",
        default_value_t = IGNORE_INDEX,
        allow_negative_numbers = true
    )]
    pub ignore_index: i64,
    /// Features of test samples, [T, m]; or one file with tensors named features and labels
    #[arg(long, value_name = "T.npy", requires = "features")]
    pub test_features: Option<PathBuf>,
    /// Their classes [T]
    #[arg(long, value_name = "t.npy", requires = "test_features")]
    pub test_labels: Option<PathBuf>,
}

/// A precision: beyond these there is a typing error.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or("expected a number above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=0.5).contains(share));
    share.ok_or("expected a share from 0 to 0.5".to_owned())
}
