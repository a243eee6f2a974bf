//! The .npy format: a magic number, a header that is a Python dictionary, then
//! the numbers.
//!
//! ```text
//! \x93NUMPY  version (2 bytes)  length of the header (u16, from version 2 on u32)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 100), }   numbers
//! ```
//!
//! The dictionary is searched for its three entries and not evaluated. Lengths are read as numpy
//! has ever written them: `100`, `100L` (Python 2), `np.int64(100)`. What a header claims is
//! compared with the file's length by [`Array`] before anything else is read.
//! Rejected: the crates that read .npy. They evaluate the dictionary as Python would,
//! with a parser generator's tree of crates, allocate by the length that the header
//! claims, and take exponential time on nested brackets: a file from elsewhere could
//! not be shown to them before it was checked by as much code as is here.

use super::{
    array::{Array, Kind, Layout, Place},
    error::LayerError,
    source::Source,
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// What .npz archives and .pt files begin with.
const ZIP_MAGIC: &[u8] = b"PK";
/// numpy's own limit (`max_header_size` of `np.load`).
const MAX_HEADER_BYTES: usize = 10_000;

/// Reads the header of `source` as that of the array of `place`.
pub(super) fn read(place: Place, source: &Source) -> Result<Array, LayerError> {
    let beginning = source.beginning(12 + MAX_HEADER_BYTES)?;
    let (start, text) = header_of(&beginning).map_err(|problem| place.malformed(problem))?;
    let Some(header) = std::str::from_utf8(text).ok().and_then(Header::find) else {
        return Err(place.malformed(
            "its header does not say an array's type, order and shape as `np.save` writes them: save it again",
        ));
    };
    let Some((kind, big_endian)) = kind_of(header.descr) else {
        return Err(place.element_type(header.descr));
    };
    let layout = Layout { big_endian, by_columns: header.by_columns };
    let data = source.after((start + text.len()) as u64);
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
        Some(Self { descr, by_columns, shape: shape_of(value("'shape'")?)? })
    }
}

/// The lengths in a tuple that `text` begins with.
fn shape_of(text: &str) -> Option<Vec<usize>> {
    let mut shape = Vec::new();
    let mut rest = text.strip_prefix('(')?.trim_start();
    while !rest.starts_with(')') {
        let (length, after) = length_of(rest)?;
        shape.push(length);
        let after = after.trim_start();
        // Of one length a comma follows too.
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.starts_with(')') => after,
            None => return None,
        };
    }
    Some(shape)
}

/// A length, and what follows: `100`, `100L` of Python 2, or `np.int64(100)`.
fn length_of(text: &str) -> Option<(usize, &str)> {
    let digits = |text: &'_ str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if let Some(scalar) = text.strip_prefix("np.") {
        let (name, rest) = scalar.split_once('(')?;
        let is_integer = name.trim_start_matches('u').starts_with("int") || name.ends_with("long");
        if !is_integer || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        let (length, rest) = rest.split_at(digits(rest));
        return Some((length.parse().ok()?, rest.strip_prefix(')')?));
    }
    let (length, rest) = text.split_at(digits(text));
    Some((length.parse().ok()?, rest.strip_prefix('L').unwrap_or(rest)))
}

/// Where the header's text begins, and the text.
fn header_of(bytes: &[u8]) -> Result<(usize, &[u8]), String> {
    if bytes.starts_with(ZIP_MAGIC) {
        return Err("it is an archive (.npz or .pt), and one array is read here: save it by itself, with \
             `np.save`, or give all arrays in one file whose name ends in .npz, in the place of the features"
            .to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it is not an .npy file, which `np.save` writes \
             (all arrays can also come in one file whose name ends in .safetensors or .npz)"
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
///
/// A bfloat16 is no type of numpy's own: as the package ml_dtypes writes it, it is two bytes without
/// a meaning, in the order of this machine. Without that order they are any two bytes.
pub(super) fn kind_of(descr: &str) -> Option<(Kind, bool)> {
    if matches!(descr, "<V2" | "bfloat16") {
        return Some((Kind::BF16, false));
    }
    let (order, name) = descr.split_at_checked(1)?;
    let kind = match name {
        "f2" => Kind::F16,
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
