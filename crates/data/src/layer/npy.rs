//! The .npy format: a magic number, a header that is a Python dictionary, then
//! the numbers.
//!
//! ```text
//! \x93NUMPY  version (2 bytes)  length of the header (u16, from version 2 on u32)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 100), }   numbers
//! ```
//!
//! The dictionary is searched for its three entries and not evaluated. What a header
//! claims is compared with the file's length by [`Array`] before anything is read.
//! Rejected: the crates that read .npy. They evaluate the dictionary as Python would,
//! with a parser generator's tree of crates, allocate by the length that the header
//! claims, and take exponential time on nested brackets: a file from elsewhere could
//! not be shown to them before it was checked by as much code as is here.

use super::{
    array::{Array, Kind, Layout, Place},
    error::LayerError,
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// What .npz archives and .pt files begin with.
const ZIP_MAGIC: &[u8] = b"PK";
/// numpy's own limit (`max_header_size` of `np.load`).
const MAX_HEADER_BYTES: usize = 10_000;

/// Reads `bytes` as the array of `place`.
pub(super) fn read(place: Place, bytes: &[u8]) -> Result<Array<'_>, LayerError> {
    let (start, text) = header_of(bytes).map_err(|problem| place.malformed(problem))?;
    let Some(header) = std::str::from_utf8(text).ok().and_then(Header::find) else {
        return Err(place.malformed("its header is not one that numpy writes for an array of numbers"));
    };
    let Some((kind, big_endian)) = kind_of(header.descr) else {
        return Err(place.element_type(header.descr));
    };
    let layout = Layout { big_endian, by_columns: header.by_columns };
    let data = bytes.get(start + text.len()..).unwrap_or_default();
    Array::new(place, header.shape, kind, layout, data)
}

/// The entries of the dictionary.
struct Header<'a> {
    descr: &'a str,
    by_columns: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    fn find(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{')?.strip_suffix('}')?;
        let value = |key: &str| Some(text.split_once(key)?.1.trim_start().strip_prefix(':')?.trim_start());
        let descr = value("'descr'")?;
        let descr = match descr.strip_prefix('\'') {
            Some(name) => name.split_once('\'')?.0,
            // Of a record, a list of its fields; it is told as it is.
            None => descr.split_inclusive(']').next()?,
        };
        let by_columns = match value("'fortran_order'")?.split([',', '}']).next()?.trim() {
            "True" => true,
            "False" => false,
            _ => return None,
        };
        let shape = value("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
        let dimensions = shape.split(',').map(str::trim).filter(|dimension| !dimension.is_empty());
        let shape = dimensions.map(|dimension| dimension.parse().ok()).collect::<Option<_>>()?;
        Some(Self { descr, by_columns, shape })
    }
}

/// Where the header's text begins, and the text.
fn header_of(bytes: &[u8]) -> Result<(usize, &[u8]), String> {
    if bytes.starts_with(ZIP_MAGIC) {
        return Err("it is an archive (.npz or .pt): save each array by itself, with `np.save`".to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it is not an .npy file, which `np.save` writes \
             (all arrays can also come as tensors of one file whose name ends in .safetensors)"
            .to_owned());
    }
    let cut = || "it ends inside its header: save it again".to_owned();
    let (length, start) = match bytes.get(6).ok_or_else(cut)? {
        1 => {
            let word = bytes.get(8..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*word)), 10)
        }
        2 | 3 => {
            let word = bytes.get(8..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            (usize::try_from(u32::from_le_bytes(*word)).map_err(|_| cut())?, 12)
        }
        other => {
            return Err(format!("it has version {other} of the .npy format, and versions 1 to 3 are read"));
        }
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "its header claims to have {length} bytes, and numpy's have at most {MAX_HEADER_BYTES}"
        ));
    }
    Ok((start, bytes.get(start..start + length).ok_or_else(cut)?))
}

/// The kind of element that numpy calls `descr`, and whether its first byte is the largest.
fn kind_of(descr: &str) -> Option<(Kind, bool)> {
    let (order, name) = descr.split_at_checked(1)?;
    let kind = match name {
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        "i1" => Kind::I8,
        "i2" => Kind::I16,
        "i4" => Kind::I32,
        "i8" => Kind::I64,
        "u1" => Kind::U8,
        "u2" => Kind::U16,
        "u4" => Kind::U32,
        "u8" => Kind::U64,
        _ => return None,
    };
    // "|" where there is no order, as of single bytes.
    matches!(order, "<" | ">" | "|").then_some((kind, order == ">"))
}
