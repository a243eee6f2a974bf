//! What was checked of a spectrum, against what bound.
//!
//! Bounds follow from the arithmetic, and each is written beside its check. Two
//! units of rounding occur: that of the sums over samples (f32 on a GPU), of which
//! [`summation`] says how far N terms go astray, and that of the eigensolver, f64:
//! five stages (onto the subspace from both sides, the solver, back, and the check's
//! own product), each with a backward error of size x epsilon at the most (Golub and
//! Van Loan, "Matrix Computations", section 8.3).
//!
//! A wrong sum moves an eigenvalue by at most |dH|_2 (Weyl). If each term of the
//! sums is wrong by a relative delta, then since the absolute values in a row of
//! S_n add up to 2 p_a (1 - p_a) <= tr S_n,
//!
//! ```text
//! |dH|_2 <= delta mean_n tr(S_n) |g_n|^2 = delta tr H .
//! ```

mod reference;

use std::time::Instant;

use faer::{
    Accum, Mat, MatRef, Par,
    linalg::matmul::triangular::{self, BlockStructure},
};

use crate::{Eigenpairs, Hessian, HessianError, Samples, Spectrum, grams::class_pairs, subspace::product};
use reference::{Reference, worst};

/// The eigenvectors that are held against the samples one by one, counted from 0: those
/// of lambda_1 and lambda_10.
const HELD: [usize; 2] = [0, 9];

/// Stages between H and the check of an eigenpair, as counted above.
const STAGES: f64 = 5.0;

/// One property that the result must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Check {
    /// A short name, the same in every result.
    pub name: &'static str,
    /// The quantity, written out.
    pub quantity: &'static str,
    /// What it came out as.
    pub value: f64,
    /// The most that rounding can make of it.
    pub bound: f64,
}

impl Check {
    /// Whether the value is within the bound; what is not a number is not.
    pub fn passed(&self) -> bool {
        self.value <= self.bound
    }
}

/// What a spectrum carries as its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// All that was checked.
    pub checks: Vec<Check>,
    /// The error of the sums over samples, as some blocks of H summed again in f64 show
    /// it: |dH|_F / |H|_F over those blocks.
    pub rounding: f64,
    /// From it, what is known of lambda_1, lambda_10 and kappa'.
    pub known: KnownDigits,
    /// What it cost.
    pub seconds: f64,
}

/// Decimal digits that are known, by the error bar of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDigits {
    /// Of lambda_1.
    pub lambda_1: u32,
    /// Of lambda_10, if there are ten eigenvalues.
    pub lambda_10: Option<u32>,
    /// Of kappa' = lambda_1 / lambda_10.
    pub kappa_prime: Option<u32>,
}

impl Evidence {
    /// Whether all checks passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }
}

/// Checks `hessian` and its `pairs` against each other, and both against the
/// `samples` that they were computed from.
///
/// # Errors
///
/// [`HessianError::Device`] if the samples cannot be read, and
/// [`HessianError::WrongShape`] if they are not the Hessian's. A property that does
/// not hold is no error, but a [`Check`] that did not pass.
pub fn verify(hessian: &Hessian, pairs: &Eigenpairs, samples: &Samples) -> Result<Evidence, HessianError> {
    let start = Instant::now();
    let (m, k) = (hessian.features(), hessian.classes());
    if (samples.features(), samples.classes(), samples.count()) != (m, k, hessian.samples()) {
        return Err(HessianError::WrongShape {
            features: [samples.count(), samples.features()],
            probabilities: [samples.count(), samples.classes()],
            m,
            k,
        });
    }
    let subject = Subject::new(hessian, pairs, samples)?;
    let blocks = subject.rounding_of_blocks();
    let rounding = blocks.0;
    let checks = vec![
        subject.probabilities(),
        subject.symmetry(),
        subject.shift(),
        subject.residual(),
        subject.orthogonality(),
        semi_definite(&pairs.spectrum, subject.scale, subject.solver() + subject.sums()),
        subject.trace(),
        frobenius(hessian, &pairs.spectrum, subject.solver()),
        subject.products(),
        subject.fisher(),
        subject.blocks(blocks),
    ];
    let known = subject.known_digits(rounding);
    Ok(Evidence { checks, rounding, known, seconds: start.elapsed().as_secs_f64() })
}

