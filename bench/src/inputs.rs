//! `kappa-bench inputs`: what both sides of the benchmark compute from.
//!
//! ```text
//! G-NAME.npy [N, m], P-NAME.npy [N, K]    features and probabilities, in f64
//!
//! NAME = mnist: of a network FC after one epoch, N = 60,000, with, beside them,
//!   H-mnist.npy [K m, K m]                the Hessian of its last layer
//!   pixels.npy [55000, 784], labels.npy   the images that it was trained on
//! NAME = N-m-K: random
//!
//! of networks, NAME = fc, fc-bn, n parameters, and of a last layer without H, NAME = N-m-K:
//!   theta-NAME.npy [n]                    a network's initial parameters, in f32
//!   V-NAME.npy, HV-NAME.npy [k, n]        vectors, in f32, and the products with them, in f64
//! ```
//!
//! What is printed is the digest of H in f64, as a line of JSON: the reference of every answer. Where
//! there is no H it has nothing: answers are held against the products.

use std::{
    f64::consts::TAU,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor};
use faer::Mat;
use kappa_data::DataSet;
use kappa_hessian::SymmetricOperator;
use kappa_probe::samples;
use kappa_run::Request;
use kappa_trainer::{DeviceSplit, PixelScaling, split_data};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    error::BenchError,
    files::{MNIST, file, read_samples, write, write_doubles},
    protocol::{Digest, Network},
    works::{configuration, directions, parameters, products, trainer},
};

/// Random logits lie between minus and plus this: some samples leave no doubt, others do.
const LOGITS: f64 = 4.0;
/// Vectors that products are made with.
const VECTORS: usize = 8;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Random numbers, so many samples, features and classes, instead of MNIST's last layer
    #[arg(long, num_args = 3, value_names = ["N", "M", "K"])]
    random: Vec<usize>,
    /// A random last layer of so many samples, features and classes, whose logits are those of its
    /// features, with products instead of H
    #[arg(long, num_args = 3, value_names = ["N", "M", "K"])]
    layer: Vec<usize>,
    /// The paper's networks before training instead, with products of their Hessians
    #[arg(long)]
    networks: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let Arguments { out, random, layer, networks } = arguments;
    fs::create_dir_all(out).map_err(|source| BenchError::Write { path: out.clone(), source })?;
    if *networks {
        write_networks(out)?;
    }
    if let [samples, features, classes] = layer[..] {
        write_layer(out, samples, features, classes)?;
    }
    if *networks || !layer.is_empty() {
        println!("{}", serde_json::json!(Digest::Nothing {}));
        return Ok(());
    }
    let name = match random[..] {
        [samples, features, classes] => write_random(out, samples, features, classes)?,
        _ => write_mnist(out)?,
    };
    let hessian = read_samples(out, &name, DType::F64, &Device::flex())?.hessian()?;
    if name == MNIST {
        write_doubles(&file(out, "H", MNIST), [hessian.size(); 2], hessian.elements())?;
    }
    println!("{}", serde_json::json!(Digest::of_matrix(&hessian)));
    Ok(())
}

fn write_mnist(folder: &Path) -> Result<String, BenchError> {
    let (device, set, config) = (Device::flex(), DataSet::mnist()?, configuration(Network::Fc)?);
    let mut trainer = trainer(&config, &set, &device)?;
    trainer.epoch(|_| ControlFlow::Continue(()))?;
    let scaling = PixelScaling::new(config.data.scaling, &set.train)?;
    let images = DeviceSplit::new(&set.train, set.classes, scaling, &device);
    let request = Request::new(kappa_run::Precision::F64);
    let samples = samples(trainer.network(), &images, &request, &())?;
    let (mut features, mut probabilities) = (Vec::new(), Vec::new());
    for chunk in samples.chunks() {
        let chunk = chunk?;
        features.push(chunk.features);
        probabilities.push(chunk.probabilities);
    }
    write_doubles(&file(folder, "G", MNIST), [samples.count(), samples.features()], &on_host(features)?)?;
    write_doubles(&file(folder, "P", MNIST), [samples.count(), samples.classes()], &on_host(probabilities)?)?;

    let trained = split_data(&set, &config.data, config.seed)?.train;
    let (labels, pixels) = (trained.labels(), trained.pixels());
    write(&folder.join("pixels.npy"), "|u1", &[labels.len(), trained.inputs()], pixels)?;
    write(&folder.join("labels.npy"), "|u1", &[labels.len()], labels)?;
    Ok(MNIST.to_owned())
}

