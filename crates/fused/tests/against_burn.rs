//! Every operation against burn's composition of it and burn's own gradients, on the CPU
//! backends, on ragged shapes.

#![allow(clippy::unwrap_used, deprecated)]

use burn::{
    module::{Module, Param},
    optim::{AdamConfig, GradientsParams, ModuleOptimizer},
    tensor::{DType, Device, Int, Tensor, TensorData, activation::log_softmax},
};
use kappa_fused::{Adam, ByteScale, batch_norm, cross_entropy, dense, dense_of_bytes, squared_norm};

/// n, d, m: one of each, ragged, a batch, more than a piece of samples.
const SHAPES: [[usize; 3]; 6] =
    [[1, 1, 1], [3, 7, 2], [65, 5, 33], [128, 784, 100], [4100, 3, 5], [131, 400, 10]];

fn devices() -> Vec<Device> {
    vec![
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ]
}

/// Numbers in [-1, 1) that are no pattern.
fn made_up<const D: usize>(shape: [usize; D], salt: usize, device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let number = |i: usize| ((i + 1) * 7919 + salt * 104_729) % 2003;
    let numbers = (0..count).map(|i| number(i) as f32 / 1001.5 - 1.0).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Both sum `terms` products of numbers below 1 in f32, in another order: each is within
/// terms * epsilon / 2 of the sum of magnitudes, `terms` at the most; typically far less.
fn assert_close(found: &[f64], expected: &[f64], terms: usize, what: &str) {
    let bound = (terms as f64).powi(2).min(terms as f64 * 32.0) * f64::from(f32::EPSILON);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        assert!(apart <= bound, "{what}: element {i} is {found}, expected {expected} (bound {bound})");
    }
}

#[test]
fn a_dense_layer_and_its_gradients_are_the_plain_compositions() {
    for device in devices() {
        for [n, d, m] in SHAPES {
            let device = device.clone().autodiff();
            let x = made_up([n, d], 1, &device).require_grad();
            let w = made_up([d, m], 2, &device).require_grad();
            let b = made_up([m], 3, &device).require_grad();
            let above = made_up([n, m], 4, &device);
            let tensors = |z: Tensor<2>| {
                let gradients = (z.clone() * above.clone()).sum().backward();
                let of_inputs = numbers(x.grad(&gradients).unwrap());
                let of_weight = numbers(w.grad(&gradients).unwrap());
                let of_bias = numbers(b.grad(&gradients).unwrap());
                [numbers(z.inner()), of_inputs, of_weight, of_bias]
            };
            let found = tensors(dense(x.clone(), w.clone(), b.clone()));
            let expected = tensors(x.clone().matmul(w.clone()) + b.clone().unsqueeze());
            let names = ["outputs", "gradient of inputs", "gradient of weight", "gradient of bias"];
            for (index, terms) in [d + 1, m, n, n].into_iter().enumerate() {
                let what = format!("{device:?} [{n}, {d}, {m}], {}", names[index]);
                assert_close(&found[index], &expected[index], terms, &what);
            }
        }
    }
}

#[test]
fn a_constant_input_gets_no_gradient_and_the_others_do() {
    for device in devices() {
        let device = device.autodiff();
        let x = made_up([4, 3], 1, &device);
        let w = made_up([3, 2], 2, &device).require_grad();
        let b = made_up([2], 3, &device).require_grad();
        let gradients = dense(x.clone(), w.clone(), b.clone()).sum().backward();
        assert!(x.grad(&gradients).is_none());
        assert_eq!(numbers(b.grad(&gradients).unwrap()), [4.0, 4.0]);
        assert!(w.grad(&gradients).is_some());
    }
}