/// What can be checked of eigenvalues alone, at little cost: that none is negative, and
/// that they add up to the trace and their squares to the squared Frobenius norm.
/// `epsilon` is the unit of the arithmetic of the sums over samples.
pub fn verify_values(hessian: &Hessian, spectrum: &Spectrum, epsilon: f64) -> Vec<Check> {
    let lambda_1 = spectrum.lambda(1).unwrap_or(0.0);
    let scale = if lambda_1 > 0.0 { lambda_1 } else { f64::MIN_POSITIVE };
    let (size, trace) = (hessian.size() as f64, hessian.trace());
    let solver = STAGES * size * f64::EPSILON;
    let sums = summation(hessian.samples(), hessian.classes(), epsilon) * trace / scale;
    vec![
        semi_definite(spectrum, scale, solver + sums),
        Check {
            name: "sum",
            quantity: "|sum_i lambda_i / tr H - 1|",
            value: relative(spectrum.trace(), trace),
            bound: sum_of_errors(solver, hessian.size(), scale, trace),
        },
        frobenius(hessian, spectrum, solver),
    ]
}

/// H is a sum of positive semi-definite terms; what is negative is rounding.
fn semi_definite(spectrum: &Spectrum, scale: f64, bound: f64) -> Check {
    let value = (-spectrum.lambda_min().unwrap_or(f64::NAN)).max(0.0) / scale;
    Check { name: "semi-definite", quantity: "-lambda_min / lambda_1", value, bound }
}

/// n errors of the solver's size, over the trace.
fn sum_of_errors(solver: f64, size: usize, scale: f64, trace: f64) -> f64 {
    if trace > 0.0 { solver * size as f64 * scale / trace } else { 0.0 }
}

/// The norm of n errors of the solver's size, over a norm of lambda_1 at the least.
fn frobenius(hessian: &Hessian, spectrum: &Spectrum, solver: f64) -> Check {
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    Check {
        name: "Frobenius norm",
        quantity: "|sqrt(sum_i lambda_i^2) / sqrt(sum_ij H_ij^2) - 1|",
        value: relative(norm(spectrum.eigenvalues()), norm(hessian.elements())),
        bound: solver * (hessian.size() as f64).sqrt(),
    }
}

/// What is checked, with what several checks need.
struct Subject<'a> {
    hessian: &'a Hessian,
    pairs: &'a Eigenpairs,
    epsilon: f64,
    /// The relative error of a sum over all samples, at the most.
    delta: f64,
    trace: f64,
    /// What eigenvalues are measured by: lambda_1, or the smallest number if H is zero.
    scale: f64,
    /// H V for all eigenvectors.
    images: Mat<f64>,
    /// Some eigenvectors and one irregular direction.
    directions: Mat<f64>,
    /// H V for `directions`, by the matrix.
    by_matrix: Mat<f64>,
    class_pairs: Vec<(usize, usize)>,
    reference: Reference,
}

impl<'a> Subject<'a> {
    fn new(hessian: &'a Hessian, pairs: &'a Eigenpairs, samples: &Samples) -> Result<Self, HessianError> {
        let size = hessian.size();
        let held: Vec<usize> = HELD.into_iter().filter(|&column| column < size).collect();
        // And one direction that has something of every eigenvector, of length one.
        let irregular = |row: usize| (golden() * (row + 1) as f64).fract() - 0.5;
        let length = (0..size).map(|row| irregular(row).powi(2)).sum::<f64>().sqrt();
        let directions = Mat::from_fn(size, held.len() + 1, |row, column| match held.get(column) {
            Some(&eigenvector) => pairs.vectors[(row, eigenvector)],
            None => irregular(row) / length,
        });
        let class_pairs = telling_pairs(hessian);
        let reference = Reference::new(samples, directions.as_ref(), &class_pairs)?;
        let lambda_1 = pairs.spectrum.lambda(1).unwrap_or(0.0);
        Ok(Self {
            hessian,
            pairs,
            epsilon: samples.epsilon(),
            delta: summation(samples.count(), hessian.classes(), samples.epsilon())
                + summation(samples.count(), hessian.classes(), f64::EPSILON),
            trace: hessian.trace(),
            scale: if lambda_1 > 0.0 { lambda_1 } else { f64::MIN_POSITIVE },
            images: product(hessian.matrix(), pairs.vectors.as_ref()),
            by_matrix: product(hessian.matrix(), directions.as_ref()),
            directions,
            class_pairs,
            reference,
        })
    }

    /// The eigensolver's backward error over lambda_1.
    fn solver(&self) -> f64 {
        STAGES * self.hessian.size() as f64 * f64::EPSILON
    }

