//! What can be typed after `kappa hessian`.
// These comments are what `--help` prints: [N] is a shape there, and no link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::{num::NonZeroUsize, path::PathBuf};

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use kappa_data::IGNORE_INDEX;
use kappa_model::Place;
use kappa_run::{Interpretation, Parameters, Precision, Scaling, Split};

use super::CommonArguments;

/// Compute the Hessian of the last layer, or of any parameters, and its spectrum.
///
/// H is the Hessian of the mean loss over a split with respect to W2, without the
/// L2 penalty; it is exact, from the Jacobian of every sample's softmax. Without
/// further arguments the latest run of each network is taken, at its last epoch.
/// spectrum.json, spectrum.safetensors and gap.svg go into a folder of the run directory whose
/// name says what was asked; no answer to another question is overwritten. What one came for is
/// printed; --full prints all of it.
///
/// Every spectrum is checked, against its matrix and against the samples; a check
/// that fails makes the exit status 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa hessian --epoch 30
  kappa hessian outputs/fc-s0-20260314-150926 --epoch all
  kappa hessian outputs/fc-s0-20260314-150926 --split test --save-matrix
  kappa hessian outputs/fc-bn-s0-20260314-150926 --bn-stats all --folded
  kappa hessian outputs/fc-bn-s0-20260314-150926 --parameters all --bn-stats dataset --blocks
  kappa hessian outputs/fc-s0-20260314-150926 --directions --overlap-with 0,10,20 --subsets
  kappa hessian --checkpoint my-network.safetensors --limit 10000 --out spectra
  kappa hessian --features G.npy --logits Z.npy --labels y.npy --directions
  kappa hessian --features layer.safetensors --top 10 --density

kappa = lambda_1 / lambda_min is in --full because it was asked for first: softmax
ignores a shift of all logits, so at least as many eigenvalues as there are
features are exactly zero, and lambda_min is a rounding error.")]
pub struct HessianArguments {
    /// Run directories; without any, the latest run of each network in --runs
    #[arg(value_name = "RUN", conflicts_with = "checkpoint")]
    pub runs: Vec<PathBuf>,
    /// The folder in which the latest runs are looked for
    #[arg(long = "runs", value_name = "DIR", default_value = "outputs")]
    pub root: PathBuf,
    /// The epochs whose checkpoints are taken, or all; the last one if not given. Of several a row
    /// each is printed, and spectra.csv and spectra.svg stand beside their folders
    #[arg(long, value_name = "N,N,..|all", value_parser = epochs, conflicts_with = "checkpoint")]
    pub epoch: Option<Epochs>,
    /// Any network in PyTorch's layout instead of a run (see docs/guide/train.md)
    #[arg(long, value_name = "FILE.safetensors")]
    pub checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub interpretation: InterpretationArguments,
    /// With respect to which parameters: `output.weight`, whose whole spectrum is computed; `all`; or some
    /// by their names, `hidden.weight,norm.weight` say. Of others than `output.weight` both ends of the
    /// spectrum are computed, by exact products with H
    #[arg(
        long,
        value_name = "NAMES|all",
        default_value = "output.weight",
        conflicts_with_all = ["bias", "folded", "save_matrix", "directions", "overlap_with", "subsets", "forward"]
    )]
    pub parameters: Parameters,
    /// Take the images from the IDX files in this folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The split whose mean loss is differentiated. With --checkpoint, train and
    /// test are all images of the training and test files, and there is no validation
    #[arg(long, value_enum, default_value = "train")]
    pub split: Split,
    /// Take the first N samples only
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// How a --checkpoint's images are scaled; a run says so itself
    #[arg(long, value_enum, default_value = "unit", requires = "checkpoint")]
    pub scaling: Scaling,
    /// The arithmetic of the sums over samples; f64 on a CPU and f32 on a GPU if not given
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// The arithmetic of a network's layers: f32, in which it was trained, or f64, on a CPU: some
    /// 12 digits of its spectrum are then known instead of 4 to 6, for some more time
    #[arg(long, value_enum, default_value = "f32", conflicts_with = "features")]
    pub forward: Precision,
    /// Count the bias b2 among the parameters
    #[arg(long)]
    pub bias: bool,
    /// By which statistics batch norm normalises: its running ones, as at inference;
    /// those of mini-batches, as in training; those of the whole split; or all three
    #[arg(long, value_enum, default_value = "running")]
    pub bn_stats: StatisticsArgument,
    /// The mini-batches of --bn-stats batch; a run's own if not given
    #[arg(long, value_name = "N")]
    pub batch_size: Option<NonZeroUsize>,
    /// Also take the same function with batch norm folded into the next layer:
    /// what differs is a matter of units
    #[arg(long)]
    pub folded: bool,
    /// Skip the checks; the result says that they were skipped
    #[arg(long)]
    pub no_verify: bool,
    /// Take so much memory at the most, 500MB or 4GiB say; what is free, if not given. Features and
    /// logits that do not fit are read from their files in parts, each time they are gone through
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Write the results here; an answer to another question that is there is not overwritten
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also save the matrix, the features and the probabilities
    #[arg(long)]
    pub save_matrix: bool,
    /// Print every number; spectrum.json has them in any case
    #[arg(long)]
    pub full: bool,
    #[command(flatten)]
    pub common: CommonArguments,
    // Last, since a heading holds for all that follows.
    #[command(flatten)]
    pub layer: LayerArguments,
    #[command(flatten)]
    pub further: FurtherArguments,
}

