//! How many kernels a step of training queues, and what queueing one costs.
//!
//! cubecl tells an observer of every launch before it is queued, so the count is of what
//! is launched, whatever fusion made of the operations. What a launch costs is the time
//! of a thousand kernels that write one word each, one after the other.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    cubecl::logging::{LaunchObservation, LaunchObserver},
    tensor::Device,
};
use kappa_data::DataSet;
use kappa_model::{Initialisation, Network};
use kappa_run::Config;
use kappa_trainer::{DeviceSplit, PixelScaling, Trainer, split_data};

use crate::{
    error::BenchError,
    gpu::Gpu,
    timing::{Spread, timed},
};

/// word = 1: next to nothing, so that the time of many is that of launching them.
const ONE_WORD: &str = "
@group(0) @binding(0) var<storage, read_write> word: array<u32>;
@compute @workgroup_size(1, 1, 1) fn main() { word[0] = 1u; }
";
/// Samples a step, and steps that are counted and timed, after as many to warm up.
const BATCH_SIZE: usize = 128;
const STEPS: usize = 20;
/// Kernels that are queued before the device is waited for.
const QUEUED: usize = 1000;

/// What is trained, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// The configurations that are trained for a few steps
    #[arg(default_values = ["configs/fc.toml", "configs/fc-bn.toml"])]
    configurations: Vec<PathBuf>,
    /// Times that the thousand kernels are timed; the median is shown
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
}

/// Counts launches by the kernels' names, for as long as it observes.
#[derive(Default)]
struct Counter(Mutex<BTreeMap<&'static str, usize>>);

impl Counter {
    fn kernels(&self) -> BTreeMap<&'static str, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn total(&self) -> usize {
        self.kernels().values().sum()
    }
}

impl LaunchObserver for Counter {
    fn launched(&self, kernel: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kernel).or_default() += 1;
    }
}

/// Counts and times, and prints what comes of it.
pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let gpu = Gpu::open()?;
    println!("{}", gpu.name);
    let word = gpu.client.empty(size_of::<u32>());
    let queue_all = || (0..QUEUED).for_each(|_| gpu.launch(&[ONE_WORD], [1, 1], [1, 1, 1], &[&word]));
    let Spread { median, min, max } = Spread::of(&gpu.device, arguments.repeats, queue_all)?;
    let each = |seconds: f64| seconds / QUEUED as f64 * 1e6;
    println!(
        "a launch: {:.2} us ({:.2} to {:.2}), of {QUEUED} kernels that write one word",
        each(median),
        each(min),
        each(max),
    );
    let set = DataSet::mnist()?;
    for path in &arguments.configurations {
        let samples = format!("data.train={}", BATCH_SIZE * STEPS);
        let config = Config::load(path, &[samples, format!("training.batch_size={BATCH_SIZE}")])?;
        let (launches, seconds, kernels) = count(&config, &set, &gpu)?;
        println!(
            "{}: {launches:.1} launches a step of {BATCH_SIZE} samples, {:.3} ms; launching alone is {:.3} ms",
            config.network_label(),
            seconds * 1e3,
            launches * each(median) / 1e3,
        );
        for (kernel, count) in &kernels {
            println!("  {count:>6.1} {kernel}");
        }
    }
    Ok(())
}

/// Of a step of training: kernels (the mean, should steps differ), seconds, and the kernels of a
/// whole epoch by their type, divided by its steps. The epoch follows one in which kernels are
/// compiled and fusion finds out what it can fuse.
fn count(config: &Config, set: &DataSet, gpu: &Gpu) -> Result<(f64, f64, BTreeMap<String, f64>), BenchError> {
    let device = &gpu.device;
    let mut trainer = trainer(config, set, device)?;
    trainer.epoch(|_| ControlFlow::Continue(()))?;

    let counter = Arc::new(Counter::default());
    let mut after_steps = Vec::new();
    let (observation, seconds) = timed(device, || {
        let observation = LaunchObservation::new(counter.clone());
        trainer.epoch(|_| {
            after_steps.push(counter.total());
            ControlFlow::Continue(())
        })?;
        Ok(observation)
    })?;
    drop(observation);
    let steps = after_steps.len() as f64;
    // From the first step's end to the last's: what an epoch has beside its steps is before and after.
    let launches = match after_steps[..] {
        [first, .., last] => (last - first) as f64 / (steps - 1.0),
        _ => counter.total() as f64,
    };
    let mut kernels = BTreeMap::new();
    for (name, count) in counter.kernels() {
        *kernels.entry(short(name)).or_default() += count as f64 / steps;
    }
    Ok((launches, seconds / steps, kernels))
}

/// A trainer of a new network, its images on `device`.
fn trainer(config: &Config, set: &DataSet, device: &Device) -> Result<Trainer, BenchError> {
    let images = split_data(set, &config.data, config.seed)?.train;
    let scaling = PixelScaling::new(config.data.scaling, &images)?;
    let split = DeviceSplit::new(&images, set.classes, scaling, device);
    let device = device.clone().autodiff();
    let shape = config.network.shape(set.train.inputs(), set.classes);
    let network = Network::new(&shape, Initialisation::GlorotUniform, config.seed, &device);
    Ok(Trainer::new(network, split, &config.training, &device, config.seed))
}

/// A kernel's type without its path, and with what it is generic over if that is one thing:
/// `KernelBinop<AddOp>`.
fn short(name: &str) -> String {
    let last = |path: &str| path.rsplit("::").next().unwrap_or(path).to_owned();
    match name.split_once('<') {
        Some((outer, inner)) if !inner.contains(',') => format!("{}<{}", last(outer), last(inner)),
        Some((outer, _)) => last(outer),
        None => last(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::tests::gpu;

    #[test]
    fn names_are_shortened() {
        assert_eq!(short("a::b::Full"), "Full");
        assert_eq!(short("a::Binop<b::c::Add>"), "Binop<Add>");
        assert_eq!(short("a::Matmul<b::X, c::Y<d::Z>>"), "Matmul");
    }

    #[test]
    fn every_launch_is_counted() {
        let Some(gpu) = gpu() else { return };
        let counter = Arc::new(Counter::default());
        let word = gpu.client.empty(size_of::<u32>());
        let launch = || gpu.launch(&[ONE_WORD], [1, 1], [1, 1, 1], &[&word]);
        launch();
        let observation = LaunchObservation::new(counter.clone());
        for _ in 0..3 {
            launch();
        }
        drop(observation);
        launch();
        assert_eq!(counter.total(), 3);
    }
}
