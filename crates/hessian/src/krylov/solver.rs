//! faer's Krylov solver, given an operator whose largest eigenvalues are those asked for.

use std::sync::{Mutex, atomic::Ordering};

use faer::prelude::ReborrowMut;
use faer::{
    ColRef, Mat, MatMut, MatRef, Par,
    dyn_stack::{MemBuffer, MemStack, StackReq},
    matrix_free::{
        LinOp,
        eigen::{PartialEigenParams, partial_eigen_scratch, partial_self_adjoint_eigen},
    },
};

use super::{Products, irregular};
use crate::{HessianError, subspace::product};

/// Restarts before the solver gives up.
const RESTARTS: usize = 100;
/// The size of the diagonal that is added to the operator for the solver, over the tolerance.
const IRREGULARITY: f64 = 1e-2;
/// So small that no tolerance is, so large that its square is a number.
const NEARLY_NOTHING: f64 = 1e-100;

/// What makes a semi-definite operator of A, with the eigenvalues asked for at its top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum View {
    /// A as it is.
    Plain,
    /// sI + A.
    Above(f64),
    /// sI - A.
    Below(f64),
}

/// P (A + D) P for an operator A seen as [`View`] says, with P taking out what is taken out
/// and D an irregular diagonal far below the tolerance.
///
/// Without D the Krylov space of an operator of low rank is exhausted: what is left to
/// orthogonalise is rounding, from which faer makes second copies of eigenvalues, or zero,
/// from which it never returns.
pub(super) struct Solver<'a> {
    products: &'a Products<'a>,
    view: View,
    /// The residual that is small enough.
    tolerance: f64,
    /// Whether what is known to be null is taken out on both sides.
    pub without_null: bool,
    /// Orthonormal directions that are taken out on both sides.
    deflated: Option<Mat<f64>>,
    /// The first thing that went wrong; faer's operators cannot fail.
    error: Mutex<Option<HessianError>>,
}

impl<'a> Solver<'a> {
    pub fn new(products: &'a Products<'a>, view: View, tolerance: f64) -> Self {
        Self { products, view, tolerance, without_null: false, deflated: None, error: Mutex::new(None) }
    }

    /// The eigenvectors of the `count` largest eigenvalues, in any order: [n, count].
    pub fn search(&mut self, count: usize) -> Result<Mat<f64>, HessianError> {
        let mut found = self.solve(count)?;
        let mut values = self.rayleigh(found.as_ref())?;
        loop {
            self.deflated = Some(found.clone());
            let next = self.solve(1)?;
            // Where nothing is left to find, anything passes for an eigenvector, what was
            // deflated too.
            let mut next: Vec<f64> = next.col(0).iter().copied().collect();
            self.take_out(&mut next);
            let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            let next = Mat::from_fn(next.len(), 1, |row, _| next[row] / length);
            let value = self.rayleigh(next.as_ref())?[0];
            let smallest = (0..count).min_by(|&i, &j| values[i].total_cmp(&values[j])).unwrap_or(0);
            if length < 0.5 || value <= values[smallest] + self.tolerance {
                return Ok(found);
            }
            values[smallest] = value;
            found.col_mut(smallest).copy_from(next.col(0));
        }
    }

    fn size(&self) -> usize {
        self.products.operator.size()
    }

