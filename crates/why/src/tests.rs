//! Measures and interventions against what is written out in f64, which shares no code with them.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use faer::{Mat, Side};
use kappa_data::LabelledImages;
use kappa_model::{Kind, Network, NetworkShape, Normalisation, Place};
use kappa_run::{AdamConfig, DescentConfig, Measure, Optimizer, Scaling};
use kappa_trainer::{DeviceSplit, PixelScaling, order_of_epoch};

use crate::{
    descent::{Batches, Descent},
    measures::measures,
    optimizer::Stepper,
    training::noisy,
};

const D: usize = 6;
const M: usize = 5;
const K: usize = 4;
const N: usize = 12;
const EPSILON: f64 = 0.01;

fn images() -> LabelledImages {
    let pixels = (0..N * D).map(|i| (i * 7919 % 251) as u8).collect();
    LabelledImages::new("made", [2, 3], pixels, (0..N).map(|i| (i * 5 % K) as u8).collect()).unwrap()
}

fn split() -> DeviceSplit {
    let scaling = PixelScaling::new(Scaling::Unit, &images()).unwrap();
    DeviceSplit::new(&images(), K, scaling, &Device::flex())
}

/// In double precision, so that all that is left of a difference is the formula's.
fn network(kind: Kind) -> Network {
    let normalisation =
        Normalisation { kind, place: Place::After, epsilon: EPSILON, ..Normalisation::default() };
    let shape = NetworkShape { inputs: D, hidden: vec![M], classes: K, normalisation };
    let mut seed = 0;
    let network = Network::from_parameters(&shape, &Device::flex(), |row| {
        let count = row.shape.iter().product::<usize>();
        let values = (0..count).map(|_| {
            seed += 1;
            ((seed * 37 % 23) as f32 - 8.0) / 12.0
        });
        Ok::<_, ()>(values.collect())
    });
    network.unwrap().in_double_precision()
}

/// All trained parameters: W1, b1, (gamma, beta,) W2, b2.
fn vector(network: &Network) -> Vec<f64> {
    let parameters = network.parameters::<f64>().unwrap().into_iter();
    parameters.filter(|(row, _)| row.is_trained()).flat_map(|(_, values)| values).collect()
}

/// The mean loss of such parameters, written out.
fn loss(parameters: &[f64], kind: Kind) -> f64 {
    let mut rest = parameters;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count);
        rest = after;
        taken
    };
    let (w1, b1) = (take(M * D), take(M));
    let (gamma, beta) = if kind == Kind::Batch { (take(M), take(M)) } else { (&[1.0; M][..], &[0.0; M][..]) };
    let (w2, b2) = (take(K * M), take(K));
    let images = images();
    let mut rows: Vec<Vec<f64>> = (0..N)
        .map(|n| {
            let x: Vec<f64> =
                images.pixels()[n * D..(n + 1) * D].iter().map(|&byte| f64::from(byte) / 255.0).collect();
            let of_unit =
                |unit: usize| x.iter().zip(&w1[unit * D..]).map(|(x, w)| x * w).sum::<f64>() + b1[unit];
            (0..M).map(|unit| of_unit(unit).max(0.0)).collect()
        })
        .collect();
    if kind == Kind::Batch {
        for unit in 0..M {
            let mean = rows.iter().map(|row| row[unit]).sum::<f64>() / N as f64;
            let variance = rows.iter().map(|row| (row[unit] - mean).powi(2)).sum::<f64>() / N as f64;
            rows.iter_mut().for_each(|row| {
                row[unit] = gamma[unit] * (row[unit] - mean) / (variance + EPSILON).sqrt() + beta[unit];
            });
        }
    }
    let of_sample = |(g, &label): (&Vec<f64>, &u8)| {
        let of_class = |k: usize| b2[k] + g.iter().zip(&w2[k * M..]).map(|(g, w)| g * w).sum::<f64>();
        let z: Vec<f64> = (0..K).map(of_class).collect();
        z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[usize::from(label)]
    };
    rows.iter().zip(images.labels()).map(of_sample).sum::<f64>() / N as f64
}

/// By central differences.
fn gradient(parameters: &[f64], kind: Kind) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let at = |index: usize, step: f64| {
        let mut moved = parameters.to_vec();
        moved[index] += step;
        loss(&moved, kind)
    };
    (0..parameters.len()).map(|index| (at(index, STEP) - at(index, -STEP)) / (2.0 * STEP)).collect()
}

/// Of the parameters in `range`, by central differences of the gradient.
fn hessian(theta: &[f64], kind: Kind, range: std::ops::Range<usize>) -> Mat<f64> {
    let column = |index: usize| -> Vec<f64> {
        let [a, b] = [1e-4, -1e-4].map(|step| {
            let mut moved = theta.to_vec();
            moved[index] += step;
            gradient(&moved, kind)
        });
        range.clone().map(|row| (a[row] - b[row]) / 2e-4).collect()
    };
    let columns: Vec<Vec<f64>> = range.clone().map(column).collect();
    Mat::from_fn(range.len(), range.len(), |i, j| (columns[i][j] + columns[j][i]) / 2.0)
}

