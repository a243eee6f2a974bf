//! What a device says when it fails.

/// A device that computes failed, or could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed: {0}")]
pub struct DeviceError(String);

impl DeviceError {
    /// From what burn, or what is below it, says.
    pub fn new(problem: impl std::fmt::Display) -> Self {
        Self(problem.to_string())
    }

    /// Whether it failed for want of memory; what it says is all there is to tell it by.
    pub fn is_out_of_memory(&self) -> bool {
        let problem = self.0.to_lowercase();
        ["allocate", "out of memory", "outofmemory"].iter().any(|sign| problem.contains(sign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_memory_is_told_from_other_failures() {
        for problem in ["can't allocate buffer of size: 205520896", "Out of Memory", "VK OutOfMemory"] {
            assert!(DeviceError::new(problem).is_out_of_memory(), "{problem}");
        }
        assert!(!DeviceError::new("the device was lost").is_out_of_memory());
        assert_eq!(DeviceError::new("lost").to_string(), "the device failed: lost");
    }
}
