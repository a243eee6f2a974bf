use kappa_data::LabelledImages;
use kappa_hessian::largest_pairs;
use kappa_model::{Initialisation, NetworkShape, Normalisation, Place};
use kappa_run::{Precision, Request, Scaling};
use kappa_trainer::PixelScaling;

use super::*;
use crate::samples;

fn split(device: &Device) -> DeviceSplit {
    let pixels: Vec<u8> = (0..40 * 30).map(|i: u32| (i * 97 % 251) as u8).collect();
    let labels = (0..40).map(|i| i % 3).collect();
    let images = LabelledImages::new("made", [5, 6], pixels, labels).unwrap();
    let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
    DeviceSplit::new(&images, 3, scaling, device)
}

fn networks() -> Vec<(Network, Statistics)> {
    let batch = Statistics::Batch(NonZeroUsize::new(16).unwrap());
    let cases = [
        (Kind::None, Place::After, Statistics::Running),
        (Kind::Batch, Place::After, Statistics::Running),
        (Kind::Batch, Place::After, Statistics::Dataset),
        (Kind::Batch, Place::Before, batch),
        (Kind::Centre, Place::After, Statistics::Dataset),
        (Kind::Scale, Place::After, batch),
        (Kind::Layer, Place::After, Statistics::Running),
    ];
    let network = |(kind, place, statistics)| {
        let normalisation = Normalisation { kind, place, ..Normalisation::default() };
        let shape = NetworkShape { inputs: 30, hidden: vec![8, 5], classes: 3, normalisation };
        let network = Network::new(&shape, Initialisation::KaimingUniform, 3, &Device::flex());
        (network.in_double_precision(), statistics)
    };
    cases.into_iter().map(network).collect()
}

fn named(network: &Network, name: &str) -> Vec<Parameter> {
    let trained = network.shape().parameters().into_iter().filter(Parameter::is_trained);
    trained.filter(|parameter| name == "all" || parameter.name == name).collect()
}

fn matrix(operator: &NetworkHessian) -> Mat<f64> {
    operator.product(Mat::identity(operator.size(), operator.size()).as_ref()).unwrap()
}

/// The dense H comes from class pairs of features and probabilities: another code altogether.
#[test]
fn of_the_last_layer_it_is_the_dense_hessian() {
    let split = split(&Device::flex());
    for (network, statistics) in networks() {
        let operator = |curvature| {
            let parameters = named(&network, "output.weight");
            matrix(&NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap())
        };
        let request = Request { statistics, forward: Precision::F64, ..Request::new(Precision::F64) };
        let dense = samples(&network, &split, &request, &()).unwrap().hessian().unwrap();
        for curvature in [Curvature::Hessian, Curvature::GaussNewton] {
            let found = operator(curvature);
            for (index, expected) in dense.elements().iter().enumerate() {
                let found = found[(index / 15, index % 15)];
                // Forty samples' worth of roundings of numbers of order one.
                assert!(
                    (found - expected).abs() < 1e-13,
                    "{statistics} {curvature:?} {index}: {found} {expected}"
                );
            }
        }
    }
}

/// A network is piecewise linear in each of its weight matrices unless something divides by what depends
/// on them.
#[test]
fn of_one_weight_matrix_it_is_the_gauss_newton_matrix_where_the_network_is_linear_in_it() {
    let split = split(&Device::flex());
    for (network, statistics) in networks() {
        for name in ["hidden.0.weight", "hidden.1.weight"] {
            let of = |curvature| {
                let parameters = named(&network, name);
                matrix(&NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap())
            };
            let (hessian, gauss_newton) = (of(Curvature::Hessian), of(Curvature::GaussNewton));
            let apart = (&hessian - &gauss_newton).norm_max() / hessian.norm_max();
            let is_linear = match network.shape().normalisation.kind {
                // To take a mean off is linear, whosever it is.
                Kind::Centre => true,
                Kind::Layer => false,
                _ => statistics == Statistics::Running,
            };
            assert_eq!(apart < 1e-12, is_linear, "{statistics} {name}: {apart}");
        }
    }
}

#[test]
fn its_largest_eigenvalues_are_those_of_the_matrix_of_its_products() {
    let split = split(&Device::flex());
    for (network, statistics) in networks() {
        let parameters = named(&network, "all");
        let operator =
            NetworkHessian::new(&network, &split, parameters, statistics, Curvature::Hessian).unwrap();
        let pairs = largest_pairs(&operator, 3, &()).unwrap();
        let matrix = matrix(&operator);
        let all = matrix.self_adjoint_eigenvalues(kappa_hessian::faer::Side::Lower).unwrap();
        for (found, expected) in pairs.eigenvalues.iter().zip(all.iter().rev()) {
            // The solver's tolerance.
            assert!((found - expected).abs() < 1e-6 * all[all.len() - 1], "{found} {expected}");
        }
    }
}

