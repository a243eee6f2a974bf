//! `run.json`: what ran, on what, from when to when, and how it ended.

use std::{collections::BTreeMap, num::NonZeroUsize};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Backend, Config};

/// The version of the manifest's schema.
pub const MANIFEST_VERSION: u32 = 3;

/// What a run directory says of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub schema_version: u32,
    /// The configuration, every value resolved.
    pub config: Config,
    /// What the data set is called.
    pub data: String,
    /// Inputs d: pixels an image.
    pub inputs: usize,
    /// Classes K.
    pub classes: usize,
    /// The files that were read, with the SHA-256 of their unpacked bytes.
    pub data_files: Vec<FileChecksum>,
    /// Each time that a process trained it: the first, and each that went on after it had
    /// been stopped.
    pub sessions: Vec<Session>,
}

/// One process at work on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// What it computed with.
    #[serde(flatten)]
    pub with: Provenance,
    /// The number of epochs of the run from here on, where it was told another one than it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<NonZeroUsize>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; absent while it runs, and if it was killed.
    pub ended: Option<Timestamp>,
    /// How it ended, likewise.
    pub exit: Option<Exit>,
}

/// The program and the machine that computed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of kappa.
    pub kappa_version: String,
    /// The commit that it was built from, with "-dirty" if files were changed since; absent
    /// if it was built outside a repository.
    pub git_commit: Option<String>,
    /// The versions of the crates that compute.
    pub crates: BTreeMap<String, String>,
    /// The backend.
    pub backend: Backend,
    /// The adapter or processor.
    pub device: String,
    /// The adapter's driver, with its version; absent on a processor.
    pub driver: Option<String>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The last epoch is saved.
    Finished,
    /// Its user stopped it.
    Stopped,
    /// An error stopped it: what was said.
    Failed(String),
}

impl Manifest {
    /// Whether the last epoch is saved.
    pub fn is_finished(&self) -> bool {
        self.sessions.last().is_some_and(|session| session.exit == Some(Exit::Finished))
    }

    /// When the first session began.
    pub fn started(&self) -> Option<Timestamp> {
        self.sessions.first().map(|session| session.started)
    }

    /// Adds a session that begins now.
    pub fn begin(&mut self, with: Provenance) {
        self.sessions.push(Session {
            with,
            epochs: None,
            started: Timestamp::now(),
            ended: None,
            exit: None,
        });
    }

    /// Has the session that has just begun train up to so many epochs.
    pub fn prolong(&mut self, epochs: NonZeroUsize) {
        self.config.training.epochs = epochs;
        if let Some(session) = self.sessions.last_mut() {
            session.epochs = Some(epochs);
        }
    }

    /// Ends the last session now.
    pub fn end(&mut self, exit: Exit) {
        if let Some(session) = self.sessions.last_mut() {
            session.ended = Some(Timestamp::now());
            session.exit = Some(exit);
        }
    }
}

/// A data file and its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChecksum {
    /// The file's name.
    pub file: String,
    /// SHA-256 of its unpacked bytes, in hexadecimal.
    pub sha256: String,
}