fn write_networks(folder: &Path) -> Result<(), BenchError> {
    for network in [Network::Fc, Network::FcBn] {
        let parameters = parameters(network)?;
        let numbers = bytemuck::cast_slice(&parameters);
        write(&file(folder, "theta", network.name()), "<f4", &[parameters.len()], numbers)?;
        write_products(folder, network.name(), &products(network, VECTORS)?)?;
    }
    Ok(())
}

fn write_layer(folder: &Path, samples: usize, features: usize, classes: usize) -> Result<(), BenchError> {
    let name = format!("{samples}-{features}-{classes}");
    let (g, p) = draw_layer(samples, features, classes);
    write_doubles(&file(folder, "G", &name), [samples, features], &g)?;
    write_doubles(&file(folder, "P", &name), [samples, classes], &p)?;
    let samples = read_samples(folder, &name, DType::F64, &Device::flex())?;
    write_products(folder, &name, &samples.product(directions(samples.size(), VECTORS).as_ref())?)
}

/// The vectors, and the products with them: a row each.
fn write_products(folder: &Path, name: &str, products: &Mat<f64>) -> Result<(), BenchError> {
    let shape = [products.ncols(), products.nrows()];
    let vectors = columns(&directions(shape[1], shape[0]));
    let vectors: Vec<f32> = vectors.into_iter().map(|number| number as f32).collect();
    write(&file(folder, "V", name), "<f4", &shape, bytemuck::cast_slice(&vectors))?;
    write_doubles(&file(folder, "HV", name), shape, &columns(products))
}

fn on_host(chunks: Vec<Tensor<2>>) -> Result<Vec<f64>, BenchError> {
    let data = Tensor::cat(chunks, 0).try_into_data().map_err(BenchError::device)?;
    data.try_into_vec().map_err(BenchError::device)
}

fn write_random(
    folder: &Path,
    samples: usize,
    features: usize,
    classes: usize,
) -> Result<String, BenchError> {
    let name = format!("{samples}-{features}-{classes}");
    let (g, p) = draw(samples, features, classes, 0);
    write_doubles(&file(folder, "G", &name), [samples, features], &g)?;
    write_doubles(&file(folder, "P", &name), [samples, classes], &p)?;
    Ok(name)
}

/// Features [N, m] as a ReLU leaves them, half of them zero, and probabilities [N, K], the softmax
/// of logits that are spread out.
pub fn draw(samples: usize, features: usize, classes: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut number = |largest: f64| generator.random_range(-largest..largest);
    let g = (0..samples * features).map(|_| number(1.0).max(0.0)).collect();
    let mut p: Vec<f64> = (0..samples * classes).map(|_| number(LOGITS).exp()).collect();
    normalise(&mut p, classes);
    (g, p)
}

/// Features [N, m] = max(0, normal), and probabilities [N, K], the softmax of 2 G W' / sqrt(m) with W
/// normal: classes that depend on the features, as those of a network do.
fn draw_layer(samples: usize, features: usize, classes: usize) -> (Vec<f64>, Vec<f64>) {
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    // Box and Muller's, of which one of two is taken; 1 - u is never zero.
    let mut normal = || {
        let (radius, angle) = (1.0 - generator.random::<f64>(), TAU * generator.random::<f64>());
        (-2.0 * radius.ln()).sqrt() * angle.cos()
    };
    let g = Mat::from_fn(features, samples, |_, _| normal().max(0.0));
    let w = Mat::from_fn(classes, features, |_, _| 2.0 * normal() / (features as f64).sqrt());
    let mut p: Vec<f64> = columns(&(&w * &g)).into_iter().map(f64::exp).collect();
    normalise(&mut p, classes);
    (columns(&g), p)
}

