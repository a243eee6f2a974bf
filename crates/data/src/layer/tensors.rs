//! A .safetensors file that holds a last layer's arrays by name.

use safetensors::tensor::{Dtype, Metadata};

use super::{
    array::{Array, Kind, Layout, Place},
    error::LayerError,
    source::Source,
};

/// Bytes of a header at the most: five tensors take some hundreds, and the rest is what else was
/// noted in the file.
const MAX_HEADER_BYTES: u64 = 4 << 20;

/// The tensors of one file.
#[derive(Debug)]
pub(super) struct Tensors {
    header: Metadata,
    /// What follows the header.
    data: Source,
}

impl Tensors {
    /// Reads the header of `source`, and compares what it says with the file's length.
    pub fn open(source: &Source) -> Result<Self, LayerError> {
        let malformed = |problem: String| LayerError::Malformed { file: source.name().to_owned(), problem };
        let cut = || malformed("it ends inside its header: save it again".to_owned());
        let beginning = source.beginning(8)?;
        let length = u64::from_le_bytes(*beginning.first_chunk().ok_or_else(cut)?);
        if length > MAX_HEADER_BYTES {
            return Err(malformed(format!(
                "it is not a .safetensors file of a last layer (its header claims to have {length} bytes, \
                 and {MAX_HEADER_BYTES} are read)"
            )));
        }
        if source.part(8, length).is_none() {
            return Err(cut());
        }
        let text = source.read(8, usize::try_from(length).map_err(|_| cut())?)?;
        let header: Metadata = serde_json::from_slice(&text)
            .map_err(|error| malformed(format!("it is not a .safetensors file ({error})")))?;
        let data = source.after(8 + length);
        if header.data_len() as u64 != data.length() {
            return Err(malformed(format!(
                "it has {} bytes, and its header promises another number: save it again",
                source.length()
            )));
        }
        Ok(Self { header, data })
    }

    /// What the tensors are called, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// The tensor for `place`, if there is one.
    pub fn array(&self, place: Place) -> Result<Option<Array>, LayerError> {
        let Some(tensor) = self.header.info(place.role.name()) else { return Ok(None) };
        let kind = match tensor.dtype {
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            Dtype::F32 => Kind::F32,
            Dtype::F64 => Kind::F64,
            Dtype::I8 => Kind::I8,
            Dtype::I16 => Kind::I16,
            Dtype::I32 => Kind::I32,
            Dtype::I64 => Kind::I64,
            Dtype::U8 => Kind::U8,
            Dtype::U16 => Kind::U16,
            Dtype::U32 => Kind::U32,
            Dtype::U64 => Kind::U64,
            other => return Err(place.element_type(other.to_string())),
        };
        let (start, end) = tensor.data_offsets;
        let Some(data) = self.data.part(start as u64, end.saturating_sub(start) as u64) else {
            return Err(place.malformed("a tensor's bytes are outside it: save it again"));
        };
        Array::new(place, tensor.shape.clone(), kind, Layout::default(), data).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorInfo;

    /// What is relied on: a header whose tensors overlap, or leave a hole, is none.
    #[test]
    fn a_header_is_checked_when_it_is_read() {
        for header in [
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,3]}}"#,
        ] {
            assert!(serde_json::from_str::<super::Metadata>(header).is_err(), "{header}");
        }
        let right = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
        let header: super::Metadata = serde_json::from_str(right).unwrap();
        assert_eq!(header.info("a").map(|info: &TensorInfo| info.data_offsets), Some((0, 2)));
    }
}
