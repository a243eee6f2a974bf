//! The clock.

use std::time::Instant;

use burn::tensor::Device;

use crate::error::BenchError;

/// Does `work` with nothing else left to do on `device`, neither before nor after, and tells its
/// seconds. What it returns is kept until then, since a tensor that nobody holds any more need
/// not be computed.
pub fn timed<T>(
    device: &Device,
    work: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(T, f64), BenchError> {
    device.sync().map_err(BenchError::device)?;
    let start = Instant::now();
    let result = work()?;
    device.sync().map_err(BenchError::device)?;
    Ok((result, start.elapsed().as_secs_f64()))
}

/// Seconds of a few repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The upper one, of an even number.
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Does `work` once to warm up, then `repeats` times.
    pub fn of<T>(device: &Device, repeats: u32, mut work: impl FnMut() -> T) -> Result<Self, BenchError> {
        let mut once = || Ok::<_, BenchError>(timed(device, || Ok(work()))?.1);
        once()?;
        Ok(Self::among((0..repeats).map(|_| once()).collect::<Result<_, _>>()?))
    }

    fn among(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(seconds.len() / 2), min: at(0), max: at(seconds.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        assert_eq!(Spread::among(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::among(vec![5.0]), Spread { median: 5.0, min: 5.0, max: 5.0 });
    }
}
