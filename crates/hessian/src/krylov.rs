//! The largest eigenvalues without ever forming H.
//!
//! One product of H with a direction V [K, m] is three steps a chunk,
//!
//! ```text
//! u_n = V g_n,    w_n = S_n u_n = p_n (u_n - p_n . u_n),    H V = 1/N sum_n w_n g_n^T,
//! ```
//!
//! 4 N K m operations and no memory beyond the samples and some directions. faer's
//! Krylov solver (restarted Lanczos) needs no more.
//!
//! A Krylov space that grows from one vector sees one copy of an eigenvalue that
//! occurs several times, as all do where the classes are alike. Therefore what was
//! found is deflated and the rest searched again, until nothing larger is left.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use burn::tensor::{Tensor, TensorData};
use faer::prelude::ReborrowMut;
use faer::{
    Mat, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack, StackReq},
    matrix_free::{
        LinOp,
        eigen::{PartialEigenParams, partial_eigen_scratch, partial_self_adjoint_eigen},
    },
};

use crate::{
    HessianError, Samples,
    samples::{Chunk, doubles},
    subspace::product,
};

/// Restarts before the solver gives up.
const RESTARTS: usize = 100;
/// How far from orthonormal the vectors found may be. Of eigenvalues close to each other the
/// solver's vectors are so to 1e-7 or so, and are made orthonormal; what is farther off are
/// two copies of one.
const ORTHOGONAL: f64 = 1e-3;
/// The size of the diagonal that is added to H for the solver, over the tolerance.
const IRREGULARITY: f64 = 1e-2;
/// faer's solver is for matrices larger than its largest Krylov space; smaller ones
/// are decomposed whole.
const KRYLOV: usize = 64;

/// The largest eigenvalues and their eigenvectors, found matrix-free.
#[derive(Debug, Clone)]
pub struct LeadingPairs {
    /// lambda_1 .. lambda_k, largest first.
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors, a column each: [K m, k].
    pub vectors: Mat<f64>,
    /// |H v_i - lambda_i v_i| / lambda_1 of each: at most so far from it there is an
    /// eigenvalue.
    pub residuals: Vec<f64>,
    /// Products with H that it took.
    pub products: usize,
}

impl Samples {
    /// K m.
    pub fn size(&self) -> usize {
        self.features() * self.classes()
    }

    /// H v for a direction v [K m], flattened class by class.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`], and [`HessianError::NoSamples`] if there are none.
    pub fn product(&self, direction: &[f64]) -> Result<Vec<f64>, HessianError> {
        if self.count() == 0 {
            return Err(HessianError::NoSamples);
        }
        let mut sum = vec![0.0; self.size()];
        for Chunk { features, probabilities } in self.chunks().iter().cloned() {
            let place = (&features.device(), features.dtype());
            let data = TensorData::new(direction.to_vec(), [self.classes(), self.features()]);
            let direction = Tensor::<2>::from_data(data.convert_dtype(place.1), place);
            let along = features.clone().matmul(direction.transpose());
            let mean = (probabilities.clone() * along.clone()).sum_dim(1);
            let curved = probabilities * (along - mean);
            let product = doubles(curved.transpose().matmul(features))?;
            for (sum, addend) in sum.iter_mut().zip(product) {
                *sum += addend;
            }
        }
        let count = self.count() as f64;
        sum.iter_mut().for_each(|sum| *sum /= count);
        Ok(sum)
    }

    /// The `count` largest eigenvalues, each to about 1e-7 of lambda_1 in f64 (1e-5 in
    /// f32), and their eigenvectors. `after_product` is called after each product with H.
    ///
    /// # Errors
    ///
    /// [`HessianError::NoConvergence`], [`HessianError::NotFiniteProduct`],
    /// [`HessianError::Device`] or [`HessianError::NoSamples`].
    pub fn leading_pairs(
        &self,
        count: usize,
        after_product: &(dyn Fn() + Sync),
    ) -> Result<LeadingPairs, HessianError> {
        let count = count.min(self.size());
        if self.size() <= KRYLOV.max(2 * count) {
            let hessian = self.hessian()?;
            let pairs = hessian.eigenpairs(self.epsilon())?;
            return self.finished(pairs.leading(count), 0);
        }
        let scale = self.scale()?;
        if scale == 0.0 {
            // H is zero, and any directions are its eigenvectors.
            return self.finished(Mat::identity(self.size(), count).as_ref(), 0);
        }
        let mut operator = Operator::new(self, scale, after_product);
        let mut found = operator.solve(count)?;
        let mut values = operator.rayleigh(found.as_ref())?;
        loop {
            operator.deflated = Some(found.clone());
            let next = operator.solve(1)?;
            // Where nothing is left to find, anything passes for an eigenvector, what was
            // deflated too.
            let mut next: Vec<f64> = next.col(0).iter().copied().collect();
            operator.deflate(&mut next);
            let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            let next = Mat::from_fn(next.len(), 1, |row, _| next[row] / length);
            let value = operator.rayleigh(next.as_ref())?[0];
            let smallest = (0..count).min_by(|&i, &j| values[i].total_cmp(&values[j])).unwrap_or(0);
            if length < 0.5 || value <= values[smallest] + operator.tolerance() {
                break;
            }
            values[smallest] = value;
            found.col_mut(smallest).copy_from(next.col(0));
        }
        self.finished(found.as_ref(), operator.products.into_inner())
    }

