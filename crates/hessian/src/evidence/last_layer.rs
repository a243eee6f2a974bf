//! The checks that need eigenvectors or samples, one method each, its bound beside it.

use faer::Mat;

use super::{
    Check, KnownDigits, STAGES,
    operator::{distance_from_orthonormal, irregular_direction, largest_residual},
    ratio,
    reference::{Reference, additions, worst},
    relative, sum_of_errors, summation,
};
use crate::{
    Eigenpairs, Hessian, HessianError, InputError, Samples, classes::columns, decomposition::squarable,
    grams::class_pairs, subspace::product,
};

/// The eigenvectors that are held against the samples one by one, counted from 0: those
/// of lambda_1 and lambda_10.
const HELD: [usize; 2] = [0, 9];

/// What is checked, with what several checks need.
pub(super) struct LastLayerChecks<'a> {
    hessian: &'a Hessian,
    pairs: &'a Eigenpairs,
    epsilon: f64,
    /// The relative error of a sum over all samples, at the most.
    delta: f64,
    trace: f64,
    /// What eigenvalues are measured by: lambda_1, or the smallest number if H is zero.
    pub scale: f64,
    /// H V for all eigenvectors.
    images: Mat<f64>,
    /// Some eigenvectors and one irregular direction.
    directions: Mat<f64>,
    /// H V for `directions`, by the matrix.
    by_matrix: Mat<f64>,
    class_pairs: Vec<(usize, usize)>,
    reference: Reference,
    input: InputError,
}

impl<'a> LastLayerChecks<'a> {
    pub fn new(hessian: &'a Hessian, pairs: &'a Eigenpairs, samples: &Samples) -> Result<Self, HessianError> {
        let size = hessian.size();
        let held: Vec<usize> = HELD.into_iter().filter(|&column| column < size).collect();
        let irregular = irregular_direction(size, 0.0);
        let directions = Mat::from_fn(size, held.len() + 1, |row, column| match held.get(column) {
            Some(&eigenvector) => pairs.vectors[(row, eigenvector)],
            None => irregular[row],
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
            input: samples.input_error(),
        })
    }

    /// The eigensolver's backward error over lambda_1.
    pub fn solver(&self) -> f64 {
        STAGES * self.hessian.size() as f64 * f64::EPSILON
    }

    /// |dH|_2 / lambda_1 by the rounding of the sums, at the most.
    pub fn sums(&self) -> f64 {
        self.delta * self.trace / self.scale
    }

    /// A softmax divides K numbers by their sum: K + 1 roundings.
    pub fn probabilities(&self) -> Check {
        let classes = self.hessian.classes() as f64;
        Check {
            name: "probabilities",
            quantity: "max_n |sum_a p_na - 1|",
            value: self.reference.probability_defect,
            bound: (classes + 1.0) * self.epsilon,
        }
    }

