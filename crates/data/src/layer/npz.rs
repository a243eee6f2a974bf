//! An .npz file: a zip archive of .npy files, as `np.savez` and `np.savez_compressed` write it.
//!
//! ```text
//! for each member:  a header (30 bytes, name, extra)   its bytes, stored or deflated
//! the directory:    for each member 46 bytes, name, extra (with 64-bit sizes where they are needed)
//! its end:          [56 + 20 bytes, if the archive is larger than 4 GiB]   22 bytes
//! ```
//!
//! Members of other names than a last layer's arrays are refused, so that the directory is short.
//! What it claims is compared with the file's length, with what deflate can make of so many bytes
//! at the most, and with the memory that may be taken, before anything is taken.
//!
//! Rejected: the crate zip. It reads the whole directory into a map, whatever its length, and gives
//! a member as a stream, where a stored one is to be read at any place, from the file; what is left
//! of it is what is here.

use std::{io::Read as _, sync::Arc};

use flate2::{Crc, read::DeflateDecoder};

use super::{
    array::{Array, Place, Role},
    error::LayerError,
    memory::Budget,
    npy,
    source::Source,
};

/// Where the end of the directory may be: 22 bytes and a comment of at most 65,535.
const END_BYTES: u64 = 22 + 65_535;
/// Bytes of a directory that are read: five members take some hundreds.
const MAX_DIRECTORY_BYTES: u64 = 64 << 10;
/// Deflate makes at most 1032 bytes of one (zlib's technical notes).
const MOST_OF_ONE_BYTE: u64 = 1032;
/// Of a size or place that stands in 64 bits elsewhere.
const ELSEWHERE: u64 = 0xffff_ffff;

/// The arrays of one file.
#[derive(Debug)]
pub(super) struct Archive {
    source: Source,
    members: Vec<Member>,
}

/// What the directory says of one.
#[derive(Debug)]
struct Member {
    name: String,
    deflated: bool,
    checksum: u32,
    /// Bytes in the file.
    packed: u64,
    /// Bytes of the .npy file.
    length: u64,
    start: u64,
}

impl Archive {
    /// Reads the directory of `source`.
    pub fn open(source: &Source) -> Result<Self, LayerError> {
        let tail = END_BYTES.min(source.length());
        let before = source.length() - tail;
        let end = source.read(before, usize::try_from(tail).unwrap_or_default())?;
        let malformed = |problem| LayerError::Malformed { file: source.name().to_owned(), problem };
        let not_one =
            || malformed("it is not a whole .npz file, which `np.savez` writes: save it again".to_owned());
        let (start, length) = directory_of(source, before, &end)?.ok_or_else(not_one)?;
        let directory = source.part(start, length).ok_or_else(not_one)?;
        let bytes =
            directory.read(0, usize::try_from(length.min(MAX_DIRECTORY_BYTES)).unwrap_or_default())?;
        let (mut members, mut rest) = (Vec::<Member>::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (member, after) = Member::read(rest).ok_or_else(not_one)?;
            if members.iter().any(|other| other.name == member.name) {
                return Err(malformed(format!("it has two members {}: save it again", member.name)));
            }
            // The names of strangers end it too: see `Bundle`.
            let stranger = !Role::ALL.iter().any(|role| role.name() == member.name);
            members.push(member);
            if stranger {
                break;
            }
            rest = after;
        }
        Ok(Self { source: source.clone(), members })
    }

    /// What the arrays are called.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// The array for `place`, if there is one. A deflated one is taken into memory.
    pub fn array(&self, place: Place, budget: &mut Budget) -> Result<Option<Array>, LayerError> {
        let member = self.members.iter().find(|member| member.name == place.role.name());
        let Some(member) = member else { return Ok(None) };
        let damaged = || place.malformed(format!("its array {} is damaged: save it again", member.name));
        let packed = self.bytes_of(member)?.ok_or_else(damaged)?;
        let data = if member.deflated {
            let most = member.packed.saturating_mul(MOST_OF_ONE_BYTE);
            if member.length > most {
                return Err(damaged());
            }
            let array = place.to_string();
            budget.take(member.length, &array, "compressed, they cannot be read in parts: use `np.savez`")?;
            let bytes = inflated(&packed, member.length).ok_or_else(damaged)?;
            Source::of_memory(self.source.name(), Arc::new(bytes))
        } else {
            packed
        };
        let mut checksum = Crc::new();
        data.go_through(|bytes| checksum.update(bytes))?;
        if data.length() != member.length || checksum.sum() != member.checksum {
            return Err(damaged());
        }
        npy::read(place, &data).map(Some)
    }

