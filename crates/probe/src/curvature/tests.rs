use std::num::NonZeroUsize;

use burn::tensor::Device;
use kappa_data::LabelledImages;
use kappa_hessian::faer::{Mat, Side};
use kappa_model::{Initialisation, Kind, Normalisation, Place, Statistics};
use kappa_run::{Precision, Scaling};
use kappa_trainer::PixelScaling;

use super::*;

fn split() -> DeviceSplit {
    let pixels: Vec<u8> = (0..40 * 30).map(|i: u32| (i * 97 % 251) as u8).collect();
    let labels = (0..40).map(|i| i % 3).collect();
    let images = LabelledImages::new("made", [5, 6], pixels, labels).unwrap();
    let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
    DeviceSplit::new(&images, 3, scaling, &Device::flex())
}

fn network(kind: Kind, place: Place) -> Network {
    seeded(kind, place, 3)
}

fn seeded(kind: Kind, place: Place, seed: u64) -> Network {
    let normalisation = Normalisation { kind, place, ..Normalisation::default() };
    let shape = NetworkShape { inputs: 30, hidden: vec![8, 5], classes: 3, normalisation };
    Network::new(&shape, Initialisation::KaimingUniform, seed, &Device::flex())
}

/// Networks, by which statistics they are looked at.
fn cases() -> Vec<(Network, Statistics)> {
    vec![
        (network(Kind::None, Place::After), Statistics::Running),
        (network(Kind::Batch, Place::After), Statistics::Running),
        (network(Kind::Batch, Place::After), Statistics::Dataset),
        (network(Kind::Batch, Place::Before), Statistics::Batch(NonZeroUsize::new(16).unwrap())),
        (network(Kind::Centre, Place::After), Statistics::Dataset),
        (network(Kind::Scale, Place::After), Statistics::Batch(NonZeroUsize::new(16).unwrap())),
        (network(Kind::Layer, Place::After), Statistics::Running),
        (network(Kind::Weight, Place::After), Statistics::Running),
    ]
}

/// Whether the loss does not change where what goes into a layer's normalisation, or its v, is scaled.
fn sees_no_scale(kind: Kind, statistics: Statistics) -> bool {
    match kind {
        Kind::Batch | Kind::Scale => statistics != Statistics::Running,
        Kind::Weight => true,
        _ => false,
    }
}

fn all(statistics: Statistics, precision: Precision) -> Request {
    Request { parameters: Parameters::All, statistics, ..Request::new(precision) }
}

fn matrix(looked: &Looked<'_>) -> Mat<f64> {
    let size = looked.hessian.size();
    looked.hessian.product(Mat::identity(size, size).as_ref()).unwrap()
}

#[test]
fn what_is_read_off_is_what_the_whole_matrix_says_and_the_evidence_holds() {
    let split = split();
    for (network, statistics) in cases() {
        let request = all(statistics, Precision::F64);
        let looked = Looked::new(&network, &split, request.clone()).unwrap();
        let (summary, evidence) = curvature(&network, &split, &request, Proof::Whole, &()).unwrap();
        let whole = matrix(&looked).self_adjoint_eigen(Side::Lower).unwrap();
        let values: Vec<f64> = whole.S().column_vector().iter().copied().collect();
        let (last, norm) = (values.len() - 1, values[values.len() - 1]);
        for (rank, found) in summary.largest.eigenvalues.iter().enumerate() {
            // The solver's tolerance, and that of the lower end.
            assert!((found - values[last - rank]).abs() < 1e-6 * norm, "{statistics} {rank}");
        }
        assert!((summary.lambda_min().unwrap() - values[0]).abs() < 1e-3 * norm, "{statistics}");
        let negative = values.iter().filter(|value| **value < 0.0).count();
        assert!(summary.negative <= negative && (negative > 0) == (summary.negative > 0), "{statistics}");
        let trace: f64 = values.iter().sum();
        let kind = network.shape().normalisation.kind;
        let linear = statistics == Statistics::Running && matches!(kind, Kind::None | Kind::Batch);
        assert_eq!(summary.trace.error.is_none(), linear, "in closed form");
        // Of some three hundred terms of one sign.
        let bound = summary.trace.error.map_or(1e-13 * trace.abs(), |error| 5.0 * error);
        assert!((summary.trace.value - trace).abs() < bound, "{statistics}");
        assert_eq!(summary.size(), values.len());
        let leading = whole.U().col(last);
        let mut start = 0;
        for (tensor, share) in summary.tensors.iter().zip(&summary.shares[0]) {
            let expected = leading.subrows(start, tensor.elements).squared_norm_l2();
            assert!((share - expected).abs() < 1e-5, "{statistics} {}: {share} {expected}", tensor.name);
            start += tensor.elements;
        }
        let evidence = evidence.unwrap();
        assert!(evidence.passed && evidence.known_digits_of_lambda_1 >= 8, "{statistics} {evidence:?}");
        let named = |name: &str| evidence.checks.iter().any(|check| check.name.starts_with(name));
        for name in ["residual", "symmetry", "central difference", "output shift"] {
            assert!(named(name), "{statistics} {name}");
        }
        // By weight norm W is no parameter.
        assert_eq!(named("output weights"), kind != Kind::Weight);
        assert_eq!(named("scaled rows of layer 2"), sees_no_scale(kind, statistics), "{kind} {statistics}");
        // In single precision, proven in double.
        let (single, evidence) =
            curvature(&network, &split, &all(statistics, Precision::F32), Proof::Whole, &()).unwrap();
        let evidence = evidence.unwrap();
        assert!(evidence.passed && evidence.rounding.unwrap() > 0.0, "{statistics} {evidence:?}");
        let apart = (single.largest.eigenvalues[0] - norm).abs() / norm;
        assert!(apart < 1e-4, "{statistics}: {apart}");
        assert!(
            -apart.log10() + 1.0 > f64::from(evidence.known_digits_of_lambda_1),
            "{statistics} {evidence:?}"
        );
    }
}

