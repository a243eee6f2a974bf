//! A GPU that goes away in the middle of an epoch. (A file of its own: its process has no GPU
//! afterwards.)
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{ops::ControlFlow, path::Path};

use burn::tensor::{Device, wgpu::wgpu};
use kappa_data::DataSet;
use kappa_run::{Backend, Config, EpochMetrics, Exit, Provenance, RunDir};
use kappa_trainer::{Machine, Observer, TrainError, resume, train};

/// Loses the device at a step, if it has one.
struct Loses {
    device: Option<wgpu::Device>,
    at: usize,
    steps: usize,
}

impl Observer for Loses {
    fn started(&mut self, _: &RunDir, _: usize, _: usize, _: Option<usize>) {}
    fn stepped(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.steps == self.at
            && let Some(device) = &self.device
        {
            device.destroy();
        }
        ControlFlow::Continue(())
    }
    fn finished_epoch(&mut self, _: &EpochMetrics) {}
}

#[test]
fn a_device_that_is_lost_in_mid_epoch_is_an_error_and_the_run_goes_on_elsewhere() {
    let Ok((device, setup)) = Device::wgpu_options().init_with_setup() else {
        assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "there is no GPU adapter");
        eprintln!("skipped, for want of an adapter");
        return;
    };
    let set = DataSet::mnist().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/smoke.toml");
    let settings = ["data.train=200", "training.epochs=3", "training.batch_size=20"];
    let config = Config::load(&path, &settings.map(str::to_owned)).unwrap();
    let machine =
        |device, backend| Machine { device, provenance: Provenance { backend, ..Provenance::default() } };
    let folder = tempfile::tempdir().unwrap();
    // Ten steps an epoch: in the middle of the second.
    let mut observer = Loses { device: Some(setup.device.clone()), at: 15, steps: 0 };
    let error = train(&config, &set, &machine(device, Backend::Wgpu), folder.path(), None, &mut observer)
        .unwrap_err();
    assert!(matches!(error, TrainError::Device(_)), "{error}");

    let run = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let run = RunDir::open(&run).unwrap();
    assert_eq!(run.whole_epochs().unwrap().len(), 2, "epochs 0 and 1");
    let manifest = run.manifest().unwrap();
    assert!(matches!(manifest.sessions[0].exit, Some(Exit::Failed(_))), "{:?}", manifest.sessions);

    let mut observer = Loses { device: None, at: 0, steps: 0 };
    let run = resume(run, &set, &machine(Device::flex(), Backend::Flex), &mut observer).unwrap();
    assert_eq!(run.whole_epochs().unwrap().len(), 4);
    assert!(run.manifest().unwrap().is_finished());
}