    /// A member's bytes in the file, which its own header comes before.
    fn bytes_of(&self, member: &Member) -> Result<Option<Source>, LayerError> {
        let Some(header) = self.source.part(member.start, 30) else { return Ok(None) };
        let header = header.read(0, 30)?;
        let lengths =
            (header.starts_with(b"PK\x03\x04")).then(|| Some((u16_at(&header, 26)?, u16_at(&header, 28)?)));
        let Some((name, extra)) = lengths.flatten() else { return Ok(None) };
        // No overflow: 30 bytes are there from the start on.
        let all = self.source.part(member.start + 30, (name + extra).saturating_add(member.packed));
        Ok(all.map(|all| all.after(name + extra)))
    }
}

impl Member {
    /// What `bytes` begin with, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let header = bytes.get(..46).filter(|header| header.starts_with(b"PK\x01\x02"))?;
        // Encrypted.
        if u16_at(header, 8)? & 1 != 0 {
            return None;
        }
        let deflated = match u16_at(header, 10)? {
            0 => false,
            8 => true,
            _ => return None,
        };
        let [name, extra, comment] = [u16_at(header, 28)?, u16_at(header, 30)?, u16_at(header, 32)?];
        let [name, extra, comment] = [name, extra, comment].map(|length| length as usize);
        let (named, rest) = bytes.get(46..)?.split_at_checked(name)?;
        let (extra, rest) = rest.split_at_checked(extra)?;
        let mut wide = wide_numbers(extra);
        let mut size = |narrow: u64| if narrow == ELSEWHERE { wide.next() } else { Some(narrow) };
        let length = size(u32_at(header, 24)?)?;
        let packed = size(u32_at(header, 20)?)?;
        let start = size(u32_at(header, 42)?)?;
        let name = String::from_utf8_lossy(named);
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let checksum = u32::try_from(u32_at(header, 16)?).ok()?;
        Some((Self { name, deflated, checksum, packed, length, start }, rest.get(comment..)?))
    }
}

/// Where the directory begins, and its length, by the archive's last bytes.
fn directory_of(source: &Source, before: u64, end: &[u8]) -> Result<Option<(u64, u64)>, LayerError> {
    let is_end = |&at: &usize| {
        let end = end.get(at..).unwrap_or_default();
        end.starts_with(b"PK\x05\x06")
            && u16_at(end, 20).is_some_and(|comment| end.len() as u64 == 22 + comment)
    };
    let Some(at) = (0..end.len().saturating_sub(21)).rev().find(is_end) else { return Ok(None) };
    let found = end.get(at..).unwrap_or_default();
    let (Some(length), Some(start)) = (u32_at(found, 12), u32_at(found, 16)) else { return Ok(None) };
    if length != ELSEWHERE && start != ELSEWHERE {
        return Ok(Some((start, length)));
    }
    let Some(locator) = (before + at as u64).checked_sub(20) else { return Ok(None) };
    let locator = source.read(locator, 20)?;
    let wide = u64_at(&locator, 8).filter(|_| locator.starts_with(b"PK\x06\x07"));
    let Some(wide) = wide.and_then(|start| source.part(start, 56)) else { return Ok(None) };
    let wide = wide.read(0, 56)?;
    let (Some(length), Some(start)) = (u64_at(&wide, 40), u64_at(&wide, 48)) else { return Ok(None) };
    Ok(wide.starts_with(b"PK\x06\x06").then_some((start, length)))
}

/// The numbers of 64 bits among what is noted beside a member.
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
    let mut numbers: &[u8] = &[];
    while let (Some(kind), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(rest) = extra.get(4..) else { break };
        let (field, after) = rest.split_at_checked(length as usize).unwrap_or((rest, &[]));
        if kind == 1 {
            numbers = field;
        }
        extra = after;
    }
    numbers.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// `length` bytes that `packed` is unpacked to; nothing if they are not exactly so many.
fn inflated(packed: &Source, length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    let mut bytes = vec![0; length];
    let mut decoder = DeflateDecoder::new(packed.reader());
    decoder.read_exact(&mut bytes).ok()?;
    (decoder.read(&mut [0]).ok()? == 0).then_some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