#[test]
fn cross_entropy_and_its_gradient_are_the_plain_compositions() {
    for device in devices() {
        for [n, _, k] in SHAPES {
            let device = device.clone().autodiff();
            let z = (made_up([n, k], 5, &device) * 9.0).require_grad();
            // Any distribution may be a target, and what does not sum to one too.
            let y = made_up([n, k], 6, &device).abs();
            let tensors = |loss: Tensor<1>| {
                let gradients = (loss.clone() * 0.25).backward();
                [numbers(loss.inner()), numbers(z.grad(&gradients).unwrap())]
            };
            let found = tensors(cross_entropy(z.clone(), y.clone()));
            let expected = tensors((log_softmax(z.clone(), 1) * y.clone()).sum().neg());
            let what = format!("{device:?} [{n}, {k}]");
            // n K terms of up to 20 each.
            let relative = |numbers: &[f64]| vec![numbers[0] / (20 * n * k) as f64];
            assert_close(&relative(&found[0]), &relative(&expected[0]), n.min(64), &what);
            assert_close(&found[1], &expected[1], 2 * k, &what);
        }
    }
}

#[test]
fn batch_norm_and_its_gradients_are_the_plain_compositions() {
    for device in devices() {
        for [n, _, m] in SHAPES {
            let device = device.clone().autodiff();
            let x = (made_up([n, m], 1, &device) * 2.0 + 0.7).require_grad();
            let gamma = made_up([m], 2, &device).require_grad();
            let beta = made_up([m], 3, &device).require_grad();
            let above = made_up([n, m], 4, &device);
            let (epsilon, units) = (1e-2, m);
            let tensors = |y: Tensor<2>, mean: Tensor<1>, variance: Tensor<1>| {
                let gradients = (y.clone() * above.clone()).sum().backward();
                let of_inputs = numbers(x.grad(&gradients).unwrap());
                let of_gamma = numbers(gamma.grad(&gradients).unwrap());
                let of_beta = numbers(beta.grad(&gradients).unwrap());
                [numbers(y.inner()), numbers(mean), numbers(variance), of_inputs, of_gamma, of_beta]
            };
            let (y, mean, variance) = batch_norm(x.clone(), gamma.clone(), beta.clone(), epsilon);
            let found = tensors(y, mean, variance);
            let mean = x.clone().mean_dim(0);
            let variance = (x.clone() - mean.clone()).powi_scalar(2).mean_dim(0);
            let scaled = (x.clone() - mean.clone()) / variance.clone().add_scalar(epsilon).sqrt();
            let y = scaled * gamma.clone().unsqueeze() + beta.clone().unsqueeze();
            let expected = tensors(y, mean.reshape([units]), variance.reshape([units]));
            let names = ["outputs", "mean", "variance", "of inputs", "of gamma", "of beta"];
            for (index, name) in names.into_iter().enumerate() {
                // A root of epsilon divides: what was rounded is at most ten times as large,
                // and a hundred in the gradient of the inputs.
                let terms = if index == 3 { 100 } else { n + 10 };
                let what = format!("{device:?} [{n}, {m}], {name}");
                assert_close(&found[index], &expected[index], terms, &what);
            }
        }
    }
}

#[test]
fn a_squared_norm_and_its_gradient_are_the_plain_compositions() {
    for device in devices() {
        for [n, d, _] in SHAPES {
            let x = made_up([n, d], 1, &device.clone().autodiff()).require_grad();
            let tensors = |sum: Tensor<1>| {
                let gradients = (sum.clone() * 0.5).backward();
                let mean = numbers(sum.inner())[0] / (n * d) as f64;
                (vec![mean], numbers(x.grad(&gradients).unwrap()))
            };
            let found = tensors(squared_norm(x.clone()));
            let expected = tensors(x.clone().powi_scalar(2).sum());
            let what = format!("{device:?} [{n}, {d}]");
            assert_close(&found.0, &expected.0, (n * d).min(64), &what);
            assert_close(&found.1, &expected.1, 2, &what);
        }
    }
}

#[test]
fn equal_logits_cost_the_logarithm_of_the_number_of_classes() {
    for device in devices() {
        let logits = Tensor::<2>::full([3, 4], 7.5, &device);
        let targets = Tensor::<2>::eye(4, &device).slice(0..3);
        let loss: f64 = cross_entropy(logits, targets).into_scalar();
        // Three samples, each rounded a few times in f32.
        assert!((loss - 3.0 * 4.0f64.ln()).abs() < 1e-6, "{loss}");
    }
}

