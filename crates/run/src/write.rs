//! Writing a file whole or not at all, and several together.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{RunError, checksum::seal};

/// How the names of files begin that are not whole yet.
pub(crate) const PARTIAL: &str = ".partial-";

/// Writes `bytes` beside `path`, syncs them, and renames them into place.
///
/// # Errors
///
/// [`RunError::Write`]; what stood at `path` still stands there then.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let written = || -> std::io::Result<()> {
        write_aside(path, bytes)?.persist(path)?;
        // The rename itself is durable once the folder is; Windows opens no folder to say so.
        #[cfg(unix)]
        fs::File::open(folder_of(path))?.sync_all()?;
        Ok(())
    };
    written().map_err(|source| RunError::write(path, source))
}

/// Files of one folder that are written and synced aside one after the other, and then renamed
/// into place together: what cannot be written costs none of those that are there.
pub(crate) struct Aside {
    folder: PathBuf,
    files: Vec<(NamedTempFile, PathBuf)>,
}

impl Aside {
    /// None yet; makes the folder.
    pub(crate) fn new(folder: &Path) -> Result<Self, RunError> {
        fs::create_dir_all(folder).map_err(|source| RunError::write(folder, source))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    /// Writes `body` with its checksum beside `path`, which is in the folder.
    pub(crate) fn add(&mut self, path: &Path, body: &[u8]) -> Result<(), RunError> {
        let written = write_aside(path, &seal(path, body)?);
        self.files.push((written.map_err(|source| RunError::write(path, source))?, path.to_owned()));
        Ok(())
    }

    /// Renames all of them into place, in the order that they were added in.
    pub(crate) fn put(self) -> Result<(), RunError> {
        for (file, path) in self.files {
            file.persist(&path).map_err(|error| RunError::write(&path, error.error))?;
        }
        #[cfg(unix)]
        fs::File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| RunError::write(&self.folder, source))?;
        Ok(())
    }
}

/// Writes `bytes` into a file beside `path`, and syncs them.
fn write_aside(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // The name tells whose place it is to take.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{PARTIAL}{name}-");
    builder.prefix(&prefix);
    // Readable by whom the user's umask lets read: results are shared, unlike temporary files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses links at `names` in `folder`, and in the folders among them: what is written there
/// would be written elsewhere. (A file is renamed into place and replaces a link itself.)
pub(crate) fn refuse_links(folder: &Path, names: &[&str]) -> Result<(), RunError> {
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    for name in names {
        let path = folder.join(name);
        if is_link(&path) {
            return Err(RunError::Link(path));
        }
        let Ok(entries) = fs::read_dir(&path) else { continue };
        if let Some(link) = entries.flatten().map(|entry| entry.path()).find(|path| is_link(path)) {
            return Err(RunError::Link(link));
        }
    }
    Ok(())
}

/// Removes what writes that were killed have left in `folder`, and in `inside` it with what is
/// right under that.
pub(crate) fn remove_partial_files(folder: &Path, inside: &[&str]) -> Result<(), RunError> {
    remove_from(folder)?;
    for folder in inside.iter().map(|name| folder.join(name)).filter(|folder| folder.is_dir()) {
        remove_from(&folder)?;
        for entry in fs::read_dir(&folder).map_err(|source| RunError::read(&folder, source))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_from(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove_from(folder: &Path) -> Result<(), RunError> {
    for entry in fs::read_dir(folder).map_err(|source| RunError::read(folder, source))? {
        let path = entry.map_err(|source| RunError::read(folder, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(PARTIAL)) {
            fs::remove_file(&path).map_err(|source| RunError::write(&path, source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_as_readable_as_one_that_is_written_directly() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, direct) = (folder.path().join("ours"), folder.path().join("direct"));
        write_atomically(&ours, b"x").unwrap();
        std::fs::write(&direct, b"x").unwrap();
        let permissions = |path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&ours), permissions(&direct));
    }

    #[test]
    fn a_write_that_fails_names_the_file_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file, whoever asks for it.
        let path = folder.path().join("file");
        std::fs::create_dir_all(path.join("kept")).unwrap();
        let message = write_atomically(&path, b"x").unwrap_err().to_string();
        assert!(message.contains("file"), "{message}");
        assert!(path.join("kept").is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_atomically(&folder.path().join("no/such/folder"), b"x").is_err());
    }
}