/// What is tested is not H but G: without the network's own curvature.
#[test]
fn another_matrix_is_found_by_the_gradient_and_by_scaled_rows() {
    let split = split();
    for (network, statistics) in cases() {
        let mut looked = Looked::new(&network, &split, all(statistics, Precision::F64)).unwrap();
        looked.hessian = looked.hessian.gauss_newton();
        let measured = measured(&looked, &()).unwrap();
        let evidence = evidence::evidence(&looked, &measured, Proof::Whole, &()).unwrap();
        let failed: Vec<&str> =
            evidence.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect();
        let mut expected = vec!["central difference"];
        if sees_no_scale(network.shape().normalisation.kind, statistics) {
            expected.extend(["scaled rows of layer 1", "scaled rows of layer 2"]);
        }
        assert_eq!(failed, expected, "{statistics}");
    }
}

#[test]
fn the_residuals_of_another_network_are_found() {
    let split = split();
    let [of, other] = [3, 4].map(|seed| seeded(Kind::None, Place::After, seed));
    let request = Request {
        parameters: "hidden.0.weight,output.weight".parse().unwrap(),
        ..all(Statistics::Running, Precision::F64)
    };
    let measured = measured(&Looked::new(&other, &split, request.clone()).unwrap(), &()).unwrap();
    let looked = Looked::new(&of, &split, request).unwrap();
    let evidence = evidence::evidence(&looked, &measured, Proof::Short, &()).unwrap();
    assert!(!evidence.checks[0].passed && evidence.checks[0].name == "residual, largest");
    assert!(!evidence.passed && evidence.known_digits_of_lambda_1 <= 2, "{evidence:?}");
}

#[test]
fn blocks_are_those_of_the_whole_matrix() {
    let split = split();
    for (network, statistics) in cases() {
        let request = Request { seed: 1, ..all(statistics, Precision::F64) };
        let looked = Looked::new(&network, &split, request).unwrap();
        let summary = measured(&looked, &()).unwrap().summary;
        let found = blocks::blocks(&looked, &summary, &()).unwrap();
        let whole = matrix(&looked);
        let (mut start, mut within, mut largest) = (0, 0.0, Vec::new());
        for (tensor, block) in summary.tensors.iter().zip(&found.blocks) {
            let alone = whole.submatrix(start, start, tensor.elements, tensor.elements);
            let values = alone.self_adjoint_eigenvalues(Side::Lower).unwrap();
            let first = values[values.len() - 1];
            assert_eq!(block.tensor, tensor.name);
            // What a layer shifts a batch's statistics take off again: that block is zero.
            let unit = summary.lambda_1().unwrap();
            assert!((block.largest[0] - first).abs() < 1e-6 * unit, "{statistics} {}", tensor.name);
            within += alone.squared_norm_l2();
            largest.extend(values);
            start += tensor.elements;
        }
        largest.sort_by(|a, b| b.total_cmp(a));
        for (found, expected) in found.largest.iter().zip(&largest) {
            assert!((found - expected).abs() < 1e-6 * largest[0], "{statistics}: {found} {expected}");
        }
        let between = 1.0 - within / whole.squared_norm_l2();
        let (share, error) = (found.between.unwrap(), found.between_error.unwrap());
        assert!((share - between).abs() < 5.0 * error, "{statistics}: {share} +- {error}, {between}");
        let lambda_1 = summary.lambda_1().unwrap();
        assert_eq!(found.error, Some((found.largest[0] - lambda_1).abs() / lambda_1));
    }
}

#[test]
fn a_name_that_is_no_parameter_is_told_with_those_that_are() {
    let shape = network(Kind::Batch, Place::After).shape();
    let error = chosen(&shape, &"hidden.0.weight,norm.0.running_mean".parse().unwrap()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("\"norm.0.running_mean\"") && message.contains("norm.0.weight"), "{message}");
    assert_eq!(chosen(&shape, &Parameters::All).unwrap().len(), 10);
    let some = chosen(&shape, &"output.bias,hidden.1.weight".parse().unwrap()).unwrap();
    assert_eq!(
        some.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(),
        ["hidden.1.weight", "output.bias"]
    );
}