    /// |dH|_2 / lambda_1 by the rounding of the sums, at the most.
    fn sums(&self) -> f64 {
        self.delta * self.trace / self.scale
    }

    /// A softmax divides K numbers by their sum: K + 1 roundings.
    fn probabilities(&self) -> Check {
        let classes = self.hessian.classes() as f64;
        Check {
            name: "probabilities",
            quantity: "max_n |sum_a p_na - 1|",
            value: self.reference.probability_defect,
            bound: (classes + 1.0) * self.epsilon,
        }
    }

    /// Both triangles are written from the same sum.
    fn symmetry(&self) -> Check {
        let matrix = self.hessian.matrix();
        let mut value = 0.0;
        for (i, column) in matrix.col_iter().enumerate() {
            for (j, element) in column.iter().enumerate().take(i) {
                value = worst(value, (element - matrix[(i, j)]).abs());
            }
        }
        Check { name: "symmetry", quantity: "max_ij |H_ij - H_ji|", value, bound: 0.0 }
    }

    /// H_aa = -sum_b H_ab is added up from K - 1 blocks in f64, and this adds up K more;
    /// no element is larger than lambda_1.
    fn shift(&self) -> Check {
        let (m, k) = (self.hessian.features(), self.hessian.classes());
        let rows = self.hessian.elements().chunks_exact(k * m);
        let value = rows
            .flat_map(|row| (0..m).map(move |i| row.iter().skip(i).step_by(m).sum::<f64>().abs()))
            .fold(0.0, worst);
        Check {
            name: "shift",
            quantity: "max |H (1 x e_i)| / lambda_1",
            value: value / self.scale,
            bound: 2.0 * k as f64 * f64::EPSILON,
        }
    }

    fn residual(&self) -> Check {
        let columns = self.images.col_iter().zip(self.pairs.vectors.col_iter());
        let value = columns
            .zip(self.pairs.spectrum.eigenvalues())
            .map(|((image, vector), lambda)| {
                image
                    .iter()
                    .zip(vector.iter())
                    .map(|(image, v)| (image - lambda * v).powi(2))
                    .sum::<f64>()
                    .sqrt()
            })
            .fold(0.0, worst);
        Check {
            name: "residual",
            quantity: "max_i |H v_i - lambda_i v_i| / lambda_1",
            value: value / self.scale,
            bound: self.solver(),
        }
    }

    fn orthogonality(&self) -> Check {
        let vectors = self.pairs.vectors.as_ref();
        let mut products = Mat::zeros(vectors.ncols(), vectors.ncols());
        triangular::matmul(
            products.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            vectors.transpose(),
            BlockStructure::Rectangular,
            vectors,
            BlockStructure::Rectangular,
            1.0,
            Par::rayon(0),
        );
        Check {
            name: "orthogonality",
            quantity: "max_ij |V'V - I|",
            value: distance_from_identity(products.as_ref()),
            bound: self.solver(),
        }
    }

    fn trace(&self) -> Check {
        let sum = self.pairs.spectrum.trace();
        Check {
            name: "trace",
            quantity: "|sum_i lambda_i / mean_n (1 - |p_n|^2) |g_n|^2 - 1|",
            value: relative(sum, self.reference.trace),
            bound: self.delta + sum_of_errors(self.solver(), self.hessian.size(), self.scale, self.trace),
        }
    }

    /// The matrix against its definition, applied to some eigenvectors and to an irregular direction.
    fn products(&self) -> Check {
        let difference = &self.by_matrix - &self.reference.images;
        let value = difference.col_iter().map(|column| column.norm_l2()).fold(0.0, worst);
        Check {
            name: "samples",
            quantity: "max_v |H v - mean_n S_n (V g_n) g_n'| / lambda_1",
            value: value / self.scale,
            bound: self.sums() + self.solver(),
        }
    }

    /// Hessian = Fisher, for softmax with cross-entropy: along the same directions.
    fn fisher(&self) -> Check {
        let by_matrix = product(self.directions.transpose(), self.by_matrix.as_ref());
        let difference = &by_matrix - &self.reference.fisher;
        Check {
            name: "Fisher",
            quantity: "max_uv |u' H v - u' F v| / lambda_1",
            value: difference.norm_max() / self.scale,
            bound: self.sums() + self.solver(),
        }
    }

