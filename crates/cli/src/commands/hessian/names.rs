//! What tells spectra apart whose networks are called the same.

use std::path::{Component, Path, PathBuf};

use kappa_run::{SpectrumRecord, SpectrumSettings, short_of};

/// What MNIST is called, which need not be said.
const MNIST: &str = "mnist";

/// The run of each, in as few of its path's last parts as tell them apart; none if all are of one.
pub fn runs(records: &[SpectrumRecord]) -> Option<Vec<String>> {
    let paths: Vec<PathBuf> = records.iter().map(run_of).collect();
    let differ = paths.iter().any(|path| Some(path) != paths.first());
    let longest = paths.iter().map(|path| path.components().count()).max().unwrap_or(0);
    differ.then(|| {
        let apart = |parts: usize| {
            let ends: Vec<String> = paths.iter().map(|path| last_parts(path, parts)).collect();
            let same = |a: usize, b: usize| (ends[a] == ends[b]) == (paths[a] == paths[b]);
            (0..ends.len()).all(|a| (0..a).all(|b| same(a, b))).then_some(ends)
        };
        let shortest = (1..=longest).find_map(apart);
        shortest.unwrap_or_else(|| paths.iter().map(|path| path.display().to_string()).collect())
    })
}

/// The images of each; none if all are MNIST's, or there are none.
pub fn data(records: &[SpectrumRecord]) -> Option<Vec<String>> {
    let named = |record: &SpectrumRecord| record.settings.data.clone().unwrap_or_else(|| "-".to_owned());
    let of = |record: &SpectrumRecord| (named(record), record.settings.data_files.clone());
    let worth_it = records.iter().any(|record| {
        let data = &record.settings.data;
        data.as_ref().is_some_and(|data| data != MNIST)
    });
    worth_it.then(|| {
        let label = |record: &SpectrumRecord| {
            let (name, files) = of(record);
            // Folders of one name with other files in them.
            let ambiguous = records.iter().map(of).any(|(other, theirs)| other == name && theirs != files);
            if ambiguous { format!("{name} {}", short_of(&files)) } else { name }
        };
        records.iter().map(label).collect()
    })
}

/// The logits of a last layer, of which one is a sigmoid's.
pub fn logits(classes: usize) -> String {
    if classes == 1 { "1 logit".to_owned() } else { format!("{classes} classes") }
}

/// K x m.
pub fn layer(classes: usize, features: usize) -> String {
    if classes == 1 { format!("1 logit x {features}") } else { format!("{classes} x {features}") }
}

/// Each in a few words, as different as they are: "FC of fc-s0 after epoch 3".
pub fn of_each(records: &[SpectrumRecord]) -> Vec<String> {
    let runs = runs(records);
    let first = records.first().and_then(|record| record.settings.epoch);
    let epochs_differ = records.iter().any(|record| record.settings.epoch != first);
    let names = records.iter().enumerate().map(|(index, record)| {
        let mut name = record.settings.network.clone();
        if let Some(run) = runs.as_ref().and_then(|runs| runs.get(index)) {
            name.push_str(&format!(" of {run}"));
        }
        if let Some(epoch) = record.settings.epoch.filter(|_| epochs_differ) {
            name.push_str(&format!(" after epoch {epoch}"));
        }
        name
    });
    names.collect()
}

/// "mnist (train)", where there are images.
pub fn images(settings: &SpectrumSettings) -> Option<String> {
    settings.data.as_ref().map(|data| format!("{data} ({})", settings.request.split))
}

/// The directory of the run, or the file where there is none.
fn run_of(record: &SpectrumRecord) -> PathBuf {
    let source = Path::new(&record.settings.source);
    let of_run = source.parent().and_then(Path::parent).filter(|_| record.settings.epoch.is_some());
    of_run.unwrap_or(source).to_owned()
}

fn last_parts(path: &Path, parts: usize) -> String {
    let all: Vec<Component<'_>> = path.components().collect();
    let last: PathBuf = all.iter().skip(all.len().saturating_sub(parts)).collect();
    last.display().to_string()
}
