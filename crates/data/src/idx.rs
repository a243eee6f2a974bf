//! The IDX format: a magic number, the dimensions, then the bytes.
//!
//! ```text
//! 0x00 0x00  type  rank   dimension 0 .. rank-1 (u32, big endian)   data
//! ```
//!
//! Type 0x08 is unsigned byte, the only one read here. Images have rank 3
//! (count, rows, columns), labels rank 1. A header's counts are claims of a
//! file: no more is allocated by them than a file of its length can hold, and the
//! data read is compared with them.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::DataError;

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Deflate makes at most so many bytes of one (zlib's technical notes).
const GZIP_RATIO: usize = 1032;

/// An IDX file of unsigned bytes with `RANK` dimensions.
pub(crate) struct Idx<const RANK: usize> {
    pub dimensions: [usize; RANK],
    pub data: Vec<u8>,
    /// SHA-256 of the unpacked file, in hexadecimal.
    pub sha256: String,
}

/// Reads `bytes` (gzipped or not; `file` is its name in messages).
pub(crate) fn read<const RANK: usize>(file: &str, bytes: &[u8]) -> Result<Idx<RANK>, DataError> {
    if bytes.starts_with(&GZIP_MAGIC) {
        parse(file, MultiGzDecoder::new(bytes), bytes.len().saturating_mul(GZIP_RATIO))
    } else {
        parse(file, bytes, bytes.len())
    }
}

/// Reads from `reader`, which cannot have more than `most` bytes.
fn parse<const RANK: usize>(file: &str, mut reader: impl Read, most: usize) -> Result<Idx<RANK>, DataError> {
    let malformed = |problem: String| DataError::Malformed { file: file.to_owned(), problem };
    let mut digest = Sha256::new();
    let mut word = |reader: &mut dyn Read, what: &str| -> Result<[u8; 4], DataError> {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                malformed(format!("it ends inside its {what}"))
            } else {
                unreadable(file, source)
            }
        })?;
        digest.update(word);
        Ok(word)
    };

    let [zero_0, zero_1, element, rank] = word(&mut reader, "magic number")?;
    if [zero_0, zero_1] != [0, 0] {
        return Err(malformed("it does not begin with the magic number of an IDX file".to_owned()));
    }
    if element != UNSIGNED_BYTE {
        return Err(malformed(format!(
            "its elements have type 0x{element:02x}, and only unsigned bytes (0x08) are read"
        )));
    }
    if usize::from(rank) != RANK {
        return Err(malformed(format!(
            "it has {rank} dimension(s) and {RANK} are expected here (images have 3, labels 1): \
             are images and labels swapped?"
        )));
    }
    let mut dimensions = [0; RANK];
    for dimension in &mut dimensions {
        *dimension = u32::from_be_bytes(word(&mut reader, "header")?) as usize;
    }
    let claimed = dimensions
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n))
        .ok_or_else(|| malformed(format!("its dimensions {dimensions:?} are absurd")))?;
    if claimed == 0 {
        return Err(malformed(format!("it is empty: its dimensions are {dimensions:?}")));
    }

    // One byte more than claimed tells a file that is too long, whatever its size.
    let mut data = Vec::new();
    let room = claimed.min(most).saturating_add(1);
    data.try_reserve_exact(room).map_err(|error| unreadable(file, io::Error::other(error)))?;
    reader.take(claimed as u64 + 1).read_to_end(&mut data).map_err(|source| unreadable(file, source))?;
    if data.len() != claimed {
        let found =
            if data.len() < claimed { format!("{} follow", data.len()) } else { "more follow".to_owned() };
        return Err(malformed(format!("its header {dimensions:?} promises {claimed} bytes, and {found}")));
    }
    digest.update(&data);
    Ok(Idx { dimensions, data, sha256: hexadecimal(&digest.finalize()) })
}

fn unreadable(file: &str, source: io::Error) -> DataError {
    DataError::Unreadable { file: file.to_owned(), source }
}

/// `bytes` as a checksum is written.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 3, 7, 1, 2];

    fn problem<const RANK: usize>(bytes: &[u8]) -> String {
        match read::<RANK>("file", bytes) {
            Ok(_) => "no problem".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_a_rank_one_file() {
        let idx = read::<1>("labels", LABELS).unwrap();
        assert_eq!(idx.dimensions, [3]);
        assert_eq!(idx.data, [7, 1, 2]);
        // `printf '\0\0\10\1\0\0\0\3\7\1\2' | sha256sum`
        assert_eq!(idx.sha256, "73bb527883bce607ea2896f650d818e58a976e80318fd6b437585756dcfe6308");
    }

    #[test]
    fn a_gzipped_file_reads_like_the_plain_one() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(LABELS).unwrap();
        let packed = packer.finish().unwrap();
        let idx = read::<1>("labels.gz", &packed).unwrap();
        assert_eq!(idx.data, [7, 1, 2]);
        assert_eq!(idx.sha256, read::<1>("labels", LABELS).unwrap().sha256);
    }

    #[test]
    fn a_cut_gzip_stream_is_an_error() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(LABELS).unwrap();
        let packed = packer.finish().unwrap();
        for length in 2..packed.len() {
            assert!(read::<1>("labels.gz", &packed[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_cut_of_a_file_is_an_error() {
        for length in 0..LABELS.len() {
            assert!(read::<1>("labels", &LABELS[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_count_that_lies_is_told_with_both_numbers() {
        assert!(problem::<1>(&LABELS[..10]).contains("promises 3 bytes, and 2 follow"));
        let long = [LABELS, &[9]].concat();
        assert!(problem::<1>(&long).contains("promises 3 bytes, and more follow"));
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let header = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(problem::<3>(&header).contains("absurd"));
        let header = [0, 0, 8, 3, 0, 255, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255];
        assert!(problem::<3>(&header).contains("and 0 follow"));
    }

    #[test]
    fn labels_in_the_place_of_images_are_told() {
        assert!(problem::<3>(LABELS).contains("are images and labels swapped?"));
    }

    #[test]
    fn other_element_types_and_other_formats_are_told() {
        assert!(problem::<1>(&[0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]).contains("type 0x0d"));
        assert!(problem::<1>(b"\x89PNG\r\n\x1a\n").contains("magic number"));
        assert!(problem::<1>(&[0, 0, 8, 1, 0, 0, 0, 0]).contains("empty"));
    }
}
