//! What to type when something cannot be done. The libraries say what is wrong, and know no
//! options; which option is meant, and which command goes on, is said here.

use std::borrow::Cow;

use kappa_data::{DataError, LayerError};
use kappa_hessian::HessianError;
use kappa_probe::ProbeError;
use kappa_report::ReportError;
use kappa_run::RunError;
use kappa_study::StudyError;
use kappa_trainer::{CheckpointError, TrainError};

use crate::error::CliError;

const DEVICE: &str = "on a GPU, close what else uses it, or ask for less at once (a smaller training.batch_size or \
     network.hidden); --backend flex computes on the CPU, in the computer's memory. \
     A run that was stopped goes on with `kappa train --resume RUN`, a study by its own command";
const DIVERGED: &str =
    "the training may have diverged: try a smaller learning rate (--set training.adam.learning_rate=..)";
const STUDY_AGAIN: &str = "call `kappa study` with the study's configuration again: it goes on there";

/// What to type, where something helps.
pub fn on(error: &CliError) -> Option<Cow<'static, str>> {
    match error {
        CliError::Run(RunError::Config { unknown, .. })
        | CliError::Study(StudyError::Run(RunError::Config { unknown, .. }))
            if !unknown.is_empty() =>
        {
            let lines: Vec<String> = unknown.iter().map(|it| meant(&it.key, &it.known_as)).collect();
            Some(lines.join("\n  ").into())
        }
        error => always_the_same(error).map(Cow::from),
    }
}

/// What to type in place of an option that the command does not have, where it is a value of its
/// configurations: `--learning-rate` is `--set training.adam.learning_rate=..`.
pub fn on_option(option: &str, keys: &[String]) -> Option<String> {
    let name = option.trim_start_matches('-').replace('-', "_");
    let known: Vec<String> = keys
        .iter()
        .filter(|key| key.rsplit('.').next() == Some(&name))
        .map(|key| format!("--set {key}=.."))
        .collect();
    (!known.is_empty()).then(|| meant(option, &known))
}

fn meant(what: &str, known_as: &[String]) -> String {
    format!("for `{what}`, did you mean `{}`?", known_as.join("` or `"))
}

fn always_the_same(error: &CliError) -> Option<&'static str> {
    match error {
        CliError::Backend(_) => None,
        CliError::Data(error) => on_data(error),
        CliError::Layer(error) => on_layer(error),
        CliError::Run(error) => on_run(error),
        CliError::Train(error) => on_train(error),
        CliError::Checkpoint(error) => on_checkpoint(error),
        CliError::Probe(error) | CliError::Spectrum { source: error, .. } => on_probe(error),
        CliError::Study(error) => on_study(error),
        CliError::Report(error) => on_report(error),
        CliError::UnprovenPosterior { failed, .. } if failed.split(", ").any(|name| name == "optimum") => {
            Some("--newton goes to the optimum of the loss with the prior, where posterior and influence are")
        }
        CliError::NoClassifier => {
            Some("a run's directory, or --features G.npy --logits Z.npy --labels y.npy --weights W.npy")
        }
        CliError::NoTestSamples => Some("--test-features T.npy --test-labels t.npy"),
        CliError::NoPlace(_) => Some("`kappa hessian` writes elsewhere with --out DIR"),
        _ => None,
    }
}

fn on_data(error: &DataError) -> Option<&'static str> {
    match error {
        DataError::NotEmbedded => Some("name a folder with --data, or build with the feature `mnist`"),
        _ => None,
    }
}

fn on_layer(error: &LayerError) -> Option<&'static str> {
    match error {
        LayerError::NoScores { .. } => Some("--logits Z.npy, or --probabilities P.npy"),
        LayerError::NotAProbability { .. } => Some("logits are given with --logits"),
        LayerError::ProbabilitiesAsLogits { .. } => Some(
            "--probabilities FILE takes them for what they are (a tensor in a .safetensors file is named \
             `probabilities`); --logits-are-meant takes them for logits all the same",
        ),
        _ => None,
    }
}

fn on_run(error: &RunError) -> Option<&'static str> {
    match error {
        RunError::Set { .. } => Some("--set takes path=value: --set training.adam.learning_rate=1e-3, say"),
        RunError::Finished(_) => {
            Some("--set training.epochs=N, with more than it has, goes on beyond its end")
        }
        RunError::LoneSample(_) => Some("--set training.batch_size=N takes another size"),
        RunError::InUse(_) => Some("`kappa hessian` can write elsewhere, with --out"),
        RunError::OtherQuestion { .. } | RunError::UnknownQuestion { .. } => Some(
            "--out names another folder; or move that one, or remove it whole: nothing else refers to it",
        ),
        RunError::OtherStudy(_) => Some("--set name=.. names a study otherwise"),
        RunError::NotAStudy(_) => Some("`kappa study configs/paper.toml` makes one"),
        RunError::Unfinished(_) => Some(STUDY_AGAIN),
        RunError::NothingOfKappas(_) => Some("`kappa verify outputs` takes all that lies there"),
        RunError::NoRun(_) => Some("train one first, for example with `just train-cpu`"),
        _ => None,
    }
}

