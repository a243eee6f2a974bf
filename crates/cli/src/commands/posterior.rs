//! What `kappa laplace` and `kappa influence` have in common: the classifier that they are about, other samples, and
//! how both are told.

use std::{path::Path, sync::Arc};

use kappa_data::{LabelledImages, LastLayer, LastLayerFiles, OtherSamples};
use kappa_probe::{Classifier, LayerArrays, OtherSet, TrainedNetwork};
use kappa_run::{
    CheckRecord, Lock, OptimumRecord, Place, PosteriorAnswer, Request, RunDir, SpectrumSettings, Split,
    free_memory, limit_memory,
};
use kappa_world::Alone;

use super::{DataSets, hessian::table::verdict};
use crate::{
    args::ClassifierArguments,
    backend::{self, Chosen},
    error::CliError,
    output::{printable, say},
    progress::Measuring,
};

/// The part of what is free that arrays in memory may take.
const SHARE_OF_ARRAYS: u64 = 4;

/// A classifier, samples that it was not fitted to, and where answers about it go.
pub struct Subject {
    pub chosen: Chosen,
    pub classifier: Classifier,
    /// Those called "test" first, if there are any.
    pub sets: Vec<OtherSet>,
    pub place: Place,
    /// The images that the training samples are of, and the test samples, where they are known.
    pub images: Option<[LabelledImages; 2]>,
    _lock: Option<Lock>,
}

impl Subject {
    /// What `arguments` name; of a run also the test images of the folder `other`, and of files the features in it.
    pub fn of(
        arguments: &ClassifierArguments,
        other_features: Option<&Path>,
        other_data: Option<&Path>,
    ) -> Result<Self, CliError> {
        if let Some(memory) = arguments.memory {
            limit_memory(memory.as_u64());
        }
        let chosen = backend::choose(arguments.common.backend.named())?;
        let precision = arguments.precision.unwrap_or(chosen.precision);
        let request = Request { limit: arguments.limit, bias: arguments.bias, ..Request::new(precision) };
        if !arguments.common.quiet {
            let with = &chosen.machine.provenance;
            say(format_args!("Posterior in {precision} by {} on {}", with.backend, with.device));
        }
        match (&arguments.files.features, &arguments.run) {
            (Some(features), _) => Self::of_files(arguments, features, other_features, request, chosen),
            (None, Some(run)) => Self::of_run(arguments, run, other_data, request, chosen),
            (None, None) => Err(CliError::NoClassifier),
        }
    }

    fn of_files(
        arguments: &ClassifierArguments,
        features: &Path,
        other: Option<&Path>,
        request: Request,
        chosen: Chosen,
    ) -> Result<Self, CliError> {
        let files = &arguments.files;
        let read = LastLayerFiles {
            features: features.to_owned(),
            logits: files.logits.clone(),
            weights: files.weights.clone(),
            labels: files.labels.clone(),
            logits_are_meant: files.logits_are_meant,
            ignore_index: files.ignore_index,
            ..LastLayerFiles::default()
        };
        let arrays = LastLayer::from_files(&read, free_memory() / SHARE_OF_ARRAYS)?;
        let columns = arrays.features.columns();
        let sizes = [arrays.scores.rows().columns().max(2), columns];
        let others =
            [("test", files.test_features.as_deref(), files.test_labels.as_deref()), ("other", other, None)];
        let sets = others.into_iter().filter_map(|(name, features, labels)| Some((name, features?, labels)));
        let sets = sets.map(|(name, features, labels)| {
            let samples = OtherSamples::from_files(
                features,
                labels,
                sizes,
                files.ignore_index,
                free_memory() / SHARE_OF_ARRAYS,
            )?;
            Ok(OtherSet::new(name, samples, columns, request.bias))
        });
        let sets = sets.collect::<Result<_, CliError>>()?;
        let layer = LayerArrays {
            arrays: Arc::new(arrays),
            name: features.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            source: features.display().to_string(),
            l2: 0.0,
            machine: &chosen.machine,
            world: Arc::new(Alone),
        };
        let weights = layer.weights(request.bias)?;
        let layer = layer.layer(&request, &Measuring::new(arguments.common.quiet))?;
        let classifier = Classifier::new(layer, weights)?;
        let place = match &arguments.out {
            Some(out) => Place::Folder(out.clone()),
            None => Place::Files("outputs".into()),
        };
        Ok(Self { classifier, sets, place, images: None, chosen, _lock: None })
    }

