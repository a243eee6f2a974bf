//! Training against a reference in f64 that shares no code with it: the loss
//! written out, its gradient by central differences, Adam by its paper.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{num::NonZeroUsize, ops::ControlFlow};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use kappa_data::LabelledImages;
use kappa_model::{Initialisation, Kind, Network, NetworkShape, Normalisation, Place, RunningVariance};
use kappa_run::{AdamConfig, BatchSize, DescentConfig, Optimizer, Reduction, Scaling, TrainingConfig};
use kappa_trainer::{DeviceSplit, PixelScaling, Trainer, evaluate};

/// Inputs, hidden units, classes, samples.
const D: usize = 6;
const M: usize = 4;
const K: usize = 3;
const N: usize = 11;
const NORM: Normalisation = Normalisation {
    kind: Kind::Batch,
    place: Place::After,
    epsilon: 1e-2,
    momentum: 0.1,
    running_variance: RunningVariance::Biased,
};
const NONE: Normalisation = Normalisation { kind: Kind::None, ..NORM };

fn images() -> LabelledImages {
    let pixels = (0..N * D).map(|i| (i * i * 83 % 256) as u8).collect();
    LabelledImages::new("made up", [2, 3], pixels, (0..N).map(|n| (n * 5 % K) as u8).collect()).unwrap()
}

fn settings(reduction: Reduction, l2: f64) -> TrainingConfig {
    TrainingConfig {
        epochs: NonZeroUsize::MIN,
        batch_size: BatchSize::Full,
        reduction,
        l2,
        // A large epsilon keeps a step in proportion to its gradient, so that the rounding
        // of a small gradient is not blown up to a whole step.
        optimizer: Optimizer::Adam(AdamConfig {
            learning_rate: 0.05,
            beta_1: 0.8,
            beta_2: 0.9,
            epsilon: 0.1,
        }),
    }
}

fn network(normalisation: Normalisation) -> Network {
    let shape = NetworkShape { inputs: D, hidden: vec![M], classes: K, normalisation };
    Network::new(&shape, Initialisation::GlorotUniform, 5, &Device::flex().autodiff())
}

fn trainer(network: Network, settings: &TrainingConfig) -> Trainer {
    let scaling = PixelScaling::new(Scaling::Unit, &images()).unwrap();
    let device = Device::flex();
    Trainer::new(network, DeviceSplit::new(&images(), K, scaling, &device), settings, &device, 1)
}

/// W1 [M, D], b1, gamma, beta, W2 [K, M], b2, one after the other.
fn parameters(network: &Network) -> Vec<f64> {
    let network = network.valid();
    let device = Device::flex();
    let transposed = |tensor: Tensor<2>| tensor.transpose().into_data().iter::<f64>().collect::<Vec<_>>();
    // Biases are zero at the start: the response to unit vectors is the weights.
    let w1 = transposed(network.preactivations(Tensor::eye(D, &device)));
    let w2 = transposed(network.logits(Tensor::eye(M, &device)));
    [w1, vec![0.0; M], vec![1.0; M], vec![0.0; M], w2, vec![0.0; K]].concat()
}

/// The objective of the whole split as one batch.
fn objective(parameters: &[f64], norm: Normalisation, settings: &TrainingConfig) -> f64 {
    let (w1, rest) = parameters.split_at(M * D);
    let (b1, rest) = rest.split_at(M);
    let (gamma, rest) = rest.split_at(M);
    let (beta, rest) = rest.split_at(M);
    let (w2, b2) = rest.split_at(K * M);
    let images = images();
    let mut activations = vec![[0.0; M]; N];
    for (activation, pixels) in activations.iter_mut().zip(images.pixels().chunks(D)) {
        for (j, activation) in activation.iter_mut().enumerate() {
            let z: f64 = pixels.iter().zip(&w1[j * D..]).map(|(&x, w)| f64::from(x) / 255.0 * w).sum();
            *activation = (z + b1[j]).max(0.0);
        }
    }
    if norm.kind == Kind::Batch {
        for j in 0..M {
            let mean = activations.iter().map(|a| a[j]).sum::<f64>() / N as f64;
            let variance = activations.iter().map(|a| (a[j] - mean).powi(2)).sum::<f64>() / N as f64;
            for a in &mut activations {
                a[j] = gamma[j] * (a[j] - mean) / (variance + norm.epsilon).sqrt() + beta[j];
            }
        }
    }
    let mut loss = 0.0;
    for (g, &label) in activations.iter().zip(images.labels()) {
        let z: Vec<f64> =
            (0..K).map(|k| b2[k] + g.iter().zip(&w2[k * M..]).map(|(g, w)| g * w).sum::<f64>()).collect();
        loss += z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[usize::from(label)];
    }
    if settings.reduction == Reduction::Mean {
        loss /= N as f64;
    }
    loss + settings.l2 * [w1, w2].concat().iter().map(|w| w * w).sum::<f64>()
}

