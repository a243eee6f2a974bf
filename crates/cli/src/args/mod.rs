//! What can be typed.

mod hessian;
mod posterior;
mod task;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kappa_run::{Backend, Precision};

pub use hessian::{Epochs, HessianArguments, StatisticsArgument};
pub use posterior::{ClassifierArguments, InfluenceArguments, LaplaceArguments};
pub use task::TaskArgument;

/// What does batch normalisation do to the Hessian?
///
/// kappa trains networks with and without batch normalisation and
/// computes the exact Hessian of the loss with respect to the last layer's
/// weights, and its spectrum: lambda_1, lambda_10, the condition number kappa and
/// the pseudo-condition number kappa' = lambda_1 / lambda_10.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  kappa train configs/fc.toml configs/fc-bn.toml --hessian
  kappa hessian --epoch 10
  kappa hessian --checkpoint my-network.safetensors --data /usr/share/datasets/fashion-mnist
  kappa hessian --features G.npy --logits Z.npy
  kappa laplace outputs/fc-s0-20260314-150926 --bias --newton
  kappa influence outputs/fc-s0-20260314-150926 --bias --newton

KAPPA_LOG=info (or debug, trace) shows what the libraries log."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Train(TrainArguments),
    Hessian(Box<HessianArguments>),
    Laplace(Box<LaplaceArguments>),
    Influence(Box<InfluenceArguments>),
    Study(StudyArguments),
    Why(WhyArguments),
    Report(ReportArguments),
    Verify(VerifyArguments),
    /// List the backends of this build and the GPU adapters found: name, type, driver, limits.
    Devices,
    Data(DataArguments),
}

impl Command {
    /// Whether the system may be asked for its GPUs.
    #[cfg(all(feature = "wgpu", target_os = "linux"))]
    pub fn looks_for_a_gpu(&self) -> bool {
        let backend = match self {
            Self::Train(arguments) => arguments.common.backend,
            Self::Hessian(arguments) => arguments.common.backend,
            Self::Laplace(arguments) => arguments.classifier.common.backend,
            Self::Influence(arguments) => arguments.classifier.common.backend,
            Self::Study(arguments) => arguments.common.backend,
            Self::Why(arguments) => arguments.common.backend,
            Self::Verify(arguments) => arguments.backend,
            Self::Devices => BackendArgument::Auto,
            Self::Report(_) | Self::Data(_) => return false,
        };
        matches!(backend, BackendArgument::Auto | BackendArgument::Wgpu)
    }
}

/// Train networks, one after the other, and leave a run directory for each.
///
/// A run directory holds the resolved configuration, metrics.csv with losses and
/// accuracies, and a checkpoint (safetensors, PyTorch's layout) of every epoch,
/// epoch 0 being the network before training.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa train configs/fc.toml configs/fc-bn.toml
  kappa train configs/fc.toml --set training.epochs=3 --set training.adam.learning_rate=3e-4
  kappa train configs/smoke.toml --data /usr/share/datasets/fashion-mnist --backend flex
  kappa train --resume outputs/fc-s0-20260314-150926
  kappa train --resume outputs/fc-s0-20260314-150926 --set training.epochs=60

Ctrl-C finishes the step and stops with status 130; whole epochs are kept, and
--resume goes on after the last of them.")]
pub struct TrainArguments {
    /// The networks' configurations
    #[arg(required_unless_present = "resume", value_name = "CONFIG.toml")]
    pub configs: Vec<PathBuf>,
    /// Go on with runs that were stopped, from their last whole epoch, or beyond their end with
    /// --set training.epochs=N; may be repeated
    #[arg(long, value_name = "RUN", conflicts_with_all = ["configs", "out"])]
    pub resume: Vec<PathBuf>,
    /// Override one value of the configurations; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Train on the IDX files in this folder instead of what the configuration says
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder that run directories are made in
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub out: PathBuf,
    /// Then take the spectrum of each network's last epoch, as `kappa hessian` does
    #[arg(long)]
    pub hessian: bool,
    #[command(flatten)]
    pub common: CommonArguments,
}

/// Find out why a normalisation trains faster: arms, interventions, rates, explanations.
///
/// Arms are descended with the full batch from one start at one learning rate, at the best
/// one of each, and at the largest stable one; interventions change one thing in an arm and
/// nothing else; and each explanation is measured on the way as its paper measures it. What
/// was trained is kept: the same command goes on where it was stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa why configs/why.toml
  kappa why configs/why.toml --set seeds=5 --set name=why-5")]
pub struct WhyArguments {
    /// What is compared, changed and measured
    #[arg(value_name = "WHY.toml")]
    pub config: PathBuf,
    /// Override one value of the configuration; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Train on the IDX files in this folder instead of what the configuration says
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder that its directory is made in
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub out: PathBuf,
    #[command(flatten)]
    pub common: CommonArguments,
}

