//! The backends agree with each other: same seed, same losses; same checkpoint,
//! same spectrum. And what the configurations train is as good as it should be.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{num::NonZeroUsize, ops::ControlFlow, path::Path};

use burn::tensor::Device;
use kappa_data::DataSet;
use kappa_model::{Initialisation, Network, Statistics};
use kappa_probe::{ProbeError, Proof, curvature, samples};
use kappa_run::{Backend, Config, EpochMetrics, Parameters, Precision, Provenance, Request, RunDir};
use kappa_trainer::{
    DeviceSplit, Machine, Observer, PixelScaling, TrainError, Trainer, load_checkpoint, split_data,
};

fn config(name: &str, assignments: &[&str]) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
    let assignments: Vec<String> = assignments.iter().map(ToString::to_string).collect();
    Config::load(&path, &assignments).unwrap()
}

/// Every backend there is, the first one being the reference. A missing GPU
/// adapter is said, and is a failure if KAPPA_REQUIRE_GPU is set, as in CI.
#[allow(deprecated)]
fn backends() -> Vec<(Backend, Device)> {
    let mut backends = vec![(Backend::Flex, Device::flex()), (Backend::Ndarray, Device::ndarray())];
    static GPU: std::sync::OnceLock<Option<Device>> = std::sync::OnceLock::new();
    match GPU.get_or_init(|| Device::wgpu_options().init().ok()) {
        Some(device) => backends.push((Backend::Wgpu, device.clone())),
        None => {
            assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "there is no GPU adapter");
            eprintln!("skipped: wgpu, for want of an adapter");
        }
    }
    backends
}

/// The losses of the first twenty steps of `config` on `device`.
fn losses(config: &Config, set: &DataSet, device: &Device) -> Vec<f64> {
    let splits = split_data(set, &config.data, config.seed).unwrap();
    let scaling = PixelScaling::new(config.data.scaling, &splits.train).unwrap();
    let split = DeviceSplit::new(&splits.train, set.classes, scaling, device);
    let device = device.clone().autodiff();
    let shape = config.network.shape(set.train.inputs(), set.classes);
    let network = Network::new(&shape, Initialisation::GlorotUniform, config.seed, &device);
    let mut trainer = Trainer::new(network, split, &config.training, &device, config.seed);
    let mut losses = Vec::new();
    while losses.len() < 20 {
        let note = |objective: &burn::tensor::Tensor<1>| {
            losses.push(objective.clone());
            ControlFlow::Continue(())
        };
        trainer.epoch(note).unwrap();
    }
    losses.truncate(20);
    losses.into_iter().map(|loss| loss.into_scalar::<f64>()).collect()
}

#[test]
fn the_same_seed_gives_the_same_losses_on_every_backend() {
    let set = DataSet::mnist().unwrap();
    // 20 steps of 64 in an order drawn from the seed; and 20 full batches, standardised, summed.
    for assignments in [
        &["data.train=1280", "training.batch_size=64", "training.adam.learning_rate=1e-3"][..],
        &[
            "data.train=300",
            "training.batch_size=full",
            "training.epochs=20",
            "training.adam.learning_rate=1e-3",
            "training.reduction=sum",
            "data.scaling=standardised",
            "network.initialisation=kaiming_uniform",
        ],
    ] {
        for (network, more) in [
            ("fc.toml", &[][..]),
            ("fc-bn.toml", &[]),
            ("fc-bn.toml", &["network.hidden=[30, 20]", "network.normalisation.place=before"]),
        ] {
            let config = config(network, &[assignments, more].concat());
            let mut reference: Option<Vec<f64>> = None;
            for (name, device) in backends() {
                let found = losses(&config, &set, &device);
                assert!(found[19] < found[0], "{name} does not learn: {found:?}");
                let expected = reference.get_or_insert_with(|| found.clone());
                for (step, (a, b)) in found.iter().zip(expected.iter()).enumerate() {
                    // The bound that was set. Rounding differs by 1e-7 a step, and Adam's first
                    // steps, +-alpha whatever a gradient's size is, carry it on.
                    assert!((a - b).abs() <= 1e-4 * b.abs(), "{network} on {name}, step {step}: {a} and {b}");
                }
            }
        }
    }
}