fn stepper(rate: f64, momentum: f64) -> Stepper {
    Stepper::new(&Optimizer::Descent(DescentConfig { learning_rate: 1.0, momentum }), rate)
}

fn plain(rate: f64) -> Stepper {
    stepper(rate, 0.0)
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// A central difference at 1e-5 is off by 1e-10 times third derivatives of order ten, its differences again
/// by as much over 1e-4: these allow ten times that.
fn assert_near(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn measures_are_what_their_definitions_say() {
    const RATE: f64 = 0.05;
    let split = split();
    for kind in [Kind::None, Kind::Batch] {
        let descent = Descent::new(network(kind), &split, plain(RATE));
        let at = descent.at(&descent.network).unwrap();
        let own = at.gradient().unwrap();
        let found = measures(&descent, &at, &own).unwrap();
        let theta = vector(&descent.network);
        let g = gradient(&theta, kind);
        assert_near(at.loss().unwrap(), loss(&theta, kind), "the loss");
        assert!(apart(&own, &g) < 1e-8, "{kind}: the gradient");

        let moved = |along: &[f64], by: f64| -> Vec<f64> {
            theta.iter().zip(along).map(|(theta, along)| theta + by * along).collect()
        };
        let steps = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0].map(|factor| factor * RATE);
        let losses: Vec<f64> = [0.0].iter().chain(&steps).map(|step| loss(&moved(&g, -step), kind)).collect();
        let range =
            losses.iter().copied().fold(f64::MIN, f64::max) - losses.iter().copied().fold(f64::MAX, f64::min);
        assert_near(found[&Measure::LossRange], range, "the range of the loss");
        let changes = steps.map(|step| apart(&gradient(&moved(&g, -step), kind), &g));
        assert_near(found[&Measure::GradientChange], changes.into_iter().fold(0.0, f64::max), "its change");
        let smoothness = changes.iter().zip(steps).map(|(change, step)| change / (step * length(&g)));
        assert_near(found[&Measure::EffectiveSmoothness], smoothness.fold(0.0, f64::max), "beta");

        // W2's gradient after the first layer, and its normalisation, have taken their step.
        let output = theta.len() - K - K * M..theta.len() - K;
        let mut below = g.clone();
        below[output.start..].fill(0.0);
        let after = gradient(&moved(&below, -RATE), kind);
        let (before, after) = (&g[output.clone()], &after[output.clone()]);
        assert_near(found[&Measure::CovariateShift], apart(after, before) / length(before), "the shift");
        let dot: f64 = before.iter().zip(after).map(|(a, b)| a * b).sum();
        assert_near(found[&Measure::CovariateTurn], 1.0 - dot / (length(before) * length(after)), "its turn");
        let share = |own: &[f64]| (length(own) / length(&g)).powi(2);
        assert_near(found[&Measure::GradientShareOfOutput], share(before), "W2's share");
        assert_near(found[&Measure::GradientShareOfFirst], share(&g[..M * D]), "W1's share");

        let eigenvalues = |range| {
            let mut values = hessian(&theta, kind, range).self_adjoint_eigenvalues(Side::Lower).unwrap();
            values.reverse();
            values
        };
        let of_output = eigenvalues(output);
        let close = |measure: Measure, expected: f64| {
            // Second differences: 1e-12 of f64's rounding over 1e-9.
            let found = found[&measure];
            assert!(
                (found / expected - 1.0).abs() < 2e-3,
                "{kind} {measure:?}: {found}, expected {expected}"
            );
        };
        close(Measure::Lambda1OfOutput, of_output[0]);
        close(Measure::Lambda10OfOutput, of_output[9]);
        close(Measure::KappaPrimeOfOutput, of_output[0] / of_output[9]);
        let whole = eigenvalues(0..theta.len());
        close(Measure::Lambda1, whole[0]);
        close(Measure::Lambda10, whole[9]);
        close(Measure::EdgeOfStability, whole[0] * RATE / 2.0);
        close(Measure::KappaPrime, whole[0] / whole[9]);
    }
}

#[test]
fn what_adam_sees_is_h_divided_by_what_it_divides_by() {
    const RATE: f64 = 0.01;
    let adam = AdamConfig { learning_rate: RATE, beta_1: 0.9, beta_2: 0.99, epsilon: 1e-3 };
    let split = split();
    let stepper = Stepper::new(&Optimizer::Adam(adam), RATE);
    let mut descent = Descent::new(network(Kind::None), &split, stepper);
    let own = descent.at(&descent.network).unwrap().gradient().unwrap();
    descent.step(&own);
    let at = descent.at(&descent.network).unwrap();
    let found = measures(&descent, &at, &at.gradient().unwrap()).unwrap();
    // v after the step that is to come, of both gradients.
    let theta = vector(&descent.network);
    let g = gradient(&theta, Kind::None);
    let corrected = |(before, now): (&f64, &f64)| {
        let second = 0.99 * 0.01 * before * before + 0.01 * now * now;
        (second / (1.0 - 0.99 * 0.99)).sqrt() + 1e-3
    };
    let divisors: Vec<f64> = own.iter().zip(&g).map(corrected).collect();
    let h = hessian(&theta, Kind::None, 0..theta.len());
    let seen = Mat::from_fn(theta.len(), theta.len(), |i, j| h[(i, j)] / (divisors[i] * divisors[j]).sqrt());
    let mut values = seen.self_adjoint_eigenvalues(Side::Lower).unwrap();
    values.reverse();
    let close =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 2e-3, "{found}, {expected}");
    close(found[&Measure::KappaPrimeSeen], values[0] / values[9]);
    close(found[&Measure::EdgeOfStability], values[0] * RATE * 0.1 / (2.0 * 1.9));
    // Along Adam's direction: m_hat over what it divides by.
    let direction = own.iter().zip(&g).zip(&divisors);
    let direction = direction.map(|((a, b), d)| (0.09 * a + 0.1 * b) / 0.19 / d).collect::<Vec<_>>();
    let losses: Vec<f64> = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]
        .map(|factor| {
            let there = theta.iter().zip(&direction).map(|(theta, d)| theta - factor * RATE * d);
            loss(&there.collect::<Vec<_>>(), Kind::None)
        })
        .to_vec();
    let (high, low) =
        (losses.iter().copied().fold(f64::MIN, f64::max), losses.iter().copied().fold(f64::MAX, f64::min));
    assert_near(found[&Measure::LossRange], high - low, "the range of the loss");
}