/// Run a whole study: a grid, paired seeds, a Hessian each epoch, verdicts, a report.
///
/// FC is trained along the grid of learning rates and L2 parameters; at the best
/// point FC and FC+BN are trained with paired seeds, and the exact Hessian is taken
/// at initialisation and after every epoch of every run. The same is done along the
/// sweeps, and the paper's claims are judged. A study that was stopped goes on where
/// it was: finished runs are not trained again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa study configs/paper.toml
  kappa study configs/tuned.toml --set seeds=3 --set name=tuned-3
  kappa study configs/paper.toml --plan
  kappa study configs/paper.toml --task 2/8    (docs/guide/clusters.md)")]
pub struct StudyArguments {
    /// The study's configuration
    #[arg(value_name = "STUDY.toml")]
    pub config: PathBuf,
    /// Override one value of the configuration; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Train on the IDX files in this folder instead of what the configuration says
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder that the study's directory is made in
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub out: PathBuf,
    /// The arithmetic of the sums over samples; f64 on a CPU and f32 on a GPU if not given
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Print the stages and their runs, and what of them is done; nothing is trained
    #[arg(long, conflicts_with = "task")]
    pub plan: bool,
    /// As JSON
    #[arg(long, requires = "plan")]
    pub json: bool,
    /// Do the I-th of N parts of a stage's runs, as a task of a batch system; what is left out of I/N is what
    /// Slurm, PBS or Kubernetes says
    #[arg(long, value_name = "I/N", num_args = 0..=1, default_missing_value = "")]
    pub task: Option<TaskArgument>,
    /// The stage that the task is of; the first that is not done, if not given
    #[arg(long, value_enum, requires = "task")]
    pub stage: Option<StageArgument>,
    #[command(flatten)]
    pub common: CommonArguments,
}

/// A stage of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageArgument {
    /// The reference along the grid
    Grid,
    /// All that depends on what the grid chooses
    Runs,
}

/// Write the report of a study, or of a `kappa why`: tables, figures, verdicts on one page.
///
/// It is written from what the runs left, without training: report.html (one file
/// that opens offline), report.md, and figures as SVG, PNG and CSV.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  kappa report outputs/paper")]
pub struct ReportArguments {
    /// The directory of the study, or of the `kappa why`
    #[arg(value_name = "DIR")]
    pub study: PathBuf,
}

/// Check what runs and studies have left: every file, and a spectrum from its checkpoint.
///
/// Every file's checksum and schema is checked, and whether they fit together. What follows from
/// the eigenvalues (kappa', ranks, ..) and from a study's runs (verdicts) is derived again. Then
/// the saved spectra of one epoch are computed again from its checkpoint and the images: on the
/// same machine they are the same to the last bit, on another one within rounding. Exit status 1
/// if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kappa verify outputs/fc-s0-20260314-150926
  kappa verify outputs/paper
  kappa verify outputs/paper/runs/fc-bn_lr3e-4_l2-1e-4_m100_s0 --epoch 10
  kappa verify outputs")]
pub struct VerifyArguments {
    /// The directory of a run, of a study, a report, a spectrum, or a folder of such
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The epoch whose spectra are computed again; the last that has any if not given
    #[arg(long, value_name = "N")]
    pub epoch: Option<usize>,
    /// Compute no spectrum again
    #[arg(long, conflicts_with = "epoch")]
    pub no_spectrum: bool,
    /// Take the images from the IDX files in this folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What computes: auto takes a real GPU if there is one, and else the CPU
    #[arg(long, value_enum, default_value = "auto")]
    pub backend: BackendArgument,
}

/// Show what is in a data set: counts, classes, checksums.
#[derive(Debug, Args)]
pub struct DataArguments {
    /// A folder of IDX files, gzipped or not; the embedded MNIST if not given
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct CommonArguments {
    /// What computes: auto takes a real GPU if there is one, and else the CPU
    #[arg(long, value_enum, default_value = "auto")]
    pub backend: BackendArgument,
    /// No progress bars and no epoch lines
    #[arg(long, short)]
    pub quiet: bool,
}

/// What computes, or whichever is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendArgument {
    /// wgpu if there is a real GPU, else flex
    Auto,
    /// A GPU, through Vulkan, Metal or DirectX 12
    Wgpu,
    /// The CPU
    Flex,
    /// The CPU, by burn's older backend; for portable testing
    Ndarray,
}

impl BackendArgument {
    /// The backend that was named, if one was.
    pub fn named(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Wgpu => Some(Backend::Wgpu),
            Self::Flex => Some(Backend::Flex),
            Self::Ndarray => Some(Backend::Ndarray),
        }
    }
}