/// Makes positive numbers [N, K] probabilities.
fn normalise(p: &mut [f64], classes: usize) {
    for p in p.chunks_exact_mut(classes) {
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
    }
}

/// A matrix's columns, one after the other.
fn columns(matrix: &Mat<f64>) -> Vec<f64> {
    matrix.col_iter().flat_map(|column| column.iter().copied().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Backend,
        protocol::{Precision, Work},
        works::Works,
    };

    const N: usize = 40;
    const M: usize = 3;
    const K: usize = 4;

    /// H_(a i)(b j) = 1/N sum_n (p_a [a = b] - p_a p_b) g_i g_j
    fn element(g: &[f64], p: &[f64], row: usize, column: usize) -> f64 {
        let (a, i, b, j) = (row / M, row % M, column / M, column % M);
        let same = if a == b { 1.0 } else { 0.0 };
        let samples = g.chunks(M).zip(p.chunks(K));
        samples.map(|(g, p)| p[a] * (same - p[b]) * g[i] * g[j]).sum::<f64>() / N as f64
    }

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} and not {expected}");
    }

    #[test]
    fn a_last_layer_without_its_hessian_has_the_products_of_direct_sums() {
        let folder = tempfile::tempdir().unwrap();
        write_layer(folder.path(), N, M, K).unwrap();
        let (g, p) = draw_layer(N, M, K);
        assert!(p.chunks(K).all(|p| (p.iter().sum::<f64>() - 1.0).abs() < 1e-14));
        let n = M * K;
        let vectors = directions(n, VECTORS);
        let content = fs::read(file(folder.path(), "HV", "40-3-4")).unwrap();
        // What is before the numbers is a multiple of 64 bytes.
        let numbers = &content[content.len() - 8 * n * VECTORS..];
        for (index, number) in numbers.chunks(8).enumerate() {
            let (vector, row) = (index / n, index % n);
            let expected: f64 = (0..n).map(|j| element(&g, &p, row, j) * vectors[(j, vector)]).sum();
            let found = f64::from_le_bytes(number.try_into().unwrap());
            // Sums of 12 times 40 terms, of which none is larger than ten.
            assert!((found - expected).abs() < 1e-13, "{found} and not {expected}");
        }
    }

    #[test]
    fn a_hessian_of_random_inputs_is_told_by_numbers_that_direct_sums_have() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = write_random(folder.path(), N, M, K).unwrap();
        let (g, p) = draw(N, M, K, 0);
        let mut works = Works::new(folder.path().to_owned(), Backend::Flex.open().unwrap());
        // Sums of 40 terms of one size, in either order.
        for (precision, relative) in [(Precision::F64, 1e-13), (Precision::F32, 1e-5)] {
            let mut digest = |work| works.measure(&work).unwrap().digest;
            let hessian = digest(Work::Hessian { precision, inputs: inputs.clone() });
            let Digest::Matrix { trace, frobenius, elements } = hessian else {
                panic!("a Hessian has the digest of a matrix");
            };
            let n = M * K;
            close(trace, (0..n).map(|i| element(&g, &p, i, i)).sum(), relative);
            let squares = (0..n * n).map(|at| element(&g, &p, at / n, at % n).powi(2));
            close(frobenius, squares.sum::<f64>().sqrt(), relative);
            // n = 12: every 12/8-th row, at columns j 36/8 + j
            for (j, (row, column)) in [(0, 0), (1, 5), (3, 11), (4, 4)].into_iter().enumerate() {
                close(elements[j], element(&g, &p, row, column), 100.0 * relative);
            }
            let largest = digest(Work::Top10 { precision, inputs: inputs.clone() });
            let Digest::Spectrum { lambda_1: Some(lambda_1), sum, .. } = largest else {
                panic!("eigenvalues have the digest of a spectrum");
            };
            // Twelve eigenvalues, of which three are zero.
            close(sum, trace, 10.0 * relative);
            assert!(lambda_1 > trace / 9.0 && lambda_1 < frobenius);
        }
    }
}
