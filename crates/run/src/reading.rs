//! The one place that opens files for reading.
//!
//! What kappa has written are ordinary files. Whatever else has the name of one (a link, a pipe
//! that nobody writes into, a device that never ends) is refused by its name before it is opened.

use std::{
    fs::{self, File, FileType},
    io::Read,
    path::Path,
};

use crate::RunError;

/// Bytes of a configuration, at the most: shipped ones have one or two thousand.
const LONGEST_CONFIGURATION: u64 = 1 << 20;

/// Whether anything has that name, whatever it is.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Reads a file of a run or a study.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    refuse_other_kinds(path)?;
    read_all(path)
}

/// Reads a file that somebody has named: a link to one will do.
pub(crate) fn read_named(path: &Path) -> Result<Vec<u8>, RunError> {
    refuse(path, fs::metadata(path).map_err(|source| RunError::read(path, source))?.file_type())?;
    read_all(path)
}

/// Reads a configuration that somebody has named, which may come out of a pipe.
pub(crate) fn read_configuration(path: &Path) -> Result<String, RunError> {
    let wrong = |source| RunError::read(path, source);
    let mut text = String::new();
    let read = File::open(path).map_err(wrong)?.take(LONGEST_CONFIGURATION + 1).read_to_string(&mut text);
    match read.map_err(wrong)? as u64 {
        ..=LONGEST_CONFIGURATION => Ok(text),
        _ => Err(RunError::malformed(path, "no configuration is that long")),
    }
}

/// Refuses what is no ordinary file.
pub(crate) fn refuse_other_kinds(path: &Path) -> Result<(), RunError> {
    refuse(path, fs::symlink_metadata(path).map_err(|source| RunError::read(path, source))?.file_type())
}

fn refuse(path: &Path, kind: FileType) -> Result<(), RunError> {
    match kind {
        _ if kind.is_file() => Ok(()),
        _ if kind.is_symlink() => Err(RunError::Link(path.to_owned())),
        _ => Err(RunError::NotAFile { path: path.to_owned(), kind: name_of(kind) }),
    }
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        match kind {
            _ if kind.is_fifo() => "a named pipe",
            _ if kind.is_socket() => "a socket",
            _ => "a device",
        }
    }
    #[cfg(not(unix))]
    "nothing that holds a file's contents"
}

fn read_all(path: &Path) -> Result<Vec<u8>, RunError> {
    fs::read(path).map_err(|source| RunError::read(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_place_of_a_file_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for error in [read(folder.path()).unwrap_err(), read_named(folder.path()).unwrap_err()] {
            let message = error.to_string();
            assert!(message.contains("is a folder"), "{message}");
            assert!(message.contains(&*folder.path().to_string_lossy()), "{message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_and_devices_are_refused_before_they_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (pipe, link, file) = (path("pipe"), path("link"), path("file"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        fs::write(&file, "x").unwrap();
        // Opened, the one would never return, and the other never end.
        assert!(read(&pipe).unwrap_err().to_string().contains("is a named pipe"));
        assert!(read_named(&pipe).unwrap_err().to_string().contains("is a named pipe"));
        assert!(matches!(read(&link), Err(RunError::Link(found)) if found == link));
        assert!(read_named(&link).unwrap_err().to_string().contains("is a device"));
        assert!(read_configuration(&link).unwrap_err().to_string().contains("link"));
        // What somebody names may be a link to a file; what a run holds may not.
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_named(&link).unwrap(), b"x");
        assert!(matches!(read(&link), Err(RunError::Link(_))));
        assert_eq!(read(&file).unwrap(), b"x");
    }
}
