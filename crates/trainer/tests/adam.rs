//! Adam's state: what is saved of it is what the training did, and what is not one is told.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::ControlFlow;

use std::path::{Path, PathBuf};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use kappa_data::{DataSet, LabelledImages};
use kappa_model::{Initialisation, Network, NetworkShape, Normalisation, Pass};
use kappa_run::{Config, EpochMetrics, RunDir, Scaling, write_sealed};
use kappa_trainer::{
    DeviceSplit, Machine, Observer, OutputLayer, PixelScaling, Trainer, load_adam_state, load_checkpoint,
    save_adam_state, train,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Inputs, hidden units, classes, samples, epochs.
const D: usize = 6;
const M: usize = 4;
const K: usize = 3;
const N: usize = 11;
const EPOCHS: usize = 4;
const L2: f64 = 0.03;
/// One rounding in f32.
const U: f64 = f32::EPSILON as f64 / 2.0;
/// They and their powers are f32 without rounding.
const EXACT: &str = "beta_1 = 0.75\nbeta_2 = 0.875\nepsilon = 0.0078125";

fn images(count: usize) -> LabelledImages {
    let pixels = (0..count * D).map(|i| (i * i * 83 % 256) as u8).collect();
    let labels = (0..count).map(|n| (n * 5 % K) as u8).collect();
    LabelledImages::new("made up", [2, 3], pixels, labels).unwrap()
}

fn config(norm: bool, adam: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let norm = if norm { "[network.normalisation]\nkind = \"batch\"\nepsilon = 1e-2" } else { "" };
    let text = format!(
        "name = \"x\"\n[data]\ntrain = {N}\nvalidation = 2\ntest = 2\n[network]\nhidden = {M}\n{norm}\n\
         [training]\nepochs = {EPOCHS}\nbatch_size = \"full\"\nl2 = {L2}\n\
         [training.adam]\nlearning_rate = 0.05\n{adam}"
    );
    std::fs::write(&path, text).unwrap();
    Config::load(&path, &[]).unwrap()
}

/// Looks into the run's directory after each epoch.
struct Spy<'a>(Option<RunDir>, &'a mut dyn FnMut(&RunDir, usize));

impl Observer for Spy<'_> {
    fn started(&mut self, run: &RunDir, _: usize, _: usize, _: Option<usize>) {
        self.0 = Some(run.clone());
    }
    fn stepped(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn finished_epoch(&mut self, metrics: &EpochMetrics) {
        (self.1)(self.0.as_ref().unwrap(), metrics.epoch);
    }
}

fn run_watched(config: &Config, root: &Path, look: &mut dyn FnMut(&RunDir, usize)) -> RunDir {
    let set = DataSet {
        name: "made up".to_owned(),
        train: images(N + 2),
        test: images(2),
        classes: K,
        files: Vec::new(),
    };
    let machine = Machine { device: Device::flex(), provenance: kappa_run::Provenance::default() };
    train(config, &set, &machine, root, None, &mut Spy(None, look)).unwrap()
}

fn run(config: &Config, root: &Path) -> RunDir {
    run_watched(config, root, &mut |_, _| {})
}

/// The elements of an f32 tensor of the file at `path`.
fn numbers(path: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let elements = file.tensor(name).unwrap().data().as_chunks().0.to_vec();
    elements.into_iter().map(|bytes| f64::from(f32::from_le_bytes(bytes))).collect()
}

/// Names and shapes of the tensors of the file at `path`.
fn contents(path: &Path) -> Vec<(String, Vec<usize>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    found.sort();
    found
}

/// What the step of `epoch` added to the parameter `name`, and where it led.
fn step_of(run: &RunDir, epoch: usize, name: &str) -> Vec<(f64, f64)> {
    let before = numbers(&run.checkpoint_path(epoch - 1), name);
    let after = numbers(&run.checkpoint_path(epoch), name);
    before.iter().zip(after).map(|(before, after)| (after - before, after)).collect()
}

/// Whether `update` is the step that led to `after`, where burn rounds `roundings`
/// times on the way to the update, and once when it is added.
fn is_step((step, after): (f64, f64), update: f64, roundings: f64) -> bool {
    (step - update).abs() <= roundings * U * update.abs() + U * after.abs()
}

