//! `kappa-bench inputs`: what both sides of the benchmark compute from.
//!
//! ```text
//! of MNIST, by a network FC after one epoch:
//!   G.npy [N, m], logits.npy [N, K], P.npy [N, K]    features, logits, their softmax; N = 60,000
//!   labels.npy [N], W.npy [K, m], H.npy [K m, K m]
//!   pixels.npy [55000, 784], pixel_labels.npy        the images that it was trained on
//! random:
//!   G-N-m-K.npy, P-N-m-K.npy
//! ```

use std::ops::ControlFlow;

use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, activation::softmax},
};
use kappa_data::DataSet;
use kappa_trainer::{DeviceSplit, PixelScaling, split_data};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    npy::{self, Matrix, NpyError},
    protocol::{Inputs, Network},
    works::{WorkError, configuration, samples_of, trainer},
};

/// Random logits lie between minus and plus this: some samples leave no doubt, others do.
const LOGITS: f64 = 4.0;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    sizes: Option<Sizes>,
    /// The seed of random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// How many random numbers; without, the inputs are MNIST's.
#[derive(Clone, Copy, clap::Args)]
#[group(requires_all = ["samples", "features", "classes"])]
struct Sizes {
    /// Random inputs: samples N
    #[arg(long, value_name = "N", required = false)]
    samples: NonZeroUsize,
    /// Random inputs: features m
    #[arg(long, value_name = "M", required = false)]
    features: NonZeroUsize,
    /// Random inputs: classes K
    #[arg(long, value_name = "K", required = false)]
    classes: NonZeroUsize,
}