/// Objectives of the first steps, by central differences and Adam (Kingma and Ba 2015, algorithm 1), or
/// descent with momentum as PyTorch's documentation of SGD has it.
fn reference(
    mut parameters: Vec<f64>,
    norm: Normalisation,
    settings: &TrainingConfig,
    steps: i32,
) -> Vec<f64> {
    const STEP: f64 = 1e-6;
    let rate = settings.optimizer.learning_rate();
    let (mut first, mut second) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
    let mut objectives = Vec::new();
    for t in 1..=steps {
        objectives.push(objective(&parameters, norm, settings));
        let gradient: Vec<f64> = (0..parameters.len())
            .map(|i| {
                let shifted = |step: f64| {
                    let mut parameters = parameters.clone();
                    parameters[i] += step;
                    objective(&parameters, norm, settings)
                };
                (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP)
            })
            .collect();
        for (i, g) in gradient.into_iter().enumerate() {
            match &settings.optimizer {
                Optimizer::Adam(adam) => {
                    first[i] = adam.beta_1 * first[i] + (1.0 - adam.beta_1) * g;
                    second[i] = adam.beta_2 * second[i] + (1.0 - adam.beta_2) * g * g;
                    let m = first[i] / (1.0 - adam.beta_1.powi(t));
                    let v = second[i] / (1.0 - adam.beta_2.powi(t));
                    parameters[i] -= rate * m / (v.sqrt() + adam.epsilon);
                }
                Optimizer::Descent(descent) => {
                    first[i] = descent.momentum * first[i] + g;
                    parameters[i] -= rate * first[i];
                }
            }
        }
    }
    objectives
}

#[test]
fn steps_are_the_optimisers_on_the_gradient_of_the_objective() {
    let adam = settings(Reduction::Mean, 0.0).optimizer;
    let descent = |momentum| Optimizer::Descent(DescentConfig { learning_rate: 0.1, momentum });
    for (reduction, l2, norm, optimizer) in [
        (Reduction::Mean, 0.0, NONE, adam),
        (Reduction::Mean, 0.3, NONE, adam),
        (Reduction::Sum, 0.02, NONE, adam),
        (Reduction::Mean, 0.0, NORM, adam),
        (Reduction::Mean, 0.1, NORM, adam),
        (Reduction::Sum, 0.5, NORM, adam),
        (Reduction::Mean, 0.0, NONE, descent(0.0)),
        (Reduction::Mean, 0.1, NORM, descent(0.0)),
        (Reduction::Mean, 0.1, NONE, descent(0.9)),
        (Reduction::Mean, 0.0, NORM, descent(0.5)),
    ] {
        let settings = TrainingConfig { optimizer, ..settings(reduction, l2) };
        let network = network(norm);
        let expected = reference(parameters(&network), norm, &settings, 8);
        let mut trainer = trainer(network, &settings);
        let found: Vec<f64> = (0..8).map(|_| trainer.epoch(|_| ControlFlow::Continue(())).unwrap()).collect();
        assert!(found[7] < found[0]);
        for (step, (a, b)) in found.iter().zip(&expected).enumerate() {
            // Central differences are right to 1e-9; each f32 step rounds parameters and gradient
            // by 6e-8 of sums of a dozen terms, and eight steps add up.
            assert!((a - b).abs() < 1e-5 * b, "{reduction:?} {l2} {norm:?}, step {step}: {a} {b}");
        }
    }
}

#[test]
fn a_batch_taken_in_pieces_is_one_batch() {
    for norm in [NONE, NORM] {
        let settings = settings(Reduction::Mean, 0.1);
        let run = |piece: Option<usize>| -> Vec<f64> {
            let mut trainer = trainer(network(norm), &settings);
            if let Some(piece) = piece {
                trainer = trainer.in_pieces_of(NonZeroUsize::new(piece).unwrap());
            }
            (0..4).map(|_| trainer.epoch(|_| ControlFlow::Continue(())).unwrap()).collect()
        };
        let whole = run(None);
        for piece in [1, 4, 10] {
            for (a, b) in run(Some(piece)).iter().zip(&whole) {
                // Another order of the sums in the products: 1e-7, over four steps.
                assert!((a - b).abs() < 2e-6 * b, "{piece}: {a} {b}");
            }
        }
    }
}

#[test]
fn mini_batches_cover_the_split_once_in_another_order_each_epoch() {
    // With a learning rate that moves nothing, an epoch's mean objective over equal batches is the
    // loss of the split, and the batches of two epochs differ.
    let mut settings = settings(Reduction::Mean, 0.0);
    settings.batch_size = BatchSize::Samples(NonZeroUsize::MIN);
    *settings.optimizer.learning_rate_mut() = 1e-30;
    let network = network(NONE);
    let scaling = PixelScaling::new(Scaling::Unit, &images()).unwrap();
    let split = DeviceSplit::new(&images(), K, scaling, &Device::flex());
    let loss = evaluate(&network, &split).unwrap().loss;
    let mut trainer = trainer(network, &settings);
    assert_eq!(trainer.steps(), N);
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let mut losses: Vec<f64> = Vec::new();
        let note = |objective: &Tensor<1>| {
            losses.push(objective.clone().into_scalar());
            ControlFlow::Continue(())
        };
        let mean = trainer.epoch(note).unwrap();
        // Eleven losses of order one, rounded in f32.
        assert!((mean - loss).abs() < 1e-6, "{mean} {loss}");
        epochs.push(losses);
    }
    assert_ne!(epochs[0], epochs[1]);
    epochs.iter_mut().for_each(|losses| losses.sort_by(f64::total_cmp));
    assert_eq!(epochs[0], epochs[1]);
}

#[test]
fn a_deep_network_learns_with_its_normalisation_on_either_side_of_the_relu() {
    for place in [Place::After, Place::Before] {
        let settings = settings(Reduction::Mean, 0.05);
        let normalisation = Normalisation { place, ..NORM };
        let shape = NetworkShape { inputs: D, hidden: vec![M, 5, M], classes: K, normalisation };
        let device = Device::flex().autodiff();
        let network = Network::new(&shape, Initialisation::GlorotUniform, 5, &device);
        let mut trainer = trainer(network, &settings);
        let losses: Vec<f64> =
            (0..30).map(|_| trainer.epoch(|_| ControlFlow::Continue(())).unwrap()).collect();
        assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
    }
}
