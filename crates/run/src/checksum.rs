//! The checksum that a file carries.
//!
//! It is the SHA-256 of the file without the checksum's own 64 digits, and stands where the
//! format has room for it, so that whatever else reads the format reads the file as before:
//!
//! ```text
//! .json          the last field, "sha256"
//! .csv           the last column, sha256, in the last row
//! .toml          a comment in the last line
//! .svg           a comment behind the picture
//! .safetensors   sha256 in the header's metadata
//! ```
//!
//! By hand: `sed "s/$sha256//" FILE | sha256sum` with the digits that are found there.

use std::{ops::Range, path::Path};

use sha2::{Digest, Sha256};

use crate::{
    FileChecksum, RunError,
    reading::{read, read_named},
    write::write_atomically,
};

/// Writes `body` with its checksum, whole or not at all; the name's end says where it goes.
///
/// # Errors
///
/// [`RunError::Write`]; [`RunError::Malformed`] if `body` is not of the format that the name
/// promises.
pub fn write_sealed(path: &Path, body: &[u8]) -> Result<(), RunError> {
    write_atomically(path, &seal(path, body)?)
}

/// Reads a file that must have a checksum, and that must be right.
///
/// # Errors
///
/// [`RunError::Read`], [`RunError::NoChecksum`] or [`RunError::Altered`]; [`RunError::Link`] or
/// [`RunError::NotAFile`] of what is no ordinary file, before it is opened.
pub fn read_sealed(path: &Path) -> Result<Vec<u8>, RunError> {
    let bytes = read(path)?;
    match state(path, &bytes) {
        Seal::Right => Ok(bytes),
        Seal::Wrong => Err(RunError::Altered(path.to_owned())),
        Seal::None => Err(RunError::NoChecksum(path.to_owned())),
    }
}

/// Reads a file that may come from elsewhere: if it has a checksum, that must be right. A link to
/// it will do.
///
/// # Errors
///
/// [`RunError::Read`], [`RunError::NotAFile`] or [`RunError::Altered`].
pub fn read_from_anywhere(path: &Path) -> Result<Vec<u8>, RunError> {
    let bytes = read_named(path)?;
    match state(path, &bytes) {
        Seal::Right | Seal::None => Ok(bytes),
        Seal::Wrong => Err(RunError::Altered(path.to_owned())),
    }
}

/// The name and the SHA-256 of the whole file at `path`, whoever wrote it.
///
/// # Errors
///
/// [`RunError::Read`].
pub fn file_checksum(path: &Path) -> Result<FileChecksum, RunError> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(FileChecksum { file, sha256: digest(&[&read_named(path)?]) })
}

/// `body` with its checksum.
pub(crate) fn seal(path: &Path, body: &[u8]) -> Result<Vec<u8>, RunError> {
    let form = Form::of(path);
    let (before, after) = form
        .and_then(|form| form.around(body))
        .ok_or_else(|| RunError::malformed(path, "what is to be written has no place for a checksum"))?;
    let digits = digest(&[&before, &after]);
    Ok([before, digits.into_bytes(), after].concat())
}

/// What a file's checksum says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// The file is as it was written.
    Right,
    /// It is not.
    Wrong,
    /// It has none.
    None,
}

pub(crate) fn state(path: &Path, bytes: &[u8]) -> Seal {
    let place = Form::of(path).and_then(|form| form.place(bytes));
    let parts = place.and_then(|place| {
        Some((bytes.get(..place.start)?, bytes.get(place.clone())?, bytes.get(place.end..)?))
    });
    match parts {
        None => Seal::None,
        Some((before, digits, after)) if digest(&[before, after]).as_bytes() == digits => Seal::Right,
        Some(_) => Seal::Wrong,
    }
}

/// SHA-256 of all `parts`, in hexadecimal.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits of a SHA-256 in hexadecimal.
const DIGITS: usize = 64;
/// Bytes of a safetensors file before its header: the header's length.
const LENGTH: usize = size_of::<u64>();
/// How a header begins that holds the checksum.
const IN_HEADER: &[u8] = br#"{"__metadata__":{"sha256":""#;

