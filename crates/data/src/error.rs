//! What can be wrong with a data set, and what to do about it.

use std::io;

/// A data set could not be read or split.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder has no file for one of the four roles.
    #[error(
        "no file `{stem}` (or `{stem}.gz`) in {folder}: an IDX set is four files, \
         train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
    )]
    MissingFile {
        /// The file name that was looked for.
        stem: String,
        /// Where it was looked for.
        folder: String,
    },
    /// A file could not be read or unpacked.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system or the unpacker said.
        source: io::Error,
    },
    /// A file is larger than what may be taken of the memory.
    #[error("{file} needs {:.1} GB of memory, and {:.1} GB may be taken", *needed as f64 / 1e9, *allowed as f64 / 1e9)]
    NoMemory {
        /// The file.
        file: String,
        /// Bytes that reading it takes.
        needed: u64,
        /// Bytes that may be taken.
        allowed: u64,
    },
    /// A file is not the IDX file it should be.
    #[error("{file} is not usable: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The embedded MNIST is not MNIST: the binary was built from altered files.
    #[error(
        "{file} has SHA-256 {found}, and MNIST's is {expected}: restore crates/data/mnist and build again"
    )]
    WrongChecksum {
        /// The file.
        file: String,
        /// The checksum of what was read.
        found: String,
        /// The checksum of the original.
        expected: String,
    },
    /// MNIST was asked for from a build without it.
    #[error(
        "this build has no embedded MNIST (its feature `mnist` is off), and no folder of IDX files was named"
    )]
    NotEmbedded,
    /// The asked-for splits need more images than there are.
    #[error("the split asks for {asked} images ({what}), and the set has {available}")]
    SplitTooLarge {
        /// How many were asked for.
        asked: usize,
        /// Which split, or splits, they were for.
        what: &'static str,
        /// How many there are.
        available: usize,
    },
}
