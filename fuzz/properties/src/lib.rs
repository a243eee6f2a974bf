//! What every reader of kappa promises for any bytes: an error or a value, no panic, no more
//! memory than the file's size justifies, and a value that says the same when it is written
//! and read again.
//!
//! Each [`Reader`] takes one input, puts it where a user's file would lie, and reads it the
//! way the program does. `cargo fuzz` (one target a reader) and ordinary tests call the same
//! functions; only the fuzz targets look at the time.
#![deny(missing_docs)]
// What these functions are for is to panic: a property that does not hold, or a disk that fails.
#![allow(clippy::unwrap_used, clippy::panic)]

mod images;
mod layer;
mod results;
mod settings;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cpu_time::ThreadTime;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A reader of files, or of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// An IDX file of images or labels. The first byte chooses which.
    Idx,
    /// The same, gzipped.
    Gzip,
    /// An .npy file. The first byte chooses what it holds.
    Npy,
    /// An .npz file of a last layer.
    Npz,
    /// A .safetensors file: of a last layer, a network, or Adam's state. The first byte chooses.
    Safetensors,
    /// A configuration, of a run, of a study or of a `kappa why`. The first byte chooses.
    Toml,
    /// `--set`: assignments with a zero byte between them.
    Set,
    /// `metrics.csv`.
    Csv,
    /// `run.json`, `spectra.json`, `findings.json`, `whole.json`, `why.json`, a training of a `kappa why`, `laplace.json`
    /// or `influence.json`, without the `}` that ends it. The first byte chooses.
    Json,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idx,
        Self::Gzip,
        Self::Npy,
        Self::Npz,
        Self::Safetensors,
        Self::Toml,
        Self::Set,
        Self::Csv,
        Self::Json,
    ];

    /// The name of its fuzz target and of the folder of its corpus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idx => "idx",
            Self::Gzip => "gzip",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
            Self::Toml => "toml",
            Self::Set => "set",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// Bytes that a reader may take at its peak for each byte of `input`, and why.
    fn bytes_a_byte(self, input: &[u8]) -> usize {
        match self {
            // The file and its pixels.
            Self::Idx | Self::Gzip if input.get(1..3) != Some(&[0x1f, 0x8b]) => 2,
            // Whatever its name says; deflate makes at most 1032 bytes of one (zlib's technical notes).
            Self::Idx | Self::Gzip => 1 + 1032,
            // The file; labels of one byte as i128 and as usize, twice, as what is read in parts is held
            // against what is read whole; halves as f32, and those as words.
            Self::Npy => 1 + 2 * (16 + 8) + 4 * 4,
            // What deflate makes of a byte at the most, as above, as bytes and as the same.
            Self::Npz => 1032 * (1 + 2 * (16 + 8) + 4 * 4),
            // The file; halves as f32, in the file's layout and in burn's; names and shapes.
            Self::Safetensors => 64,
            // A tree of keys and values over the text, of a hundred bytes for each `a=1`.
            Self::Toml | Self::Set => 512,
            // A row of ten numbers from twenty bytes, and what is written again.
            Self::Csv => 64,
            // A map's node for each of a few bytes, and what is written again.
            Self::Json => 512,
        }
    }

    /// Reads `input` in `folder`, which is this reader's alone (see [`Self::prepare`]), and
    /// panics if a promise is broken.
    pub fn check(self, folder: &Path, input: &[u8]) {
        // Whatever the input, readers may fill buffers of a fixed size.
        const FIXED: usize = 1 << 19;
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        match self {
            Self::Idx => images::check(folder, "", input),
            Self::Gzip => images::check(folder, ".gz", input),
            Self::Npy => layer::check_npy(folder, input),
            Self::Npz => layer::check_npz(folder, input),
            Self::Safetensors => layer::check_safetensors(folder, input),
            Self::Toml => settings::check_toml(folder, input),
            Self::Set => settings::check_set(folder, input),
            Self::Csv => results::check_csv(folder, input),
            Self::Json => results::check_json(folder, input),
        }
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        let allowed = FIXED + self.bytes_a_byte(input) * input.len();
        assert!(peak <= allowed, "{peak} bytes for an input of {}, {allowed} allowed", input.len());
    }

    /// [`Self::check`], and panics if this thread computes for longer than `limit` each of five
    /// times: once may be the machine.
    pub fn check_within(self, limit: Duration, folder: &Path, input: &[u8]) {
        let in_time = (0..5).any(|_| {
            let start = ThreadTime::now();
            self.check(folder, input);
            start.elapsed() <= limit
        });
        assert!(in_time, "an input of {} bytes takes longer than {limit:?}", input.len());
    }

    /// Puts into the empty `folder` what stands beside the file in question.
    pub fn prepare(self, folder: &Path) {
        // What is taken here is not to be counted as a reader's.
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        match self {
            Self::Idx | Self::Gzip => images::prepare(folder),
            Self::Npy => layer::prepare(folder),
            Self::Npz | Self::Safetensors | Self::Toml => {}
            Self::Set => settings::prepare(folder),
            Self::Csv | Self::Json => results::prepare(folder),
        }
    }
}

/// Of all threads, which share one count of what is taken.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The first byte, as one of `choices`, and the others.
fn choose<'a, T: Copy>(choices: &[T], input: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (&first, rest) = input.split_first()?;
    Some((*choices.get(usize::from(first) % choices.len())?, rest))
}
