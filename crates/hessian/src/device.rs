//! What a device says when it fails.

use std::{error::Error, fmt};

/// What a device's memory is called where it is missing, in lower case.
const OF_MEMORY: [&str; 3] = ["allocate", "out of memory", "outofmemory"];

/// The device failed.
///
/// ```
/// use kappa_hessian::DeviceError;
///
/// let error = DeviceError::new("can't allocate buffer of size: 205520896");
/// assert!(error.is_out_of_memory());
/// assert_eq!(error.to_string(), "the device failed: can't allocate buffer of size: 205520896");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceError {
    text: String,
}

impl DeviceError {
    /// From what the device, or burn for it, says.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { text: text.to_string() }
    }

    /// What it said.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it failed for want of memory; what it says is all there is to tell it by.
    pub fn is_out_of_memory(&self) -> bool {
        let text = self.text.to_lowercase();
        OF_MEMORY.iter().any(|sign| text.contains(sign))
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the device failed: {}", self.text)
    }
}

impl Error for DeviceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_from_other_failures() {
        for text in ["Out of memory", "wgpu: OutOfMemory", "can't allocate buffer of size: 1"] {
            assert!(DeviceError::new(text).is_out_of_memory(), "{text}");
        }
        assert!(!DeviceError::new("device lost").is_out_of_memory());
    }
}