/// By running statistics, and by those of all images together.
#[test]
fn a_whole_network_has_the_same_curvature_on_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let set = DataSet::mnist().unwrap();
    let more = ["data.train=300", "network.hidden=[20, 10]", "training.epochs=1"];
    let config = config("fc-bn.toml", &more);
    let run = train(&config, &set, folder.path());
    let (_, checkpoint) = run.checkpoint(None).unwrap();
    let splits = split_data(&set, &config.data, config.seed).unwrap();
    let scaling = PixelScaling::new(config.data.scaling, &splits.train).unwrap();
    for statistics in [Statistics::Running, Statistics::Dataset] {
        let request = Request {
            parameters: Parameters::All,
            statistics,
            top: NonZeroUsize::new(2),
            ..Request::new(Precision::F32)
        };
        let mut reference: Option<Vec<f64>> = None;
        for (name, device) in backends() {
            let split = DeviceSplit::new(&splits.train, set.classes, scaling, &device);
            let network = load_checkpoint(&checkpoint, &device).unwrap();
            let (summary, evidence) = curvature(&network, &split, &request, Proof::Whole, &()).unwrap();
            let evidence = evidence.unwrap();
            assert!(evidence.passed, "{name} {statistics}: {:?}", evidence.checks);
            let found = [summary.largest.eigenvalues, vec![summary.gradient, summary.trace.value]].concat();
            let expected = reference.get_or_insert_with(|| found.clone());
            for (index, (a, b)) in found.iter().zip(expected.iter()).enumerate() {
                // What the solver stops at, and what single precision makes of some thousand terms.
                assert!((a - b).abs() <= 1e-4 * b.abs(), "{name} {statistics} {index}: {a} and {b}");
            }
        }
    }
}

#[test]
fn a_checkpoint_has_the_same_spectrum_on_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let set = DataSet::mnist().unwrap();
    for network in ["fc.toml", "fc-bn.toml"] {
        let config = config(network, &["data.train=2000", "network.hidden=20", "training.epochs=2"]);
        let run = train(&config, &set, folder.path());
        let (_, checkpoint) = run.checkpoint(None).unwrap();
        let splits = split_data(&set, &config.data, config.seed).unwrap();
        let scaling = PixelScaling::new(config.data.scaling, &splits.train).unwrap();
        let mut reference: Option<Vec<f64>> = None;
        for (name, device) in backends() {
            let split = DeviceSplit::new(&splits.train, set.classes, scaling, &device);
            let network = load_checkpoint(&checkpoint, &device).unwrap();
            for precision in [Precision::F64, Precision::F32] {
                let samples = match samples(&network, &split, &Request::new(precision), &()) {
                    // Few adapters have doubles, and fewer their exponential.
                    Err(ProbeError::NoDoublePrecision) if name == Backend::Wgpu => continue,
                    samples => samples.unwrap(),
                };
                let hessian = samples.hessian().unwrap();
                let pairs = hessian.eigenpairs().unwrap();
                let evidence = kappa_hessian::verify(&hessian, &pairs, &samples).unwrap();
                assert!(evidence.passed(), "{name} {precision:?}: {:?}", evidence.checks);
                let top = pairs.spectrum.eigenvalues()[..10].to_vec();
                let expected = reference.get_or_insert_with(|| top.clone());
                for (rank, (a, b)) in top.iter().zip(expected.iter()).enumerate() {
                    assert!((a - b).abs() <= 1e-5 * b, "{name} {precision:?} lambda_{}: {a}, {b}", rank + 1);
                }
            }
        }
    }
}

struct Silent;