    /// Rayleigh and Ritz in the space of `vectors`, and the residuals.
    fn finished(&self, vectors: MatRef<f64>, products: usize) -> Result<LeadingPairs, HessianError> {
        let (size, count) = (vectors.nrows(), vectors.ncols());
        let cosines = product(vectors.transpose(), vectors);
        let apart = (cosines - Mat::<f64>::identity(count, count)).norm_max();
        if apart.is_nan() || apart > ORTHOGONAL {
            return Err(HessianError::NoConvergence { size });
        }
        let orthonormal = vectors.qr().compute_thin_Q();
        let vectors = orthonormal.as_ref();
        let mut images = Mat::zeros(size, count);
        for (mut image, vector) in images.col_iter_mut().zip(vectors.col_iter()) {
            let vector: Vec<f64> = vector.iter().copied().collect();
            for (image, element) in image.rb_mut().iter_mut().zip(self.product(&vector)?) {
                *image = element;
            }
        }
        let within = product(vectors.transpose(), images.as_ref());
        let ritz = within
            .self_adjoint_eigen(faer::Side::Lower)
            .map_err(|_| HessianError::NoConvergence { size: count })?;
        let order: Vec<usize> = (0..count).rev().collect();
        let rotation = Mat::from_fn(count, count, |row, column| ritz.U()[(row, order[column])]);
        let eigenvalues: Vec<f64> = order.iter().map(|&i| ritz.S().column_vector()[i]).collect();
        let vectors = product(vectors, rotation.as_ref());
        let images = product(images.as_ref(), rotation.as_ref());
        let scale = eigenvalues.first().copied().filter(|&value| value > 0.0).unwrap_or(1.0);
        let residuals = eigenvalues
            .iter()
            .enumerate()
            .map(|(i, &lambda)| {
                let difference = images.col(i) - vectors.col(i) * faer::Scale(lambda);
                difference.norm_l2() / scale
            })
            .collect();
        Ok(LeadingPairs { eigenvalues, vectors, residuals, products: products + count })
    }

    /// lambda_1, within a small factor: what a few steps of the power method make of an
    /// irregular vector.
    fn scale(&self) -> Result<f64, HessianError> {
        let mut vector = irregular(self.size(), 0.0);
        let mut scale = 0.0;
        for _ in 0..3 {
            vector = self.product(&vector)?;
            scale = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            if !scale.is_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            if scale == 0.0 {
                break;
            }
            vector.iter_mut().for_each(|x| *x /= scale);
        }
        Ok(scale)
    }
}

/// H, or H with some directions taken out, as faer sees it.
struct Operator<'a> {
    samples: &'a Samples,
    /// The size of lambda_1.
    scale: f64,
    /// Orthonormal directions that are taken out on both sides.
    deflated: Option<Mat<f64>>,
    products: AtomicUsize,
    after_product: &'a (dyn Fn() + Sync),
    /// The first thing that went wrong; faer's operators cannot fail.
    error: Mutex<Option<HessianError>>,
}

impl<'a> Operator<'a> {
    fn new(samples: &'a Samples, scale: f64, after_product: &'a (dyn Fn() + Sync)) -> Self {
        let (deflated, products, error) = (None, AtomicUsize::new(0), Mutex::new(None));
        Self { samples, scale, deflated, products, after_product, error }
    }

    fn product(&self, direction: &[f64]) -> Result<Vec<f64>, HessianError> {
        self.products.fetch_add(1, Ordering::Relaxed);
        (self.after_product)();
        self.samples.product(direction)
    }

    /// The residual that is small enough.
    fn tolerance(&self) -> f64 {
        self.scale * if self.samples.epsilon() > 1e-10 { 1e-5 } else { 1e-7 }
    }

    /// The eigenvectors of the `count` largest eigenvalues: [K m, count].
    fn solve(&self, count: usize) -> Result<Mat<f64>, HessianError> {
        let size = self.samples.size();
        let mut vectors = Mat::zeros(size, count);
        let mut values = vec![0.0; count];
        let start = irregular(size, if self.deflated.is_some() { 0.3 } else { 0.0 });
        let start = faer::ColRef::from_slice(&start).to_owned();
        let parameters = PartialEigenParams { max_restarts: RESTARTS, ..PartialEigenParams::default() };
        let scratch = partial_eigen_scratch(&self, count, Par::rayon(0), parameters);
        let mut memory = MemBuffer::try_new(scratch)
            .map_err(|_| HessianError::NoMemory { gigabytes: scratch.size_bytes() as f64 / 1e9 })?;
        let info = partial_self_adjoint_eigen(
            vectors.as_mut(),
            &mut values,
            &self,
            start.as_ref(),
            self.tolerance(),
            Par::rayon(0),
            MemStack::new(&mut memory),
            parameters,
        );
        if let Some(error) = self.error.lock().ok().and_then(|mut error| error.take()) {
            return Err(error);
        }
        if info.n_converged_eigen < count {
            return Err(HessianError::NoConvergence { size });
        }
        Ok(vectors)
    }

