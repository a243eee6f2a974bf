//! Checkpoints that people bring: other names, and less in them, are the same network.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use kappa_model::{Initialisation, Kind, Network, NetworkShape, Normalisation, Pass, Place};
use kappa_run::Interpretation;
use kappa_trainer::{CheckpointError, Reading, import_checkpoint, save_checkpoint};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// A trained network's tensors by kappa's names.
fn tensors(folder: &Path, hidden: &[usize], kind: Kind) -> (Network, Tensors) {
    let normalisation = Normalisation { kind, ..Normalisation::default() };
    let shape = NetworkShape { inputs: 3, hidden: hidden.to_vec(), classes: 2, normalisation };
    let device = Device::flex().autodiff();
    let network = Network::new(&shape, Initialisation::KaimingUniform, 2, &device);
    network.features(network.preactivations(inputs(&device)), Pass::Training);
    let path = folder.join("kappas.safetensors");
    save_checkpoint(&network, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let each = file.tensors().into_iter();
    let each = each.map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    (network, each.collect())
}

fn inputs(device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..15).map(|i| ((i * 7 % 5) as f32 - 2.0) / 3.0).collect();
    Tensor::from_data(TensorData::new(values, [5, 3]), device)
}

fn logits(network: &Network) -> Vec<f32> {
    let network = network.valid();
    let z = network.preactivations(inputs(&Device::flex()));
    let features = network.features(z, Pass::Running);
    network.logits(features).into_data().iter::<f32>().collect()
}

fn write(folder: &Path, tensors: &Tensors, metadata: &[(&str, &str)]) -> PathBuf {
    let path = folder.join("brought.safetensors");
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
        .collect();
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    std::fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    path
}

fn renamed(tensors: &Tensors, names: &[(&str, &str)]) -> Tensors {
    let other = |name: &str| {
        let (old, new) = names.iter().find(|(old, _)| name.starts_with(&format!("{old}."))).unwrap();
        name.replacen(old, new, 1)
    };
    tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (other(name), *dtype, shape.clone(), bytes.clone()))
        .collect()
}

fn read_as(path: &Path, interpretation: &Interpretation) -> Result<(Network, Reading), CheckpointError> {
    import_checkpoint(path, interpretation, &Device::flex())
}

fn read(path: &Path) -> Result<(Network, Reading), CheckpointError> {
    read_as(path, &Interpretation::default())
}

fn complaint(path: &Path) -> String {
    read(path).map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

fn values(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

const ONE: [usize; 1] = [4];
const DEEP: [usize; 3] = [4, 4, 4];

#[test]
fn wrappers_names_are_taken_off_and_batches_are_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (network, all) = tensors(folder.path(), &ONE, Kind::Batch);
    for wrapper in ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."] {
        let mut wrapped: Tensors = all.clone();
        wrapped.push(("norm.num_batches_tracked".to_owned(), Dtype::I64, Vec::new(), vec![0; 8]));
        wrapped.iter_mut().for_each(|(name, ..)| *name = format!("{wrapper}{name}"));
        let (found, reading) = read(&write(folder.path(), &wrapped, &[])).unwrap();
        assert_eq!(logits(&found), logits(&network), "{wrapper}");
        assert!(reading.layers.is_empty() && reading.epsilon_assumed && reading.place_assumed);
    }
}

