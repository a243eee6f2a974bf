//! The GPU kernel of the class pairs, from naive to what kappa runs.
//!
//! ```text
//! steps     what is launched, and how much it works
//! case      samples, and their sums in f64 on the host
//! launch    a step on the device
//! ```
//!
//! Each step is checked before it is timed, on the shape that is timed and on ragged
//! ones, and a step that is wrong ends the run.

mod case;
mod launch;
mod steps;

use std::{io, path::PathBuf};

use burn::tensor::{DType, Distribution, Tensor};
use serde::Serialize;

use self::{
    case::{Case, Error, Shape},
    launch::OnDevice,
    steps::{STEPS, Step, Work},
};
use crate::adapter::{Adapter, AdapterError, Description, Timing};

/// What one launch of kappa may hold, and the smallest binding that every adapter has.
const LAUNCH_BYTES: usize = 16 << 20;
const BINDING_BYTES: usize = 128 << 20;
/// Samples unless told otherwise: MNIST's, and what a program on the CPU ends with.
const SAMPLES: usize = 60_000;
const SAMPLES_OF_SOFTWARE: usize = 4096;
/// Side of the matrices of the plain product that everything is compared with.
const PRODUCT: usize = 4096;
const PRODUCT_OF_SOFTWARE: usize = 512;
/// [N, m, K] that divide by nothing: one of all, one pair, several tiles, one feature.
const RAGGED: [[usize; 3]; 7] =
    [[1, 1, 2], [17, 33, 3], [300, 100, 2], [1025, 5, 7], [40, 129, 4], [33, 1, 12], [700, 67, 5]];

