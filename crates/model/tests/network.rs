//! The forward pass against the same formulas written out in f64.
#![allow(clippy::unwrap_used, missing_docs)]

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use kappa_model::{
    Initialisation, Kind, Layer, Network, NetworkShape, Normalisation, Pass, Place, Role, RunningVariance,
};

const NORM: Normalisation = Normalisation {
    kind: Kind::Batch,
    place: Place::After,
    epsilon: 1e-3,
    momentum: 0.25,
    running_variance: RunningVariance::Biased,
};
const INPUTS: usize = 5;
const HIDDEN: usize = 4;
const CLASSES: usize = 3;
/// Sums of at most 5 products of numbers below 4 in f32: 5 x 4 x 2^-24, and room for the root.
const TOLERANCE: f64 = 2e-6;

fn shape(normalisation: Normalisation) -> NetworkShape {
    NetworkShape { inputs: INPUTS, hidden: vec![HIDDEN], classes: CLASSES, normalisation }
}

fn plain() -> NetworkShape {
    shape(Normalisation::default())
}

fn inputs(samples: usize) -> Vec<f32> {
    (0..samples * INPUTS).map(|i| ((i * 37 % 11) as f32 - 5.0) / 4.0).collect()
}

fn tensor(values: &[f32], device: &Device) -> Tensor<2> {
    let rows = values.len() / INPUTS;
    Tensor::from_data(TensorData::new(values.to_vec(), [rows, INPUTS]), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// relu(x W1) for the network's own W1 [d, m], read back from it.
fn activations(network: &Network, values: &[f32], device: &Device) -> Vec<f64> {
    let identity: Vec<f32> = (0..25).map(|i| if i % 6 == 0 { 1.0 } else { 0.0 }).collect();
    let weights = numbers(network.preactivations(tensor(&identity, device)));
    let mut out = Vec::new();
    for x in values.chunks(INPUTS) {
        for unit in 0..HIDDEN {
            let z: f64 = x.iter().enumerate().map(|(i, &x)| f64::from(x) * weights[i * HIDDEN + unit]).sum();
            out.push(z.max(0.0));
        }
    }
    out
}

/// The features of images x by a pass.
fn features(network: &Network, inputs: Tensor<2>, pass: Pass) -> Vec<f64> {
    numbers(network.features(network.preactivations(inputs), pass))
}

fn mean_and_variance(values: &[f64], unit: usize) -> (f64, f64) {
    let column: Vec<f64> = values.iter().skip(unit).step_by(HIDDEN).copied().collect();
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    (mean, column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= TOLERANCE * (1.0 + b.abs()), "{i}: {a} and {b}");
    }
}

#[test]
fn without_batch_norm_features_are_rectified_preactivations() {
    let device = Device::flex();
    let network = Network::new(&plain(), Initialisation::GlorotUniform, 1, &device);
    let x = inputs(7);
    let features = features(&network, tensor(&x, &device), Pass::Running);
    assert_close(&features, &activations(&network, &x, &device));
    assert!(features.contains(&0.0), "some unit must be off for some image");
}

#[test]
fn batch_norm_uses_the_batch_when_training_and_the_running_statistics_otherwise() {
    let training = Device::flex().autodiff();
    let network = Network::new(&shape(NORM), Initialisation::GlorotUniform, 1, &training);
    let x = inputs(7);
    let rectified = activations(&network, &x, &training);
    let normalised = |statistics: &[(f64, f64)]| -> Vec<f64> {
        rectified
            .iter()
            .enumerate()
            .map(|(i, a)| {
                let (mean, variance) = statistics[i % HIDDEN];
                (a - mean) / (variance + NORM.epsilon).sqrt()
            })
            .collect()
    };
    let batch: Vec<_> = (0..HIDDEN).map(|unit| mean_and_variance(&rectified, unit)).collect();
    // Running statistics start at mean 0, variance 1 and move by `momentum` once.
    let running: Vec<_> = batch
        .iter()
        .map(|(mean, variance)| (NORM.momentum * mean, 1.0 - NORM.momentum + NORM.momentum * variance))
        .collect();

    assert_close(&features(&network, tensor(&x, &training), Pass::Training), &normalised(&batch));
    let device = Device::flex();
    assert_close(&features(&network.valid(), tensor(&x, &device), Pass::Running), &normalised(&running));
    // The pass says it, and not the device.
    assert_close(&features(&network, tensor(&x, &training), Pass::Running), &normalised(&running));
}

#[test]
fn a_batch_can_be_normalised_by_itself_on_any_device() {
    let training = Device::flex().autodiff();
    let network = Network::new(&shape(NORM), Initialisation::GlorotUniform, 1, &training);
    let x = inputs(7);
    let expected = features(&network, tensor(&x, &training), Pass::Training);
    let network = network.valid();
    let z = network.preactivations(tensor(&x, &Device::flex()));
    assert_close(&numbers(network.features(z.clone(), Pass::Batch)), &expected);
    // Its own running statistics are left as they were.
    let running = numbers(network.features(z, Pass::Running));
    assert!(running.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn a_seed_gives_one_start_to_both_networks() {
    let device = Device::flex();
    let new = |normalisation, seed| {
        Network::new(&shape(normalisation), Initialisation::KaimingUniform, seed, &device)
    };
    let none = Normalisation::default();
    let (plain, normed, other) = (new(none, 3), new(NORM, 3), new(none, 4));
    let x = tensor(&inputs(6), &device);
    let z = |network: &Network| numbers(network.preactivations(x.clone()));
    assert_eq!(z(&plain), z(&normed));
    assert_ne!(z(&plain), z(&other));
    let g = plain.features(plain.preactivations(x.clone()), Pass::Running);
    assert_eq!(numbers(plain.logits(g.clone())), numbers(normed.logits(g)));
}

#[test]
fn squared_weights_leave_out_biases_and_batch_norm() {
    let device = Device::flex();
    let network = Network::new(&shape(NORM), Initialisation::GlorotUniform, 1, &device);
    let identity = |n: usize| Tensor::<2>::eye(n, &device);
    // Biases are zero at the start, so the layers' responses to unit vectors are the weights.
    let sum = |weights: Tensor<2>| numbers(weights).iter().map(|w| w * w).sum::<f64>();
    let expected = sum(network.preactivations(identity(5))) + sum(network.logits(identity(4)));
    assert_close(&numbers(network.squared_weights()), &[expected]);
}

#[test]
fn the_shape_is_read_back_from_the_parameters() {
    let device = Device::flex();
    for shape in [plain(), shape(NORM), deep(NORM), deep(Normalisation { place: Place::Before, ..NORM })] {
        assert_eq!(Network::new(&shape, Initialisation::GlorotUniform, 0, &device).shape(), shape);
    }
}

#[test]
fn a_folded_network_is_the_same_function_without_batch_norm() {
    let device = Device::flex();
    let vector = |values: [f32; 4]| Tensor::<1>::from_data(values, &device);
    let network = Network::new(&shape(NORM), Initialisation::GlorotUniform, 1, &device).with_statistics(
        0,
        vector([0.3, -0.2, 0.0, 1.5]),
        vector([0.5, 0.01, 2.0, 0.0]),
    );
    let folded = network.folded();
    assert_eq!(folded.shape(), plain());
    let x = inputs(7);
    let logits = |network: &Network| {
        let features = network.features(network.preactivations(tensor(&x, &device)), Pass::Running);
        let sizes = network.magnitudes();
        let absolute: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        let magnitudes = sizes.preactivations(tensor(&absolute, &device));
        let magnitudes = numbers(sizes.logits(sizes.features(magnitudes, Pass::Running)));
        (numbers(network.logits(features)), magnitudes)
    };
    let ((normed, _), (without, magnitudes)) = (logits(&network), logits(&folded));
    for ((a, b), size) in normed.iter().zip(&without).zip(&magnitudes) {
        // About sixteen roundings on either side.
        assert!((a - b).abs() <= 2e-6 * size, "{a} {b}");
    }
    // Its features are the activations themselves.
    assert_close(&features(&folded, tensor(&x, &device), Pass::Running), &activations(&network, &x, &device));
    assert!(normed != without, "else nothing was folded");
    let (scale, offset) = network.feature_map().unwrap();
    let normalised = features(&network, tensor(&x, &device), Pass::Running);
    let (scale, offset) = (numbers(scale), numbers(offset));
    let mapped = activations(&network, &x, &device);
    let mapped: Vec<f64> =
        mapped.iter().enumerate().map(|(i, a)| scale[i % HIDDEN] * a + offset[i % HIDDEN]).collect();
    // The unit without variance is scaled by 1 / sqrt(epsilon) = 32.
    for (a, b) in normalised.iter().zip(&mapped) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
    }
    let without = Network::new(&plain(), Initialisation::GlorotUniform, 1, &device);
    assert!(without.feature_map().is_none());
}

fn deep(normalisation: Normalisation) -> NetworkShape {
    NetworkShape { inputs: INPUTS, hidden: vec![6, 3, 4], classes: CLASSES, normalisation }
}

/// A row of numbers for each sample.
type Rows = Vec<Vec<f64>>;

/// The features of a network of any depth, written out from its parameters as PyTorch has them;
/// `by_batch` normalises by the rows' own statistics.
fn written_out(network: &Network, x: &[f32], by_batch: bool) -> Rows {
    let shape = network.shape();
    let table = network.parameters::<f32>().unwrap();
    let of = |layer: usize, role: Role| -> Vec<f64> {
        let row = table.iter().find(|(row, _)| (row.layer, row.role) == (Layer::Hidden(layer), role));
        row.unwrap().1.iter().map(|&x| f64::from(x)).collect()
    };
    let mut rows: Rows = x.chunks(INPUTS).map(|x| x.iter().map(|&x| f64::from(x)).collect()).collect();
    let rectify = |rows: &mut Rows| rows.iter_mut().flatten().for_each(|x| *x = x.max(0.0));
    for (layer, &units) in shape.hidden.iter().enumerate() {
        let (mut weight, bias) = (of(layer, Role::Weight), of(layer, Role::Bias));
        if shape.normalisation.kind == Kind::Weight {
            let fan_in = weight.len() / units;
            for (v, g) in weight.chunks_mut(fan_in).zip(of(layer, Role::Length)) {
                let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                v.iter_mut().for_each(|x| *x *= g / length);
            }
        }
        let product = |x: &Vec<f64>, unit: usize| -> f64 {
            let row = &weight[unit * x.len()..(unit + 1) * x.len()];
            x.iter().zip(row).map(|(x, w)| x * w).sum::<f64>() + bias[unit]
        };
        rows = rows.iter().map(|x| (0..units).map(|unit| product(x, unit)).collect()).collect();
        let Normalisation { kind, place, epsilon, .. } = shape.normalisation;
        if place == Place::After || matches!(kind, Kind::None | Kind::Weight) {
            rectify(&mut rows);
        }
        if kind == Kind::Layer {
            let (gain, shift) = (of(layer, Role::Gain), of(layer, Role::Shift));
            for row in &mut rows {
                let mean = row.iter().sum::<f64>() / units as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / units as f64;
                for (unit, x) in row.iter_mut().enumerate() {
                    *x = gain[unit] * (*x - mean) / (variance + epsilon).sqrt() + shift[unit];
                }
            }
        }
        if matches!(kind, Kind::Batch | Kind::Centre | Kind::Scale) {
            let all = |number: f64| vec![number; units];
            let has = |wanted: Kind| kind == wanted || kind == Kind::Batch;
            let gain = if has(Kind::Scale) { of(layer, Role::Gain) } else { all(1.0) };
            let shift = if has(Kind::Centre) { of(layer, Role::Shift) } else { all(0.0) };
            let running_mean = if has(Kind::Centre) { of(layer, Role::RunningMean) } else { all(0.0) };
            let running_variance = if has(Kind::Scale) { of(layer, Role::RunningVariance) } else { all(0.0) };
            for unit in 0..units {
                let n = rows.len() as f64;
                let mean = rows.iter().map(|row| row[unit]).sum::<f64>() / n;
                let variance = rows.iter().map(|row| (row[unit] - mean).powi(2)).sum::<f64>() / n;
                let (mean, variance) =
                    if by_batch { (mean, variance) } else { (running_mean[unit], running_variance[unit]) };
                let mean = if has(Kind::Centre) { mean } else { 0.0 };
                let deviation = if has(Kind::Scale) { (variance + epsilon).sqrt() } else { 1.0 };
                for row in &mut rows {
                    row[unit] = gain[unit] * (row[unit] - mean) / deviation + shift[unit];
                }
            }
        }
        if kind != Kind::None && place == Place::Before {
            rectify(&mut rows);
        }
    }
    rows
}

/// A network whose every tensor is another number, and no variance is small.
fn arbitrary(shape: &NetworkShape, device: &Device) -> Network {
    let mut seed = 0;
    Network::from_parameters(shape, device, |row| {
        let count: usize = row.shape.iter().product();
        let values = (0..count).map(|_| {
            seed += 1;
            let number = ((seed * 37 % 23) as f32 - 8.0) / 16.0;
            if row.role == Role::RunningVariance { 0.5 + number.abs() } else { number }
        });
        Ok::<_, ()>(values.collect())
    })
    .unwrap()
}

#[test]
fn deep_networks_normalise_after_or_before_the_relu_as_written_out() {
    let device = Device::flex();
    let x = inputs(7);
    for normalisation in kinds() {
        let network = arbitrary(&deep(normalisation), &device);
        for (pass, by_batch) in [(Pass::Running, false), (Pass::Batch, true)] {
            let found = features(&network, tensor(&x, &device), pass);
            let expected = written_out(&network, &x, by_batch).concat();
            // Three layers of sums of at most six numbers of order one; a batch's variance may be
            // as small as epsilon, and magnifies what is rounded before by 1 / sqrt(epsilon) = 32
            // a layer.
            let bound = if by_batch { 1e-3 } else { 1e-5 };
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{normalisation:?} {pass:?}: {a} {b}");
            }
            assert!(found.iter().any(|x| x.abs() > 0.1), "else nothing is seen");
        }
        // Training sees what a batch sees, and its gradients are there.
        let training = arbitrary(&deep(normalisation), &Device::flex().autodiff());
        let by_training = features(&training, tensor(&x, &Device::flex().autodiff()), Pass::Training);
        for (a, b) in by_training.iter().zip(written_out(&network, &x, true).concat()) {
            assert!((a - b).abs() <= 1e-3 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

#[test]
fn what_a_deep_layers_normalisation_sees_is_what_its_statistics_are_of() {
    let device = Device::flex();
    let x = inputs(7);
    for place in [Place::After, Place::Before] {
        let shape = deep(Normalisation { place, ..NORM });
        let mut network = arbitrary(&shape, &device);
        // Layer by layer, the statistics of these seven as the running ones: then a pass by the
        // running statistics is a pass by the batch's.
        for layer in 0..shape.hidden.len() {
            let z = network.preactivations(tensor(&x, &device));
            let seen = network.normalisation_inputs(z, layer);
            let mean = seen.clone().mean_dim(0);
            let variance = (seen - mean.clone()).powi_scalar(2).mean_dim(0);
            network = network.with_statistics(layer, mean.squeeze_dim(0), variance.squeeze_dim(0));
        }
        let by_running = features(&network, tensor(&x, &device), Pass::Running);
        let by_batch = features(&network, tensor(&x, &device), Pass::Batch);
        assert_close(&by_running, &by_batch);
    }
}

/// Every kind, at both places where it has one.
fn kinds() -> Vec<Normalisation> {
    let mut all = vec![Normalisation::default()];
    for kind in [Kind::Batch, Kind::Centre, Kind::Scale, Kind::Layer, Kind::Weight] {
        all.extend([Place::After, Place::Before].map(|place| Normalisation { kind, place, ..NORM }));
    }
    all
}

#[test]
fn a_network_with_normalised_weights_begins_as_one_without() {
    let device = Device::flex();
    let x = inputs(5);
    let logits = |kind| {
        let shape = deep(Normalisation { kind, ..NORM });
        let network = Network::new(&shape, Initialisation::GlorotUniform, 3, &device);
        let z = network.preactivations(tensor(&x, &device));
        numbers(network.logits(network.features(z, Pass::Running)))
    };
    assert_close(&logits(Kind::Weight), &logits(Kind::None));
}

#[test]
fn a_deep_network_folds_each_layer_into_its_neighbour() {
    let device = Device::flex();
    let x = inputs(7);
    for normalisation in kinds().into_iter().filter(|normalisation| normalisation.kind != Kind::Layer) {
        let network = arbitrary(&deep(normalisation), &device);
        let folded = network.folded();
        assert_eq!(folded.shape(), deep(Normalisation::default()));
        let logits = |network: &Network| {
            let z = network.preactivations(tensor(&x, &device));
            numbers(network.logits(network.features(z, Pass::Running)))
        };
        for (a, b) in logits(&network).iter().zip(logits(&folded)) {
            // As above.
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{normalisation:?}: {a} {b}");
        }
    }
}

#[test]
fn parameters_are_read_as_they_were_given() {
    let device = Device::flex();
    let shape = deep(NORM);
    let network = arbitrary(&shape, &device);
    let table = network.parameters::<f32>().unwrap();
    assert_eq!(table.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>(), shape.parameters());
    let mut values = table.iter().map(|(_, values)| values.clone());
    let again = Network::from_parameters(&shape, &device, |_| Ok::<_, ()>(values.next().unwrap())).unwrap();
    assert_eq!(again.parameters::<f32>().unwrap(), table);
    let stops = Network::from_parameters(&shape, &device, |row| Err::<Vec<f32>, _>(row.name.clone()));
    assert_eq!(stops.unwrap_err(), "hidden.0.weight");
}

/// The running variances of the first layer after a step on each of `batches`.
fn running_variances(running_variance: RunningVariance, batches: &[Vec<f32>]) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let normalisation = Normalisation { running_variance, ..NORM };
    let network = arbitrary(&shape(normalisation), &device);
    for batch in batches {
        features(&network, tensor(batch, &device), Pass::Training);
    }
    assert_eq!(network.shape().normalisation.running_variance, running_variance);
    let parameters = network.parameters::<f32>().unwrap();
    let found = parameters.into_iter().find(|(row, _)| row.role == Role::RunningVariance);
    found.unwrap().1
}

#[test]
fn the_running_variance_takes_its_part_of_the_batchs_by_n_or_by_n_less_one() {
    // Mini-batches of unlike sizes, since n is the batch's own.
    let batches = [inputs(4), inputs(7)[4 * INPUTS..].to_vec()];
    let network = arbitrary(&shape(NORM), &Device::flex());
    let values = |role| {
        let parameters = network.parameters::<f64>().unwrap();
        parameters.into_iter().find(|(row, _)| (row.layer, row.role) == (Layer::Hidden(0), role)).unwrap().1
    };
    let (weight, bias) = (values(Role::Weight), values(Role::Bias));
    for (kind, less) in [(RunningVariance::Biased, 0.0), (RunningVariance::Unbiased, 1.0)] {
        let mut expected = values(Role::RunningVariance);
        for (unit, running) in expected.iter_mut().enumerate() {
            for batch in &batches {
                let n = (batch.len() / INPUTS) as f64;
                let activations: Vec<f64> = batch
                    .chunks(INPUTS)
                    .map(|x| {
                        let row = &weight[unit * x.len()..(unit + 1) * x.len()];
                        (x.iter().zip(row).map(|(&x, w)| f64::from(x) * w).sum::<f64>() + bias[unit]).max(0.0)
                    })
                    .collect();
                let mean = activations.iter().sum::<f64>() / n;
                let squares = activations.iter().map(|a| (a - mean).powi(2)).sum::<f64>();
                // torch.nn.BatchNorm1d: running = (1 - momentum) running + momentum var, its var by
                // n - 1, as its documentation says.
                *running = (1.0 - NORM.momentum) * *running + NORM.momentum * squares / (n - less);
            }
        }
        // Sums of a handful of numbers of order one, in f32.
        for (found, expected) in running_variances(kind, &batches).iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{kind:?}: {found} {expected}");
        }
    }
    let [biased, unbiased] =
        [RunningVariance::Biased, RunningVariance::Unbiased].map(|kind| running_variances(kind, &batches));
    assert!(biased.iter().zip(&unbiased).any(|(a, b)| (a - b).abs() > 1e-3), "else nothing is seen");
}
