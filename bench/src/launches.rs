//! How many kernels a step of training queues, and what queueing one costs.
//!
//! cubecl tells an observer of every launch before it is queued, so the count is of what
//! is launched, whatever fusion made of the operations. What a launch costs is the time
//! of a thousand kernels that write one word each, one after the other.

use std::ops::ControlFlow;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use burn::cubecl::logging::{LaunchObservation, LaunchObserver};
use kappa_data::{DataError, DataSet};
use kappa_model::{Initialisation, TwoLayerNet};
use kappa_run::{Config, RunError};
use kappa_trainer::{DeviceSplit, PixelScaling, TrainError, Trainer, network_shape, split_data};
use serde::Serialize;

use crate::{
    adapter::{Adapter, AdapterError, Description, Timing},
    kernel::launch,
};

const ONE_WORD: &str = include_str!("../launches/one_word.wgsl");
/// Kernels that are queued before the device is waited for.
const QUEUED: usize = 1000;

/// What is trained, and how often.
#[derive(clap::Args)]
pub struct Arguments {
    /// The configurations that are trained for a few steps
    #[arg(default_values = ["configs/fc.toml", "configs/fc-bn.toml"])]
    configurations: Vec<PathBuf>,
    /// Samples a step
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch_size: u32,
    /// Steps that are counted and timed, after as many to warm up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=50))]
    steps: u32,
    /// Times that the thousand kernels are timed; the median is shown
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Where to leave the same as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Launches that cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum LaunchesError {
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Configuration(#[from] RunError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Training(#[from] TrainError),
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What is left as JSON.
#[derive(Serialize)]
struct Outcome {
    adapter: Description,
    batch_size: u32,
    /// Seconds of a launch: of a thousand, divided by their number.
    launch: Timing,
    networks: Vec<Network>,
}

/// A network's step of training.
#[derive(Serialize)]
struct Network {
    name: String,
    /// Kernels of one step; the mean, should steps differ.
    launches: f64,
    /// Seconds of one step, the mean of an epoch's.
    seconds: f64,
    /// Kernels of the whole epoch, by their type, divided by its steps.
    kernels: BTreeMap<String, f64>,
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

/// Counts and times, and prints what came of it.
pub fn run(arguments: &Arguments) -> Result<(), LaunchesError> {
    let adapter = Adapter::open()?;
    let launch = cost_of_a_launch(&adapter, arguments.repeats as usize)?;
    let set = DataSet::mnist()?;
    let mut networks = Vec::new();
    for path in &arguments.configurations {
        let assignments = [
            format!("data.train={}", arguments.batch_size * arguments.steps),
            format!("training.batch_size={}", arguments.batch_size),
        ];
        networks.push(count(&Config::load(path, &assignments)?, &set, &adapter)?);
    }
    let outcome =
        Outcome { adapter: adapter.description, batch_size: arguments.batch_size, launch, networks };
    print(&outcome);
    match &arguments.json {
        Some(path) => {
            let failed = |source| LaunchesError::Write { path: path.clone(), source };
            let text = serde_json::to_string_pretty(&outcome).map_err(|error| failed(error.into()))?;
            std::fs::write(path, text + "\n").map_err(failed)
        }
        None => Ok(()),
    }
}

fn cost_of_a_launch(adapter: &Adapter, repeats: usize) -> Result<Timing, AdapterError> {
    let word = adapter.client.empty(size_of::<u32>());
    let of_all = adapter.time(repeats, || {
        for _ in 0..QUEUED {
            launch(&adapter.client, ONE_WORD, [1, 1], [1, 1, 1], &[&word]);
        }
    })?;
    let of_one = |seconds: f64| seconds / QUEUED as f64;
    Ok(Timing { median: of_one(of_all.median), min: of_one(of_all.min), max: of_one(of_all.max) })
}

/// The launches of an epoch, after one in which kernels are compiled and fusion finds out
/// what it can fuse.
fn count(config: &Config, set: &DataSet, adapter: &Adapter) -> Result<Network, LaunchesError> {
    let splits = split_data(set, &config.data, config.seed)?;
    let scaling = PixelScaling::new(config.data.scaling, &splits.train)?;
    let split = DeviceSplit::new(&splits.train, set.classes, scaling, &adapter.device);
    let device = adapter.device.clone().autodiff();
    let shape = network_shape(config, set);
    // How the weights are drawn changes no launch.
    let network = TwoLayerNet::new(&shape, Initialisation::GlorotUniform, config.seed, &device);
    let mut trainer = Trainer::new(network, split, &config.training, &device, config.seed);
    trainer.epoch(|_| ControlFlow::Continue(()))?;
    adapter.wait()?;

    let counter = Arc::new(Counter::default());
    let observation = LaunchObservation::new(counter.clone());
    let mut after_steps = Vec::new();
    let start = Instant::now();
    trainer.epoch(|_| {
        after_steps.push(counter.total());
        ControlFlow::Continue(())
    })?;
    let seconds = start.elapsed().as_secs_f64() / trainer.steps() as f64;
    drop(observation);
    // From the first step's end to the last's: what an epoch has beside its steps is before and after.
    let launches = match after_steps[..] {
        [first, .., last] => (last - first) as f64 / (after_steps.len() - 1) as f64,
        _ => counter.total() as f64,
    };
    let mut kernels = BTreeMap::new();
    for (name, count) in counter.kernels() {
        *kernels.entry(short(name)).or_default() += count as f64 / after_steps.len() as f64;
    }
    Ok(Network { name: config.network_label().to_owned(), launches, seconds, kernels })
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

fn print(outcome: &Outcome) {
    let Outcome { adapter, batch_size, launch, networks } = outcome;
    let kind = if adapter.software { ", a program on the CPU" } else { "" };
    println!("{} ({}, {}{kind})", adapter.name, adapter.api, adapter.driver);
    println!(
        "a launch: {:.2} us ({:.2} to {:.2}), of {QUEUED} kernels that write one word",
        launch.median * 1e6,
        launch.min * 1e6,
        launch.max * 1e6,
    );
    for network in networks {
        println!(
            "{}: {:.1} launches a step of {batch_size} samples, {:.3} ms; launching alone is {:.3} ms",
            network.name,
            network.launches,
            network.seconds * 1e3,
            network.launches * launch.median * 1e3,
        );
        for (kernel, count) in &network.kernels {
            println!("  {count:>6.1} {kernel}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::tests::adapter;

    #[test]
    fn names_are_shortened() {
        assert_eq!(short("a::b::Full"), "Full");
        assert_eq!(short("a::Binop<b::c::Add>"), "Binop<Add>");
        assert_eq!(short("a::Matmul<b::X, c::Y<d::Z>>"), "Matmul");
    }

    #[test]
    fn every_launch_is_counted() {
        let Some(adapter) = adapter() else { return };
        let counter = Arc::new(Counter::default());
        let word = adapter.client.empty(size_of::<u32>());
        let launch = || launch(&adapter.client, ONE_WORD, [1, 1], [1, 1, 1], &[&word]);
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