#[test]
fn the_last_update_is_what_the_last_step_added_to_the_output_layer() {
    let folder = tempfile::tempdir().unwrap();
    for norm in [false, true] {
        // Adam's defaults: 1 - 0.999^t in f32 and in f64 differ by far more than what is allowed here.
        let config = config(norm, "");
        let run = run(&config, folder.path());
        for epoch in 1..=EPOCHS {
            let state = load_adam_state(&run.adam_state(epoch).unwrap()).unwrap();
            assert_eq!(state.step as usize, epoch);
            let OutputLayer { weight, bias, .. } =
                state.last_update(config.training.optimizer.adam().unwrap());
            let updates = [("output.weight", weight), ("output.bias", bias)];
            for (name, updates) in updates {
                let steps = step_of(&run, epoch, name);
                assert_eq!(steps.len(), updates.len());
                for (&step, update) in steps.iter().zip(updates) {
                    // In f32: the learning rate, the quotient of the corrections, its product with m,
                    // the root, epsilon times a correction, their sum, the quotient, the product.
                    assert!(is_step(step, update, 9.0), "{norm}, {name} in {epoch}: {step:?} {update}");
                }
            }
        }
    }
}

/// The gradient of the objective by W2 and b2 at the network of a checkpoint, in f64
/// from its features.
fn gradient(checkpoint: &Path) -> [Vec<f64>; 2] {
    let device = Device::flex();
    let images = images(N);
    let pixels: Vec<f32> = images.pixels().iter().map(|&p| f32::from(p) / 255.0).collect();
    let network = load_checkpoint(checkpoint, &device).unwrap().valid();
    let z = network.preactivations(Tensor::from_data(TensorData::new(pixels, [N, D]), &device));
    let features: Vec<f64> = network.features(z, Pass::Batch).into_data().iter().collect();
    let (w2, b2) = (numbers(checkpoint, "output.weight"), numbers(checkpoint, "output.bias"));
    let mut weight: Vec<f64> = w2.iter().map(|w| 2.0 * L2 * w).collect();
    let mut bias = vec![0.0; K];
    for (g, &label) in features.chunks(M).zip(images.labels()) {
        let z: Vec<f64> =
            (0..K).map(|k| b2[k] + g.iter().zip(&w2[k * M..]).map(|(g, w)| g * w).sum::<f64>()).collect();
        let total: f64 = z.iter().map(|z| z.exp()).sum();
        for k in 0..K {
            let error = z[k].exp() / total - f64::from(u8::from(usize::from(label) == k));
            bias[k] += error / N as f64;
            for (i, g) in g.iter().enumerate() {
                weight[k * M + i] += error * g / N as f64;
            }
        }
    }
    [weight, bias]
}

#[test]
fn the_moments_are_the_decayed_means_of_the_gradients_and_of_their_squares() {
    let folder = tempfile::tempdir().unwrap();
    // Features are of order one and come from sums of a dozen terms in f32; batch norm magnifies
    // their rounding by at most 1 / sqrt(epsilon) = 10. The gradients are below a half, so the error
    // of a square is no larger than theirs.
    let tolerance = 20.0 * U;
    for norm in [false, true] {
        let config = config(norm, EXACT);
        let adam = *config.training.optimizer.adam().unwrap();
        let run = run(&config, folder.path());
        let (mut first, mut second) = (vec![0.0; K * M + K], vec![0.0; K * M + K]);
        for epoch in 1..=EPOCHS {
            let gradient = gradient(&run.checkpoint_path(epoch - 1)).concat();
            let largest = gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
            assert!((0.05..0.5).contains(&largest), "{largest}");
            for (i, g) in gradient.iter().enumerate() {
                first[i] = adam.beta_1 * first[i] + (1.0 - adam.beta_1) * g;
                second[i] = adam.beta_2 * second[i] + (1.0 - adam.beta_2) * g * g;
            }
            let state = load_adam_state(&run.adam_state(epoch).unwrap()).unwrap();
            let found = |layer: &OutputLayer| [&layer.weight[..], &layer.bias].concat();
            for (a, b) in found(&state.first_moment).iter().zip(&first) {
                assert!((a - b).abs() < tolerance, "{norm}, m of {epoch}: {a} {b}");
            }
            for (a, b) in found(&state.second_moment).iter().zip(&second) {
                assert!((a - b).abs() < tolerance, "{norm}, v of {epoch}: {a} {b}");
            }
            if epoch == 1 {
                // m_hat = g and v_hat = g^2, and g / (|g| + epsilon) magnifies the error by 1 / epsilon.
                let preconditioner = found(&state.preconditioner(&adam));
                let update = found(&state.last_update(&adam));
                for (i, g) in gradient.iter().enumerate() {
                    let divisor = g.abs() + adam.epsilon;
                    assert!((preconditioner[i] - divisor).abs() < tolerance, "{norm}, D: {i}");
                    let expected = -adam.learning_rate * g / divisor;
                    assert!((update[i] - expected).abs() < 2.0 * tolerance / adam.epsilon, "{norm}: {i}");
                }
            }
        }
    }
}

