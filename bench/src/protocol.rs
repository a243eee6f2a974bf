//! What is asked for and what is answered: a line of JSON each. The names are those that
//! the other side of the benchmark uses (`bench/works.py`, `bench/peers/digests.py`).

use std::{borrow::Cow, num::NonZeroUsize};

use burn::tensor::DType;
use kappa_hessian::Hessian;
use kappa_run::BatchSize;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    device::Place,
    error::{BenchError, with_causes},
};

/// A request. What it says beside (which peer is meant) is for others. `inputs` is what
/// `kappa-bench inputs` calls its files.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
pub enum Work {
    /// A plain product of n x n matrices.
    Peak { precision: Precision, n: NonZeroUsize },
    /// From features and probabilities to H.
    Hessian { precision: Precision, inputs: String },
    /// The ten largest eigenvalues without forming H.
    Top10 { precision: Precision, inputs: String },
    /// Of MNIST's H.
    Eigen { precision: Precision, what: What },
    /// One epoch of training; with a full batch it is one step.
    #[serde(alias = "step")]
    Epoch { precision: Precision, network: Network, batch: BatchSize },
    /// Of a network at its initial weights, all of its parameters and training images.
    Network {
        precision: Precision,
        network: Network,
        what: OfHessian,
        #[serde(default = "one")]
        vectors: NonZeroUsize,
    },
    /// Of a last layer, without forming its H.
    Layer {
        precision: Precision,
        inputs: String,
        what: OfHessian,
        #[serde(default = "one")]
        vectors: NonZeroUsize,
    },
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// The type that is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
    F64,
}

impl Precision {
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }
}

/// What is wanted of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Pairs,
    Values,
}

/// What is wanted of a Hessian that is known by its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfHessian {
    /// Its product with some vectors, the seconds of each.
    /// Several vectors at once are another work to the other side, which has more ways then.
    #[serde(alias = "products")]
    Product,
    /// Its ten largest eigenpairs.
    Pairs,
    /// A step of training on all images, which a product is held against.
    Step,
}

/// The paper's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    Fc,
    FcBn,
}

impl Network {
    /// What its files are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fc => "fc",
            Self::FcBn => "fc-bn",
        }
    }
}

/// The first line, before anything is asked.
pub fn hello(place: &Place) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        // Known to whoever starts the benchmark; a build that asked git would be made anew
        // with every commit.
        "commit": std::env::var("KAPPA_COMMIT").ok().filter(|commit| !commit.is_empty()),
        "device": place.name,
    })
}

/// The line that answers a request.
pub fn answer(result: Result<Measured, BenchError>) -> Value {
    match result {
        Ok(measured) => json!(measured),
        Err(BenchError::Unavailable(reason)) => json!({ "unavailable": reason }),
        Err(error) => json!({ "error": with_causes(&error) }),
    }
}

/// A work that was done.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Of the work alone.
    pub seconds: f64,
    pub digest: Digest,
    /// In what the work differs from what others do under its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'static, str>>,
}

impl Measured {
    pub fn new(seconds: f64, digest: Digest) -> Self {
        Self { seconds, digest, note: None }
    }
}

/// The numbers of a result by which it is compared with the other side's.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Digest {
    Nothing {},
    Matrix {
        trace: f64,
        frobenius: f64,
        elements: Vec<f64>,
    },
    Spectrum {
        lambda_1: Option<f64>,
        lambda_10: Option<f64>,
        sum: f64,
    },
    Loss {
        loss: f64,
    },
    /// |error| / |product|, of several the largest.
    Product {
        relative_error: f64,
    },
    /// Of eigenpairs, with the largest residual over |A|, by products in f64.
    Pairs {
        lambda_1: f64,
        lambda_10: f64,
        sum: f64,
        residual: f64,
    },
}

/// Elements of a matrix that its digest shows.
const ELEMENTS: usize = 8;

impl Digest {
    pub fn of_matrix(hessian: &Hessian) -> Self {
        let (n, elements) = (hessian.size(), hessian.elements());
        Self::Matrix {
            trace: hessian.trace(),
            frobenius: elements.iter().map(|element| element * element).sum::<f64>().sqrt(),
            elements: positions(n).map(|(row, column)| elements[row * n + column]).collect(),
        }
    }

    /// Of eigenvalues, the largest first; the sum is over those that were asked for.
    pub fn of_eigenvalues(values: &[f64]) -> Self {
        let lambda = |rank: usize| values.get(rank - 1).copied();
        Self::Spectrum { lambda_1: lambda(1), lambda_10: lambda(10), sum: values.iter().sum() }
    }
}