#[test]
fn a_confident_mistake_costs_the_difference_of_the_logits() {
    for device in devices() {
        let logits = Tensor::<2>::from_floats([[200.0, -100.0]], &device);
        let targets = Tensor::<2>::from_floats([[0.0, 1.0]], &device);
        let loss: f64 = cross_entropy(logits, targets).into_scalar();
        assert_eq!(loss, 300.0);
    }
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    for device in devices() {
        let logits = Tensor::<2>::from_floats([[f32::NAN, 1.0, 2.0]], &device);
        let targets = Tensor::<2>::from_floats([[0.0, 1.0, 0.0]], &device);
        let loss: f64 = cross_entropy(logits, targets).into_scalar();
        assert!(loss.is_nan());
    }
}

#[test]
fn a_dense_layer_of_bytes_is_one_of_the_numbers_they_are() {
    let scale = ByteScale { factor: 1.0 / 128.0, offset: -0.75 };
    // More than a part of the samples, beside the others.
    for [n, d, m] in SHAPES.into_iter().chain([[9001, 401, 3]]) {
        for device in devices() {
            let bytes: Vec<u8> = (0..(n + 2) * d).map(|i| (i * 7919 % 251) as u8).collect();
            // Exact in f32.
            let number = |&byte: &u8| (scale.factor * f64::from(byte) + scale.offset) as f32;
            let x = TensorData::new(bytes[d..(n + 1) * d].iter().map(number).collect::<Vec<_>>(), [n, d]);
            let bytes = Tensor::<2, Int>::from_data(TensorData::new(bytes, [n + 2, d]), (&device, DType::U8));
            // Rows that begin somewhere, of which a view is made.
            let bytes = bytes.slice(1..n + 1);
            let device = device.clone().autodiff();
            let w = made_up([d, m], 2, &device).require_grad();
            let b = made_up([m], 3, &device).require_grad();
            let above = made_up([n, m], 4, &device);
            let tensors = |z: Tensor<2>| {
                let gradients = (z.clone() * above.clone()).sum().backward();
                [
                    numbers(z.inner()),
                    numbers(w.grad(&gradients).unwrap()),
                    numbers(b.grad(&gradients).unwrap()),
                ]
            };
            let expected = tensors(Tensor::from_data(x, &device).matmul(w.clone()) + b.clone().unsqueeze());
            for bytes in [bytes.clone(), bytes.cast(DType::I32)] {
                let found = tensors(dense_of_bytes(bytes, scale, w.clone(), b.clone()));
                for (index, terms) in [d + 1, n, n].into_iter().enumerate() {
                    // |x| is below 1.25, the other factor below 1.
                    let what = format!("{device:?} [{n}, {d}, {m}], {index}");
                    assert_close(&found[index], &expected[index], 2 * terms, &what);
                }
            }
        }
    }
}

#[test]
fn a_dense_layer_in_double_precision_is_the_plain_sum() {
    let scale = ByteScale { factor: 1.0 / 255.0, offset: -0.3 };
    for device in devices() {
        for [n, d, m] in SHAPES {
            let bytes: Vec<u8> = (0..n * d).map(|i| (i * 7919 % 251) as u8).collect();
            let x: Vec<f64> = bytes.iter().map(|&b| scale.factor * f64::from(b) + scale.offset).collect();
            let double = |i: usize| (i as f64 * 0.7).sin();
            let w: Vec<f64> = (0..d * m).map(double).collect();
            let b: Vec<f64> = (0..m).map(|i| double(i + 5)).collect();
            let expected: Vec<f64> = (0..n * m)
                .map(|i| (0..d).map(|k| x[i / m * d + k] * w[k * m + i % m]).sum::<f64>() + b[i % m])
                .collect();
            let tensor = |numbers: Vec<f64>, shape| {
                Tensor::<2>::from_data(TensorData::new(numbers, shape), (&device, DType::F64))
            };
            let (w, b) = (tensor(w, [d, m]), tensor(b, [1, m]).squeeze_dim::<1>(0));
            let of_numbers = dense(tensor(x, [n, d]), w.clone(), b.clone());
            let bytes = Tensor::<2, Int>::from_data(TensorData::new(bytes, [n, d]), (&device, DType::U8));
            for found in [of_numbers, dense_of_bytes(bytes, scale, w, b)] {
                assert_eq!(found.dtype(), DType::F64);
                // d + 1 roundings of terms of order one, and as many of the plain sum.
                let bound = 2.0 * (d + 1) as f64 * f64::EPSILON;
                let apart =
                    numbers(found).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(apart <= bound, "{device:?} [{n}, {d}, {m}]: {apart} > {bound}");
            }
        }
    }
}