#[test]
fn any_names_are_read_by_shapes_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (network, one) = tensors(folder.path(), &ONE, Kind::Batch);
    let (deep_network, deep) = tensors(folder.path(), &DEEP, Kind::Batch);
    let sequential = [("hidden", "0"), ("norm", "2"), ("output", "3")];
    let named = [("hidden", "net.fc1"), ("norm", "net.bn1"), ("output", "net.fc2")];
    // The order of names is that of their numbers: 10 is behind 9.
    let numbered = [
        ("hidden.0", "fc8"),
        ("hidden.1", "fc9"),
        ("hidden.2", "fc10"),
        ("output", "head"),
        ("norm.0", "bn8"),
        ("norm.1", "bn9"),
        ("norm.2", "bn10"),
    ];
    for (network, all, names, place) in [
        (&network, &one, &sequential[..], false),
        (&network, &one, &named, true),
        (&deep_network, &deep, &numbered, true),
    ] {
        let (found, reading) = read(&write(folder.path(), &renamed(all, names), &[])).unwrap();
        assert_eq!(logits(&found), logits(network), "{names:?}");
        assert_eq!((reading.layers.len(), reading.place_assumed), (names.len(), place));
        let told = reading.layers.join("\n");
        for (kappas, other) in names {
            assert!(told.contains(&format!("`{other}`")) && told.contains(&format!("`{kappas}`")), "{told}");
        }
    }
    // Right behind its linear layer, with room for a ReLU after it.
    let before = renamed(&one, &[("hidden", "0"), ("norm", "1"), ("output", "3")]);
    let (found, reading) = read(&write(folder.path(), &before, &[])).unwrap();
    assert_eq!(found.shape().normalisation.place, Place::Before);
    assert!(!reading.place_assumed);
    // No room on either side: a ReLU that is a function, anywhere.
    let open = renamed(&one, &[("hidden", "0"), ("norm", "1"), ("output", "2")]);
    let (found, reading) = read(&write(folder.path(), &open, &[])).unwrap();
    assert_eq!((found.shape().normalisation.place, reading.place_assumed), (Place::After, true));
}

#[test]
fn what_is_open_is_listed_and_can_be_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let (network, deep) = tensors(folder.path(), &DEEP, Kind::None);
    let names = [("hidden.0", "first"), ("hidden.1", "mid"), ("hidden.2", "late"), ("output", "head")];
    let path = write(folder.path(), &renamed(&deep, &names), &[]);
    let error = read(&path).unwrap_err();
    assert!(matches!(error, CheckpointError::Names { .. }), "{error}");
    for told in ["do not tell the order", "late.weight [4, 4]", "head.bias [2]"] {
        assert!(error.to_string().contains(told), "{error}");
    }
    let rename = names.iter().map(|(kappas, other)| format!("{other}={kappas}")).collect();
    let interpretation = Interpretation { rename, ..Interpretation::default() };
    assert_eq!(logits(&read_as(&path, &interpretation).unwrap().0), logits(&network));
    let complains = |rename: &[&str]| {
        let rename = rename.iter().map(ToString::to_string).collect();
        read_as(&path, &Interpretation { rename, ..Interpretation::default() }).unwrap_err().to_string()
    };
    assert!(complains(&["nobody=hidden"]).contains("no tensor `nobody`"));
    assert!(complains(&["first=a", "mid=a"]).contains("two of its tensors"));
    assert!(complains(&["first"]).contains("OLD=NEW"));
}

#[test]
fn layers_without_bias_gain_and_statistics_have_what_that_means() {
    let folder = tempfile::tempdir().unwrap();
    let (network, all) = tensors(folder.path(), &ONE, Kind::Batch);
    let without = |absent: &[&str]| -> Tensors {
        all.iter().filter(|(name, ..)| !absent.contains(&name.as_str())).cloned().collect()
    };
    // Biases begin at zero, gamma at one and beta at zero, and none of them was trained.
    for absent in [
        &["hidden.bias"][..],
        &["output.bias"],
        &["hidden.bias", "output.bias"],
        &["norm.weight", "norm.bias"],
        &["hidden.bias", "output.bias", "norm.weight", "norm.bias"],
    ] {
        let (found, reading) = read(&write(folder.path(), &without(absent), &[])).unwrap();
        assert_eq!(logits(&found), logits(&network), "{absent:?}");
        assert!(!reading.lacks_running_statistics);
    }
    let path = write(folder.path(), &without(&["norm.running_mean", "norm.running_var"]), &[]);
    assert!(read(&path).unwrap().1.lacks_running_statistics);
    for half in ["norm.weight", "norm.running_var"] {
        assert!(complaint(&write(folder.path(), &without(&[half]), &[])).contains(half), "{half}");
    }
}

