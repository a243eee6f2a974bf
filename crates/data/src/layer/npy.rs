//! The .npy format: a magic number, a header that is a Python dictionary, then
//! the numbers.
//!
//! ```text
//! \x93NUMPY  version (2 bytes)  length of the header (u16, from version 2 on u32)
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 100), }   numbers
//! ```
//!
//! npyz reads the header, and trusts it: it allocates what the header claims as its
//! own length, takes time exponential in the depth of nested brackets, and multiplies
//! dimensions whether or not the product fits. Therefore [`vet`] comes first. The
//! numbers are read by [`Array`], once their count was compared with the file's length.

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, TypeStr};

use super::{
    array::{Array, Kind, Layout, Place},
    error::LayerError,
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// What .npz archives and .pt files begin with.
const ZIP_MAGIC: &[u8] = b"PK";
/// numpy's own limit (`max_header_size` of `np.load`).
const MAX_HEADER_BYTES: usize = 10_000;
/// Brackets are two deep for a plain array, and four for most records, which are then told as such.
const MAX_DEPTH: usize = 4;

/// Reads `bytes` as the array of `place`.
pub(super) fn read(place: Place, bytes: &[u8]) -> Result<Array<'_>, LayerError> {
    let (start, text) = header_of(bytes).map_err(|problem| place.malformed(problem))?;
    if !vet(text) {
        return Err(place.malformed("its header is not one that numpy writes for an array of numbers"));
    }
    let end = start + text.len();
    let header = NpyHeader::from_reader(&bytes[..end]).map_err(|error| {
        // The parser repeats the whole header after the first line.
        let problem = error.to_string();
        place.malformed(format!("its header makes no sense: {}", problem.lines().next().unwrap_or_default()))
    })?;

    let dtype = header.dtype();
    let plain = match &dtype {
        DType::Plain(plain) => kind_of(plain).map(|kind| (kind, plain.endianness())),
        _ => None,
    };
    let Some((kind, endianness)) = plain else {
        return Err(place.element_type(dtype.descr()));
    };
    let shape = header.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    let shape =
        shape.map_err(|_| place.malformed("its shape is larger than this machine's memory can be"))?;
    let layout =
        Layout { big_endian: endianness == Endianness::Big, by_columns: header.order() == Order::Fortran };
    Array::new(place, shape, kind, layout, &bytes[end..])
}

/// Where the header's text begins, and the text.
fn header_of(bytes: &[u8]) -> Result<(usize, &[u8]), String> {
    if bytes.starts_with(ZIP_MAGIC) {
        return Err("it is an archive (.npz or .pt): save each array by itself, with `np.save`".to_owned());
    }
    if !bytes.starts_with(MAGIC) {
        return Err("it is not an .npy file, which `np.save` writes \
             (a file whose name ends in .safetensors goes to --features, with all tensors in it)"
            .to_owned());
    }
    let cut = || "it ends inside its header: save it again".to_owned();
    let length = |width: usize| -> Result<usize, String> {
        let mut word = [0; 4];
        word[..width].copy_from_slice(bytes.get(8..8 + width).ok_or_else(cut)?);
        usize::try_from(u32::from_le_bytes(word)).map_err(|_| cut())
    };
    let (length, start) = match bytes.get(6).ok_or_else(cut)? {
        1 => (length(2)?, 10),
        2 | 3 => (length(4)?, 12),
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

/// Whether npyz can be shown the header: every header that numpy writes for an
/// array of numbers passes, and none that makes npyz overflow or linger.
fn vet(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let is_plain = |&byte: &u8| (b' '..=b'~').contains(&byte) && byte != b'\\' && byte != b'"';
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.as_bytes().iter().all(is_plain))
    else {
        return false;
    };
    // Without escapes, every second part between quotes is inside them.
    let bare = text.split('\'').step_by(2).collect::<Vec<_>>().join(" ");

    let mut depth = 0usize;
    for byte in bare.bytes() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b' ' | b',' | b':' | b'0'..=b'9' => {}
            _ if b"TrueFalse".contains(&byte) => {}
            _ => return false,
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    // npyz multiplies the dimensions, zeros among them, in u64.
    bare.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .try_fold(1u64, |product, digits| product.checked_mul(digits.parse::<u64>().ok()?.max(1)))
        .is_some()
}

fn kind_of(element: &TypeStr) -> Option<Kind> {
    Some(match (element.type_char(), element.size_field()) {
        (TypeChar::Float, 4) => Kind::F32,
        (TypeChar::Float, 8) => Kind::F64,
        (TypeChar::Int, 1) => Kind::I8,
        (TypeChar::Int, 2) => Kind::I16,
        (TypeChar::Int, 4) => Kind::I32,
        (TypeChar::Int, 8) => Kind::I64,
        (TypeChar::Uint, 1) => Kind::U8,
        (TypeChar::Uint, 2) => Kind::U16,
        (TypeChar::Uint, 4) => Kind::U32,
        (TypeChar::Uint, 8) => Kind::U64,
        _ => return None,
    })
}