/// Where a format has its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Toml,
    Svg,
    Safetensors,
}

impl Form {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "toml" => Some(Self::Toml),
            "svg" => Some(Self::Svg),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }

    /// What stands right before the digits, and what ends the file after them, where that is
    /// always the same.
    fn ends(self) -> Option<(&'static [u8], &'static [u8])> {
        match self {
            Self::Json => Some((b",\n  \"sha256\": \"", b"\"\n}\n")),
            Self::Csv => Some((b",", b"\n")),
            Self::Toml => Some((b"# sha256 ", b"\n")),
            Self::Svg => Some((b"<!-- sha256 ", b" -->\n")),
            Self::Safetensors => None,
        }
    }

    /// The file before its digits and after them, or nothing if `body` is not of this form.
    fn around(self, body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let Some((marker, end)) = self.ends() else { return around_in_header(body) };
        let before = match self {
            Self::Json => body.strip_suffix(b"\n}\n")?.to_vec(),
            Self::Csv => with_last_column(std::str::from_utf8(body).ok()?)?.into_bytes(),
            _ => body.to_vec(),
        };
        Some(([&before, marker].concat(), end.to_vec()))
    }

    /// Where the digits are, if they are there.
    fn place(self, bytes: &[u8]) -> Option<Range<usize>> {
        let place = match self.ends() {
            Some((marker, end)) => {
                let rest = bytes.strip_suffix(end)?;
                let start = rest.len().checked_sub(DIGITS)?;
                rest.get(..start)?.ends_with(marker).then_some(start..rest.len())?
            }
            None => {
                let start = LENGTH + IN_HEADER.len();
                (bytes.get(LENGTH..start)? == IN_HEADER).then_some(start..start + DIGITS)?
            }
        };
        bytes.get(place.clone())?.iter().all(u8::is_ascii_hexdigit).then_some(place)
    }
}

/// A table with one more column, `sha256`, up to its place in the last row, without the comma.
fn with_last_column(table: &str) -> Option<String> {
    let mut lines = table.lines();
    let header = lines.next()?;
    let rows: Vec<&str> = lines.collect();
    (!rows.is_empty()).then(|| format!("{header},sha256\n{}", rows.join(",\n")))
}

