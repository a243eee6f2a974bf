//! Sets of images: four IDX files, gzipped or not.

use std::{fs, path::Path};

use kappa_data::DataSet;

use crate::choose;

const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// A set of two images of 1 x 2 pixels a role.
pub fn prepare(folder: &Path) {
    for name in FILES {
        fs::write(folder.join(name), valid(name)).unwrap();
    }
}

fn valid(name: &str) -> &'static [u8] {
    if name.contains("images") {
        &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4]
    } else {
        &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]
    }
}

/// A set that is read has as many labels as images, all of one size, of known classes.
pub fn check(folder: &Path, end: &str, input: &[u8]) {
    let Some((name, bytes)) = choose(&FILES, input) else { return };
    let (plain, other) = (folder.join(name), folder.join(format!("{name}{end}")));
    if !end.is_empty() {
        fs::remove_file(&plain).unwrap();
    }
    fs::write(&other, bytes).unwrap();
    let set = DataSet::from_folder(folder, u64::MAX);
    fs::remove_file(&other).unwrap();
    fs::write(&plain, valid(name)).unwrap();
    match set {
        Ok(set) => {
            assert_eq!(set.train.size(), set.test.size());
            for images in [&set.train, &set.test] {
                assert_eq!(images.pixels().len(), images.labels().len() * images.inputs());
                assert!(images.labels().iter().all(|&label| usize::from(label) < set.classes));
            }
        }
        Err(error) => assert!(error.to_string().contains("ubyte"), "{error}"),
    }
}