#[test]
fn a_dense_layer_of_bytes_that_is_fixed_gets_no_gradient() {
    for device in devices() {
        let bytes = Tensor::<2, Int>::from_data(TensorData::new(vec![1u8, 2], [1, 2]), (&device, DType::U8));
        let device = device.autodiff();
        let w = made_up([2, 3], 2, &device);
        let b = made_up([3], 3, &device).require_grad();
        let scale = ByteScale { factor: 1.0, offset: 0.0 };
        let gradients = dense_of_bytes(bytes, scale, w.clone(), b.clone()).sum().backward();
        assert!(w.grad(&gradients).is_none());
        assert_eq!(numbers(b.grad(&gradients).unwrap()), [1.0, 1.0, 1.0]);
    }
}

#[derive(Module, Debug)]
struct Two {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

#[test]
fn adam_is_burns_adam_and_its_record_is_burns_record() {
    for device in devices() {
        let device = device.autodiff();
        let start = || Two {
            matrix: Param::from_tensor(made_up([37, 11], 1, &device)),
            vector: Param::from_tensor(made_up([5], 2, &device)),
        };
        let train = |optimizer: &mut ModuleOptimizer, mut module: Two| {
            for step in 0..20 {
                let pull = module.matrix.val() - made_up([37, 11], step, &device);
                let objective = pull.powi_scalar(4).sum() + module.vector.val().powi_scalar(2).sum();
                let gradients = GradientsParams::from_grads(objective.backward(), &module);
                module = optimizer.step(0.05, module, gradients);
            }
            module
        };
        let burns = || AdamConfig::new().with_beta_1(0.8).with_beta_2(0.9).with_epsilon(0.1).init();
        let mut ours: ModuleOptimizer = Adam { beta_1: 0.8, beta_2: 0.9, epsilon: 0.1 }.into();
        let compare = |found: &Two, expected: &Two| {
            // Twenty steps of at most 0.05, each rounded about ten times.
            assert_close(&numbers(found.matrix.val()), &numbers(expected.matrix.val()), 3, "matrix");
            assert_close(&numbers(found.vector.val()), &numbers(expected.vector.val()), 3, "vector");
        };
        let start = start();
        let found = train(&mut ours, start.clone());
        compare(&found, &train(&mut burns(), start));
        // And burn's goes on from our record as ours does.
        let mut taken_up = burns().load_record(ours.to_record());
        let expected = train(&mut taken_up, found.clone());
        compare(&train(&mut ours, found), &expected);
    }
}

#[cfg(feature = "flex")]
#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let device = Device::flex().autodiff();
    let on_threads = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let x = made_up([9000, 401], 1, &device);
            let w = made_up([401, 30], 2, &device).require_grad();
            let b = made_up([30], 3, &device).require_grad();
            let z = dense(x, w.clone(), b.clone());
            let loss = cross_entropy(z.clone(), made_up([9000, 30], 4, &device).abs());
            let gradients = loss.backward();
            let of_weight = numbers(w.grad(&gradients).unwrap());
            let bytes = (0..9000 * 401).map(|i| (i * 7919 % 251) as u8).collect::<Vec<_>>();
            let bytes = TensorData::new(bytes, [9000, 401]);
            let bytes = Tensor::<2, Int>::from_data(bytes, (&Device::flex(), DType::U8));
            let scale = ByteScale { factor: 0.01, offset: 0.1 };
            let of_bytes = dense_of_bytes(bytes, scale, w.clone(), b.clone());
            let gradients_of_bytes = (of_bytes.clone() * z.clone().detach()).sum().backward();
            [
                numbers(z.inner()),
                numbers(loss.inner()),
                of_weight,
                numbers(b.grad(&gradients).unwrap()),
                numbers(of_bytes.inner()),
                numbers(w.grad(&gradients_of_bytes).unwrap()),
            ]
        })
    };
    let alone = on_threads(1);
    assert_eq!(alone, on_threads(2));
    assert_eq!(alone, on_threads(5));
}
