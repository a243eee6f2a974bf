//! What may still be taken of the memory that a last layer was given.

use super::error::LayerError;

/// Bytes that may still be taken.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    pub fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes so many bytes for `array`, which has to be held whole; `remedy` is another way.
    pub fn take(&mut self, needed: u64, array: &str, remedy: &'static str) -> Result<(), LayerError> {
        match self.left.checked_sub(needed) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(LayerError::NoMemory { array: array.to_owned(), needed, allowed: self.left, remedy }),
        }
    }
}
