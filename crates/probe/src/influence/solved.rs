//! Influences without the matrix: a system of equations for each test sample, by conjugate gradients.

use kappa_hessian::{
    SymmetricOperator,
    faer::{Mat, MatRef},
    product,
};
use kappa_posterior::{Point, Posterior, conjugate_gradients, softmax};
use kappa_run::CheckRecord;

use super::Block;
use crate::{Observer, OtherSet, ProbeError, memory};

/// The residual of conjugate gradients over the gradient.
const TOLERANCE: f64 = 1e-8;

/// A^-1 (e_t (x) g_t) of each test sample, without the matrix.
pub(super) struct Solved {
    /// [K m, T].
    columns: Mat<f64>,
    classes: usize,
    pub check: CheckRecord,
}

impl Solved {
    pub fn of(
        point: &Point,
        known: &Posterior,
        delta: f64,
        test: &OtherSet,
        labels: &[usize],
        observer: &dyn Observer,
    ) -> Result<Self, ProbeError> {
        let (k, m) = (known.classes(), known.features());
        let logits = point.weights.logits(&test.features);
        memory::check_leading(k * m, 8 * labels.len())?;
        let mut right = Mat::<f64>::zeros(k * m, labels.len());
        let rows = test.features.chunks_exact(m).zip(logits.chunks_exact(k)).zip(labels);
        for (column, ((g, z), &label)) in rows.enumerate() {
            for (class, error) in error(z, label).into_iter().enumerate() {
                for (i, g) in g.iter().enumerate() {
                    right[(class * m + i, column)] = error * g;
                }
            }
        }
        observer.stage("conjugate gradients", None);
        let count = point.samples.count();
        let (columns, _) =
            conjugate_gradients(&point.samples, count, delta, known, right.as_ref(), TOLERANCE)?;
        // The residual of what was found, computed again.
        let image = SymmetricOperator::product(&point.samples, columns.as_ref())?;
        let mut worst = 0.0f64;
        for j in 0..labels.len() {
            let residual =
                (0..k * m).map(|i| right[(i, j)] - count as f64 * image[(i, j)] - delta * columns[(i, j)]);
            let size = right.col(j).norm_l2();
            if size > 0.0 {
                worst = worst.max(residual.map(|r| r * r).sum::<f64>().sqrt() / size);
            }
        }
        // What is added to a residual by recurrence drifts from the real one by rounding, some tens of iterations of it.
        let bound = 10.0 * TOLERANCE;
        let check = CheckRecord {
            name: "residual".to_owned(),
            quantity: "max |A x - e (x) g| / |e (x) g|".to_owned(),
            value: worst.is_finite().then_some(worst),
            bound,
            passed: worst <= bound,
        };
        Ok(Self { columns, classes: k, check })
    }

    /// To first order: [n, T].
    pub fn effects(&self, block: Block<'_>) -> Mat<f64> {
        let Block { features, logits, labels, .. } = block;
        let (k, count) = (self.classes, labels.len());
        let m = features.len() / count.max(1);
        let errors: Vec<f64> =
            logits.chunks_exact(k).zip(labels).flat_map(|(z, &label)| error(z, label)).collect();
        let g = MatRef::from_row_major_slice(features, count, m);
        let mut effects = Mat::zeros(count, self.columns.ncols());
        for class in 0..k {
            let along = product(g, self.columns.as_ref().subrows(class * m, m));
            for (column, to) in effects.col_iter_mut().enumerate() {
                for (row, to) in to.iter_mut().enumerate() {
                    *to += errors.get(row * k + class).copied().unwrap_or(0.0) * along[(row, column)];
                }
            }
        }
        effects
    }
}

/// e = p - y: [K].
pub(super) fn error(logits: &[f64], label: usize) -> Vec<f64> {
    let p = softmax(logits);
    let others: f64 = p.iter().enumerate().filter(|&(class, _)| class != label).map(|(_, p)| p).sum();
    let errors = p.iter().enumerate().map(|(class, p)| if class == label { -others } else { *p });
    errors.skip(usize::from(logits.len() == 1)).collect()
}
