//! The GPU kernel of the class pairs, from naive to what kappa runs.
//!
//! ```text
//! steps     what is launched, and how much it works
//! case      samples, and their sums in f64 on the host
//! on_gpu    a step on the GPU
//! ```
//!
//! Each step is checked before it is timed, on the shape that is timed and on ragged
//! ones, and a step that is wrong ends the run.

mod case;
mod on_gpu;
mod steps;

use burn::tensor::{DType, Distribution, Tensor};

use self::{
    case::{Case, Shape},
    on_gpu::OnGpu,
    steps::{STEPS, Step},
};
use crate::{error::BenchError, gpu::Gpu, timing::Spread};

/// MNIST's features and classes.
const FEATURES: usize = 100;
const CLASSES: usize = 10;
/// [N, m, K] that divide by nothing: one of all, one pair, several tiles, one feature.
const RAGGED: [[usize; 3]; 7] =
    [[1, 1, 2], [17, 33, 3], [300, 100, 2], [1025, 5, 7], [40, 129, 4], [33, 1, 12], [700, 67, 5]];

/// What is run, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Samples N [default: 60000, or 4096 if the adapter is software]. 300,000 fit the binding
    /// that every adapter has
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=300_000))]
    samples: Option<u32>,
    /// Times that each step is timed; the median is shown
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
}

/// Checks and times every step, and prints what comes of it.
pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let gpu = Gpu::open()?;
    let (software, repeats) = (gpu.software, arguments.repeats);
    // MNIST's samples and a large product, or what a program on the CPU ends with.
    let (samples, side) = if software { (4096, 512) } else { (60_000, 4096) };
    let samples = arguments.samples.unwrap_or(samples);
    let shape = Shape { samples: samples as usize, features: FEATURES, classes: CLASSES };
    let ragged = ragged()?;
    let case = Case::new(shape, RAGGED.len() as u64)?;

    println!("{}", gpu.name);
    println!(
        "N = {samples}, m = {FEATURES}, K = {CLASSES}: {:.2} GFLOP are asked for; median (least to most) of {repeats}",
        shape.flop() / 1e9,
    );
    let product = product(&gpu, repeats, side)?;
    println!(
        "\n{:<38} {:>27} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "", "ms", "GFLOP/s", "of burn's", "GFLOP", "GB read", "error", "ragged"
    );
    for step in &STEPS {
        let mut error_of_ragged = 0.0_f64;
        for case in &ragged {
            error_of_ragged = error_of_ragged.max(checked(step, &OnGpu::new(&gpu, case), case)?);
        }
        let on_gpu = OnGpu::new(&gpu, &case);
        let error = checked(step, &on_gpu, &case)?;
        let Spread { median, min, max } = Spread::of(&gpu.device, repeats, || on_gpu.queue(step))?;
        // Of the operations that the equation asks for, whatever was computed.
        let gflops = shape.flop() / median / 1e9;
        let work = (step.work)(&shape);
        println!(
            "{:<38} {:>27} {gflops:>9.1} {:>8.1}% {:>9.2} {:>9.2} {error:>8.1e} {error_of_ragged:>8.1e}",
            step.file,
            format!("{:.2} ({:.2} to {:.2})", median * 1e3, min * 1e3, max * 1e3),
            gflops / product * 100.0,
            work.flop / 1e9,
            work.bytes / 1e9,
        );
    }
    Ok(())
}

fn ragged() -> Result<Vec<Case>, BenchError> {
    let shapes = RAGGED.map(|[samples, features, classes]| Shape { samples, features, classes });
    shapes.into_iter().zip(0..).map(|(shape, seed)| Case::new(shape, seed)).collect()
}

/// A step's error, if it is within what f32 explains. A term is rounded four times at most,
/// each time by 2^-24 of itself or less, and an addition by 2^-24 of the sum so far. That
/// sum grows from 0 to what it ends with, all terms being of one sign, so n additions come
/// to n / 2 units. The walk is not a random one: terms below half a unit of the sum are
/// lost, every one of them, as steps 1 and 2 show where N is large.
fn checked(step: &Step, on_gpu: &OnGpu, case: &Case) -> Result<f64, BenchError> {
    let found = case.error_of(&on_gpu.read(on_gpu.queue(step))?);
    let unit = f64::from(f32::EPSILON) / 2.0;
    let allowed = unit * (4.0 + (step.longest_sum)(&case.shape) as f64 / 2.0);
    // Written so that an error that is not a number is one.
    if found <= allowed {
        return Ok(found);
    }
    let Shape { samples, features, classes } = case.shape;
    Err(BenchError::Wrong { file: step.file, shape: [samples, features, classes], found, allowed })
}

/// GFLOP/s of a plain product of f32 matrices by burn: what this adapter does where nothing is
/// special.
fn product(gpu: &Gpu, repeats: u32, side: usize) -> Result<f64, BenchError> {
    let device = &gpu.device;
    let matrix = || Tensor::<2>::random([side; 2], Distribution::Uniform(-1.0, 1.0), (device, DType::F32));
    let (left, right) = (matrix(), matrix());
    let seconds = Spread::of(device, repeats, || left.clone().matmul(right.clone()))?.median;
    let gflops = 2.0 * (side as f64).powi(3) / seconds / 1e9;
    println!(
        "burn's f32 product of two {side} x {side} matrices: {:.2} ms, {gflops:.1} GFLOP/s",
        seconds * 1e3
    );
    Ok(gflops)
}

#[cfg(test)]
mod tests {
    use super::case::single;
    use super::*;
    use crate::gpu::tests::gpu;

    #[test]
    fn every_step_agrees_with_f64_on_ragged_shapes() {
        let Some(gpu) = gpu() else { return };
        for case in ragged().unwrap() {
            let on_gpu = OnGpu::new(&gpu, &case);
            for step in &STEPS {
                checked(step, &on_gpu, &case).unwrap();
            }
        }
    }

    #[test]
    fn wrong_sums_are_seen() {
        let case = Case::new(Shape { samples: 50, features: 6, classes: 3 }, 1).unwrap();
        let right = single(case.reference.clone());
        assert!(case.error_of(&right) < 1e-7);
        let mut wrong = right.clone();
        wrong[6 * 6 + 6] *= 1.1;
        assert!(case.error_of(&wrong) > 1e-4);
        // Above a diagonal nobody looks.
        wrong.clone_from(&right);
        wrong[1] = f32::NAN;
        assert!(case.error_of(&wrong) < 1e-7);
        wrong[0] = f32::NAN;
        assert!(case.error_of(&wrong).is_nan());
        assert_eq!(case.error_of(&right[1..]), f64::INFINITY);
    }
}