/// A safetensors file with the checksum as the first of its metadata.
fn around_in_header(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const METADATA: &[u8] = br#"{"__metadata__":{"#;
    let (length, rest) = body.split_first_chunk::<LENGTH>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header = header.trim_ascii_end();
    let mut after = match header.strip_prefix(METADATA) {
        Some(metadata) if metadata.starts_with(b"}") => [b"\"", metadata].concat(),
        Some(metadata) => [br#"","#, metadata].concat(),
        None => [br#""},"#, header.strip_prefix(b"{")?].concat(),
    };
    // The format begins its data at a multiple of 8, filling up with spaces.
    let padded = (IN_HEADER.len() + DIGITS + after.len()).next_multiple_of(8);
    after.resize(padded - IN_HEADER.len() - DIGITS, b' ');
    after.extend_from_slice(data);
    let length = u64::try_from(padded).ok()?.to_le_bytes();
    Some(([&length, IN_HEADER].concat(), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, fs};

    use safetensors::{Dtype, SafeTensors, tensor::TensorView};

    fn tensors(metadata: Option<(&str, &str)>) -> Vec<u8> {
        let view = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
        let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
        safetensors::serialize([("x", view)], metadata).unwrap()
    }

    /// As burn writes it.
    fn without_any_metadata() -> Vec<u8> {
        let header = br#"{"__metadata__":{},"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
        [&(header.len() as u64).to_le_bytes()[..], header, &[1, 2, 3]].concat()
    }

    fn samples() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("a.json", b"{\n  \"x\": 1\n}\n".to_vec()),
            ("a.csv", b"x,y\n1,2\n3,4\n".to_vec()),
            ("a.toml", b"x = 1\n".to_vec()),
            ("a.svg", b"<svg></svg>\n".to_vec()),
            ("a.safetensors", tensors(None)),
            ("b.safetensors", tensors(Some(("norm.eps", "0.001")))),
            ("c.safetensors", without_any_metadata()),
        ]
    }

    #[test]
    fn whatever_is_cut_off_or_altered_is_known() {
        for (name, body) in samples() {
            let path = Path::new(name);
            let sealed = seal(path, &body).unwrap();
            assert_eq!(state(path, &sealed), Seal::Right, "{name}");
            for length in 0..sealed.len() {
                assert_ne!(state(path, &sealed[..length]), Seal::Right, "{name} cut at {length}");
            }
            for bit in 0..8 * sealed.len() {
                let mut altered = sealed.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(state(path, &altered), Seal::Right, "{name}, bit {bit}");
            }
            assert_eq!(state(path, &body), Seal::None, "{name}");
        }
    }

    #[test]
    fn the_formats_are_read_as_before() {
        let sealed: HashMap<_, _> =
            samples().into_iter().map(|(name, body)| (name, seal(Path::new(name), &body).unwrap())).collect();
        let text = |name: &str| String::from_utf8(sealed[name].clone()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text("a.json")).unwrap();
        assert_eq!((json["x"].as_u64(), json["sha256"].as_str().map(str::len)), (Some(1), Some(64)));
        assert_eq!(toml::from_str::<toml::Table>(&text("a.toml")).unwrap().len(), 1);
        let table = text("a.csv");
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(
            (&rows[0][..], &rows[1][..], &rows[2][..2]),
            (&["x", "y", "sha256"][..], &["1", "2", ""][..], &["3", "4"][..])
        );
        for (name, epsilon) in
            [("a.safetensors", None), ("b.safetensors", Some("0.001")), ("c.safetensors", None)]
        {
            let file = SafeTensors::deserialize(&sealed[name]).unwrap();
            assert_eq!(file.tensor("x").unwrap().data(), [1, 2, 3]);
            let (length, metadata) = SafeTensors::read_metadata(&sealed[name]).unwrap();
            let found = metadata.metadata().as_ref().unwrap();
            assert_eq!((found.get("norm.eps").map(String::as_str), found["sha256"].len()), (epsilon, 64));
            assert_eq!(length % 8, 0, "data at a multiple of 8");
        }
    }

    #[test]
    fn the_digits_are_those_of_sha256sum_without_them() {
        // `printf 'x = 1\n# sha256 \n' | sha256sum`
        let digits = "0e4738b95ce05d21daa230f9cbc6a70f400285982e87314f0e42978767b48680";
        let sealed = seal(Path::new("a.toml"), b"x = 1\n").unwrap();
        assert_eq!(String::from_utf8(sealed).unwrap(), format!("x = 1\n# sha256 {digits}\n"));
    }

    #[test]
    fn a_file_is_read_only_with_its_checksum_unless_it_may_come_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write_sealed(&path, &tensors(None)).unwrap();
        assert_eq!(read_sealed(&path).unwrap(), read_from_anywhere(&path).unwrap());
        fs::write(&path, tensors(None)).unwrap();
        let message = read_sealed(&path).unwrap_err().to_string();
        assert!(message.contains("a.safetensors has no checksum"), "{message}");
        assert_eq!(read_from_anywhere(&path).unwrap(), tensors(None));
        let mut altered = seal(&path, &tensors(None)).unwrap();
        *altered.last_mut().unwrap() ^= 1;
        fs::write(&path, altered).unwrap();
        for error in [read_sealed(&path).unwrap_err(), read_from_anywhere(&path).unwrap_err()] {
            assert!(error.to_string().contains("a.safetensors is not as kappa wrote it"), "{error}");
        }
    }
}
