//! Checkpoints: what is written is read back, and what is not a checkpoint is told.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use kappa_model::{Initialisation, Kind, Network, NetworkShape, Normalisation, Pass, Place, RunningVariance};
use kappa_run::{Interpretation, SavedTensor, write_tensors};
use kappa_trainer::{CheckpointError, Reading, import_checkpoint, load_checkpoint, save_checkpoint};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

const NORM: Normalisation = Normalisation {
    kind: Kind::Batch,
    place: Place::After,
    epsilon: 2e-3,
    momentum: 0.5,
    running_variance: RunningVariance::Unbiased,
};

fn shape(hidden: &[usize], normalisation: Normalisation) -> NetworkShape {
    NetworkShape { inputs: 3, hidden: hidden.to_vec(), classes: 2, normalisation }
}

fn inputs(device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..15).map(|i| ((i * 7 % 5) as f32 - 2.0) / 3.0).collect();
    Tensor::from_data(TensorData::new(values, [5, 3]), device)
}

/// A network whose running statistics have moved.
fn network(shape: &NetworkShape) -> Network {
    let device = Device::flex().autodiff();
    let network = Network::new(shape, Initialisation::KaimingUniform, 2, &device);
    network.features(network.preactivations(inputs(&device)), Pass::Training);
    network
}

fn logits(network: &Network) -> Vec<f32> {
    let network = network.valid();
    let z = network.preactivations(inputs(&Device::flex()));
    let features = network.features(z, Pass::Running);
    network.logits(features).into_data().iter::<f32>().collect()
}

/// Writes f32 zeros of the given names and shapes.
fn write(folder: &Path, tensors: &[(&str, &[usize])], dtype: Dtype) -> PathBuf {
    let path = folder.join("made-up.safetensors");
    let bytes = vec![0; 4096];
    let size = if dtype == Dtype::F32 { 4 } else { 8 };
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| {
            let length = shape.iter().product::<usize>() * size;
            (*name, TensorView::new(dtype, shape.to_vec(), &bytes[..length]).unwrap())
        })
        .collect();
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

const PLAIN: [(&str, &[usize]); 4] =
    [("hidden.weight", &[4, 3]), ("hidden.bias", &[4]), ("output.weight", &[2, 4]), ("output.bias", &[2])];

fn imported(path: &Path) -> Result<(Network, Reading), CheckpointError> {
    import_checkpoint(path, &Interpretation::default(), &Device::flex())
}

fn complaint(path: &Path) -> String {
    imported(path).map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

#[test]
fn a_network_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let before = Normalisation { place: Place::Before, ..NORM };
    let kinds = [Kind::Centre, Kind::Scale, Kind::Layer, Kind::Weight];
    let others = kinds.map(|kind| Normalisation { kind, ..NORM });
    let all = [NORM, before, Normalisation::default(), Normalisation { kind: Kind::Layer, ..before }];
    let all = all.into_iter().chain(others);
    for (normalisation, hidden) in all.flat_map(|kind| [(kind, &[4][..]), (kind, &[4, 5, 2])]) {
        // Weight norm has neither of these.
        let normalisation = match normalisation.kind {
            Kind::Weight => Normalisation { kind: Kind::Weight, ..Normalisation::default() },
            _ => normalisation,
        };
        let shape = shape(hidden, normalisation);
        let saved = network(&shape);
        save_checkpoint(&saved, &path).unwrap();
        let loaded = load_checkpoint(&path, &Device::flex()).unwrap();
        assert_eq!(logits(&loaded), logits(&saved));
        // How running statistics take their part of a batch is what a checkpoint does not hold.
        assert_eq!(loaded.with_updates(&normalisation).shape(), shape);
    }
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.safetensors", "b.safetensors"].map(|name| folder.path().join(name));
    for path in &paths {
        save_checkpoint(&network(&shape(&[4], NORM)), path).unwrap();
    }
    assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
}

