//! Arrays for numpy: the .npy format, version 1.0, little endian, row by row
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

/// A file of the type that numpy calls `descr` ("<f4", "<f8", "<i8"), of elements that are its bytes.
pub fn npy_bytes(descr: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // The data begin at a multiple of 64, after spaces and a line's end.
    let before = MAGIC.len() + size_of::<u16>();
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    let mut bytes = [MAGIC, &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.resize(before + length - 1, b' ');
    bytes.push(b'\n');
    bytes.extend_from_slice(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_as_numpy_writes_it() {
        let bytes = npy_bytes("<f4", &[2, 3], &[7; 24]);
        assert_eq!(bytes.len(), 128 + 24);
        assert!(bytes.starts_with(
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }"
        ));
        assert_eq!((bytes[127], &bytes[128..]), (b'\n', &[7; 24][..]));
        assert!(String::from_utf8_lossy(&npy_bytes("<i8", &[5], &[])).contains("'shape': (5,), }"));
    }
}
