//! What can be wrong with a configuration or a run directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use kappa_model::LoneSample;

use crate::{Difference, UnknownKey, shown};

/// A configuration or a run directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file could not be read.
    #[error("cannot read {}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file or a folder could not be written.
    #[error("cannot write {}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A configuration is not valid TOML, or a value is not what it should be.
    #[error("{origin} is not a configuration:\n{problem}")]
    Config {
        /// The file, and what was set on the command line.
        origin: String,
        /// The problem, with its line.
        problem: String,
        /// The keys in it that there are not, where one that there is may be meant.
        unknown: Vec<UnknownKey>,
    },
    /// Something else than what may still change is to be set of a run that has begun.
    #[error("{assignment} cannot be set of a run that has begun: {allowed} alone can")]
    Begun {
        /// The argument.
        assignment: String,
        /// The key that can be set.
        allowed: &'static str,
    },
    /// A run is to go on to an epoch that it is past.
    #[error("{run} has {done} epochs already: it cannot go on to {asked}")]
    NotLonger {
        /// The run directory.
        run: PathBuf,
        /// The last whole epoch.
        done: usize,
        /// The epochs that were asked for.
        asked: usize,
    },
    /// A file is larger than what is free.
    #[error("{} has {size:.1} GB: to read it takes {needed:.1} GB, and {free:.1} GB are free", shown(path))]
    NoMemory {
        /// The file.
        path: PathBuf,
        /// Gigabytes of it.
        size: f64,
        /// Gigabytes that reading it takes.
        needed: f64,
        /// Gigabytes that are free.
        free: f64,
    },
    /// A network with batch norm would be trained on mini-batches of a single sample.
    #[error(transparent)]
    LoneSample(#[from] LoneSample),
    /// An assignment is not `path=value`, or its path leads through a value.
    #[error("{assignment} cannot be set: {problem}")]
    Set {
        /// The argument.
        assignment: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is there and not what it should be.
    #[error("{} is not usable: {problem}", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not as it was written.
    #[error(
        "{} is not as kappa wrote it: its checksum is not that of its contents. \
         Bring it back from a copy, or remove it and compute it again",
        shown(.0)
    )]
    Altered(PathBuf),
    /// A file that should carry a checksum has none.
    #[error(
        "{} has no checksum: it was cut off, or something else than this kappa wrote it. \
         Bring it back from a copy, or remove it and compute it again",
        shown(.0)
    )]
    NoChecksum(PathBuf),
    /// A link where kappa writes files and folders of its own.
    #[error(
        "{} is a link, and kappa follows none inside a run or a study: put what it leads to in its place",
        shown(.0)
    )]
    Link(PathBuf),
    /// A folder, a pipe or a device where a file should be.
    #[error("{} is {kind}, and no file", shown(path))]
    NotAFile {
        /// What has the file's name.
        path: PathBuf,
        /// What it is: "a named pipe".
        kind: &'static str,
    },
    /// A file was written by another version.
    #[error("{} has schema version {found}, and this kappa reads version {expected}", shown(path))]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
    /// A folder holds an answer that another one would take the place of.
    #[error("{} answers another question ({}), and nothing was written there", shown(folder), list(.differences))]
    OtherQuestion {
        /// The folder.
        folder: PathBuf,
        /// What differs; at least one.
        differences: Vec<Difference>,
    },
    /// A folder holds an answer, and to what question cannot be read.
    #[error(
        "{} holds an answer to a question that cannot be read, and nothing was written there",
        shown(folder)
    )]
    UnknownQuestion {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with the answer's file.
        source: Box<RunError>,
    },
    /// Another process has the directory.
    #[error("{} is in use by another kappa: wait until it has ended, or stop it", shown(.0))]
    InUse(PathBuf),
    /// A run that is to go on has come to its end.
    #[error("{} is finished: there is nothing to go on with", shown(.0))]
    Finished(PathBuf),
    /// A study's directory belongs to another configuration.
    #[error("{} holds a study with another configuration: name yours otherwise, or move it", shown(.0))]
    OtherStudy(PathBuf),
    /// The folder is not a study's.
    #[error("{} is not a study's directory: it has no study.toml", shown(.0))]
    NotAStudy(PathBuf),
    /// A study has not come to its end.
    #[error("the study in {} is not finished", shown(.0))]
    Unfinished(PathBuf),
    /// There is no run where one was looked for.
    #[error("no run in {}", shown(.0))]
    NoRun(PathBuf),
    /// A folder holds nothing that kappa leaves.
    #[error("{} is no run, study, spectrum or report of kappa's, and holds none", shown(.0))]
    NothingOfKappas(PathBuf),
    /// The folder is not a run directory.
    #[error("{} is not a run directory: it has no run.json", shown(.0))]
    NotARun(PathBuf),
    /// The run has no checkpoint of that epoch.
    #[error("{} has no checkpoint of epoch {epoch}; it has {}", shown(run), describe(.existing))]
    NoSuchEpoch {
        /// The run directory.
        run: PathBuf,
        /// The epoch that was asked for.
        epoch: usize,
        /// The epochs that exist, ascending.
        existing: Vec<usize>,
    },
    /// The run has no state of the optimiser after that epoch.
    #[error("{} has no state of Adam after epoch {epoch}: {}", shown(run), why_no_state(*.epoch))]
    NoAdamState {
        /// The run directory.
        run: PathBuf,
        /// The epoch that was asked for.
        epoch: usize,
    },
}

impl RunError {
    pub(crate) fn config(origin: String, problem: String) -> Self {
        Self::Config { origin, problem, unknown: Vec::new() }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, problem: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), problem: problem.to_string() }
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn why_no_state(epoch: usize) -> &'static str {
    if epoch == 0 {
        "before the first step there is none; ask for a later epoch"
    } else {
        "earlier versions of kappa did not save it; train again to have it"
    }
}

/// "epochs 0 to 7, 9" for [0, 1, .., 7, 9].
fn describe(epochs: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &epoch in epochs {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == epoch => *end = epoch,
            _ => ranges.push((epoch, epoch)),
        }
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(start, end)| if start == end { start.to_string() } else { format!("{start} to {end}") })
        .collect();
    if ranges.is_empty() { "none".to_owned() } else { format!("epochs {}", ranges.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn epochs_are_told_as_ranges() {
        assert_eq!(describe(&[]), "none");
        assert_eq!(describe(&[3]), "epochs 3");
        assert_eq!(describe(&[0, 1, 2, 5, 7, 8]), "epochs 0 to 2, 5, 7 to 8");
    }
}
