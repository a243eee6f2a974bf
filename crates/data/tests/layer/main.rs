//! A last layer from files. The .npy files are written here byte by byte, so that
//! nothing is read by the code that wrote it.
#![allow(clippy::unwrap_used, missing_docs)]

mod brought;
mod mistakes;

use std::{fs, path::PathBuf};

use kappa_data::{Elements, LastLayer, LastLayerFiles, LayerError, Matrix, Rows, Scores};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// `np.save(f, np.array([[1, 2.5], [-3, 0.125], [4, 1e10]], dtype=np.float32))`, numpy 2.4.6.
const FROM_NUMPY: &[u8] =
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\
    \x20                                                         \n\
    \x00\x00\x80?\x00\x00 @\x00\x00@\xc0\x00\x00\x00>\x00\x00\x80@\xf9\x02\x15P";

/// A header of version 1 and `data`.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
}

fn f64s(shape: &str, numbers: &[f64]) -> Vec<u8> {
    npy("'<f8'", false, shape, &bytes(numbers, f64::to_le_bytes))
}

fn bytes<T: Copy, const W: usize>(numbers: &[T], of: impl Fn(T) -> [u8; W]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| of(number)).collect()
}

fn matrix(rows: usize, columns: usize, elements: &[f64]) -> Matrix {
    Matrix { rows, columns, elements: Elements::F64(elements.to_vec()) }
}

/// All rows.
fn all(rows: &Rows) -> Matrix {
    rows.read(0..rows.count()).unwrap()
}

fn logits(layer: &LastLayer) -> Matrix {
    assert!(matches!(layer.scores, Scores::Logits(_)));
    all(layer.scores.rows())
}

fn probabilities(layer: &LastLayer) -> Matrix {
    assert!(matches!(layer.scores, Scores::Probabilities(_)));
    all(layer.scores.rows())
}

/// A tensor's name, type, shape and bytes.
type Tensor<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

/// Features [2, 1] and logits [2, 2].
fn two_tensors() -> [Tensor<'static>; 2] {
    [
        ("features", Dtype::F64, &[2, 1], bytes(&[1.0, 2.0], f64::to_le_bytes)),
        ("logits", Dtype::F64, &[2, 2], bytes(&[0.0, 1.0, 2.0, 3.0], f64::to_le_bytes)),
    ]
}

/// A folder with files of two samples, three features and two classes.
struct Folder {
    folder: TempDir,
    files: LastLayerFiles,
}