/// What a --checkpoint does not say itself.
#[derive(Debug, Clone, Args)]
pub struct InterpretationArguments {
    /// Where a --checkpoint's batch norm stands, before or after the ReLU; after, if neither its
    /// metadata (norm.place) nor the numbers of its layers say
    #[arg(long, value_enum, requires = "checkpoint")]
    pub bn_place: Option<PlaceArgument>,
    /// What a --checkpoint's batch norm adds to the variance; 1e-5 as in PyTorch, if its metadata
    /// (norm.eps) does not say; Keras has 1e-3
    #[arg(long, value_name = "EPSILON", requires = "checkpoint", value_parser = epsilon)]
    pub bn_epsilon: Option<f64>,
    /// Call a --checkpoint's tensor OLD, or all whose names begin with OLD., as kappa calls them:
    /// hidden, norm, output (hidden.0, norm.0, .. of several layers); may be repeated
    #[arg(long, value_name = "OLD=NEW", requires = "checkpoint", value_parser = renaming)]
    pub rename: Vec<String>,
}

impl InterpretationArguments {
    pub fn interpretation(&self) -> Interpretation {
        let place = self.bn_place.map(|place| match place {
            PlaceArgument::After => Place::After,
            PlaceArgument::Before => Place::Before,
        });
        Interpretation { place, epsilon: self.bn_epsilon, rename: self.rename.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlaceArgument {
    After,
    Before,
}

/// As a configuration's `network.normalisation.epsilon`.
fn epsilon(text: &str) -> Result<f64, String> {
    let epsilon = text.parse().ok().filter(|&epsilon: &f64| epsilon > 0.0 && epsilon <= 1e3);
    epsilon.ok_or("expected a number above 0, 1000 at most".to_owned())
}

fn renaming(text: &str) -> Result<String, String> {
    let both = text.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
    both.map(|_| text.to_owned()).ok_or("expected OLD=NEW, fc1=hidden say".to_owned())
}

/// Which epochs of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Epochs {
    All,
    /// Ascending, each once; at least one.
    These(Vec<usize>),
}

fn epochs(text: &str) -> Result<Epochs, String> {
    if text == "all" {
        return Ok(Epochs::All);
    }
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let mut numbers = numbers.map_err(|_| "expected epochs, 0,5,10 say, or all".to_owned())?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(Epochs::These(numbers))
}

/// The last layer of any network, from any framework.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Any network's last layer")]
pub struct LayerArguments {
    /// Its features G [N, m], f32 or f64; or one file with tensors named features,
    /// logits or probabilities, weights, labels. In parts: 'part-*.npy', in the order of their numbers;
    /// likewise logits, probabilities and labels
    #[arg(
        long,
        value_name = "G.npy|FILE.safetensors|FILE.npz",
        conflicts_with_all = ["runs", "checkpoint", "epoch", "parameters", "data", "bn_stats", "batch_size", "folded", "overlap_with", "split", "scaling"]
    )]
    pub features: Option<PathBuf>,
    /// Its logits Z [N, K]; of one logit a sample, [N] or [N, 1], a sigmoid is meant
    #[arg(long, value_name = "Z.npy", requires = "features")]
    pub logits: Option<PathBuf>,
    /// Its probabilities P [N, K] instead of logits
    #[arg(long, value_name = "P.npy", requires = "features", conflicts_with = "logits")]
    pub probabilities: Option<PathBuf>,
    /// Take logits for logits though every row of them lies in 0 .. 1 and sums to 1
    #[arg(long, requires = "features", conflicts_with = "probabilities")]
    pub logits_are_meant: bool,
    /// Its weights W [K, m]
    #[arg(long, value_name = "W.npy", requires = "features")]
    pub weights: Option<PathBuf>,
    /// The samples' classes [N], 0 being the first: for the loss and the gradient
    #[arg(long, value_name = "y.npy", requires = "features")]
    pub labels: Option<PathBuf>,
    /// Samples with this label are left out, as PyTorch's loss leaves them out
    #[arg(
        long,
        value_name = "LABEL",
        requires = "features",
        default_value_t = IGNORE_INDEX,
        allow_negative_numbers = true
    )]
    pub ignore_index: i64,
    /// The L2 penalty of its training, which adds 2 l2 to every eigenvalue
    #[arg(
        long,
        value_name = "L2",
        requires = "features",
        default_value_t = 0.0,
        value_parser = penalty,
        allow_negative_numbers = true
    )]
    pub l2: f64,
}