/// Inputs that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    #[error("cannot make the folder {folder}")]
    Folder { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Work(#[from] WorkError),
}

pub fn run(arguments: &Arguments) -> Result<(), InputsError> {
    let folder = &arguments.out;
    fs::create_dir_all(folder).map_err(|source| InputsError::Folder { folder: folder.clone(), source })?;
    match arguments.sizes {
        Some(sizes) => random(folder, sizes, arguments.seed)?,
        None => mnist(folder)?,
    }
    Ok(())
}

fn mnist(folder: &Path) -> Result<(), WorkError> {
    let (device, set, config) = (Device::flex(), DataSet::mnist()?, configuration(Network::Fc)?);
    let mut trainer = trainer(&config, &set, &device)?;
    trainer.epoch(|_| ControlFlow::Continue(()))?;
    let network = trainer.network().valid();

    let (images, classes) = (&set.train, set.classes);
    let scaling = PixelScaling::new(config.data.scaling, images)?;
    let (mut g, mut z, mut p) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in DeviceSplit::new(images, classes, scaling, &device).chunks() {
        let features = network.features_of(chunk.images.preactivations(&network));
        let logits = network.logits(features.clone()).cast(DType::F64);
        g.extend(doubles(features)?);
        p.extend(doubles(softmax(logits.clone(), 1))?);
        z.extend(doubles(logits)?);
    }
    let count = images.labels().len();
    let matrix = |elements, columns| Matrix { rows: count, columns, elements };
    let (g, z, p) = (matrix(g, config.network.hidden), matrix(z, classes), matrix(p, classes));
    let hessian = samples_of(&g, &p, DType::F64, &device)?.hessian()?;
    let (weights, _) = network.output_parameters();
    for (array, matrix) in [("G", &g), ("logits", &z), ("P", &p)] {
        write(folder, Inputs::MNIST, array, matrix)?;
    }
    let file = |array| folder.join(Inputs::MNIST.file(array));
    npy::write(&file("W"), &weights.dims(), &doubles(weights)?)?;
    npy::write(&file("H"), &[hessian.size(); 2], hessian.elements())?;
    npy::write(&file("labels"), &[count], images.labels())?;

    let trained = split_data(&set, &config.data, config.seed)?.train;
    let (labels, pixels) = (trained.labels(), trained.pixels());
    npy::write(&file("pixels"), &[labels.len(), trained.inputs()], pixels)?;
    npy::write(&file("pixel_labels"), &[labels.len()], labels)?;
    Ok(())
}

/// Features as a ReLU leaves them, and the softmax of logits that are spread out.
fn random(folder: &Path, sizes: Sizes, seed: u64) -> Result<(), WorkError> {
    let [samples, features, classes] = [sizes.samples, sizes.features, sizes.classes].map(NonZeroUsize::get);
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |columns: usize, largest: f64| -> Vec<f64> {
        (0..samples * columns).map(|_| generator.random_range(-largest..largest)).collect()
    };
    let matrix = |elements, columns| Matrix { rows: samples, columns, elements };
    let mut g = matrix(draw(features, 1.0), features);
    g.elements.iter_mut().for_each(|g| *g = g.max(0.0));
    let mut p = matrix(draw(classes, LOGITS), classes);
    for p in p.elements.chunks_exact_mut(classes) {
        p.iter_mut().for_each(|p| *p = p.exp());
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
    }
    let inputs = Inputs::Random { samples, features, classes };
    write(folder, inputs, "G", &g)?;
    write(folder, inputs, "P", &p)?;
    Ok(())
}

fn write(folder: &Path, inputs: Inputs, array: &str, matrix: &Matrix) -> Result<(), NpyError> {
    npy::write(&folder.join(inputs.file(array)), &[matrix.rows, matrix.columns], &matrix.elements)
}

fn doubles(tensor: Tensor<2>) -> Result<Vec<f64>, WorkError> {
    let data =
        tensor.cast(DType::F64).try_into_data().map_err(|error| WorkError::Device(error.to_string()))?;
    data.try_into_vec().map_err(|error| WorkError::Device(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::{
        device::Backend,
        protocol::{Digest, Measured, Precision, Work},
        works::Works,
    };

    /// H_(a i)(b j) = 1/N sum_n (p_a [a = b] - p_a p_b) g_i g_j
    fn element(g: &Matrix, p: &Matrix, row: usize, column: usize) -> f64 {
        let (m, k) = (g.columns, p.columns);
        let (a, i, b, j) = (row / m, row % m, column / m, column % m);
        let samples = g.elements.chunks(m).zip(p.elements.chunks(k));
        let same = if a == b { 1.0 } else { 0.0 };
        samples.map(|(g, p)| p[a] * (same - p[b]) * g[i] * g[j]).sum::<f64>() / g.rows as f64
    }

    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} and not {expected}");
    }

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn sizes_are_given_all_together_or_not_at_all() {
        let parse = |more: &[&str]| CommandLine::try_parse_from([&["inputs", "--out", "x"], more].concat());
        assert!(parse(&[]).unwrap().arguments.sizes.is_none());
        let all = ["--samples", "30", "--features", "4", "--classes", "2", "--seed", "5"];
        let given = parse(&all).unwrap().arguments;
        let sizes =
            given.sizes.map(|sizes| [sizes.samples, sizes.features, sizes.classes].map(NonZeroUsize::get));
        assert_eq!((sizes, given.seed), (Some([30, 4, 2]), 5));
        assert!(parse(&all[..4]).is_err());
    }

    #[test]
    fn a_hessian_of_random_inputs_is_told_by_numbers_that_direct_sums_have() {
        let folder = tempfile::tempdir().unwrap();
        let (samples, features, classes) = (40, 3, 4);
        let size = |number| NonZeroUsize::new(number).unwrap();
        let sizes = Sizes { samples: size(samples), features: size(features), classes: size(classes) };
        random(folder.path(), sizes, 7).unwrap();
        let inputs = Inputs::Random { samples, features, classes };
        let [g, p] = ["G", "P"].map(|array| npy::read(&folder.path().join(inputs.file(array))).unwrap());
        assert_eq!([g.rows, g.columns, p.rows, p.columns], [samples, features, samples, classes]);

        let mut works = Works::new(folder.path().to_owned(), Backend::Flex.choose().unwrap());
        // Sums of 40 terms of one size, in either order.
        for (precision, relative) in [(Precision::F64, 1e-13), (Precision::F32, 1e-5)] {
            let measured = works.measure(Work::Hessian { precision, inputs }).unwrap();
            let Measured { digest: Digest::Matrix { trace, frobenius, elements }, .. } = measured else {
                panic!("a Hessian has the digest of a matrix");
            };
            let n = features * classes;
            let all = (0..n).flat_map(|row| (0..n).map(move |column| (row, column)));
            close(trace, (0..n).map(|i| element(&g, &p, i, i)).sum(), relative);
            let squares: f64 = all.map(|(row, column)| element(&g, &p, row, column).powi(2)).sum();
            close(frobenius, squares.sqrt(), relative);
            // n = 12: every 12/8-th row, at columns j 36/8 + j
            for (j, (row, column)) in [(0, 0), (1, 5), (3, 11), (4, 4)].into_iter().enumerate() {
                close(elements[j], element(&g, &p, row, column), 100.0 * relative);
            }
            let measured = works.measure(Work::Top10 { precision, inputs }).unwrap();
            let Digest::Spectrum { lambda_1: Some(lambda_1), sum, .. } = measured.digest else {
                panic!("eigenvalues have the digest of a spectrum");
            };
            // Twelve eigenvalues, of which three are zero.
            close(sum, trace, 10.0 * relative);
            assert!(lambda_1 > trace / 9.0 && lambda_1 < frobenius);
        }
    }
}
