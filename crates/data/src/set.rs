//! A data set: training and test images from four IDX files.

use std::path::Path;

use crate::{DataError, LabelledImages, idx};

/// Training and test images of one size, with the same classes.
#[derive(Debug, Clone)]
pub struct DataSet {
    /// What the set is called in messages and run directories: `mnist` if its files are those of
    /// MNIST, wherever they lie, and else its folder's name.
    pub name: String,
    /// The training images.
    pub train: LabelledImages,
    /// The test images.
    pub test: LabelledImages,
    /// The number of classes K: one more than the largest training label.
    pub classes: usize,
    /// The files that were read, with their checksums.
    pub files: Vec<FileDigest>,
}

/// A file and the checksum of its unpacked bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// The file's name, without its folder.
    pub file: String,
    /// SHA-256 of the unpacked bytes, in hexadecimal.
    pub sha256: String,
}

/// A file of a set, as it lies on the disk or in the binary.
struct RawFile<'a> {
    name: String,
    bytes: std::borrow::Cow<'a, [u8]>,
}

const IMAGE_STEMS: [&str; 2] = ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"];
const LABEL_STEMS: [&str; 2] = ["train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"];

impl DataSet {
    /// MNIST as embedded in the binary.
    ///
    /// # Errors
    ///
    /// [`DataError::WrongChecksum`] if the binary was built from altered files.
    #[cfg(feature = "mnist")]
    pub fn mnist() -> Result<Self, DataError> {
        let file = |name: &str, bytes: &'static [u8]| RawFile { name: name.to_owned(), bytes: bytes.into() };
        let set = Self::from_files(
            MNIST,
            [
                (
                    file(IMAGE_STEMS[0], include_bytes!("../mnist/train-images-idx3-ubyte.gz")),
                    file(LABEL_STEMS[0], include_bytes!("../mnist/train-labels-idx1-ubyte.gz")),
                ),
                (
                    file(IMAGE_STEMS[1], include_bytes!("../mnist/t10k-images-idx3-ubyte.gz")),
                    file(LABEL_STEMS[1], include_bytes!("../mnist/t10k-labels-idx1-ubyte.gz")),
                ),
            ],
        )?;
        for (digest, expected) in set.files.iter().zip(MNIST_SHA256) {
            if digest.sha256 != expected {
                return Err(DataError::WrongChecksum {
                    file: digest.file.clone(),
                    found: digest.sha256.clone(),
                    expected: expected.to_owned(),
                });
            }
        }
        Ok(set)
    }

    /// MNIST, which this build does not embed.
    ///
    /// # Errors
    ///
    /// [`DataError::NotEmbedded`], always.
    #[cfg(not(feature = "mnist"))]
    pub fn mnist() -> Result<Self, DataError> {
        Err(DataError::NotEmbedded)
    }

    /// The four IDX files in `folder`, gzipped or not, of any image size. A file that needs more than
    /// `memory_budget_bytes`, for its bytes and its pixels, is refused before it is read.
    ///
    /// # Errors
    ///
    /// [`DataError`] names the file and what is wrong with it.
    pub fn from_folder(folder: &Path, memory_budget_bytes: u64) -> Result<Self, DataError> {
        let file = |stem| find(folder, stem, memory_budget_bytes);
        let pair = |images, labels| -> Result<_, DataError> { Ok((file(images)?, file(labels)?)) };
        let name = folder
            .file_name()
            .map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        let mut set = Self::from_files(
            &name,
            [pair(IMAGE_STEMS[0], LABEL_STEMS[0])?, pair(IMAGE_STEMS[1], LABEL_STEMS[1])?],
        )?;
        // The name of a known set is for that set alone.
        let is_mnist = set.files.iter().map(|file| file.sha256.as_str()).eq(MNIST_SHA256);
        if is_mnist {
            set.name = MNIST.to_owned();
        } else if set.name == MNIST {
            set.name = format!("{MNIST} of {}", folder.display());
        }
        Ok(set)
    }

    /// Builds the set from (images, labels) for training and for test.
    fn from_files(name: &str, [train, test]: [(RawFile<'_>, RawFile<'_>); 2]) -> Result<Self, DataError> {
        let mut files = Vec::with_capacity(4);
        let train_labels = train.1.name.clone();
        let test_images = test.0.name.clone();
        let test_labels = test.1.name.clone();
        let train = read_pair(train, &mut files)?;
        let test = read_pair(test, &mut files)?;

        if train.size() != test.size() {
            return Err(DataError::Malformed {
                file: test_images,
                problem: format!(
                    "its images are {:?} pixels and the training images {:?}",
                    test.size(),
                    train.size()
                ),
            });
        }
        let classes = train.labels().iter().max().map_or(0, |&label| usize::from(label) + 1);
        if classes < 2 {
            return Err(DataError::Malformed {
                file: train_labels,
                problem: "all its labels are 0, and at least two classes are needed".to_owned(),
            });
        }
        let mut labels = test.labels().iter().enumerate();
        if let Some((index, label)) = labels.find(|&(_, &label)| usize::from(label) >= classes) {
            return Err(DataError::Malformed {
                file: test_labels,
                problem: format!(
                    "label {label} of image {index} does not occur in training, where labels run from 0 to {}",
                    classes - 1
                ),
            });
        }
        Ok(Self { name: name.to_owned(), train, test, classes, files })
    }
}

/// What MNIST itself is called.
const MNIST: &str = "mnist";

/// SHA-256 of MNIST's unpacked files: training images, training labels, test
/// images, test labels (`mnist/README.md`).
const MNIST_SHA256: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];

