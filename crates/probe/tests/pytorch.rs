//! Each normalisation's loss, gradient and products with H beside those of PyTorch, in double precision.
//!
//! `pytorch.json` is written by `pytorch.py`: networks of two hidden layers, by the statistics of the whole batch.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use burn::tensor::Device;
use kappa_data::LabelledImages;
use kappa_hessian::{SymmetricOperator, faer::Mat};
use kappa_model::{Network, NetworkShape, Normalisation, Parameter, Role, Statistics};
use kappa_probe::{Curvature, NetworkHessian};
use kappa_run::Scaling;
use kappa_trainer::{DeviceSplit, PixelScaling};
use serde::Deserialize;

const INPUTS: usize = 6;
const HIDDEN: [usize; 2] = [5, 4];
const CLASSES: usize = 3;
const SAMPLES: usize = 11;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    kind: kappa_model::Kind,
    place: kappa_model::Place,
    loss: f64,
    gradient: Vec<f64>,
    product: Vec<f64>,
}

fn made(count: usize, salt: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| ((i * 37 + salt * 11) % 23) as f64 / 16.0 - 0.5)
}

fn split() -> DeviceSplit {
    let pixels = (0..SAMPLES * INPUTS).map(|i| (i * 7919 % 251) as u8).collect();
    let labels = (0..SAMPLES).map(|i| (i * 5 % CLASSES) as u8).collect();
    let images = LabelledImages::new("made", [2, 3], pixels, labels).unwrap();
    let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
    DeviceSplit::new(&images, CLASSES, scaling, &Device::flex())
}

fn network(case: &Case) -> Network {
    let (kind, place) = (case.kind, case.place);
    let normalisation = Normalisation { kind, place, epsilon: 0.01, ..Normalisation::default() };
    let shape = NetworkShape { inputs: INPUTS, hidden: HIDDEN.to_vec(), classes: CLASSES, normalisation };
    let mut salt = 0;
    let network = Network::from_parameters(&shape, &Device::flex(), |row: &Parameter| {
        let count = row.shape.iter().product::<usize>();
        if !row.is_trained() {
            return Ok::<_, ()>(vec![1.0; count]);
        }
        let values = made(count, salt).map(|value| match row.role {
            Role::Length => value.abs() as f32 + 0.5,
            _ => value as f32,
        });
        salt += 1;
        Ok(values.collect())
    });
    network.unwrap().in_double_precision()
}

#[test]
fn every_normalisation_has_pytorchs_loss_gradient_and_products() {
    let golden: Golden = serde_json::from_str(include_str!("pytorch.json")).unwrap();
    assert_eq!(golden.cases.len(), 12);
    let split = split();
    for case in &golden.cases {
        let network = network(case);
        let parameters = network.shape().parameters().into_iter().filter(Parameter::is_trained).collect();
        let (statistics, curvature) = (Statistics::Dataset, Curvature::Hessian);
        let at = NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap();
        let name = format!("{} {:?}", case.kind, case.place);
        // Sums of some hundred products of numbers of order one, each rounded in f64 by both; the divisions by
        // deviations, 0.1 at the least by the epsilon, make it ten times as much.
        let near = |found: &[f64], expected: &[f64], what: &str| {
            assert_eq!(found.len(), expected.len(), "{name}: {what}");
            let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let apart = (found - expected).abs();
                assert!(apart <= 1e-13 * largest, "{name}: {what} {found}, expected {expected}");
            }
        };
        near(&[at.loss().unwrap()], &[case.loss], "the loss");
        near(&at.gradient().unwrap(), &case.gradient, "the gradient");
        let along: Vec<f64> = made(at.size(), 99).collect();
        let product = at.product(Mat::from_fn(along.len(), 1, |row, _| along[row]).as_ref()).unwrap();
        near(
            &product.col_iter().flat_map(|column| column.iter().copied()).collect::<Vec<_>>(),
            &case.product,
            "H v",
        );
    }
}