/// What is run, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// Samples N [default: 60000, or 4096 if the adapter is software]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Features m
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    features: u32,
    /// Classes K
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    classes: u32,
    /// Times that each step is timed; the median is shown
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Where to leave the same as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A ladder that cannot be climbed.
#[derive(Debug, thiserror::Error)]
pub enum LadderError {
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error("{what} take {megabytes} MB, and a launch has room for {room}: ask for fewer")]
    TooLarge { what: &'static str, megabytes: usize, room: usize },
    #[error(
        "{file} is {found:.1e} from the sums in f64 at N, m, K = {shape:?}, and {allowed:.1e} are allowed"
    )]
    Wrong { file: &'static str, shape: [usize; 3], found: f64, allowed: f64 },
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What is left as JSON.
#[derive(Serialize)]
struct Outcome {
    adapter: Description,
    shape: Shape,
    repeats: usize,
    /// Operations that the equation asks for.
    flop: f64,
    product: Product,
    steps: Vec<Climbed>,
}

/// A plain product of f32 matrices by burn: what this adapter does where nothing is special.
#[derive(Serialize)]
struct Product {
    side: usize,
    seconds: Timing,
    gflops: f64,
}

/// A step that was checked and timed.
#[derive(Serialize)]
struct Climbed {
    file: &'static str,
    seconds: Timing,
    /// Of the operations that the equation asks for, whatever was computed.
    gflops: f64,
    share_of_product: f64,
    work: Work,
    error: Error,
    /// The largest of the ragged shapes.
    error_of_ragged: f64,
}

/// Checks and times every step, and prints what came of it.
pub fn run(arguments: &Arguments) -> Result<(), LadderError> {
    let adapter = Adapter::open()?;
    let software = adapter.description.software;
    let samples = if software { SAMPLES_OF_SOFTWARE } else { SAMPLES };
    let shape = Shape {
        samples: arguments.samples.map_or(samples, |samples| samples as usize),
        features: arguments.features as usize,
        classes: arguments.classes as usize,
    };
    check(&shape)?;
    let repeats = arguments.repeats as usize;
    let ragged: Vec<_> = RAGGED.into_iter().zip(0..).map(|(sizes, seed)| ragged_case(sizes, seed)).collect();
    let case = Case::new(shape, RAGGED.len() as u64);
    let product = product(&adapter, repeats, if software { PRODUCT_OF_SOFTWARE } else { PRODUCT })?;

    let mut steps = Vec::new();
    for step in &STEPS {
        let mut error_of_ragged = 0.0_f64;
        for case in &ragged {
            error_of_ragged =
                error_of_ragged.max(checked(step, &OnDevice::new(&adapter, case), case)?.frobenius);
        }
        let on_device = OnDevice::new(&adapter, &case);
        let error = checked(step, &on_device, &case)?;
        let seconds = adapter.time(repeats, || on_device.queue(step))?;
        let gflops = shape.flop() / seconds.median / 1e9;
        steps.push(Climbed {
            file: step.file,
            seconds,
            gflops,
            share_of_product: gflops / product.gflops,
            work: (step.work)(&shape),
            error,
            error_of_ragged,
        });
    }
    let outcome =
        Outcome { adapter: adapter.description, shape, repeats, flop: shape.flop(), product, steps };
    print(&outcome);
    match &arguments.json {
        Some(path) => write(&outcome, path),
        None => Ok(()),
    }
}

/// Refuses what no launch has room for.
fn check(shape: &Shape) -> Result<(), LadderError> {
    let fits = |what, numbers: Option<usize>, room: usize| {
        let bytes = numbers.and_then(|numbers| numbers.checked_mul(size_of::<f32>())).unwrap_or(usize::MAX);
        let (megabytes, room_in_megabytes) = (bytes >> 20, room >> 20);
        if bytes > room {
            return Err(LadderError::TooLarge { what, megabytes, room: room_in_megabytes });
        }
        Ok(())
    };
    let side = shape.features.next_multiple_of(4);
    fits("the features", shape.samples.checked_mul(shape.features), BINDING_BYTES)?;
    fits("the probabilities", shape.samples.checked_mul(shape.classes), BINDING_BYTES)?;
    fits(
        "the sums",
        side.checked_mul(side).and_then(|square| square.checked_mul(shape.pairs())),
        LAUNCH_BYTES,
    )
}

fn ragged_case([samples, features, classes]: [usize; 3], seed: u64) -> Case {
    Case::new(Shape { samples, features, classes }, seed)
}

/// A step's error, if it is within what f32 explains. A term is rounded four times at most,
/// each time by 2^-24 of itself or less, and an addition by 2^-24 of the sum so far. That
/// sum grows from 0 to what it ends with, all terms being of one sign, so n additions come
/// to n / 2 units. The walk is not a random one: terms below half a unit of the sum are
/// lost, every one of them, as steps 1 and 2 show where N is large.
fn checked(step: &Step, on_device: &OnDevice, case: &Case) -> Result<Error, LadderError> {
    let error = case.error_of(&on_device.read(on_device.queue(step))?);
    let unit = f64::from(f32::EPSILON) / 2.0;
    let allowed = unit * (4.0 + (step.longest_sum)(&case.shape) as f64 / 2.0);
    // Written so that an error that is not a number is one.
    if error.frobenius <= allowed {
        return Ok(error);
    }
    let Shape { samples, features, classes } = case.shape;
    Err(LadderError::Wrong {
        file: step.file,
        shape: [samples, features, classes],
        found: error.frobenius,
        allowed,
    })
}

fn product(adapter: &Adapter, repeats: usize, side: usize) -> Result<Product, AdapterError> {
    let matrix =
        || Tensor::<2>::random([side, side], Distribution::Uniform(-1.0, 1.0), (&adapter.device, DType::F32));
    let (left, right) = (matrix(), matrix());
    adapter.wait()?;
    let seconds = adapter.time(repeats, || left.clone().matmul(right.clone()))?;
    Ok(Product { side, seconds, gflops: 2.0 * (side as f64).powi(3) / seconds.median / 1e9 })
}

fn print(outcome: &Outcome) {
    let Outcome { adapter, shape, repeats, flop, product, .. } = outcome;
    let kind = if adapter.software { ", a program on the CPU" } else { "" };
    println!("{} ({}, {}{kind})", adapter.name, adapter.api, adapter.driver);
    println!(
        "N = {}, m = {}, K = {}: {:.2} GFLOP are asked for; median (least to most) of {repeats}",
        shape.samples,
        shape.features,
        shape.classes,
        flop / 1e9,
    );
    println!(
        "burn's f32 product of two {side} x {side} matrices: {:.2} ms, {:.1} GFLOP/s\n",
        product.seconds.median * 1e3,
        product.gflops,
        side = product.side,
    );
    println!(
        "{:<38} {:>27} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "", "ms", "GFLOP/s", "of burn's", "GFLOP", "GB read", "error", "largest", "ragged"
    );
    for step in &outcome.steps {
        let Timing { median, min, max } = step.seconds;
        println!(
            "{:<38} {:>27} {:>9.1} {:>8.1}% {:>9.2} {:>9.2} {:>8.1e} {:>8.1e} {:>8.1e}",
            step.file,
            format!("{:.2} ({:.2} to {:.2})", median * 1e3, min * 1e3, max * 1e3),
            step.gflops,
            step.share_of_product * 100.0,
            step.work.flop / 1e9,
            step.work.bytes / 1e9,
            step.error.frobenius,
            step.error.largest,
            step.error_of_ragged,
        );
    }
}

fn write(outcome: &Outcome, path: &std::path::Path) -> Result<(), LadderError> {
    let failed = |source| LadderError::Write { path: path.to_owned(), source };
    let text = serde_json::to_string_pretty(outcome).map_err(|error| failed(error.into()))?;
    std::fs::write(path, text + "\n").map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::adapter::tests::adapter;

    #[test]
    fn every_step_agrees_with_f64_on_ragged_shapes() {
        let Some(adapter) = adapter() else { return };
        for (sizes, seed) in RAGGED.into_iter().zip(0..) {
            let case = ragged_case(sizes, seed);
            let on_device = OnDevice::new(&adapter, &case);
            for step in &STEPS {
                checked(step, &on_device, &case).unwrap();
            }
        }
    }

    #[test]
    fn wrong_sums_are_seen() {
        let case = ragged_case([50, 6, 3], 1);
        let right: Vec<f32> = case.rounded();
        assert!(case.error_of(&right).frobenius < 1e-7);
        let mut wrong = right.clone();
        wrong[6 * 6 + 6] *= 1.1;
        let error = case.error_of(&wrong);
        assert!(error.frobenius > 1e-4 && error.largest > 1e-4);
        // Above a diagonal nobody looks.
        wrong.clone_from(&right);
        wrong[1] = f32::NAN;
        assert!(case.error_of(&wrong).frobenius < 1e-7);
        wrong[0] = f32::NAN;
        assert!(case.error_of(&wrong).frobenius.is_nan());
        assert_eq!(case.error_of(&right[1..]).frobenius, f64::INFINITY);
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let shape = |samples, features, classes| Shape { samples, features, classes };
        assert!(check(&shape(60_000, 100, 10)).is_ok());
        for shape in [shape(1 << 20, 100, 10), shape(1 << 22, 1, 10), shape(10, 1000, 10)] {
            assert!(matches!(check(&shape), Err(LadderError::TooLarge { .. })), "{shape:?}");
        }
    }
}