#[test]
fn every_parameters_state_lies_as_the_parameter_does_in_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for norm in [false, true] {
        let config = config(norm, EXACT);
        let adam = *config.training.optimizer.adam().unwrap();
        let run = run(&config, folder.path());
        let path = run.adam_state(EPOCHS).unwrap();
        let parameters: Vec<_> = contents(&run.checkpoint_path(EPOCHS))
            .into_iter()
            .filter(|(name, _)| !name.contains("running"))
            .collect();
        let mut expected = vec![("step".to_owned(), vec![1])];
        for (name, shape) in parameters {
            expected.push((format!("{name}.exp_avg"), shape.clone()));
            expected.push((format!("{name}.exp_avg_sq"), shape));
            let first = numbers(&path, &format!("{name}.exp_avg"));
            let second = numbers(&path, &format!("{name}.exp_avg_sq"));
            for ((&step, m), v) in step_of(&run, EPOCHS, &name).iter().zip(first).zip(second) {
                let m_hat = m / (1.0 - adam.beta_1.powi(EPOCHS as i32));
                let v_hat = v / (1.0 - adam.beta_2.powi(EPOCHS as i32));
                let update = -adam.learning_rate * m_hat / (v_hat.sqrt() + adam.epsilon);
                // As above, and the root of a correction.
                assert!(is_step(step, update, 10.0), "{norm}, {name}: {step:?} {update}");
            }
        }
        expected.sort();
        assert_eq!(contents(&path), expected);
        assert_eq!(expected.len(), if norm { 13 } else { 9 });
    }
}

#[test]
fn the_last_epoch_keeps_the_whole_state_and_earlier_ones_the_output_layers() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_watched(&config(true, ""), folder.path(), &mut |run, epoch| {
        assert!(run.adam_state(0).is_err(), "before the first step there is none");
        for earlier in 1..epoch {
            let found = contents(&run.adam_state(earlier).unwrap());
            let expected = [
                ("output.bias.exp_avg", vec![K]),
                ("output.bias.exp_avg_sq", vec![K]),
                ("output.weight.exp_avg", vec![K, M]),
                ("output.weight.exp_avg_sq", vec![K, M]),
                ("step", vec![1]),
            ];
            assert_eq!(found, expected.map(|(name, shape)| (name.to_owned(), shape)));
        }
        if epoch > 0 {
            assert_eq!(contents(&run.adam_state(epoch).unwrap()).len(), 13);
        }
    });
    let files = std::fs::read_dir(run.path().join("checkpoints")).unwrap().count();
    assert_eq!(files, 2 * EPOCHS + 1, "no more than a network an epoch and a state a step");
    assert_eq!(run.epochs().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn what_is_kept_of_a_state_is_what_was_saved_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Vec::new();
    let run = run_watched(&config(true, ""), folder.path(), &mut |run, epoch| {
        if epoch > 0 {
            whole.push(load_adam_state(&run.adam_state(epoch).unwrap()).unwrap());
        }
    });
    for (epoch, whole) in (1..).zip(whole) {
        assert_eq!(load_adam_state(&run.adam_state(epoch).unwrap()).unwrap(), whole);
    }
}

#[test]
fn the_same_run_leaves_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let states = [0, 1].map(|_| {
        let run = run(&config(true, ""), folder.path());
        (1..=EPOCHS).map(|epoch| std::fs::read(run.adam_state(epoch).unwrap()).unwrap()).collect::<Vec<_>>()
    });
    assert!(states[0] == states[1]);
}

#[test]
fn the_bias_goes_last_in_the_row_of_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(false, "");
    let run = run(&config, folder.path());
    let state = load_adam_state(&run.adam_state(EPOCHS).unwrap()).unwrap();
    let layer = state.preconditioner(config.training.optimizer.adam().unwrap());
    assert_eq!((layer.classes(), layer.features()), (K, M));
    let joined = layer.with_bias();
    assert_eq!(joined.len(), K * (M + 1));
    for k in 0..K {
        let row = &joined[k * (M + 1)..][..M + 1];
        assert_eq!((&row[..M], row[M]), (&layer.weight[k * M..][..M], layer.bias[k]));
    }
}

type Made<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