    /// What faer makes of it: the eigenvectors of the `count` largest eigenvalues, one copy of
    /// each.
    fn solve(&self, count: usize) -> Result<Mat<f64>, HessianError> {
        let size = self.size();
        let mut vectors = Mat::zeros(size, count);
        let mut values = vec![0.0; count];
        let start = irregular(size, if self.deflated.is_some() { 0.3 } else { 0.0 });
        let start = ColRef::from_slice(&start).to_owned();
        let parameters = PartialEigenParams { max_restarts: RESTARTS, ..PartialEigenParams::default() };
        let scratch = partial_eigen_scratch(&self, count, Par::rayon(0), parameters);
        let mut memory = MemBuffer::try_new(scratch)
            .map_err(|_| HessianError::NoMemory { gigabytes: scratch.size_bytes() as f64 / 1e9 })?;
        let info = partial_self_adjoint_eigen(
            vectors.as_mut(),
            &mut values,
            &self,
            start.as_ref(),
            self.tolerance,
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

    /// v' A v of each vector, or -v' A v: the larger the farther out.
    fn rayleigh(&self, vectors: MatRef<f64>) -> Result<Vec<f64>, HessianError> {
        let images = self.products.of(vectors)?;
        let forms = images.col_iter().zip(vectors.col_iter()).map(|(image, vector)| {
            let form: f64 = image.iter().zip(vector.iter()).map(|(a, b)| a * b).sum();
            if matches!(self.view, View::Below(_)) { -form } else { form }
        });
        Ok(forms.collect())
    }

    /// Takes out of a vector what is deflated, and what is known to be null where that is.
    fn take_out(&self, vector: &mut [f64]) {
        if self.without_null {
            let size = vector.len();
            self.products.operator.take_out_null(MatMut::from_column_major_slice_mut(vector, size, 1));
        }
        if let Some(directions) = &self.deflated {
            let column = MatRef::from_column_major_slice(vector, vector.len(), 1);
            let out = product(directions.as_ref(), product(directions.transpose(), column).as_ref());
            for (element, out) in vector.iter_mut().zip(out.col(0).iter()) {
                *element -= out;
            }
        }
    }

    fn image(&self, column: &[f64]) -> Result<Vec<f64>, HessianError> {
        let mut column = column.to_vec();
        self.take_out(&mut column);
        let image = self.products.of(MatRef::from_column_major_slice(&column, column.len(), 1))?;
        let mut image: Vec<f64> = image.col(0).iter().copied().collect();
        let elements = image.iter_mut().zip(&column);
        match self.view {
            View::Plain => {}
            View::Above(shift) => elements.for_each(|(image, x)| *image += shift * x),
            View::Below(shift) => elements.for_each(|(image, x)| *image = shift * x - *image),
        }
        for ((image, element), diagonal) in image.iter_mut().zip(&column).zip(irregular(column.len(), 0.7)) {
            *image += IRREGULARITY * self.tolerance * diagonal * element;
        }
        self.take_out(&mut image);
        if image.iter().all(|element| element.is_finite()) {
            Ok(image)
        } else {
            Err(HessianError::NotFiniteProduct)
        }
    }

    /// [`Self::image`], or once something went wrong what makes faer end soon: next to
    /// nothing, but not zero, so that all that it has passes for converged.
    fn image_or_end(&self, column: &[f64]) -> Vec<f64> {
        if !self.has_failed() {
            match self.image(column) {
                Ok(image) => return image,
                Err(error) => {
                    if let Ok(mut first) = self.error.lock() {
                        *first = Some(error);
                    }
                }
            }
        }
        // Another one each time: what lies in the Krylov space already would be orthogonalised to zero.
        let number = self.products.count.fetch_add(1, Ordering::Relaxed);
        irregular(column.len(), 0.1 * number as f64).into_iter().map(|x| x * NEARLY_NOTHING).collect()
    }

    fn has_failed(&self) -> bool {
        self.error.lock().is_ok_and(|error| error.is_some())
    }
}

impl std::fmt::Debug for Solver<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Solver").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl LinOp<f64> for &Solver<'_> {
    fn apply_scratch(&self, _columns: usize, _par: Par) -> StackReq {
        StackReq::EMPTY
    }

    fn nrows(&self) -> usize {
        self.size()
    }

    fn ncols(&self) -> usize {
        self.size()
    }

    fn apply(&self, mut out: MatMut<'_, f64>, columns: MatRef<'_, f64>, _par: Par, _stack: &mut MemStack) {
        for (mut out, column) in out.rb_mut().col_iter_mut().zip(columns.col_iter()) {
            let column: Vec<f64> = column.iter().copied().collect();
            let image = self.image_or_end(&column);
            out.rb_mut().iter_mut().zip(image).for_each(|(out, image)| *out = image);
        }
    }

    fn conj_apply(&self, out: MatMut<'_, f64>, columns: MatRef<'_, f64>, par: Par, stack: &mut MemStack) {
        self.apply(out, columns, par, stack);
    }
}