fn made(count: usize, salt: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 7919 + salt * 31) % 101) as f64 / 50.0 - 1.0).collect()
}

fn block(operator: &NetworkHessian, columns: usize) -> Mat<f64> {
    let vectors: Vec<_> = (0..columns).map(|salt| made(operator.size(), salt)).collect();
    Mat::from_fn(operator.size(), columns, |i, j| vectors[j][i])
}

/// Images of several pieces, and of several parts of pieces.
fn large_split(device: &Device) -> DeviceSplit {
    let samples = 6 * piece::rows(device, 30, DType::F64) + 77;
    let pixels: Vec<u8> = (0..samples * 30).map(|i| (i * 7919 % 251) as u8).collect();
    let labels = (0..samples).map(|i| (i * 7 % 3) as u8).collect();
    let images = LabelledImages::new("made", [5, 6], pixels, labels).unwrap();
    let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
    DeviceSplit::new(&images, 3, scaling, device)
}

#[test]
fn the_bits_are_the_same_on_any_number_of_threads_and_in_any_block() {
    let split = large_split(&Device::flex());
    for (network, statistics) in networks() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let parameters = named(&network, "all");
                let operator =
                    NetworkHessian::new(&network, &split, parameters, statistics, Curvature::Hessian)
                        .unwrap();
                let block = block(&operator, 5);
                (operator.gradient().unwrap(), operator.product(block.as_ref()).unwrap(), operator)
            })
        };
        let (gradient, product, operator) = on(1);
        for threads in [2, 3] {
            let (other_gradient, other_product, _) = on(threads);
            assert_eq!(gradient, other_gradient, "{statistics}");
            assert_eq!(product, other_product, "{statistics}");
        }
        let block = block(&operator, 5);
        for column in 0..5 {
            let alone = operator.product(block.subcols(column, 1)).unwrap();
            assert_eq!(alone.col(0), product.col(column), "{statistics} {column}");
        }
    }
}

#[test]
fn a_product_over_many_pieces_is_the_central_difference_of_the_gradient() {
    const STEP: f64 = 1e-6;
    let split = large_split(&Device::flex());
    for (network, statistics) in networks() {
        let parameters = named(&network, "all");
        let at = |network: &Network| {
            NetworkHessian::new(network, &split, parameters.clone(), statistics, Curvature::Hessian).unwrap()
        };
        let operator = at(&network);
        // Along the last layer alone no ReLU changes.
        let mut vector = vec![0.0; operator.size()];
        let last = operator.size() - 18;
        vector[last..].copy_from_slice(&made(18, 3));
        let direction = operator.direction(&vector);
        let [ahead, behind] = [STEP, -STEP].map(|step| at(&network.moved(&direction, step)));
        assert_eq!(ahead.kinks_between(&behind).unwrap(), 0);
        let [ahead, behind] = [ahead, behind].map(|operator| operator.gradient().unwrap());
        let found = operator.product(Mat::from_fn(operator.size(), 1, |i, _| vector[i]).as_ref()).unwrap();
        for index in 0..operator.size() {
            let expected = (ahead[index] - behind[index]) / (2.0 * STEP);
            // h^2 and epsilon / h, 1e-12 and 2e-10, times numbers of order one to ten.
            assert!(
                (found[(index, 0)] - expected).abs() < 1e-8,
                "{statistics} {index}: {} {expected}",
                found[(index, 0)]
            );
        }
    }
}

#[test]
fn kinks_between_two_points_are_the_pairs_whose_relu_changes() {
    let device = Device::flex();
    let split = split(&device);
    let shape =
        NetworkShape { inputs: 30, hidden: vec![8], classes: 3, normalisation: Normalisation::default() };
    let network = Network::new(&shape, Initialisation::KaimingUniform, 3, &device).in_double_precision();
    let parameters = named(&network, "all");
    let at = |network: &Network| {
        NetworkHessian::new(network, &split, parameters.clone(), Statistics::Running, Curvature::Hessian)
            .unwrap()
    };
    let here = at(&network);
    let direction = here.direction(&made(here.size(), 1));
    // Whether each unit of each sample is above zero.
    let above = |network: &Network| -> Vec<bool> {
        let images = split.batches(NonZeroUsize::MAX).next().unwrap().images;
        let features = network.features(images.preactivations(network), Pass::Running);
        features.into_data().iter::<f64>().map(|x| x > 0.0).collect()
    };
    let mut counts = Vec::new();
    for step in [0.0, 1e-2, 1.0] {
        let moved = network.moved(&direction, step);
        let expected = above(&network).iter().zip(above(&moved)).filter(|(a, b)| **a != *b).count();
        assert_eq!(here.kinks_between(&at(&moved)).unwrap(), expected, "{step}");
        counts.push(expected);
    }
    assert!(counts[0] == 0 && counts[2] > 0, "{counts:?}");
}