#[test]
fn the_file_has_pytorchs_names_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    save_checkpoint(&network(&shape(&[4], NORM)), &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    found.sort();
    let expected: Vec<(String, Vec<usize>)> = [
        ("hidden.bias", vec![4]),
        ("hidden.weight", vec![4, 3]),
        ("norm.bias", vec![4]),
        ("norm.running_mean", vec![4]),
        ("norm.running_var", vec![4]),
        ("norm.weight", vec![4]),
        ("output.bias", vec![2]),
        ("output.weight", vec![2, 4]),
    ]
    .into_iter()
    .map(|(name, shape)| (name.to_owned(), shape))
    .collect();
    assert_eq!(found, expected);

    // The elements too: torch computes x W^T + b, so with x the identity the
    // preactivations are the transpose of what the file holds.
    let device = Device::flex();
    let identity = Tensor::<2>::eye(3, &device);
    let z: Vec<f32> =
        network(&shape(&[4], NORM)).valid().preactivations(identity).into_data().iter().collect();
    let weight = file.tensor("hidden.weight").unwrap();
    for (index, bytes) in weight.data().chunks(4).enumerate() {
        let value = f32::from_le_bytes(bytes.try_into().unwrap());
        assert_eq!(value, z[(index % 3) * 4 + index / 3]);
    }
}

#[test]
fn a_file_from_elsewhere_may_be_of_any_width_and_in_double_precision() {
    let folder = tempfile::tempdir().unwrap();
    let found = imported(&write(folder.path(), &PLAIN, Dtype::F64)).unwrap().0.shape();
    assert_eq!(found, shape(&[4], Normalisation::default()));
    let norm: [(&str, &[usize]); 4] =
        [("norm.weight", &[4]), ("norm.bias", &[4]), ("norm.running_mean", &[4]), ("norm.running_var", &[4])];
    let path = write(folder.path(), &[PLAIN, norm].concat(), Dtype::F32);
    let found = imported(&path).unwrap().0.shape().normalisation;
    assert_eq!((found.kind, found.place), (Kind::Batch, Place::After));
    assert_eq!(found.epsilon, 1e-5, "PyTorch's default where the file does not say");
}

/// What is said of f32 zeros of the given names and shapes as kappa's own checkpoint.
fn complaint_of_own(path: &Path, tensors: &[(&str, &[usize])]) -> String {
    let saved: Vec<SavedTensor> = tensors
        .iter()
        .map(|(name, shape)| {
            SavedTensor::of_singles(name, shape.to_vec(), &vec![0.0; shape.iter().product()])
        })
        .collect();
    write_tensors(path, &saved, &BTreeMap::new()).unwrap();
    load_checkpoint(path, &Device::flex()).map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

#[test]
fn other_names_and_shapes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let check = |tensors: &[(&str, &[usize])], told: &str| {
        let message = complaint_of_own(&folder.path().join("made-up.safetensors"), tensors);
        assert!(message.contains(told) && message.contains("made-up.safetensors"), "{message}");
    };
    check(&PLAIN[..3], "no tensor `output.bias`");
    check(&[&PLAIN[..], &[("fc1.weight", &[1])]].concat(), "a tensor `fc1.weight`");
    check(&[&PLAIN[1..], &[("hidden.weight", &[5, 3])]].concat(), "5 hidden units and output.weight takes 4");
    check(&[&PLAIN[..3], &[("output.bias", &[3])]].concat(), "`output.bias` has shape [3], expected [2]");
    check(
        &[&PLAIN[..3], &[("output.bias", &[2, 1])]].concat(),
        "`output.bias` has shape [2, 1], expected [2]",
    );
    check(&[&PLAIN[..], &[("norm.bias", &[4])]].concat(), "no tensor `norm.weight`");
    check(&[("fc1.weight", &[4, 3])], "no tensor `hidden.weight`, but a tensor `fc1.weight`");
    check(&[&PLAIN[1..], &[("hidden.weight", &[12])]].concat(), "shape [12], expected a matrix");
    let deep: [(&str, &[usize]); 6] = [
        ("hidden.0.weight", &[4, 3]),
        ("hidden.0.bias", &[4]),
        ("hidden.1.weight", &[5, 4]),
        ("hidden.1.bias", &[5]),
        ("output.weight", &[2, 5]),
        ("output.bias", &[2]),
    ];
    assert_eq!(complaint(&write(folder.path(), &deep, Dtype::F32)), "none");
    check(&[&deep[..3], &deep[4..]].concat(), "no tensor `hidden.1.bias`");
    check(&[&deep[..2], &deep[3..]].concat(), "4 hidden units and output.weight takes 5");
    check(&[&deep[..], &[("hidden.3.weight", &[1, 5])]].concat(), "a tensor `hidden.3.weight`");
}

#[test]
fn every_cut_of_a_checkpoint_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    save_checkpoint(&network(&shape(&[4], NORM)), &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_ne!(complaint(&path), "none", "cut at {length}");
    }
    assert!(complaint(&folder.path().join("missing")).contains("cannot read"));
}
