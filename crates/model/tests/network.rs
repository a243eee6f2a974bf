//! The forward pass against the same formulas written out in f64.
#![allow(clippy::unwrap_used, missing_docs)]

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use kappa_model::{BatchNormSettings, Initialisation, NetworkShape, TwoLayerNet};

const SHAPE: NetworkShape = NetworkShape { inputs: 5, hidden: 4, classes: 3, batch_norm: None };
const NORM: BatchNormSettings = BatchNormSettings { epsilon: 1e-3, momentum: 0.25 };
/// Sums of at most 5 products of numbers below 4 in f32: 5 x 4 x 2^-24, and room for the root.
const TOLERANCE: f64 = 2e-6;

fn inputs(samples: usize) -> Vec<f32> {
    (0..samples * SHAPE.inputs).map(|i| ((i * 37 % 11) as f32 - 5.0) / 4.0).collect()
}

fn tensor(values: &[f32], device: &Device) -> Tensor<2> {
    let rows = values.len() / SHAPE.inputs;
    Tensor::from_data(TensorData::new(values.to_vec(), [rows, SHAPE.inputs]), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// relu(x W1) for the network's own W1 [d, m], read back from it.
fn activations(network: &TwoLayerNet, values: &[f32], device: &Device) -> Vec<f64> {
    let identity: Vec<f32> = (0..25).map(|i| if i % 6 == 0 { 1.0 } else { 0.0 }).collect();
    let weights = numbers(network.preactivations(tensor(&identity, device)));
    let mut out = Vec::new();
    for x in values.chunks(SHAPE.inputs) {
        for unit in 0..SHAPE.hidden {
            let z: f64 =
                x.iter().enumerate().map(|(i, &x)| f64::from(x) * weights[i * SHAPE.hidden + unit]).sum();
            out.push(z.max(0.0));
        }
    }
    out
}

fn mean_and_variance(values: &[f64], unit: usize) -> (f64, f64) {
    let column: Vec<f64> = values.iter().skip(unit).step_by(SHAPE.hidden).copied().collect();
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
    let network = TwoLayerNet::new(&SHAPE, Initialisation::GlorotUniform, 1, &device);
    let x = inputs(7);
    let features = numbers(network.features(tensor(&x, &device)));
    assert_close(&features, &activations(&network, &x, &device));
    assert!(features.contains(&0.0), "some unit must be off for some image");
}

#[test]
fn batch_norm_uses_the_batch_when_training_and_the_running_statistics_otherwise() {
    let training = Device::flex().autodiff();
    let shape = NetworkShape { batch_norm: Some(NORM), ..SHAPE };
    let network = TwoLayerNet::new(&shape, Initialisation::GlorotUniform, 1, &training);
    let x = inputs(7);
    let rectified = activations(&network, &x, &training);
    let normalised = |statistics: &[(f64, f64)]| -> Vec<f64> {
        rectified
            .iter()
            .enumerate()
            .map(|(i, a)| {
                let (mean, variance) = statistics[i % SHAPE.hidden];
                (a - mean) / (variance + NORM.epsilon).sqrt()
            })
            .collect()
    };
    let batch: Vec<_> = (0..SHAPE.hidden).map(|unit| mean_and_variance(&rectified, unit)).collect();
    // Running statistics start at mean 0, variance 1 and move by `momentum` once.
    let running: Vec<_> = batch
        .iter()
        .map(|(mean, variance)| (NORM.momentum * mean, 1.0 - NORM.momentum + NORM.momentum * variance))
        .collect();

    assert_close(&numbers(network.features(tensor(&x, &training))), &normalised(&batch));
    let device = Device::flex();
    let evaluated = network.valid().features(tensor(&x, &device));
    assert_close(&numbers(evaluated), &normalised(&running));
}

#[test]
fn a_batch_can_be_normalised_by_itself_on_any_device() {
    let shape = NetworkShape { batch_norm: Some(NORM), ..SHAPE };
    let training = Device::flex().autodiff();
    let network = TwoLayerNet::new(&shape, Initialisation::GlorotUniform, 1, &training);
    let x = inputs(7);
    let expected = numbers(network.features(tensor(&x, &training)));
    let network = network.valid();
    let z = network.preactivations(tensor(&x, &Device::flex()));
    assert_close(&numbers(network.features_of_batch(z.clone())), &expected);
    // Its own running statistics are left as they were.
    let running = numbers(network.features_of(z));
    assert!(running.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn a_seed_gives_one_start_to_both_networks() {
    let device = Device::flex();
    let new = |batch_norm, seed| {
        let shape = NetworkShape { batch_norm, ..SHAPE };
        TwoLayerNet::new(&shape, Initialisation::KaimingUniform, seed, &device)
    };
    let (plain, normed, other) = (new(None, 3), new(Some(NORM), 3), new(None, 4));
    let x = tensor(&inputs(6), &device);
    let z = |network: &TwoLayerNet| numbers(network.preactivations(x.clone()));
    assert_eq!(z(&plain), z(&normed));
    assert_ne!(z(&plain), z(&other));
    let g = plain.features(x.clone());
    assert_eq!(numbers(plain.logits(g.clone())), numbers(normed.logits(g)));
}

#[test]
fn squared_weights_leave_out_biases_and_batch_norm() {
    let device = Device::flex();
    let shape = NetworkShape { batch_norm: Some(NORM), ..SHAPE };
    let network = TwoLayerNet::new(&shape, Initialisation::GlorotUniform, 1, &device);
    let identity = |n: usize| Tensor::<2>::eye(n, &device);
    // Biases are zero at the start, so the layers' responses to unit vectors are the weights.
    let sum = |weights: Tensor<2>| numbers(weights).iter().map(|w| w * w).sum::<f64>();
    let expected = sum(network.preactivations(identity(5))) + sum(network.logits(identity(4)));
    assert_close(&numbers(network.squared_weights()), &[expected]);
}

#[test]
fn the_shape_is_read_back_from_the_parameters() {
    let device = Device::flex();
    let shape = NetworkShape { batch_norm: Some(NORM), ..SHAPE };
    assert_eq!(TwoLayerNet::blank(&shape, &device).shape(), shape);
    assert_eq!(TwoLayerNet::new(&SHAPE, Initialisation::GlorotUniform, 0, &device).shape(), SHAPE);
}

#[test]
fn a_folded_network_is_the_same_function_without_batch_norm() {
    let device = Device::flex();
    let shape = NetworkShape { batch_norm: Some(NORM), ..SHAPE };
    let vector = |values: [f32; 4]| Tensor::<1>::from_data(values, &device);
    let network = TwoLayerNet::new(&shape, Initialisation::GlorotUniform, 1, &device)
        .with_statistics(vector([0.3, -0.2, 0.0, 1.5]), vector([0.5, 0.01, 2.0, 0.0]));
    let folded = network.folded();
    assert_eq!(folded.shape(), SHAPE);
    let x = inputs(7);
    let logits = |network: &TwoLayerNet| {
        let features = network.features(tensor(&x, &device));
        let magnitudes = numbers(network.logit_magnitudes(features.clone()));
        (numbers(network.logits(features)), magnitudes)
    };
    let ((plain, _), (without, magnitudes)) = (logits(&network), logits(&folded));
    for ((a, b), size) in plain.iter().zip(&without).zip(&magnitudes) {
        // About sixteen roundings on either side.
        assert!((a - b).abs() <= 2e-6 * size, "{a} {b}");
    }
    // Its features are the activations themselves.
    assert_close(&numbers(folded.features(tensor(&x, &device))), &activations(&network, &x, &device));
    assert!(plain != without, "else nothing was folded");
    let (scale, offset) = network.normalisation().unwrap();
    let normalised = numbers(network.features(tensor(&x, &device)));
    let (scale, offset) = (numbers(scale), numbers(offset));
    let mapped = activations(&network, &x, &device);
    let mapped: Vec<f64> = mapped
        .iter()
        .enumerate()
        .map(|(i, a)| scale[i % SHAPE.hidden] * a + offset[i % SHAPE.hidden])
        .collect();
    // The unit without variance is scaled by 1 / sqrt(epsilon) = 32.
    for (a, b) in normalised.iter().zip(&mapped) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
    }
    let without = TwoLayerNet::new(&SHAPE, Initialisation::GlorotUniform, 1, &device);
    assert!(without.normalisation().is_none());
}