/// Writes tensors of the given names, types and shapes, their bytes repeated.
fn write(folder: &Path, tensors: &[Made]) -> PathBuf {
    let path = folder.join("made-up.safetensors");
    let filled = tensors.iter().map(|&(name, dtype, shape, bytes)| {
        let length = shape.iter().product::<usize>() * if dtype == Dtype::F32 { 4 } else { 8 };
        (name, dtype, shape, bytes.iter().copied().cycle().take(length).collect::<Vec<u8>>())
    });
    let filled: Vec<_> = filled.collect();
    let views = filled
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    write_sealed(&path, &safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

fn complaint(path: &Path) -> String {
    load_adam_state(path).map_or_else(|error| error.to_string(), |_| "none".to_owned())
}

#[test]
fn other_names_shapes_types_and_numbers_are_told() {
    const ONE: &[u8] = &[0, 0, 0x80, 0x3f];
    const GOOD: [Made; 5] = [
        ("output.weight.exp_avg", Dtype::F32, &[2, 3], ONE),
        ("output.weight.exp_avg_sq", Dtype::F32, &[2, 3], ONE),
        ("output.bias.exp_avg", Dtype::F32, &[2], ONE),
        ("output.bias.exp_avg_sq", Dtype::F32, &[2], ONE),
        ("step", Dtype::I64, &[1], &[7, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(complaint(&write(folder.path(), &GOOD)), "none");
    let check = |index: usize, other: Option<Made>, told: &str| {
        let mut tensors = GOOD.to_vec();
        tensors.remove(index);
        tensors.extend(other);
        let message = complaint(&write(folder.path(), &tensors));
        assert!(message.contains(told) && message.contains("made-up.safetensors"), "{message}");
    };
    let (weight, square, bias) = (GOOD[0].0, GOOD[1].0, GOOD[2].0);
    check(0, None, "no tensor `output.weight.exp_avg`");
    check(3, None, "no tensor `output.bias.exp_avg_sq`");
    check(4, None, "no tensor `step`");
    check(0, Some((weight, Dtype::F32, &[6], ONE)), "shape [6], expected [classes, features]");
    check(0, Some((weight, Dtype::F32, &[0, 3], ONE)), "shape [0, 3], expected [classes, features]");
    check(0, Some((weight, Dtype::F64, &[2, 3], ONE)), "elements of type F64, expected F32");
    check(1, Some((square, Dtype::F32, &[3, 2], ONE)), "shape [3, 2], expected [2, 3]");
    check(2, Some((bias, Dtype::F32, &[3], ONE)), "shape [3], expected [2]");
    check(1, Some((square, Dtype::F32, &[2, 3], &[0, 0, 0x80, 0xbf])), "`output.weight.exp_avg_sq` holds -1");
    check(2, Some((bias, Dtype::F32, &[2], &[0xff])), "`output.bias.exp_avg` holds NaN");
    check(4, Some(("step", Dtype::I64, &[1], &[0])), "`step` is not one number above 0");
    check(4, Some(("step", Dtype::I64, &[1], &[0xff])), "`step` is not one number above 0");
    check(4, Some(("step", Dtype::I64, &[2], &[1])), "`step` is not one number above 0");
    check(4, Some(("step", Dtype::F32, &[1], ONE)), "elements of type F32, expected I64");
}

#[test]
fn there_is_no_state_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(false, "");
    let scaling = PixelScaling::new(Scaling::Unit, &images(N)).unwrap();
    let device = Device::flex();
    let split = DeviceSplit::new(&images(N), K, scaling, &device);
    let normalisation = Normalisation::default();
    let shape = NetworkShape { inputs: D, hidden: vec![M], classes: K, normalisation };
    let network = Network::new(&shape, Initialisation::GlorotUniform, 0, &device.clone().autodiff());
    let mut trainer = Trainer::new(network, split, &config.training, &device, 0);
    let path = folder.path().join("state.safetensors");
    let message = save_adam_state(&trainer, &path).unwrap_err().to_string();
    assert!(message.contains("no step was taken yet") && !path.exists(), "{message}");
    trainer.epoch(|_| ControlFlow::Continue(())).unwrap();
    save_adam_state(&trainer, &path).unwrap();
    assert_eq!(load_adam_state(&path).unwrap().step, 1);
}

#[test]
fn every_cut_of_a_state_and_a_network_in_its_place_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&config(true, ""), folder.path());
    let network = complaint(&run.checkpoint_path(EPOCHS));
    assert!(
        network.contains("not an optimiser's state") && network.contains("no tensor `output.weight.exp_avg`")
    );
    let bytes = std::fs::read(run.adam_state(1).unwrap()).unwrap();
    let path = folder.path().join("cut.safetensors");
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_ne!(complaint(&path), "none", "cut at {length}");
    }
    assert!(complaint(&folder.path().join("missing")).contains("cannot read"));
    let as_network = load_checkpoint(&run.adam_state(1).unwrap(), &Device::flex()).unwrap_err().to_string();
    assert!(
        as_network.contains("but a tensor `hidden.bias.exp_avg`")
            || as_network.contains("but a tensor `output.bias.exp_avg`"),
        "{as_network}"
    );
}
