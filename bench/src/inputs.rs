//! `kappa-bench inputs`: what both sides of the benchmark compute from.
//!
//! ```text
//! G-NAME.npy [N, m], P-NAME.npy [N, K]    features and probabilities, in f64
//!
//! NAME = mnist: of a network FC after one epoch, N = 60,000, with, beside them,
//!   H-mnist.npy [K m, K m]                the Hessian of its last layer
//!   pixels.npy [55000, 784], labels.npy   the images that it was trained on
//! NAME = N-m-K: random
//! ```
//!
//! What is printed is the digest of H in f64, as a line of JSON: the reference of every answer.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor};
use kappa_data::DataSet;
use kappa_probe::samples;
use kappa_run::Request;
use kappa_trainer::{DeviceSplit, PixelScaling, split_data};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    error::BenchError,
    files::{MNIST, file, read_samples, write, write_doubles},
    protocol::{Digest, Network},
    works::{configuration, trainer},
};

/// Random logits lie between minus and plus this: some samples leave no doubt, others do.
const LOGITS: f64 = 4.0;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Random numbers, so many samples, features and classes, instead of MNIST's last layer
    #[arg(long, num_args = 3, value_names = ["N", "M", "K"])]
    random: Vec<usize>,
}

pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let Arguments { out, random } = arguments;
    fs::create_dir_all(out).map_err(|source| BenchError::Write { path: out.clone(), source })?;
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
    for p in p.chunks_exact_mut(classes) {
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
    }
    (g, p)
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