/// Finds `stem` or `stem.gz`, also spelt `train-images.idx3-ubyte`.
fn find(folder: &Path, stem: &str, memory_budget_bytes: u64) -> Result<RawFile<'static>, DataError> {
    let dotted = stem.replacen("-idx", ".idx", 1);
    for candidate in [stem.to_owned(), format!("{stem}.gz"), dotted.clone(), format!("{dotted}.gz")] {
        let path = folder.join(&candidate);
        if path.is_file() {
            let file = || path.display().to_string();
            let unreadable = |source| DataError::Unreadable { file: file(), source };
            // The file and its pixels; what a gzipped one unpacks to shows when it is unpacked.
            let needed = std::fs::metadata(&path).map_err(unreadable)?.len().saturating_mul(2);
            if needed > memory_budget_bytes {
                return Err(DataError::NoMemory { file: file(), needed, allowed: memory_budget_bytes });
            }
            let bytes = std::fs::read(&path).map_err(unreadable)?;
            return Ok(RawFile { name: candidate, bytes: bytes.into() });
        }
    }
    Err(DataError::MissingFile { stem: stem.to_owned(), folder: folder.display().to_string() })
}

fn read_pair(
    (images, labels): (RawFile<'_>, RawFile<'_>),
    files: &mut Vec<FileDigest>,
) -> Result<LabelledImages, DataError> {
    let pixels = idx::read::<3>(&images.name, &images.bytes)?;
    let classes = idx::read::<1>(&labels.name, &labels.bytes)?;
    for (file, sha256) in [(images.name, pixels.sha256), (labels.name.clone(), classes.sha256)] {
        files.push(FileDigest { file, sha256 });
    }
    let [_, rows, columns] = pixels.dimensions;
    LabelledImages::new(&labels.name, [rows, columns], pixels.data, classes.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataset::Dataset;

    /// Writes a set of 2x3 images whose pixels are their index.
    fn write_set(folder: &Path, train: &[u8], test: &[u8]) {
        for ([images, labels], classes) in
            [[IMAGE_STEMS[0], LABEL_STEMS[0]], [IMAGE_STEMS[1], LABEL_STEMS[1]]]
                .into_iter()
                .zip([train, test])
        {
            let count = classes.len() as u8;
            let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 3];
            bytes.extend((0..count).flat_map(|i| [i; 6]));
            std::fs::write(folder.join(images), bytes).unwrap();
            let mut bytes = vec![0, 0, 8, 1, 0, 0, 0, count];
            bytes.extend_from_slice(classes);
            std::fs::write(folder.join(labels), bytes).unwrap();
        }
    }

    #[cfg(feature = "mnist")]
    #[test]
    fn the_embedded_mnist_is_mnist() {
        let set = DataSet::mnist().unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.classes), (60_000, 10_000, 10));
        assert_eq!(set.train.size(), [28, 28]);
        // The class counts that the database is known by (LeCun et al. 1998).
        assert_eq!(set.train.class_counts(10), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
        assert_eq!(set.test.class_counts(10), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    }

    #[test]
    fn a_set_is_called_mnist_only_if_it_is_mnist() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (pretender, other) = (named("mnist"), named("fashion"));
        write_set(&pretender, &[0, 1], &[1]);
        write_set(&other, &[0, 1], &[1]);
        let name = DataSet::from_folder(&pretender, u64::MAX).unwrap().name;
        assert!(name != "mnist" && name.starts_with("mnist of ") && name.contains("mnist"), "{name}");
        assert_eq!(DataSet::from_folder(&other, u64::MAX).unwrap().name, "fashion");

        let real = named("images");
        for stem in IMAGE_STEMS.iter().chain(&LABEL_STEMS) {
            let file = format!("{stem}.gz");
            let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("mnist").join(&file);
            std::fs::copy(ours, real.join(&file)).unwrap();
        }
        assert_eq!(DataSet::from_folder(&real, u64::MAX).unwrap().name, "mnist");
    }

    #[test]
    fn reads_any_image_size_and_infers_the_classes() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 255, 4], &[4]);
        let set = DataSet::from_folder(folder.path(), u64::MAX).unwrap();
        assert_eq!((set.train.size(), set.classes), ([2, 3], 256));
        assert_eq!(set.train.pixels()[6..12], [1; 6]);
    }

    #[test]
    fn a_dotted_name_is_found_too() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 1], &[1]);
        std::fs::rename(
            folder.path().join("train-images-idx3-ubyte"),
            folder.path().join("train-images.idx3-ubyte"),
        )
        .unwrap();
        assert!(DataSet::from_folder(folder.path(), u64::MAX).is_ok());
    }

    #[test]
    fn a_file_that_is_larger_than_what_may_be_taken_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-images-idx3-ubyte");
        // Sparse: it takes no room.
        std::fs::File::create(path).unwrap().set_len(1 << 43).unwrap();
        let message = DataSet::from_folder(folder.path(), 1 << 30).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte needs 17592.2 GB"), "{message}");
        assert!(message.contains("1.1 GB"), "{message}");
    }

    #[test]
    fn a_missing_file_is_named_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 1], &[1]);
        std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let message = DataSet::from_folder(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(message.starts_with("no file `t10k-labels-idx1-ubyte`"), "{message}");
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
    }

    #[test]
    fn a_test_label_out_of_range_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 1], &[1, 2]);
        let message = DataSet::from_folder(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(message.contains("label 2 of image 1"), "{message}");
    }

    #[test]
    fn one_class_is_no_classification() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 0], &[0]);
        assert!(DataSet::from_folder(folder.path(), u64::MAX).is_err());
    }

    #[test]
    fn as_many_labels_as_images() {
        let folder = tempfile::tempdir().unwrap();
        write_set(folder.path(), &[0, 1], &[1]);
        std::fs::write(folder.path().join("train-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 1])
            .unwrap();
        let message = DataSet::from_folder(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(message.contains("3 labels for 2 images"), "{message}");
    }
}