/// What more than the spectrum can be asked for.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "More than the spectrum")]
pub struct FurtherArguments {
    /// The space of the ten leading eigenvectors: the gradient's and the last update's
    /// share in it, the Kronecker factorisation's distance, what Adam sees
    #[arg(long)]
    pub directions: bool,
    /// Also its overlap with that after these epochs of the run
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',')]
    pub overlap_with: Vec<usize>,
    /// How many samples it takes: the spectra of random subsets that double in size, so
    /// many of each size
    #[arg(
        long,
        value_name = "REPEATS",
        num_args = 0..=1,
        default_missing_value = "5",
        value_parser = up_to::<10_000>
    )]
    pub subsets: Option<NonZeroUsize>,
    /// Take each tensor of --parameters alone too, and say how much of H lies between them
    #[arg(long, requires = "parameters")]
    pub blocks: bool,
    /// The K largest eigenvalues without ever forming H; with --parameters 10 if not given
    #[arg(long, value_name = "K", conflicts_with_all = ["save_matrix", "directions", "overlap_with", "subsets"])]
    pub top: Option<NonZeroUsize>,
    /// The density of all eigenvalues without ever forming H
    #[arg(long, conflicts_with_all = ["save_matrix", "directions", "overlap_with", "subsets"])]
    pub density: bool,
    /// Random vectors for --density
    #[arg(long, value_name = "N", default_value = "8", requires = "density", value_parser = up_to::<100_000>)]
    pub probes: NonZeroUsize,
    /// Lanczos steps of each
    #[arg(long, value_name = "N", default_value = "48", requires = "density")]
    pub steps: NonZeroUsize,
    /// The seed of --subsets and --density, and of the trace with --parameters
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// As a configuration's `training.l2`: beyond that there is a typing error, and no penalty.
fn penalty(text: &str) -> Result<f64, String> {
    let l2 = text.parse().ok().filter(|l2: &f64| (0.0..=1e3).contains(l2));
    l2.ok_or("expected a number from 0 to 1000".to_owned())
}

/// A count whose results are all kept, so that far too many are a typing error.
fn up_to<const MOST: usize>(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MOST);
    count.ok_or(format!("expected a whole number from 1 to {MOST}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatisticsArgument {
    Running,
    Batch,
    Dataset,
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_numbers_in_any_order_or_all() {
        assert_eq!(epochs("all"), Ok(Epochs::All));
        assert_eq!(epochs("10,0, 5,0"), Ok(Epochs::These(vec![0, 5, 10])));
        for wrong in ["", "1,", "-1", "last", "1;2", "0..5"] {
            assert!(epochs(wrong).is_err_and(|message| message.contains("0,5,10")), "{wrong}");
        }
    }
}