/// Rows evenly spread, columns scattered.
fn positions(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..ELEMENTS).map(move |j| (j * n / ELEMENTS, (3 * j * n / ELEMENTS + j) % n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_other_side_writes_them() {
        let read = |request| serde_json::from_value::<Work>(request).unwrap();
        let number = |n| NonZeroUsize::new(n).unwrap();
        let (f32, f64, small) = (Precision::F32, Precision::F64, BatchSize::Samples(number(128)));
        let (mnist, random) = ("mnist".to_owned(), "1000-25-2".to_owned());

        let peak = json!({ "work": "peak", "precision": "f32", "n": 4096, "peer": "kappa" });
        assert_eq!(read(peak), Work::Peak { precision: f32, n: number(4096) });
        let hessian = json!({ "work": "hessian", "precision": "f64", "inputs": mnist });
        assert_eq!(read(hessian), Work::Hessian { precision: f64, inputs: mnist });
        let top10 = json!({ "work": "top10", "precision": "f32", "inputs": random });
        assert_eq!(read(top10), Work::Top10 { precision: f32, inputs: random });
        let eigen = json!({ "work": "eigen", "precision": "f64", "what": "values" });
        assert_eq!(read(eigen), Work::Eigen { precision: f64, what: What::Values });
        let epoch = json!({ "work": "epoch", "precision": "f32", "network": "fc", "batch": 128 });
        assert_eq!(read(epoch), Work::Epoch { precision: f32, network: Network::Fc, batch: small });
        let step = json!({ "work": "step", "precision": "f32", "network": "fc-bn", "batch": "full" });
        let full = BatchSize::Full;
        assert_eq!(read(step), Work::Epoch { precision: f32, network: Network::FcBn, batch: full });
        let product = json!({ "work": "network", "what": "product", "precision": "f64", "network": "fc-bn" });
        let (fc_bn, what, vectors) = (Network::FcBn, OfHessian::Product, number(1));
        let of_network = Work::Network { precision: f64, network: fc_bn, what, vectors };
        assert_eq!(read(product), of_network);
        let eight = json!({
            "work": "network", "what": "step", "precision": "f32", "network": "fc", "vectors": 8,
        });
        let (fc, what, vectors) = (Network::Fc, OfHessian::Step, number(8));
        assert_eq!(read(eight), Work::Network { precision: f32, network: fc, what, vectors });
        let layer = json!({ "work": "layer", "what": "pairs", "precision": "f64", "inputs": "9-3-2" });
        let (inputs, what, vectors) = ("9-3-2".to_owned(), OfHessian::Pairs, number(1));
        assert_eq!(read(layer), Work::Layer { precision: f64, inputs, what, vectors });
        for incomplete in [json!({ "work": "hessian", "precision": "f64" }), json!({})] {
            assert!(serde_json::from_value::<Work>(incomplete).is_err());
        }
    }

    #[test]
    fn answers_have_the_names_that_are_looked_for() {
        let measured = |digest| answer(Ok(Measured::new(0.5, digest)));
        assert_eq!(measured(Digest::Nothing {}), json!({ "seconds": 0.5, "digest": {} }));
        let ten: Vec<f64> = (0..10).rev().map(f64::from).collect();
        let spectrum = json!({ "lambda_1": 9.0, "lambda_10": 0.0, "sum": 45.0 });
        assert_eq!(measured(Digest::of_eigenvalues(&ten))["digest"], spectrum);
        let unavailable = answer(Err(BenchError::Unavailable("not here")));
        assert_eq!(unavailable, json!({ "unavailable": "not here" }));
        let lost = answer(Err(BenchError::device("lost")));
        assert_eq!(lost, json!({ "error": "the device failed: lost" }));
    }

    #[test]
    fn a_matrix_is_told_by_elements_all_over_it() {
        let places: Vec<_> = positions(1000).collect();
        assert_eq!(places[..3], [(0, 0), (125, 376), (250, 752)]);
        let elements: Vec<f64> = (0..36).map(f64::from).collect();
        let hessian = Hessian::from_elements(3, 2, 1, f64::EPSILON, elements).unwrap();
        let Digest::Matrix { trace, frobenius, elements } = Digest::of_matrix(&hessian) else {
            panic!("a matrix has the digest of one");
        };
        // sum_i 7 i for i < 6, and sum_i i^2 for i < 36
        assert_eq!((trace, frobenius), (105.0, 14910f64.sqrt()));
        // n = 6: (0, 0), (0, 2 + 1), (1, 4 + 2 - 6), (2, (6 + 3) % 6), ..
        assert_eq!(elements[..4], [0.0, 3.0, 6.0, 15.0]);
    }
}