fn on_train(error: &TrainError) -> Option<&'static str> {
    match error {
        TrainError::Data(error) => on_data(error),
        TrainError::Run(error) => on_run(error),
        TrainError::Checkpoint(error) => on_checkpoint(error),
        TrainError::Diverged { .. } => {
            Some("try a smaller learning rate (--set training.adam.learning_rate=..)")
        }
        TrainError::Device(_) => Some(DEVICE),
        _ => None,
    }
}

fn on_checkpoint(error: &CheckpointError) -> Option<&'static str> {
    match error {
        CheckpointError::File(error) => on_run(error),
        CheckpointError::Device(_) => Some(DEVICE),
        CheckpointError::Names { .. } => Some(
            "--rename OLD=NEW says what each layer is: `--rename fc1=hidden --rename bn1=norm --rename fc2=output`, and \
             `hidden.0`, `norm.0`, `hidden.1`, .. of several hidden layers",
        ),
        _ => None,
    }
}

fn on_hessian(error: &HessianError) -> Option<&'static str> {
    match error {
        HessianError::NotFinite { .. } | HessianError::NotFiniteProduct => Some(DIVERGED),
        HessianError::BlockTooLarge { .. } => Some("compute in f64 on the CPU, with --backend flex"),
        HessianError::OutOfRange { from, .. } if *from > 1e-100 => Some("compute in --precision f64"),
        HessianError::OutOfRange { .. } => Some("scale the features by a power of two"),
        HessianError::NoMemory { .. } => Some("ask for fewer eigenvalues (--top) or steps (--steps)"),
        HessianError::Device(_) => Some(DEVICE),
        _ => None,
    }
}

fn on_probe(error: &ProbeError) -> Option<&'static str> {
    match error {
        ProbeError::Hessian(error) => on_hessian(error),
        ProbeError::Run(error) => on_run(error),
        ProbeError::Checkpoint(error) => on_checkpoint(error),
        ProbeError::Train(error) => on_train(error),
        ProbeError::Data(error) => on_data(error),
        ProbeError::Device(_) => Some(DEVICE),
        ProbeError::OtherData { .. } => {
            Some("to take its Hessian on these images all the same, name them with --data")
        }
        ProbeError::NoDoublePrecision => {
            Some("use --precision f32 without --forward, or the CPU (--backend flex)")
        }
        ProbeError::NotAffine => Some("use --bn-stats running or dataset"),
        ProbeError::NoRunningStatistics => Some("use --bn-stats dataset, or batch with --batch-size"),
        ProbeError::LoneSample(_) => Some("--batch-size names another size, --limit other samples"),
        ProbeError::NoValidationSplit => Some("--split takes train or test of a --checkpoint"),
        ProbeError::NoBatchSize => Some("name it: --batch-size 128, say"),
        ProbeError::NoOtherEpochs => Some("--overlap-with takes the epochs of a run"),
        ProbeError::Missing("labels") => Some("--labels y.npy"),
        ProbeError::Missing("weights") => Some("--weights W.npy"),
        ProbeError::Missing(_) => Some("--test-labels t.npy"),
        ProbeError::NoLogits(_) => Some("--logits Z.npy"),
        ProbeError::NoBestDelta => Some("--delta names one"),
        ProbeError::NoMemory { .. } => Some("--top 10 and --density need no H"),
        ProbeError::NoMemoryToKeep { .. } => Some("leave --save-matrix out"),
        ProbeError::NoMemoryForDirections { .. } => {
            Some("ask for fewer eigenvalues (--top) or steps (--steps)")
        }
        _ => None,
    }
}

fn on_study(error: &StudyError) -> Option<&'static str> {
    match error {
        StudyError::Run(RunError::LoneSample(_)) => {
            Some("--set recipe.training.batch_size=N takes another size")
        }
        StudyError::Run(error) => on_run(error),
        StudyError::Train(error) => on_train(error),
        StudyError::Checkpoint(error) => on_checkpoint(error),
        StudyError::Probe { source, .. } => on_probe(source),
        StudyError::OtherRun(_) => Some("move it elsewhere, and the study trains its own"),
        _ => None,
    }
}

fn on_report(error: &ReportError) -> Option<&'static str> {
    match error {
        ReportError::Run(error) => on_run(error),
        ReportError::NoSpectra(_) => Some(STUDY_AGAIN),
        _ => None,
    }
}