    fn rayleigh(&self, vectors: MatRef<f64>) -> Result<Vec<f64>, HessianError> {
        vectors
            .col_iter()
            .map(|vector| {
                let vector: Vec<f64> = vector.iter().copied().collect();
                let image = self.product(&vector)?;
                Ok(image.iter().zip(&vector).map(|(a, b)| a * b).sum())
            })
            .collect()
    }

    /// What is left of a vector without the deflated directions.
    fn deflate(&self, vector: &mut [f64]) {
        if let Some(directions) = &self.deflated {
            let column = MatRef::from_column_major_slice(vector, vector.len(), 1);
            let out = product(directions.as_ref(), product(directions.transpose(), column).as_ref());
            for (element, out) in vector.iter_mut().zip(out.col(0).iter()) {
                *element -= out;
            }
        }
    }

    /// P (H + D) P x, with P taking out what is deflated and D an irregular diagonal far
    /// below the tolerance. Without D the Krylov space of a Hessian of low rank is
    /// exhausted: what is left to orthogonalise is rounding, from which faer makes second
    /// copies of eigenvalues, or zero, from which it never returns.
    fn image(&self, column: &[f64]) -> Result<Vec<f64>, HessianError> {
        let mut column = column.to_vec();
        self.deflate(&mut column);
        let mut image = self.product(&column)?;
        for ((image, element), diagonal) in image.iter_mut().zip(&column).zip(irregular(column.len(), 0.7)) {
            *image += IRREGULARITY * self.tolerance() * diagonal * element;
        }
        self.deflate(&mut image);
        if image.iter().all(|element| element.is_finite()) {
            Ok(image)
        } else {
            Err(HessianError::NotFiniteProduct)
        }
    }
}

impl std::fmt::Debug for Operator<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Operator").field("size", &self.samples.size()).finish_non_exhaustive()
    }
}

impl LinOp<f64> for &Operator<'_> {
    fn apply_scratch(&self, _columns: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn nrows(&self) -> usize {
        self.samples.size()
    }

    fn ncols(&self) -> usize {
        self.samples.size()
    }

    fn apply(&self, mut out: MatMut<'_, f64>, columns: MatRef<'_, f64>, _par: Par, _stack: &mut MemStack) {
        for (mut out, column) in out.rb_mut().col_iter_mut().zip(columns.col_iter()) {
            let column: Vec<f64> = column.iter().copied().collect();
            let image = self.image(&column).unwrap_or_else(|error| {
                if let Ok(mut first) = self.error.lock() {
                    first.get_or_insert(error);
                }
                column.iter().rev().copied().collect()
            });
            for (out, image) in out.rb_mut().iter_mut().zip(image) {
                *out = image;
            }
        }
    }

    fn conj_apply(&self, out: MatMut<'_, f64>, columns: MatRef<'_, f64>, par: Par, stack: &mut MemStack) {
        self.apply(out, columns, par, stack);
    }
}

/// A vector without structure, the same at every call: the fractional parts of
/// multiples of the golden ratio's square root, about zero.
pub(crate) fn irregular(size: usize, offset: f64) -> Vec<f64> {
    let step = (0.5 * (5.0f64.sqrt() - 1.0)).sqrt();
    (0..size).map(|i| (offset + step * (i + 1) as f64).fract() - 0.5).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;

    /// The solver's vectors of eigenvalues close to each other are orthonormal to 1e-7 only,
    /// and were refused as copies of each other (K = 2, m = 100: nine of ten in the bulk).
    #[test]
    fn vectors_a_little_askew_are_set_right_and_copies_are_refused() {
        let place = (&Device::flex(), DType::F64);
        let features = Tensor::<2>::from_data([[1.0, 0.5], [0.25, 2.0], [3.0, 1.0]], place);
        let probabilities = Tensor::<2>::from_data([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], place);
        let mut samples = Samples::new(2, 2, DType::F64).unwrap();
        samples.push(features, probabilities).unwrap();
        let pairs = samples.hessian().unwrap().eigenpairs(f64::EPSILON).unwrap();
        let turned = |by: f64| {
            let [first, second] = [0, 1].map(|i| pairs.vectors.col(i).to_owned());
            let second = &second + faer::Scale(by) * &first;
            Mat::from_fn(
                4,
                2,
                |row, column| if column == 0 { first[row] } else { second[row] / second.norm_l2() },
            )
        };
        let found = samples.finished(turned(1e-7).as_ref(), 0).unwrap();
        for (rank, value) in found.eigenvalues.iter().enumerate() {
            let expected = pairs.spectrum.eigenvalues()[rank];
            // Both are in f64, of a matrix of 4 rows.
            assert!((value - expected).abs() < 1e-14, "{value} {expected}");
        }
        let copies = samples.finished(turned(1e4).as_ref(), 0);
        assert!(matches!(copies, Err(HessianError::NoConvergence { .. })));
    }
}
