//! A GPU without the memory for as many images at once as it was asked to take.
#![cfg(feature = "wgpu")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{num::NonZeroUsize, ops::ControlFlow, path::Path};

use burn::tensor::Device;
use kappa_data::DataSet;
use kappa_model::{Initialisation, Network};
use kappa_run::Config;
use kappa_trainer::{DeviceSplit, PixelScaling, Trainer, split_data};

#[test]
fn a_full_batch_goes_through_in_smaller_pieces_by_itself() {
    let Ok(gpu) = Device::wgpu_options().init() else {
        assert!(std::env::var_os("KAPPA_REQUIRE_GPU").is_none(), "there is no GPU adapter");
        eprintln!("skipped, for want of an adapter");
        return;
    };
    let set = DataSet::mnist().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fc-bn.toml");
    let settings = ["training.batch_size=full", "network.hidden=4", "data.train=50000"];
    let config = Config::load(&path, &settings.map(str::to_owned)).unwrap();
    let splits = split_data(&set, &config.data, config.seed).unwrap();
    let scaling = PixelScaling::new(config.data.scaling, &splits.train).unwrap();
    // 157 MB of inputs, and buffers are of 128 MiB at the most where burn asks for no more.
    let all = NonZeroUsize::new(splits.train.labels().len()).unwrap();
    let objectives = |device: &Device, piece: Option<NonZeroUsize>| {
        let split = DeviceSplit::new(&splits.train, set.classes, scaling, device);
        let device = device.clone().autodiff();
        let shape = config.network.shape(set.train.inputs(), set.classes);
        let network = Network::new(&shape, Initialisation::GlorotUniform, 0, &device);
        let mut trainer = Trainer::new(network, split, &config.training, &device, 0);
        if let Some(piece) = piece {
            trainer = trainer.in_pieces_of(piece);
        }
        [(), ()].map(|()| trainer.epoch(|_| ControlFlow::Continue(())).unwrap())
    };
    let (found, expected) = (objectives(&gpu, Some(all)), objectives(&Device::flex(), None));
    for (a, b) in found.iter().zip(expected) {
        // The bound of the backends' agreement (agreement.rs); the second epoch shows that the
        // first one's step was taken once.
        assert!((a - b).abs() <= 1e-4 * b, "{found:?}, on the CPU {expected:?}");
    }
}
