//! Lanczos with full reorthogonalisation: a few steps from one vector end in a small
//! tridiagonal matrix.

use faer::{Mat, MatRef};

use crate::{
    HessianError, Progress, SymmetricOperator, decomposition, progress::advance, subspace::product,
    sums::zeros,
};

/// V^T A V for a basis V of the Krylov space of a vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tridiagonal {
    pub diagonal: Vec<f64>,
    /// Beside the diagonal, and last what is left over: as many, or one less where the space
    /// is exhausted.
    beside: Vec<f64>,
}

impl Tridiagonal {
    /// Goes `steps` steps from `start`, [n, 1]; none from zero.
    pub fn new(
        operator: &dyn SymmetricOperator,
        start: Mat<f64>,
        steps: usize,
        progress: &dyn Progress,
    ) -> Result<Self, HessianError> {
        let size = operator.size();
        let steps = steps.min(size);
        let mut basis = zeros(size * steps)
            .ok_or(HessianError::NoMemory { gigabytes: (size * steps * size_of::<f64>()) as f64 / 1e9 })?;
        let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
        let mut current = start;
        let length = current.norm_l2();
        if length == 0.0 {
            return Ok(Self::default());
        }
        current *= faer::Scale(length.recip());
        while diagonal.len() < steps {
            let column = diagonal.len();
            let place = &mut basis[column * size..(column + 1) * size];
            place.iter_mut().zip(current.col(0).iter()).for_each(|(place, element)| *place = *element);
            let mut next = operator.product(current.as_ref())?;
            advance(progress, 1)?;
            let alpha = product(current.transpose(), next.as_ref())[(0, 0)];
            if !alpha.is_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            diagonal.push(alpha);
            let basis = MatRef::from_column_major_slice(&basis[..(column + 1) * size], size, column + 1);
            // Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", section 6.9).
            for _ in 0..2 {
                let along = product(basis.transpose(), next.as_ref());
                next -= product(basis, along.as_ref());
            }
            let beta = next.norm_l2();
            let largest = diagonal.iter().chain(&beside).fold(0.0f64, |max, x| max.max(x.abs()));
            // The space is exhausted: what is left is rounding.
            if beta <= size as f64 * operator.epsilon() * largest {
                break;
            }
            beside.push(beta);
            next *= faer::Scale(beta.recip());
            current = next;
        }
        Ok(Self { diagonal, beside })
    }

    /// Its eigenvalues theta_i and the squares of its eigenvectors' first components,
    /// largest eigenvalue first.
    pub fn quadrature(&self) -> Result<Vec<(f64, f64)>, HessianError> {
        let count = self.diagonal.len();
        let tridiagonal = Mat::from_fn(count, count, |row, column| match row.abs_diff(column) {
            0 => self.diagonal[row],
            1 => self.beside[row.min(column)],
            _ => 0.0,
        });
        let (nodes, vectors) = decomposition::eigenpairs(tridiagonal.as_ref())?;
        let weights = vectors.row(0).iter().map(|first| first * first);
        let mut quadrature: Vec<_> = nodes.into_iter().zip(weights).collect();
        quadrature.reverse();
        Ok(quadrature)
    }
}