    /// |dS|_F / |S|_F and |S|_F of the blocks that were summed again in f64.
    fn rounding_of_blocks(&self) -> (f64, f64) {
        let m = self.hessian.features();
        let (mut difference, mut norm) = (0.0, 0.0);
        for (&(a, b), block) in self.class_pairs.iter().zip(&self.reference.blocks) {
            let summed = self.hessian.matrix().submatrix(a * m, b * m, block.nrows(), m);
            difference += (summed + block).squared_norm_l2(); // H_ab = -S_ab / N
            norm += block.squared_norm_l2();
        }
        (ratio(f64::sqrt(difference), f64::sqrt(norm)), f64::sqrt(norm))
    }

    /// Terms of either sign may cancel in a block, while their errors do not:
    /// |dS|_F <= delta mean_n p_a p_b |g|^2 = delta tr S.
    fn blocks(&self, (rounding, norm): (f64, f64)) -> Check {
        let traces =
            self.reference.blocks.iter().map(|block| block.diagonal().column_vector().sum()).sum::<f64>();
        Check {
            name: "rounding",
            quantity: "|dS|_F / |S|_F of blocks summed again in f64",
            value: rounding,
            bound: self.delta * ratio(traces, norm),
        }
    }

    /// An eigenvalue moves by |dH|_2 <= |dH|_F at the most, which is the blocks' relative
    /// error times |H|_F; the solver's own error comes on top.
    fn known_digits(&self, rounding: f64) -> KnownDigits {
        let spectrum = &self.pairs.spectrum;
        let norm = self.hessian.elements().iter().map(|x| x * x).sum::<f64>().sqrt();
        let error = rounding * norm + self.residual().value * self.scale;
        let positive = |rank: usize| spectrum.lambda(rank).filter(|&lambda| lambda > 0.0);
        let of = |rank: usize| Some(error / positive(rank)?);
        let (first, tenth) = (of(1).unwrap_or(f64::INFINITY), of(10));
        KnownDigits {
            lambda_1: digits(first),
            lambda_10: tenth.map(digits),
            kappa_prime: tenth.map(|tenth| digits(first + tenth)),
        }
    }
}

/// The relative error of a sum of N terms p_a p_b g_i g_j in an arithmetic of unit
/// `epsilon`: half an epsilon for each rounding. A term has four products and its
/// probabilities were rounded K + 1 times each; of the additions' errors no more
/// than 4 sqrt(N) add up (Higham and Mary 2019, "A New Approach to Probabilistic
/// Rounding Error Analysis", theorem 2.4: with lambda = 4 it fails in 7 of 10^4
/// sums), and never more than N.
pub(crate) fn summation(samples: usize, classes: usize, epsilon: f64) -> f64 {
    let samples = samples as f64;
    let additions = samples.min(4.0 * samples.sqrt());
    (additions + 2.0 * (classes as f64 + 1.0) + 4.0) * epsilon / 2.0
}

/// The class pairs with the largest, the median and the smallest trace of S_ab.
fn telling_pairs(hessian: &Hessian) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = class_pairs(hessian.classes()).collect();
    pairs.sort_by(|&x, &y| trace_of_block(hessian, y).total_cmp(&trace_of_block(hessian, x)));
    let mut chosen = vec![pairs[0], pairs[pairs.len() / 2], pairs[pairs.len() - 1]];
    chosen.dedup();
    chosen
}

/// tr S_ab / N.
fn trace_of_block(hessian: &Hessian, (a, b): (usize, usize)) -> f64 {
    let (m, matrix) = (hessian.features(), hessian.matrix());
    (0..m).map(|i| -matrix[(a * m + i, b * m + i)]).sum()
}

/// max_ij |A - I| over the lower triangle.
fn distance_from_identity(matrix: MatRef<f64>) -> f64 {
    let columns = matrix.col_iter().enumerate();
    columns
        .flat_map(|(j, column)| {
            let below = column.iter().enumerate().skip(j);
            below.map(move |(i, x)| (x - if i == j { 1.0 } else { 0.0 }).abs())
        })
        .fold(0.0, worst)
}

/// |a / b - 1|, which is zero if both are.
fn relative(a: f64, b: f64) -> f64 {
    ratio((a - b).abs(), b.abs())
}

/// a / b, which is zero if both are.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

/// Decimal digits of a number whose relative error is `error`.
fn digits(error: f64) -> u32 {
    // An f64 has no more than 15.
    (-error.log10()).floor().clamp(0.0, 15.0) as u32
}

fn golden() -> f64 {
    0.5 * (5.0f64.sqrt() - 1.0)
}
