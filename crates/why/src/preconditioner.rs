//! What an intervention does to the gradient of the last layer's weights: a symmetric matrix
//! M = sum_i f_i u_i u_i' made of H's exact eigenpairs, renewed every so many steps.

use faer::{Col, Mat, MatRef};
use kappa_run::Change;

/// The eigenvalues that the paper speaks of.
pub const LEADING: usize = 10;
/// What of lambda_1 is added to all eigenvalues where they are divided by.
const DAMPING: f64 = 1e-3;

/// M, as U and what each u is multiplied by: g -> rest g + U (f - rest) U' g.
pub struct Preconditioner {
    vectors: Mat<f64>,
    factors: Vec<f64>,
    rest: f64,
}

impl Preconditioner {
    /// Of `change`, from all eigenpairs of H, largest first, and from the ratios of another arm's leading
    /// eigenvalues to its largest. Nothing for a change that is none of the gradient's.
    pub fn new(change: Change, values: &[f64], vectors: MatRef<'_, f64>, ratios: &[f64]) -> Option<Self> {
        let first = values.first().copied().filter(|first| *first > 0.0)?;
        let whitened = |value: f64| (1.0 + DAMPING) * first / (value.max(0.0) + DAMPING * first);
        let leading = |factor: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            values.iter().take(LEADING).enumerate().map(|(rank, &value)| factor(rank, value)).collect()
        };
        let all = |factor: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            values.iter().enumerate().map(|(rank, &value)| factor(rank, value)).collect()
        };
        let safe = |value: f64| value.max(f64::EPSILON * first);
        let (factors, rest) = match change {
            Change::Equalised => (leading(&|_, value| first / safe(value)), 1.0),
            Change::Stiffened => {
                let ratio = |rank: usize| ratios.get(rank).copied();
                (leading(&|rank, value| ratio(rank).map_or(1.0, |ratio| ratio * first / safe(value))), 1.0)
            }
            Change::Whitened => (all(&|_, value| whitened(value)), 1.0),
            Change::Amplified => {
                (all(&|rank, value| if rank < LEADING { 1.0 } else { whitened(value) }), 1.0)
            }
            Change::Top => (leading(&|_, _| 1.0), 0.0),
            Change::Bulk => (leading(&|_, _| 0.0), 1.0),
            Change::Held | Change::FoldedIntoNext | Change::FoldedIntoOwn | Change::Noise => return None,
        };
        let count = factors.len().min(vectors.ncols());
        Some(Self { vectors: vectors.subcols(0, count).to_owned(), factors, rest })
    }

    /// M g, in the place of g.
    pub fn apply(&self, gradient: &mut [f64]) {
        let g = Col::from_fn(gradient.len(), |row| gradient.get(row).copied().unwrap_or(0.0));
        let mut parts = self.vectors.transpose() * &g;
        parts.iter_mut().zip(&self.factors).for_each(|(part, factor)| *part *= factor - self.rest);
        let moved = &self.vectors * &parts;
        gradient.iter_mut().zip(moved.iter()).for_each(|(g, moved)| *g = self.rest * *g + moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diagonal H, whose eigenvectors are the axes.
    fn preconditioner(change: Change, ratios: &[f64]) -> Option<Preconditioner> {
        let values: Vec<f64> = (0..12).map(|i| 2f64.powi(12 - i)).collect();
        Preconditioner::new(change, &values, Mat::<f64>::identity(12, 12).as_ref(), ratios)
    }

    fn applied(change: Change, ratios: &[f64]) -> Vec<f64> {
        let mut gradient = vec![1.0; 12];
        preconditioner(change, ratios).unwrap().apply(&mut gradient);
        gradient
    }

    #[test]
    fn each_change_does_to_the_axes_what_it_says() {
        let near = |found: Vec<f64>, expected: &dyn Fn(usize) -> f64| {
            for (i, found) in found.into_iter().enumerate() {
                // Twelve products of numbers of the expected size and below 4096.
                assert!((found - expected(i)).abs() < 1e-9 * expected(i).max(1.0), "{i}: {found}");
            }
        };
        let whitened = |i: usize| 1.001 * 4096.0 / (2f64.powi(12 - i as i32) + 4.096);
        near(applied(Change::Equalised, &[]), &|i| if i < 10 { 2f64.powi(i as i32) } else { 1.0 });
        // All of H times M is then lambda_1 times the ratio.
        let ratios: Vec<f64> = (0..10).map(|i| 1.0 / (1.0 + f64::from(i))).collect();
        let stiffened = |i: usize| if i < 10 { 2f64.powi(i as i32) / (1.0 + i as f64) } else { 1.0 };
        near(applied(Change::Stiffened, &ratios), &stiffened);
        near(applied(Change::Whitened, &[]), &whitened);
        near(applied(Change::Amplified, &[]), &|i| if i < 10 { 1.0 } else { whitened(i) });
        near(applied(Change::Top, &[]), &|i| if i < 10 { 1.0 } else { 0.0 });
        near(applied(Change::Bulk, &[]), &|i| if i < 10 { 0.0 } else { 1.0 });
        assert!(preconditioner(Change::Held, &[]).is_none());
    }
}
