//! The Hessian's properties once more, from the samples and not from the matrix:
//! in f64 on the host, by faer's products and plain loops, sharing nothing with
//! the sums over class pairs but the samples.

use faer::{Accum, Mat, MatMut, MatRef, Par, linalg::matmul::matmul};
use kappa_world::Combine;

use crate::{
    HessianError, Samples, classes,
    host::TASKS,
    probabilities::{self, uncertainty},
};

/// Samples that are taken at once, so that what is computed of them stays in a core's cache.
const PIECE: usize = 512;

/// Additions in a row at the most when N samples are gone through once: in a piece, and of the pieces of
/// a task and of the tasks.
pub(super) fn additions(samples: usize) -> f64 {
    (PIECE.min(samples) + samples.div_ceil(PIECE * TASKS) + TASKS) as f64
}

/// Rows of a block that are summed again.
const BLOCK_ROWS: usize = 16;

/// What the samples say of the Hessian, without the Hessian.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// max_n |sum_a p_na - 1|. From here on a softmax's p_n is divided by its sum.
    pub probability_defect: f64,
    /// The smallest probability that is not zero.
    pub smallest_probability: f64,
    /// tr H = mean_n (1 - |p_n|^2) |g_n|^2, of one logit mean_n p_n (1 - p_n) |g_n|^2.
    pub trace: f64,
    /// mean_n |g_n|^2
    pub squared_features: f64,
    /// H V, matrix-free: mean_n (S_n U_n) g_n^T with U_n = V g_n. [K m, r]
    pub images: Mat<f64>,
    /// V^T F V with the Fisher matrix as it is defined, the mean over the samples and
    /// over labels y drawn from p_n of s s^T, s the gradient of -ln p_ny. [r, r]
    pub fisher: Mat<f64>,
    /// For each of the pairs asked for, the first rows of mean_n p_a p_b g g^T: [rows, m].
    pub blocks: Vec<Mat<f64>>,
}

impl Reference {
    /// Goes through `samples` once. `directions` is V [K m, r], `pairs` are classes (a, b).
    pub fn new(
        samples: &Samples,
        directions: MatRef<f64>,
        pairs: &[(usize, usize)],
    ) -> Result<Self, HessianError> {
        let (m, k, r) = (samples.features(), samples.classes(), directions.ncols());
        // V with a direction and a class a column: [m, r K]
        let stacked = Mat::from_fn(m, r * k, |i, column| directions[(column % k * m + i, column / k)]);
        let mut total = Self::zero(m, k, r, pairs.len());
        let parts = samples.on_host(|chunk| {
            let mut part = Self::zero(m, k, r, pairs.len());
            let pieces = chunk.features.chunks(PIECE * m);
            let pieces = pieces.zip(chunk.probabilities.chunks(PIECE * classes::columns(k)));
            for (features, probabilities) in pieces {
                part.add_samples(features, probabilities.to_vec(), stacked.as_ref(), pairs);
            }
            part
        })?;
        parts.iter().for_each(|part| total.add(part));
        total.of_all(samples)?;
        // What was computed class by class, [m, r K], as [K m, r].
        let images = &total.images;
        total.images = Mat::from_fn(k * m, r, |row, direction| images[(row % m, direction * k + row / m)]);
        total.divide_by(samples.count() as f64);
        Ok(total)
    }

    fn zero(m: usize, k: usize, r: usize, blocks: usize) -> Self {
        Self {
            probability_defect: 0.0,
            smallest_probability: 1.0,
            trace: 0.0,
            squared_features: 0.0,
            images: Mat::zeros(m, r * k),
            fisher: Mat::zeros(r, r),
            blocks: vec![Mat::zeros(BLOCK_ROWS.min(m), m); blocks],
        }
    }

