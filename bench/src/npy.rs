//! .npy files as the benchmark passes them from one side to the other: format version
//! 1.0, little endian, row by row.
//!
//! Only what is written here is read here: arrays from elsewhere are `kappa_data`'s
//! business.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// Where the header's length and the header begin.
const START: usize = MAGIC.len() + size_of::<u16>();
/// The format wants its numbers to begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// A file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}, which `kappa-bench inputs` writes")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no matrix of f64 as `kappa-bench inputs` writes it: let it be written again")]
    Malformed { path: PathBuf },
}

/// A matrix of f64, row by row.
#[derive(Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub elements: Vec<f64>,
}

/// What an array can be of.
pub trait Element: Copy {
    /// numpy's name of the type.
    const NAME: &'static str;
    /// Its bytes, the lowest first.
    type Bytes: IntoIterator<Item = u8>;
    fn bytes(self) -> Self::Bytes;
}

impl Element for f64 {
    const NAME: &'static str = "<f8";
    type Bytes = [u8; 8];
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Element for u8 {
    const NAME: &'static str = "|u1";
    type Bytes = [u8; 1];
    fn bytes(self) -> [u8; 1] {
        [self]
    }
}

/// Writes an array, whose elements are as many as its shape says.
pub fn write<T: Element>(path: &Path, shape: &[usize], elements: &[T]) -> Result<(), NpyError> {
    let mut bytes = header::<T>(shape);
    bytes.reserve_exact(size_of_val(elements));
    bytes.extend(elements.iter().flat_map(|element| element.bytes()));
    fs::write(path, bytes).map_err(|source| NpyError::Write { path: path.to_owned(), source })
}

/// Reads a matrix of f64.
pub fn read(path: &Path) -> Result<Matrix, NpyError> {
    let bytes = fs::read(path).map_err(|source| NpyError::Read { path: path.to_owned(), source })?;
    matrix(&bytes).ok_or_else(|| NpyError::Malformed { path: path.to_owned() })
}

fn matrix(bytes: &[u8]) -> Option<Matrix> {
    let length = u16::from_le_bytes(*bytes.get(MAGIC.len()..)?.first_chunk()?);
    let text = std::str::from_utf8(bytes.get(START..START + usize::from(length))?).ok()?;
    let shape = text.split_once("'shape': (")?.1.split_once(')')?.0;
    let (rows, columns) = shape.trim_end_matches(',').split_once(',')?;
    let [rows, columns] = [rows.parse().ok()?, columns.parse().ok()?];
    // Whatever else the header could say, it must be what is written for this shape.
    let numbers = bytes.strip_prefix(&header::<f64>(&[rows, columns])[..])?;
    let (words, rest) = numbers.as_chunks();
    let complete = rest.is_empty() && rows.checked_mul(columns) == Some(words.len());
    let elements = || words.iter().map(|&word| f64::from_le_bytes(word)).collect();
    complete.then(|| Matrix { rows, columns, elements: elements() })
}

fn header<T: Element>(shape: &[usize]) -> Vec<u8> {
    let lengths: String = shape.iter().map(|length| format!("{length},")).collect();
    let mut text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({lengths}), }}", T::NAME).into_bytes();
    let end = (START + text.len() + 1).next_multiple_of(ALIGNMENT) - START;
    text.resize(end - 1, b' ');
    text.push(b'\n');
    // A shape of a few numbers is far from 65,536 bytes.
    let length = (text.len() as u16).to_le_bytes();
    [MAGIC, &length, &text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let elements = vec![1.0, -0.0, f64::MIN_POSITIVE, 1e300, 1.0 / 3.0, f64::EPSILON];
        write(&path, &[3, 2], &elements).unwrap();
        assert_eq!(read(&path).unwrap(), Matrix { rows: 3, columns: 2, elements });
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = header::<u8>(&[7]);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        assert_eq!(bytes.len() % 64, 0);
        assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), bytes.len() - 10);
        let text = std::str::from_utf8(&bytes[10..]).unwrap();
        assert_eq!(text.trim_end(), "{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }");
        assert!(text.ends_with(" \n"));
    }

    #[test]
    fn anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            matches!(read(&path), Err(NpyError::Malformed { .. }))
        };
        write(&path, &[2, 2], &[1.0; 4]).unwrap();
        let whole = fs::read(&path).unwrap();
        assert!(!refused(&whole));
        for length in [0, 5, 9, 11, 40, whole.len() - 8, whole.len() - 1] {
            assert!(refused(&whole[..length]), "{length} bytes");
        }
        let by_columns = String::from_utf8_lossy(&whole[10..128]).replace("False", "True ");
        assert!(refused(&[&whole[..10], by_columns.as_bytes(), &whole[128..]].concat()));
        write(&path, &[4, 1], &[1u8; 4]).unwrap();
        assert!(refused(&fs::read(&path).unwrap()));
        assert!(matches!(read(&folder.path().join("none.npy")), Err(NpyError::Read { .. })));
    }
}