    /// Both triangles are written from the same sum.
    pub fn symmetry(&self) -> Check {
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
    pub fn shift(&self) -> Check {
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

    pub fn residual(&self) -> Check {
        let value = largest_residual(
            self.images.as_ref(),
            self.pairs.vectors.as_ref(),
            self.pairs.spectrum.eigenvalues(),
            self.scale,
        );
        Check {
            name: "residual",
            quantity: "max_i |H v_i - lambda_i v_i| / lambda_1",
            value,
            bound: self.solver(),
        }
    }

    pub fn orthogonality(&self) -> Check {
        Check {
            name: "orthogonality",
            quantity: "max_ij |V'V - I|",
            value: distance_from_orthonormal(self.pairs.vectors.as_ref()),
            bound: self.solver(),
        }
    }

    pub fn trace(&self) -> Check {
        let sum = self.pairs.spectrum.trace();
        Check {
            name: "trace",
            quantity: match self.hessian.classes() {
                1 => "|sum_i lambda_i / mean_n p_n (1 - p_n) |g_n|^2 - 1|",
                _ => "|sum_i lambda_i / mean_n (1 - |p_n|^2) |g_n|^2 - 1|",
            },
            value: relative(sum, self.reference.trace),
            bound: self.delta + sum_of_errors(self.solver(), self.hessian.size(), self.scale, self.trace),
        }
    }

    /// The matrix against its definition, applied to some eigenvectors and to an irregular direction.
    pub fn products(&self) -> Check {
        let difference = &self.by_matrix - &self.reference.images;
        let value = difference.col_iter().map(|column| column.norm_l2()).fold(0.0, worst);
        Check {
            name: "samples",
            quantity: match self.hessian.classes() {
                1 => "max_v |H v - mean_n p_n (1 - p_n) (v . g_n) g_n| / lambda_1",
                _ => "max_v |H v - mean_n S_n (V g_n) g_n'| / lambda_1",
            },
            value: value / self.scale,
            bound: self.sums() + self.solver(),
        }
    }

    /// Hessian = Fisher, for softmax and sigmoid with cross-entropy: along the same directions.
    pub fn fisher(&self) -> Check {
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
    pub fn rounding_of_blocks(&self) -> (f64, f64) {
        let m = self.hessian.features();
        let unit = squarable(self.scale);
        let (mut difference, mut norm) = (0.0, 0.0);
        for (&(a, b), block) in self.class_pairs.iter().zip(&self.reference.blocks) {
            let per_unit = faer::Scale(unit.recip());
            let apart = match self.hessian.classes() {
                1 => self.hessian.matrix().subrows(0, block.nrows()) - block, // H = S_01 / N
                _ => self.hessian.matrix().submatrix(a * m, b * m, block.nrows(), m) + block, // H_ab = -S_ab / N
            };
            difference += (apart * per_unit).squared_norm_l2();
            norm += (block * per_unit).squared_norm_l2();
        }
        (ratio(f64::sqrt(difference), f64::sqrt(norm)), f64::sqrt(norm) * unit)
    }

    /// Terms of either sign may cancel in a block, while their errors do not:
    /// |dS|_F <= delta mean_n p_a p_b |g|^2 = delta tr S.
    pub fn blocks(&self, (rounding, norm): (f64, f64)) -> Check {
        let traces =
            self.reference.blocks.iter().map(|block| block.diagonal().column_vector().sum()).sum::<f64>();
        Check {
            name: "rounding",
            quantity: "|dS|_F / |S|_F of blocks summed again in f64",
            value: rounding,
            bound: self.delta * ratio(traces, norm),
        }
    }

    /// Digits of what was asked about, and not only of the matrix: the error of an eigenvalue is
    ///
    /// - |H v - lambda v| with H v from the samples, so far from lambda their H has an eigenvalue;
    /// - what that sum of terms of one sign was itself rounded by, and V g, which is of the size of
    ///   |V| |g| and not of its differences between classes, as a feature's error;
    /// - what was rounded before ([`crate::InputError`]).
    pub fn known_digits(&self) -> KnownDigits {
        let spectrum = &self.pairs.spectrum;
        let of = |rank: usize| -> Option<f64> {
            let lambda = spectrum.lambda(rank)?;
            let column = HELD.iter().position(|&held| held + 1 == rank)?;
            let vector = self.directions.col(column);
            let residual = (self.reference.images.col(column) - vector * faer::Scale(lambda)).norm_l2();
            Some(ratio(residual, lambda) + self.input_error(lambda))
        };
        let (first, tenth) = (of(1).unwrap_or(f64::INFINITY), of(10));
        KnownDigits {
            lambda_1: digits(first),
            lambda_10: tenth.map(digits),
            kappa_prime: tenth.map(|tenth| digits(first + tenth)),
        }
    }

    /// The relative error of an eigenvalue by what was rounded before H, and by the sums that it is
    /// held against.
    fn input_error(&self, lambda: f64) -> f64 {
        let (m, samples) = (self.hessian.features() as f64, self.hessian.samples());
        let unit = f64::EPSILON / 2.0;
        // Of n roundings 4 sqrt(n) add up at the most (see `summation`).
        let sums = 4.0 * additions(samples).sqrt() * unit + (self.hessian.classes() as f64 + 8.0) * unit;
        let probability =
            self.input.probabilities - self.input.logits * self.reference.smallest_probability.ln();
        let feature = self.input.features + 4.0 * m.sqrt() * unit;
        // (sqrt(lambda) + eta sqrt(tr H))^2 - lambda, over lambda
        let moved = feature * ratio(self.trace, lambda).sqrt();
        // u K mean |g|^2, and nothing is known of a zero that may be one by underflow.
        let classes = self.hessian.classes() as f64;
        let absent = ratio(self.input.underflow * classes * self.reference.squared_features, lambda);
        sums + 2.0 * probability + 2.0 * moved + moved * moved + absent
    }
}

/// The class pairs with the largest, the median and the smallest trace of S_ab.
fn telling_pairs(hessian: &Hessian) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = class_pairs(columns(hessian.classes())).collect();
    if let [only] = pairs[..] {
        return vec![only];
    }
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

/// Decimal digits of a number whose relative error is `error`.
fn digits(error: f64) -> u32 {
    // An f64 has no more than 15.
    (-error.log10()).floor().clamp(0.0, 15.0) as u32
}