impl Folder {
    fn new() -> Self {
        let mut this = Self { folder: tempfile::tempdir().unwrap(), files: LastLayerFiles::default() };
        this.files.features = this.write("G.npy", &f64s("(2, 3)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        this.files.logits = Some(this.write("Z.npy", &f64s("(2, 2)", &[0.5, -0.5, 1.5, 0.0])));
        this
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn features(self, bytes: &[u8]) -> Self {
        self.write("G.npy", bytes);
        self
    }

    fn logits(self, bytes: &[u8]) -> Self {
        self.write("Z.npy", bytes);
        self
    }

    fn probabilities(mut self, bytes: &[u8]) -> Self {
        self.files.logits = None;
        self.files.probabilities = Some(self.write("P.npy", bytes));
        self
    }

    fn weights(mut self, bytes: &[u8]) -> Self {
        self.files.weights = Some(self.write("W.npy", bytes));
        self
    }

    fn labels(mut self, bytes: &[u8]) -> Self {
        self.files.labels = Some(self.write("y.npy", bytes));
        self
    }

    /// One file of all `tensors`, in the place of the .npy files.
    fn bundle(mut self, tensors: &[Tensor<'_>]) -> Self {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        let features = self.write("layer.safetensors", &bytes);
        self.files = LastLayerFiles { features, ..LastLayerFiles::default() };
        self
    }

    fn read(&self) -> Result<LastLayer, LayerError> {
        LastLayer::from_files(&self.files, u64::MAX)
    }

    /// The error, which has to be there and to tell every part of `told`.
    fn complains(&self, told: &[&str]) -> LayerError {
        let error = self.read().unwrap_err();
        let message = error.to_string();
        for part in told {
            assert!(message.contains(part), "{message:?} does not tell {part:?}");
        }
        error
    }
}

#[test]
fn a_file_of_numpy_reads_as_what_was_saved() {
    let layer = Folder::new().features(FROM_NUMPY).logits(&f64s("(3, 2)", &[0.0; 6])).read().unwrap();
    assert_eq!((layer.features.count(), layer.features.columns()), (3, 2));
    assert_eq!(all(&layer.features).elements, Elements::F32(vec![1.0, 2.5, -3.0, 0.125, 4.0, 1e10]));
    // `sha256sum` of the file.
    assert_eq!(layer.files[0].sha256, "f19cb6d5949b92e24cb0e9505ace5bb8b11fc36fd1b55b034f4b24d510b856c7");
}

#[test]
fn all_arrays_of_a_layer_are_read_and_their_files_listed() {
    let layer = Folder::new()
        .weights(&f64s("(2, 3)", &[1.0, 0.0, 0.0, 0.0, 1.0, 0.5]))
        .labels(&npy("'<i8'", false, "(2,)", &bytes(&[1i64, 0], i64::to_le_bytes)))
        .read()
        .unwrap();
    assert_eq!(all(&layer.features), matrix(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(logits(&layer), matrix(2, 2, &[0.5, -0.5, 1.5, 0.0]));
    assert_eq!(layer.weights, Some(matrix(2, 3, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.5])));
    assert_eq!(layer.labels, Some(vec![1, 0]));
    let names: Vec<&str> = layer.files.iter().map(|file| &file.file[..]).collect();
    assert_eq!(names, ["G.npy", "Z.npy", "W.npy", "y.npy"]);
}

#[test]
fn either_precision_byte_order_and_memory_order_gives_the_same_matrix() {
    let by_rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let by_columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    for (numbers, fortran) in [(by_rows, false), (by_columns, true)] {
        let single = numbers.map(|n| n as f32);
        for (descr, data) in [
            ("'<f8'", bytes(&numbers, f64::to_le_bytes)),
            ("'>f8'", bytes(&numbers, f64::to_be_bytes)),
            ("'<f4'", bytes(&single, f32::to_le_bytes)),
            ("'>f4'", bytes(&single, f32::to_be_bytes)),
        ] {
            let read = Folder::new().features(&npy(descr, fortran, "(2, 3)", &data)).read().unwrap();
            let expected = if descr.contains('4') {
                Elements::F32(by_rows.map(|n| n as f32).to_vec())
            } else {
                Elements::F64(by_rows.to_vec())
            };
            assert_eq!(
                all(&read.features),
                Matrix { rows: 2, columns: 3, elements: expected },
                "{descr} {fortran}"
            );
        }
    }
}

#[test]
fn versions_two_and_three_are_read_too() {
    let one = f64s("(2, 3)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for version in [2, 3] {
        let length = u32::from(u16::from_le_bytes([one[8], one[9]])).to_le_bytes();
        let file = [b"\x93NUMPY", &[version, 0][..], &length, &one[10..]].concat();
        let layer = Folder::new().features(&file).read().unwrap();
        assert_eq!(all(&layer.features), matrix(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }
    let file = [b"\x93NUMPY\x04\x00", &one[8..]].concat();
    Folder::new().features(&file).complains(&["G.npy is not usable", "version 4"]);
}

#[test]
fn labels_of_every_integer_type_are_read() {
    for (descr, data) in [
        ("'|i1'", bytes(&[1i8, 0], i8::to_le_bytes)),
        ("'|u1'", bytes(&[1u8, 0], u8::to_le_bytes)),
        ("'<i2'", bytes(&[1i16, 0], i16::to_le_bytes)),
        ("'>i2'", bytes(&[1i16, 0], i16::to_be_bytes)),
        ("'<u2'", bytes(&[1u16, 0], u16::to_le_bytes)),
        ("'<i4'", bytes(&[1i32, 0], i32::to_le_bytes)),
        ("'>u4'", bytes(&[1u32, 0], u32::to_be_bytes)),
        ("'<i8'", bytes(&[1i64, 0], i64::to_le_bytes)),
        ("'>i8'", bytes(&[1i64, 0], i64::to_be_bytes)),
        ("'<u8'", bytes(&[1u64, 0], u64::to_le_bytes)),
    ] {
        let layer = Folder::new().labels(&npy(descr, false, "(2,)", &data)).read().unwrap();
        assert_eq!(layer.labels, Some(vec![1, 0]), "{descr}");
    }
}

#[test]
fn a_safetensors_file_holds_it_all() {
    let f32s = |numbers: &[f32]| bytes(numbers, f32::to_le_bytes);
    let layer = Folder::new()
        .bundle(&[
            ("features", Dtype::F32, &[2, 1], f32s(&[1.5, -2.0])),
            ("probabilities", Dtype::F64, &[2, 2], bytes(&[0.25, 0.75, 1.0, 0.0], f64::to_le_bytes)),
            ("weights", Dtype::F32, &[2, 1], f32s(&[0.5, 0.25])),
            ("labels", Dtype::I64, &[2], bytes(&[1i64, 0], i64::to_le_bytes)),
        ])
        .read()
        .unwrap();
    assert_eq!(all(&layer.features).elements, Elements::F32(vec![1.5, -2.0]));
    assert_eq!(probabilities(&layer), matrix(2, 2, &[0.25, 0.75, 1.0, 0.0]));
    assert_eq!(layer.weights.unwrap().elements, Elements::F32(vec![0.5, 0.25]));
    assert_eq!(layer.labels, Some(vec![1, 0]));
    assert_eq!(layer.files.len(), 1);
    assert_eq!(layer.files[0].file, "layer.safetensors");
}

#[test]
fn an_npy_file_goes_before_the_tensor_of_a_safetensors_file() {
    let folder = Folder::new().bundle(&two_tensors());
    assert_eq!(logits(&folder.read().unwrap()), matrix(2, 2, &[0.0, 1.0, 2.0, 3.0]));
    let layer = folder.probabilities(&f64s("(2, 2)", &[0.5, 0.5, 1.0, 0.0])).read().unwrap();
    assert_eq!(probabilities(&layer), matrix(2, 2, &[0.5, 0.5, 1.0, 0.0]));
    assert_eq!(layer.files.len(), 2);
}

#[test]
fn probabilities_are_made_to_sum_to_one() {
    let layer = Folder::new().probabilities(&f64s("(2, 2)", &[0.5, 0.5005, 1.0, 0.0])).read().unwrap();
    let sum = 0.5 + 0.5005;
    assert_eq!(probabilities(&layer), matrix(2, 2, &[0.5 / sum, 0.5005 / sum, 1.0, 0.0]));
}