    /// Adds some samples: features [n, m], probabilities [n, K], of one logit [n, 2]; `stacked` is
    /// V [m, r K].
    fn add_samples(
        &mut self,
        features: &[f64],
        mut p: Vec<f64>,
        stacked: MatRef<f64>,
        pairs: &[(usize, usize)],
    ) {
        let (m, r) = (stacked.nrows(), self.fisher.nrows());
        let (rows, k) = (features.len() / m, stacked.ncols() / r);
        let columns = classes::columns(k);
        let g = MatRef::from_row_major_slice(features, rows, m);
        let mut likeliest = Vec::with_capacity(rows);
        for (p, g) in p.chunks_exact_mut(columns).zip(features.chunks_exact(m)) {
            // Of a sigmoid each is known by itself.
            let sum: f64 = if k == 1 { 1.0 } else { p.iter().sum() };
            self.probability_defect = worst(self.probability_defect, (sum - 1.0).abs());
            for p in p.iter_mut() {
                *p /= sum;
                if *p > 0.0 {
                    self.smallest_probability = self.smallest_probability.min(*p);
                }
            }
            likeliest.push(probabilities::likeliest(p));
            let square = g.iter().map(|g| g * g).sum::<f64>();
            self.squared_features += square;
            self.trace += uncertainty(p, k) * square;
        }

        // u = V g for each direction; in its place S_n u, and beside it the derivative of -ln p_a along the
        // direction, weighed by sqrt(p_a).
        let mut along = vec![0.0; rows * r * k];
        matmul(
            MatMut::from_row_major_slice_mut(&mut along, rows, r * k),
            Accum::Replace,
            g,
            stacked,
            1.0,
            Par::Seq,
        );
        let mut scores = vec![0.0; rows * r * columns];
        let samples = along.chunks_exact_mut(r * k).zip(scores.chunks_exact_mut(r * columns));
        for (((along, scores), p), &c) in samples.zip(p.chunks_exact(columns)).zip(&likeliest) {
            match *p {
                [p_0, p_1] if k == 1 => curve_of_sigmoid(along, scores, [p_0, p_1]),
                _ => curve_of_softmax(along, scores, p, c),
            }
        }
        let scores = MatRef::from_row_major_slice(&scores, rows * columns, r);
        add_product(&mut self.fisher, scores.transpose(), scores);
        let along = MatRef::from_row_major_slice(&along, rows, r * k);
        add_product(&mut self.images, g.transpose(), along);

        let mut weighted = vec![0.0; features.len()];
        for (&(a, b), block) in pairs.iter().zip(&mut self.blocks) {
            let samples =
                weighted.chunks_exact_mut(m).zip(features.chunks_exact(m)).zip(p.chunks_exact(columns));
            for ((weighted, g), p) in samples {
                let weight = p[a] * p[b];
                weighted.iter_mut().zip(g).for_each(|(weighted, g)| *weighted = weight * g);
            }
            let weighted = MatRef::from_row_major_slice(&weighted, rows, m);
            let selected = g.subcols(0, block.nrows());
            add_product(block, selected.transpose(), weighted);
        }
    }

    fn add(&mut self, other: &Self) {
        self.probability_defect = worst(self.probability_defect, other.probability_defect);
        self.smallest_probability = self.smallest_probability.min(other.smallest_probability);
        self.trace += other.trace;
        self.squared_features += other.squared_features;
        self.images += &other.images;
        self.fisher += &other.fisher;
        for (sum, block) in self.blocks.iter_mut().zip(&other.blocks) {
            *sum += block;
        }
    }

    /// Makes of a process's own what is of all.
    fn of_all(&mut self, samples: &Samples) -> Result<(), HessianError> {
        samples.combine(std::slice::from_mut(&mut self.probability_defect), Combine::Largest)?;
        samples.combine(std::slice::from_mut(&mut self.smallest_probability), Combine::Smallest)?;
        self.trace = samples.sum_of_all(self.trace)?;
        self.squared_features = samples.sum_of_all(self.squared_features)?;
        for matrix in [&mut self.images, &mut self.fisher].into_iter().chain(&mut self.blocks) {
            samples.add_up(matrix)?;
        }
        Ok(())
    }

    fn divide_by(&mut self, samples: f64) {
        self.trace /= samples;
        self.squared_features /= samples;
        for matrix in [&mut self.images, &mut self.fisher].into_iter().chain(&mut self.blocks) {
            *matrix *= faer::Scale(samples.recip());
        }
    }
}

/// Makes of u [r, K] of one sample S u = p (u - p . u), and of `scores` [K, r] the derivatives
/// p . u - u_a of -ln p_a, weighed by sqrt(p_a); c is the likeliest class.
fn curve_of_softmax(along: &mut [f64], scores: &mut [f64], p: &[f64], c: usize) {
    let (k, r) = (p.len(), along.len() / p.len());
    for (direction, u) in along.chunks_exact_mut(k).enumerate() {
        // S_n ignores what all classes share; without u_c the mean is as small as it can be.
        let shared = u[c];
        u.iter_mut().for_each(|u| *u -= shared);
        let mean: f64 = p.iter().zip(u.iter()).map(|(p, u)| p * u).sum();
        for (a, (p, u)) in p.iter().zip(u).enumerate() {
            scores[a * r + direction] = p.sqrt() * (mean - *u);
            *u = p * (*u - mean);
        }
    }
}

/// The same of one logit, u `[r]` and `scores` [2, r]: p_0 p_1 u, and the derivatives p_1 u of -ln p_0 and
/// -p_0 u of -ln p_1.
fn curve_of_sigmoid(along: &mut [f64], scores: &mut [f64], [p_0, p_1]: [f64; 2]) {
    let r = along.len();
    for (direction, u) in along.iter_mut().enumerate() {
        scores[direction] = p_0.sqrt() * p_1 * *u;
        scores[r + direction] = -p_1.sqrt() * p_0 * *u;
        *u *= p_0 * p_1;
    }
}

/// The larger one, and what is not a number above all.
pub(super) fn worst(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// sum += A B, on this thread: the tasks are what is shared out among threads.
fn add_product(sum: &mut Mat<f64>, a: MatRef<f64>, b: MatRef<f64>) {
    matmul(sum.as_mut(), Accum::Add, a, b, 1.0, Par::Seq);
}
