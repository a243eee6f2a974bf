//! Arrays of others, read where they lie.

use std::sync::Arc;

use kappa_data::HostArray;
use pyo3::prelude::*;

/// An array as the package describes it: who holds it, the address of its first byte and how many follow,
/// its type as numpy names it, its shape, and whether the first index runs fastest.
#[derive(FromPyObject)]
pub struct Array(Py<PyAny>, usize, usize, String, Vec<usize>, bool);

/// Bytes that a Python object holds, and that stay where they are as long as it does.
struct Borrowed {
    _owner: Py<PyAny>,
    address: usize,
    length: usize,
}

impl AsRef<[u8]> for Borrowed {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: the package takes address and length from a contiguous numpy array (`kappa._arrays`), and
        // that array is the owner held here: numpy keeps an array's memory in place while the array is
        // referred to. Nothing here writes to it; that its other owners do not do so meanwhile is what the
        // package's documentation asks of them, as numpy does of whoever lets go of the GIL.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.length) }
    }
}

impl Array {
    /// The array, read where it lies.
    pub fn borrowed(self) -> HostArray {
        let Self(owner, address, length, descr, shape, by_columns) = self;
        HostArray { descr, shape, by_columns, bytes: Arc::new(Borrowed { _owner: owner, address, length }) }
    }
}