    fn of_run(
        arguments: &ClassifierArguments,
        run: &Path,
        other: Option<&Path>,
        request: Request,
        chosen: Chosen,
    ) -> Result<Self, CliError> {
        let run = RunDir::open(run)?;
        let lock = if arguments.out.is_none() { Some(run.lock()?) } else { None };
        let place = match &arguments.out {
            Some(out) => Place::Folder(out.clone()),
            None => Place::Epochs { folder: run.hessians(), trained_on: run.manifest()?.data_files },
        };
        let of = OfRun {
            run: &run,
            epoch: arguments.epoch,
            data: arguments.data.as_deref(),
            other,
            quiet: arguments.common.quiet,
        };
        Ok(Self { _lock: lock, ..of.subject(request, place, chosen)? })
    }

    /// A run's network after `epoch` again, as `request` says; on the images of the folder `data` if one is named.
    pub fn again(
        run: &RunDir,
        epoch: usize,
        data: Option<&Path>,
        request: Request,
        chosen: Chosen,
    ) -> Result<Self, CliError> {
        let of = OfRun { run, epoch: Some(epoch), data, other: None, quiet: true };
        of.subject(request, Place::Folder(run.hessians()), chosen)
    }
}

/// A run's network.
struct OfRun<'a> {
    run: &'a RunDir,
    epoch: Option<usize>,
    /// Other images than it was trained on, if they are meant.
    data: Option<&'a Path>,
    /// Images of another kind.
    other: Option<&'a Path>,
    quiet: bool,
}

impl OfRun<'_> {
    fn subject(&self, request: Request, place: Place, chosen: Chosen) -> Result<Subject, CliError> {
        let watch = Measuring::new(self.quiet);
        let folder = self.run.manifest()?.config.data.folder;
        let mut sets = DataSets::default();
        let set = sets.get(self.data.or(folder.as_deref()))?;
        let machine = &chosen.machine;
        let mut network = TrainedNetwork::of_run(self.run, self.epoch, set, self.data.is_some(), machine)?;
        let layer = network.layer(&request, &watch)?;
        let weights = network.last_layer(request.bias)?;
        let of_test = Request { split: Split::Test, limit: None, ..request };
        let mut others = vec![OtherSet::of_layer("test", &network.layer(&of_test, &watch)?, true)?];
        let images = [network.images(Split::Train)?, network.images(Split::Test)?];
        if let Some(folder) = self.other {
            let set = sets.get(Some(folder))?;
            let mut network = TrainedNetwork::of_run(self.run, self.epoch, set, true, machine)?;
            // Their classes mean other things.
            others.push(OtherSet::of_layer("other", &network.layer(&of_test, &watch)?, false)?);
        }
        let classifier = Classifier::new(layer, weights)?;
        Ok(Subject { classifier, sets: others, place, images: Some(images), chosen, _lock: None })
    }
}

/// What a record is of, in a line.
pub fn heading(settings: &SpectrumSettings) -> String {
    let epoch = settings.epoch.map_or_else(String::new, |epoch| format!(" after epoch {epoch}"));
    let logits = match settings.classes {
        1 => "1 logit".to_owned(),
        classes => format!("{classes} classes"),
    };
    format!(
        "{}{epoch}: {} training samples, {logits} x {} features",
        printable(&settings.network),
        settings.samples,
        settings.features
    )
}

/// How far weights are from their optimum: what nobody must miss.
pub fn tell_optimum(optimum: &OptimumRecord, newton: bool) {
    let away = |deviations: f64| format!("{deviations:.3e} deviations of the posterior from the optimum");
    say(format_args!(
        "  weights given     {}, {:.4} nats short of it",
        away(optimum.given),
        optimum.short_of
    ));
    if newton {
        say(format_args!(
            "  after {:>2} steps    {}; W moved by {:.2} %",
            optimum.steps,
            away(optimum.reached),
            100.0 * optimum.moved
        ));
    }
    if !optimum.passed() {
        say(format_args!(
            "  NOT AT AN OPTIMUM: more than {} deviations away, so that what follows is about no posterior; \
             --newton goes to it",
            optimum.bound
        ));
    }
}

/// The evidence in a line, each check that failed in one more; an error that names them.
pub fn judged<T: PosteriorAnswer>(record: &T) -> Result<(), CliError> {
    let checks = record.checks();
    let count = checks.len();
    let failed: Vec<&CheckRecord> = checks.into_iter().filter(|check| !check.passed).collect();
    match failed.len() {
        0 => say(format_args!("  evidence          PASS, {count} checks")),
        wrong => say(format_args!("  evidence          FAIL, {wrong} of {count} checks")),
    }
    for check in &failed {
        say(format_args!("    {} {}  {}", check.name, verdict(check), check.quantity));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|check| check.name.as_str()).collect();
    Err(CliError::UnprovenPosterior { failed: names.join(", "), file: format!("{}.json", T::NAME) })
}