impl Observer for Silent {
    fn started(&mut self, _: &RunDir, _: usize, _: usize, _: Option<usize>) {}
    fn stepped(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn finished_epoch(&mut self, _: &EpochMetrics) {}
}

fn train(config: &Config, set: &DataSet, root: &Path) -> RunDir {
    let machine = Machine { device: Device::flex(), provenance: Provenance::default() };
    kappa_trainer::train(config, set, &machine, root, None, &mut Silent).unwrap()
}

/// Stops once so many of the test images are right.
struct StopsWhenGood {
    accuracy: f64,
    best: f64,
}

impl Observer for StopsWhenGood {
    fn started(&mut self, _: &RunDir, _: usize, _: usize, _: Option<usize>) {}
    fn stepped(&mut self) -> ControlFlow<()> {
        if self.best < self.accuracy { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
    fn finished_epoch(&mut self, metrics: &EpochMetrics) {
        self.best = self.best.max(metrics.test_accuracy);
    }
}

#[test]
fn both_networks_reach_97_and_a_half_percent_on_the_test_set_in_30_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let set = DataSet::mnist().unwrap();
    for network in ["fc.toml", "fc-bn.toml"] {
        let config = config(network, &[]);
        assert_eq!(config.training.epochs.get(), 30);
        let mut observer = StopsWhenGood { accuracy: 0.975, best: 0.0 };
        let machine = Machine { device: Device::flex(), provenance: Provenance::default() };
        // It stops by an error when it is good, and ends without one when it never was.
        let _ = kappa_trainer::train(&config, &set, &machine, folder.path(), None, &mut observer);
        assert!(observer.best >= observer.accuracy, "{network}: {}", observer.best);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let set = DataSet::mnist().unwrap();
    let config = config("smoke.toml", &[]);
    let checkpoints = [0, 1].map(|_| {
        let (_, path) = train(&config, &set, folder.path()).checkpoint(None).unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(checkpoints[0] == checkpoints[1]);
}

/// Stops at a step.
struct StopsAt {
    step: usize,
    steps: usize,
}

impl Observer for StopsAt {
    fn started(&mut self, _: &RunDir, _: usize, _: usize, _: Option<usize>) {}
    fn stepped(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.steps == self.step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
    fn finished_epoch(&mut self, _: &EpochMetrics) {}
}

#[test]
fn a_run_that_was_stopped_ends_where_one_does_that_was_not_on_every_backend() {
    let set = DataSet::mnist().unwrap();
    let all = backends();
    // Shapes of the losses' test, so that a GPU compiles their kernels once.
    let networks =
        [&["network.hidden=100"][..], &["network.hidden=[30, 20]", "network.normalisation.place=before"]];
    for (network, (name, device)) in
        networks.iter().flat_map(|network| all.iter().map(move |one| (network, one)))
    {
        let (name, device) = (*name, device.clone());
        let settings = [
            "data.train=640",
            "data.validation=64",
            "data.test=64",
            "training.batch_size=64",
            "training.epochs=3",
        ];
        let config = config("smoke.toml", &[&settings, *network].concat());
        let folder = tempfile::tempdir().unwrap();
        let provenance = Provenance { backend: name, ..Provenance::default() };
        let machine = Machine { device, provenance };
        let whole = kappa_trainer::train(&config, &set, &machine, folder.path(), None, &mut Silent).unwrap();
        // Ten steps an epoch: in the middle of the second.
        let mut stops = StopsAt { step: 15, steps: 0 };
        let stopped = folder.path().join("stopped");
        let error = kappa_trainer::train(&config, &set, &machine, &stopped, None, &mut stops).unwrap_err();
        assert!(matches!(error, TrainError::Stopped), "{error}");
        let run = std::fs::read_dir(&stopped).unwrap().next().unwrap().unwrap().path();
        let run = kappa_trainer::resume(RunDir::open(&run).unwrap(), &set, &machine, &mut Silent).unwrap();
        let [found, expected] = [&run, &whole].map(|run| run.metrics().unwrap());
        assert_eq!((found.len(), expected.len()), (4, 4));
        for (a, b) in found.iter().zip(&expected) {
            // On a CPU the same bits. A GPU may add in another order, within the bound of the
            // backends' agreement above.
            let bound = if name == Backend::Wgpu { 1e-4 * b.test_loss } else { 0.0 };
            assert!((a.test_loss - b.test_loss).abs() <= bound, "{name}: {a:?} {b:?}");
        }
    }
}
