//! What all fuzz targets do with an input.

use std::{env, fs, path::PathBuf, process, sync::OnceLock, time::Duration};

use kappa_properties::Reader;

/// A reader may take so long for an input of libFuzzer's size (4 KiB).
const LIMIT: Duration = Duration::from_millis(10);

/// Holds `reader` to its promises, in a folder of this process, in memory where there is one.
pub fn check(reader: Reader, input: &[u8]) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let shared = PathBuf::from("/dev/shm");
        let root = if shared.is_dir() { shared } else { env::temp_dir() };
        let folder = root.join(format!("kappa-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for the inputs");
        reader.prepare(&folder);
        folder
    });
    reader.check_within(LIMIT, folder, input);
}