#[test]
fn batches_take_every_image_once_an_epoch_in_the_order_of_training() {
    let split = split();
    let mut batches = Batches::new(&split, 5, 3);
    let sizes: Vec<usize> = (0..6).map(|step| batches.of_step(step).samples()).collect();
    assert_eq!(sizes, [5, 5, 2, 5, 5, 2]);
    // The mean gradient of an epoch's batches, by their sizes, is that of all images: nothing of them is shared.
    let descent = Descent::new(network(Kind::None), &split, plain(0.1));
    let all = descent.at(&descent.network).unwrap().gradient().unwrap();
    let mut batches = Batches::new(&split, 5, 3);
    let mut mean = vec![0.0; all.len()];
    for step in 0..3 {
        let batch = batches.of_step(step);
        let own = descent.on(&batch, &descent.network).unwrap().gradient().unwrap();
        mean.iter_mut().zip(own).for_each(|(mean, g)| *mean += g * batch.samples() as f64 / N as f64);
    }
    assert!(apart(&mean, &all) < 1e-12 * length(&all));
    let first = batches.of_step(0);
    let order = order_of_epoch(N, 3, 1);
    let labels = images().labels().to_vec();
    let expected: Vec<f64> = order[..5].iter().flat_map(|&n| one_hot(labels[n as usize])).collect();
    let targets = first.batches(NonZeroUsize::MAX).next().unwrap().targets;
    assert_eq!(targets.into_data().iter::<f64>().collect::<Vec<_>>(), expected);
}

fn one_hot(label: u8) -> [f64; K] {
    std::array::from_fn(|class| f64::from(u8::from(class == usize::from(label))))
}

#[test]
fn a_noisy_gradient_is_that_of_the_loss_with_each_unit_moved_and_stretched() {
    let split = split();
    let descent = Descent::new(network(Kind::Batch), &split, plain(0.1));
    let draws: Vec<[f64; 2]> =
        (0..M).map(|unit| [0.1 * unit as f64 - 0.2, 1.0 + 0.05 * unit as f64]).collect();
    let found = noisy(&descent, std::slice::from_ref(&draws)).unwrap();
    let theta = vector(&descent.network);
    let gamma = M * D + M;
    let noisy_loss = |theta: &[f64]| {
        let mut moved = theta.to_vec();
        for (unit, [mean, deviation]) in draws.iter().enumerate() {
            moved[gamma + unit] *= deviation;
            moved[gamma + M + unit] = deviation * moved[gamma + M + unit] + mean;
        }
        loss(&moved, Kind::Batch)
    };
    for (index, found) in found.into_iter().enumerate() {
        let [ahead, behind] = [1e-5, -1e-5].map(|step| {
            let mut moved = theta.clone();
            moved[index] += step;
            noisy_loss(&moved)
        });
        assert_near(found, (ahead - behind) / 2e-5, &format!("{index}"));
    }
}

#[test]
fn descent_with_momentum_is_the_recursion_written_out() {
    let split = split();
    let (rate, momentum) = (0.3, 0.8);
    let mut descent = Descent::new(network(Kind::Batch), &split, stepper(rate, momentum));
    let (mut theta, mut velocity) = (vector(&descent.network), vec![0.0; vector(&descent.network).len()]);
    for _ in 0..4 {
        let g = descent.at(&descent.network).unwrap().gradient().unwrap();
        descent.step(&g);
        let g = gradient(&theta, Kind::Batch);
        velocity.iter_mut().zip(&g).for_each(|(v, g)| *v = momentum * *v + g);
        theta.iter_mut().zip(&velocity).for_each(|(theta, v)| *theta -= rate * v);
    }
    assert!(apart(&vector(&descent.network), &theta) < 1e-7);
}
