//! Bytes that are read in pieces: those of a file, which stay where they are, or of memory.

use std::{
    fmt, fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{error::LayerError, memory::Budget};
use crate::{FileDigest, idx::hexadecimal};

/// Bytes that are gone through at once.
const PIECE_BYTES: usize = 64 << 10;

/// A file, or a part of one. Its clones share the file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    name: Arc<str>,
    bytes: Bytes,
    start: u64,
    length: u64,
}

/// Bytes in memory, whoever owns them.
pub(super) type Held = Arc<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Clone)]
enum Bytes {
    Memory(Held),
    /// One reader at a time, since it has one position: that is the same on every system.
    File(Arc<Mutex<fs::File>>),
    /// One behind the other, each with where it begins.
    Parts(Arc<[(u64, Source)]>),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(formatter, "{} bytes", (**bytes).as_ref().len()),
            Self::File(file) => file.fmt(formatter),
            Self::Parts(parts) => write!(formatter, "{} parts", parts.len()),
        }
    }
}

impl Source {
    /// The file at `path`, of which nothing is read yet. What has no length, a pipe say, is read
    /// whole, into what `budget` has left.
    pub fn open(path: &Path, budget: &mut Budget) -> Result<Self, LayerError> {
        let name: Arc<str> = path.display().to_string().into();
        let unreadable = |source| LayerError::Unreadable { file: name.to_string(), source };
        let file = fs::File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_file() {
            let bytes = Bytes::File(Arc::new(Mutex::new(file)));
            return Ok(Self { name: name.clone(), bytes, start: 0, length: found.len() });
        }
        let mut bytes = Vec::new();
        file.take(budget.left().saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        budget.take(bytes.len() as u64, &name, "save it as a file, which can be read in parts")?;
        Ok(Self::of_memory(&name, Arc::new(bytes)))
    }

    /// `bytes`, which messages call `name`.
    pub fn of_memory(name: &str, bytes: Held) -> Self {
        let length = (*bytes).as_ref().len() as u64;
        Self { name: name.into(), bytes: Bytes::Memory(bytes), start: 0, length }
    }

    /// `parts`, one behind the other.
    pub fn of_parts(name: &str, parts: Vec<Self>) -> Self {
        let mut length = 0;
        let parts = parts.into_iter().map(|part| {
            let start = length;
            length += part.length;
            (start, part)
        });
        let bytes = Bytes::Parts(parts.collect());
        Self { name: name.into(), bytes, start: 0, length }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// `length` bytes from `start` on; nothing if there are not so many.
    pub fn part(&self, start: u64, length: u64) -> Option<Self> {
        let inside = start.checked_add(length).is_some_and(|end| end <= self.length);
        inside.then(|| Self { start: self.start + start, length, ..self.clone() })
    }

    /// What follows the first `start` bytes.
    pub fn after(&self, start: u64) -> Self {
        let start = start.min(self.length);
        Self { start: self.start + start, length: self.length - start, ..self.clone() }
    }

    /// Fills `buffer` with what is there from `start` on.
    pub fn read_into(&self, start: u64, buffer: &mut [u8]) -> Result<(), LayerError> {
        let unreadable = |source| LayerError::Unreadable { file: self.name.to_string(), source };
        let Some(part) = self.part(start, buffer.len() as u64) else {
            return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
        };
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let start = usize::try_from(part.start).ok();
                let bytes = (**bytes).as_ref();
                let there = start.and_then(|start| bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(there.ok_or_else(|| unreadable(io::ErrorKind::UnexpectedEof.into()))?);
                Ok(())
            }
            Bytes::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(part.start)).map_err(unreadable)?;
                file.read_exact(buffer).map_err(unreadable)
            }
            Bytes::Parts(parts) => {
                // The last that begins at or before it is the first that has any of it.
                let first = parts.partition_point(|(begin, _)| *begin <= part.start).saturating_sub(1);
                let (mut at, mut rest) = (part.start, buffer);
                for (begin, of) in parts.iter().skip(first) {
                    let inside = at - begin;
                    let here = usize::try_from(of.length.saturating_sub(inside)).unwrap_or(usize::MAX);
                    let (now, later) = rest.split_at_mut(here.min(rest.len()));
                    of.read_into(inside, now)?;
                    at += now.len() as u64;
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// `length` bytes from `start` on.
    pub fn read(&self, start: u64, length: usize) -> Result<Vec<u8>, LayerError> {
        let mut bytes = vec![0; length];
        self.read_into(start, &mut bytes)?;
        Ok(bytes)
    }

    /// The first bytes, `most` of them at the most.
    pub fn beginning(&self, most: usize) -> Result<Vec<u8>, LayerError> {
        self.read(0, usize::try_from(self.length).map_or(most, |length| length.min(most)))
    }

    /// Shows all bytes to `each`, in order.
    pub fn go_through(&self, mut each: impl FnMut(&[u8])) -> Result<(), LayerError> {
        let mut buffer = vec![0; usize::try_from(self.length).map_or(PIECE_BYTES, |n| n.min(PIECE_BYTES))];
        let mut start = 0;
        while start < self.length {
            let left = usize::try_from(self.length - start).unwrap_or(PIECE_BYTES);
            let length = left.min(buffer.len());
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.read_into(start, piece)?;
            each(piece);
            start += length as u64;
        }
        Ok(())
    }

    /// Its bytes as a stream.
    pub fn reader(&self) -> impl Read {
        Stream { source: self.clone(), at: 0 }
    }

    /// Its SHA-256, by the name that the file at `path` has in its folder.
    pub fn digest(&self, path: &Path) -> Result<FileDigest, LayerError> {
        let mut digest = Sha256::new();
        self.go_through(|bytes| digest.update(bytes))?;
        let file =
            path.file_name().map_or_else(|| self.name.to_string(), |f| f.to_string_lossy().into_owned());
        Ok(FileDigest { file, sha256: hexadecimal(&digest.finalize()) })
    }
}

/// How far a source has been read.
struct Stream {
    source: Source,
    at: u64,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.length - self.at).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let piece = buffer.get_mut(..length).unwrap_or_default();
        self.source.read_into(self.at, piece).map_err(io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}
