//! Eigenvectors as they meet samples.

use kappa_hessian::{
    faer::{ColRef, Mat, MatRef},
    product,
};
use pulp::{Arch, Simd, WithSimd};

/// Numbers that a block of samples takes on its way to covariances, at the most.
const BLOCK: usize = 1 << 21;

/// Eigenvectors with a weight each, class by class: u_ki [m] of class k and eigenvector i, so that
///
/// ```text
/// sum_i (u_ki . g) (u_li . h)
/// ```
///
/// are the elements of a matrix of these eigenvectors and the weights' squares between e_k (x) g and e_l (x) h.
#[derive(Debug, Clone)]
pub struct Directions {
    /// [K r, m].
    elements: Mat<f64>,
    classes: usize,
}

impl Directions {
    /// Of u [K r, m].
    pub fn new(elements: Mat<f64>, classes: usize) -> Self {
        Self { elements, classes }
    }

    /// r.
    pub fn rank(&self) -> usize {
        self.elements.nrows() / self.classes.max(1)
    }

    /// m.
    pub fn features(&self) -> usize {
        self.elements.ncols()
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Samples that are taken together.
    pub fn block(&self) -> usize {
        (BLOCK / self.elements.nrows().max(1)).clamp(1, 4096)
    }

    /// u_ki . g of samples of features [n, m], row by row: [K r, n].
    pub fn along(&self, features: &[f64]) -> Mat<f64> {
        let m = self.features();
        let features = MatRef::from_row_major_slice(features, features.len() / m, m);
        product(self.elements.as_ref(), features.transpose())
    }

    /// What a sample's classes have of each eigenvector: K times [r].
    pub fn by_class<'a>(&self, along: ColRef<'a, f64>) -> Vec<&'a [f64]> {
        let along = along.try_as_col_major().map_or(&[][..], |along| along.as_slice());
        let rank = self.rank();
        let of_class = |class| along.get(class * rank..(class + 1) * rank).unwrap_or_default();
        (0..self.classes).map(of_class).collect()
    }

    /// The scalar products of what a sample's classes have: [K, K].
    pub fn gram(&self, along: ColRef<'_, f64>) -> Vec<f64> {
        Arch::new().dispatch(Grams { columns: &self.by_class(along) })
    }
}

/// x_a . x_b for all a and b, compiled for the processor that it runs on: a structure, since a closure may stay as
/// narrow as the baseline. In 16 sums side by side, so that their order is the same on all of them.
struct Grams<'a> {
    columns: &'a [&'a [f64]],
}

impl WithSimd for Grams<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f64> {
        let k = self.columns.len();
        let mut grams = vec![0.0; k * k];
        for (a, x) in self.columns.iter().enumerate() {
            for (b, y) in self.columns.iter().enumerate().take(a + 1) {
                let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
                let mut sums = [0.0; 16];
                for (x, y) in x.iter().zip(y) {
                    for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
                        *sum += x * y;
                    }
                }
                let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
                grams[a * k + b] = sums.iter().sum::<f64>() + rest;
                grams[b * k + a] = grams[a * k + b];
            }
        }
        grams
    }
}
