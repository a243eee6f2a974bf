//! safetensors files as kappa writes them: the same contents give the same bytes.

use std::{collections::BTreeMap, path::Path};

use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};

use crate::{RunError, checksum::read_sealed, write_sealed};

/// A tensor to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedTensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its elements, little endian, row by row.
    pub bytes: Vec<u8>,
}

impl SavedTensor {
    /// Of f64.
    pub fn of_doubles(name: &str, shape: Vec<usize>, values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.to_owned(), shape, dtype: Dtype::F64, bytes }
    }

    /// Of f32.
    pub fn of_singles(name: &str, shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.to_owned(), shape, dtype: Dtype::F32, bytes }
    }

    /// Of i64, from numbers that count something.
    pub fn of_integers(name: &str, shape: Vec<usize>, values: &[usize]) -> Self {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        Self { name: name.to_owned(), shape, dtype: Dtype::I64, bytes }
    }

    /// Its elements, if they are of f64.
    pub fn doubles(&self) -> Option<Vec<f64>> {
        let numbers = || self.bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        (self.dtype == Dtype::F64).then(numbers)
    }

    /// Its elements, if they are of i64 and none is negative.
    pub fn integers(&self) -> Option<Vec<usize>> {
        let numbers =
            self.bytes.as_chunks().0.iter().map(|&bytes| usize::try_from(i64::from_le_bytes(bytes)));
        numbers.collect::<Result<_, _>>().ok().filter(|_| self.dtype == Dtype::I64)
    }

    /// Of f32 if it is `single`, else of f64, as bytes.
    pub fn of_bytes(name: &str, shape: Vec<usize>, single: bool, bytes: Vec<u8>) -> Self {
        let dtype = if single { Dtype::F32 } else { Dtype::F64 };
        Self { name: name.to_owned(), shape, dtype, bytes }
    }
}

/// Writes `tensors` as one file with its checksum, and `metadata` beside it.
///
/// # Errors
///
/// [`RunError::Write`], or [`RunError::Malformed`] if shapes and elements do not fit.
pub fn write_tensors(
    path: &Path,
    tensors: &[SavedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<(), RunError> {
    write_sealed(path, &tensor_bytes(path, tensors, metadata)?)
}

/// `tensors` and `metadata` as they stand in the file at `path`, without the checksum.
pub(crate) fn tensor_bytes(
    path: &Path,
    tensors: &[SavedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, RunError> {
    let malformed = |error: safetensors::SafeTensorError| RunError::malformed(path, error);
    let views = tensors
        .iter()
        .map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
            Ok((tensor.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    // It sorts them by type and name.
    let bytes = safetensors::serialize(views, None).map_err(malformed)?;
    with_metadata(path, bytes, metadata)
}

/// `bytes`, a safetensors file without metadata, with them; the crate would take them in a hash
/// map's order.
fn with_metadata(
    path: &Path,
    bytes: Vec<u8>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, RunError> {
    if metadata.is_empty() {
        return Ok(bytes);
    }
    let malformed = || RunError::malformed(path, "what is to be written has no header");
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| malformed())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(malformed)?;
    let tensors = header.trim_ascii_end().strip_prefix(b"{").ok_or_else(malformed)?;
    let metadata = serde_json::to_vec(metadata).map_err(|error| RunError::malformed(path, error))?;
    let mut header = [b"{\"__metadata__\":", &metadata[..], b",", tensors].concat();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
}

/// Reads all tensors of a file that has its checksum: a checkpoint's, say.
///
/// # Errors
///
/// [`RunError`] if it cannot be read, was altered, or is no such file.
pub fn read_tensors(path: &Path) -> Result<Vec<SavedTensor>, RunError> {
    let bytes = read_sealed(path)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| RunError::malformed(path, error))?;
    let saved = |(name, tensor): (String, TensorView<'_>)| SavedTensor {
        name,
        shape: tensor.shape().to_vec(),
        dtype: tensor.dtype(),
        bytes: tensor.data().to_vec(),
    };
    Ok(tensors.tensors().into_iter().map(saved).collect())
}

/// Reads the tensor `name` of doubles from a sealed file: its shape and elements.
pub(crate) fn read_doubles(path: &Path, name: &str) -> Result<(Vec<usize>, Vec<f64>), RunError> {
    let tensor = read_tensors(path)?.into_iter().find(|tensor| tensor.name == name);
    let tensor = tensor.ok_or_else(|| RunError::malformed(path, format!("it has no {name}")))?;
    if tensor.dtype != Dtype::F64 {
        return Err(RunError::malformed(path, format!("{name} are {:?}, not F64", tensor.dtype)));
    }
    let values = tensor.bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
    Ok((tensor.shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_and_metadata_are_read_as_they_were_written_and_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensors = [
            SavedTensor::of_singles("b", vec![2, 1], &[1.5, -2.0]),
            SavedTensor::of_doubles("a", vec![3], &[1.0, 0.1, f64::MIN_POSITIVE]),
        ];
        let some = BTreeMap::from([("x", "1"), ("norm.eps", "0.001"), ("norm.place", "before")]);
        let some = some.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        for metadata in [BTreeMap::new(), some] {
            write_tensors(&path, &tensors, &metadata).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            write_tensors(&path, &tensors, &metadata).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            let (length, header) = SafeTensors::read_metadata(&bytes).unwrap();
            assert_eq!(length % 8, 0, "data at a multiple of 8");
            let mut found: BTreeMap<_, _> = header.metadata().clone().unwrap().into_iter().collect();
            found.remove("sha256").unwrap();
            assert_eq!(found, metadata);
            assert_eq!(read_doubles(&path, "a").unwrap(), (vec![3], vec![1.0, 0.1, f64::MIN_POSITIVE]));
            assert!(read_doubles(&path, "b").unwrap_err().to_string().contains("F32, not F64"));
        }
    }
}
