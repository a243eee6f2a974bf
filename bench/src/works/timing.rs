//! The clock, and the memory that was resident while it ran.

use std::{fs, time::Instant};

use burn::tensor::Device;

use super::WorkError;
use crate::protocol::{Digest, Measured};

/// What a work took.
pub struct Timing {
    pub seconds: f64,
    peak_bytes: Option<u64>,
}

impl Timing {
    pub fn with(self, digest: Digest) -> Measured {
        let Self { seconds, peak_bytes } = self;
        Measured { seconds, peak_bytes, digest, gflops: None, note: None }
    }
}

/// Does `work` with nothing else left to do on `device`, neither before nor after.
pub fn timed<T>(
    device: &Device,
    work: impl FnOnce() -> Result<T, WorkError>,
) -> Result<(T, Timing), WorkError> {
    synchronise(device)?;
    reset_peak();
    let start = Instant::now();
    let result = work()?;
    synchronise(device)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((result, Timing { seconds, peak_bytes: peak_bytes() }))
}

fn synchronise(device: &Device) -> Result<(), WorkError> {
    device.sync().map_err(|error| WorkError::Device(error.to_string()))
}

/// Lets Linux count the high-water mark of resident memory anew; elsewhere nothing tells it.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = mark.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
