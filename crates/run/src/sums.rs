//! `SHA256SUMS`: the checksums of files that carry none, in the form that `sha256sum -c` reads.

use std::path::{Component, Path, PathBuf};

use crate::{
    RunError,
    checksum::digest,
    escaped,
    reading::{is_there, read},
    write::write_atomically,
};

pub(crate) const SUMS: &str = "SHA256SUMS";

/// Files of one folder as they are written, with their checksums.
#[derive(Debug, Default)]
pub struct Checksums {
    lines: String,
}

/// A file in a list, and whether it is as it was written.
pub(crate) struct Listed {
    pub path: PathBuf,
    pub result: Result<(), RunError>,
}

impl Checksums {
    /// Writes `bytes` as `folder/name`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write_file(&mut self, folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        write_atomically(&folder.join(name), bytes)?;
        self.lines.push_str(&format!("{}  {name}\n", digest(&[bytes])));
        Ok(())
    }

    /// Writes the list of all files so far into `folder`.
    ///
    /// # Errors
    ///
    /// [`RunError::Write`].
    pub fn write(self, folder: &Path) -> Result<(), RunError> {
        write_atomically(&folder.join(SUMS), self.lines.as_bytes())
    }

    /// Whether `folder` has a list.
    pub fn are_in(folder: &Path) -> bool {
        is_there(&folder.join(SUMS))
    }

    /// The files in the list of `folder`; nothing where there is no list.
    ///
    /// # Errors
    ///
    /// [`RunError::Read`] or [`RunError::Malformed`] of the list.
    pub(crate) fn check(folder: &Path) -> Result<Vec<Listed>, RunError> {
        let list = folder.join(SUMS);
        if !is_there(&list) {
            return Ok(Vec::new());
        }
        let text = String::from_utf8(read(&list)?).map_err(|error| RunError::malformed(&list, error))?;
        let checked = |line: &str| {
            let (expected, name) = line
                .split_once("  ")
                .filter(|(_, name)| {
                    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
                })
                .ok_or_else(|| {
                    RunError::malformed(
                        &list,
                        format!("`{}` is not a checksum and a file here", escaped(line, |_| false)),
                    )
                })?;
            let path = folder.join(name);
            let result = read(&path).and_then(|bytes| match digest(&[&bytes]) == expected {
                true => Ok(()),
                false => Err(RunError::Altered(path.clone())),
            });
            Ok(Listed { path, result })
        };
        text.lines().map(checked).collect()
    }
}