#[test]
fn impossible_statistics_are_told_and_what_is_given_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (_, all) = tensors(folder.path(), &ONE, Kind::Batch);
    let with = |changed: &str, numbers: &[f32]| -> Tensors {
        let mut all = all.clone();
        all.iter_mut().filter(|(name, ..)| name == changed).for_each(|(.., bytes)| *bytes = values(numbers));
        all
    };
    let message = complaint(&write(folder.path(), &with("norm.running_var", &[1.0, 1.0, -0.5, 1.0]), &[]));
    assert!(message.contains("`norm.running_var` holds -0.5"), "{message}");
    let negative = with("norm.running_mean", &[0.5, -0.25, 0.0, 1.0]);
    let path = write(folder.path(), &negative, &[]);
    let (found, reading) = read(&path).unwrap();
    assert_eq!(reading.negative_mean.as_deref(), Some("norm.running_mean"));
    assert_eq!(found.shape().normalisation.epsilon, 1e-5);
    for place in [Place::Before, Place::After] {
        let interpretation =
            Interpretation { place: Some(place), epsilon: Some(1e-3), ..Interpretation::default() };
        let (found, reading) = read_as(&path, &interpretation).unwrap();
        let normalisation = found.shape().normalisation;
        assert_eq!((normalisation.place, normalisation.epsilon), (place, 1e-3));
        assert_eq!(
            (reading.negative_mean, reading.epsilon_assumed, reading.place_assumed),
            (None, false, false)
        );
    }
    let metadata = [("norm.place", "before"), ("norm.eps", "0.002")];
    let (found, reading) = read(&write(folder.path(), &negative, &metadata)).unwrap();
    let normalisation = found.shape().normalisation;
    assert_eq!((normalisation.place, normalisation.epsilon), (Place::Before, 0.002));
    assert_eq!((reading.negative_mean, reading.epsilon_assumed, reading.place_assumed), (None, false, false));
    let (_, plain) = tensors(folder.path(), &ONE, Kind::None);
    let interpretation = Interpretation { epsilon: Some(1e-3), ..Interpretation::default() };
    let error = read_as(&write(folder.path(), &plain, &[]), &interpretation).unwrap_err().to_string();
    assert!(error.contains("no batch norm"), "{error}");
}

#[test]
fn halves_are_exact_and_doubles_are_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let (_, plain) = tensors(folder.path(), &ONE, Kind::None);
    // Numbers that f16 and bf16 have: 1/4, -1.5, 2^-14, and 3.
    let numbers = [0.25f32, -1.5, 6.103_515_6e-5, 3.0];
    let halves: [u16; 4] = [0x3400, 0xbe00, 0x0400, 0x4200];
    let written = |dtype: Dtype| -> Tensors {
        let each = plain.iter().map(|(name, _, shape, _)| {
            let count: usize = shape.iter().product();
            let bytes = (0..count).flat_map(|index| {
                let value = numbers[index % 4];
                match dtype {
                    Dtype::F16 => halves[index % 4].to_le_bytes().to_vec(),
                    // The upper half of f32.
                    Dtype::BF16 => value.to_le_bytes()[2..].to_vec(),
                    Dtype::F64 => f64::from(value).to_le_bytes().to_vec(),
                    _ => value.to_le_bytes().to_vec(),
                }
            });
            (name.clone(), dtype, shape.clone(), bytes.collect())
        });
        each.collect()
    };
    let (expected, _) = read(&write(folder.path(), &written(Dtype::F32), &[])).unwrap();
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F64] {
        let (found, reading) = read(&write(folder.path(), &written(dtype), &[])).unwrap();
        assert_eq!(logits(&found), logits(&expected), "{dtype:?}");
        assert_eq!(reading.rounded, dtype == Dtype::F64);
    }
}

#[test]
fn a_file_beyond_the_memory_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors");
    std::fs::File::create(&path).unwrap().set_len(1 << 43).unwrap();
    let message = complaint(&path);
    assert!(message.contains("8796.1 GB") && message.contains("are free"), "{message}");
}
