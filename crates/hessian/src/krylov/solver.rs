//! Lanczos with full reorthogonalisation and thick restarts (Wu and Simon 2000,
//! "Thick-restart Lanczos method for large symmetric eigenvalue problems").
//!
//! For an orthonormal basis V [n, j] of a Krylov space, T = V' A V and the next direction q
//!
//! ```text
//! A V = V T + beta q e_j',
//! ```
//!
//! so that of a Ritz pair T y = theta y the residual is |A V y - theta V y| = beta |e_j' y|. A full
//! basis shrinks to the Ritz vectors at the wanted end, V Y, with T = diag(theta), and grows again.
//!
//! What other solvers stumble over has its place here. Where an image lies in the space
//! already, as it does of an operator of low rank or of few different eigenvalues, a random
//! direction takes its place, not coupled to the rest. Where no direction is left, the Ritz
//! pairs are the eigenpairs. What one Krylov space cannot see is looked for ([`Solver::search`]).
//! And products are counted: there is a most.

use std::sync::atomic::Ordering;

use faer::{Mat, MatMut, prelude::ReborrowMut};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    End, KRYLOV, Products,
    space::{Coupled, Ritz, Space, beside, orthogonalise},
};
use crate::{HessianError, decomposition::eigenpairs};

/// Images whose part outside the space is shorter than so many units of rounding, over |A|,
/// lie in it.
const ROUNDINGS: f64 = 10.0;
/// Images whose part outside is shorter than this, over |A|, have what rounding left of the space in
/// them taken out again.
const SHORT: f64 = 1e-3;
/// Random directions that are tried before there is taken to be none left.
const TRIES: usize = 3;
/// Products between two looks at the Ritz pairs, which cost the cube of their number.
const BETWEEN_LOOKS: usize = 4;
/// Where the largest residual is less than so many times what is small, each product is followed by one.
const NEAR: f64 = 100.0;
/// How rarely a copy of an eigenvalue may be overlooked.
const OVERLOOKED: f64 = 1e-3;

/// Some orthonormal vectors [n, k], and v' A v of each.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub vectors: Mat<f64>,
    pub values: Vec<f64>,
    /// A V, where the recurrence tells it.
    pub images: Option<Mat<f64>>,
}

/// What a Krylov space has come to: the outermost pairs, and the space and its next direction, if there is
/// one.
struct Solved {
    found: Found,
    space: Space,
    next: Option<Coupled>,
}

/// A search for the outermost eigenvectors of an operator.
pub(super) struct Solver<'a> {
    products: &'a Products<'a>,
    end: End,
    /// The residual that is small enough, over the size of A.
    tolerance: f64,
    /// Products that may be taken.
    budget: usize,
    /// Whether what is known to be null is taken out.
    without_null: bool,
    /// What was found, and is taken out: [n, k].
    deflated: Mat<f64>,
    generator: ChaCha8Rng,
    /// The largest |Ritz value| that was seen, a bound of |A| from below.
    pub scale: f64,
    /// The most Ritz values that were seen in one space beyond zero, by more than the tolerance.
    pub beyond_zero: usize,
}

impl<'a> Solver<'a> {
    pub fn new(products: &'a Products<'a>, end: End, tolerance: f64, budget: usize) -> Self {
        Self {
            products,
            end,
            tolerance,
            budget,
            without_null: false,
            deflated: Mat::zeros(products.operator.size(), 0),
            generator: ChaCha8Rng::seed_from_u64(0),
            scale: 0.0,
            beyond_zero: 0,
        }
    }

    /// The same, with what is known to be null taken out.
    pub fn without_null(self) -> Self {
        Self { without_null: true, ..self }
    }

    /// The `count` outermost eigenpairs, in any order.
    ///
    /// A Krylov space sees one copy of an eigenvalue that occurs several times, as all do where the
    /// classes are alike. Therefore what it has not seen is looked at, and if something there may be
    /// farther out, what was found is deflated and the rest searched again, until nothing is. Of the
    /// outermost one alone a copy is as good as another.
    pub fn search(&mut self, count: usize) -> Result<Found, HessianError> {
        let Solved { mut found, space, next } = self.solve(count)?;
        if count == 1 || self.is_all_within(space, next, count)? {
            return Ok(found);
        }
        // They are computed again of what is found in the end.
        found.images = None;
        let mut more = 1;
        loop {
            self.deflated = found.vectors.clone();
            let next = self.solve(more.min(count).min(self.dimension()))?.found;
            let innermost =
                found.values.iter().map(|value| self.outwards(*value)).fold(f64::INFINITY, f64::min);
            let limit = innermost + self.tolerance * self.scale;
            if !next.values.iter().any(|value| self.outwards(*value) > limit) {
                return Ok(found);
            }
            found = self.outermost(&found, &next, count);
            more *= 2;
        }
    }

    /// The dimension of the space that is searched.
    fn dimension(&self) -> usize {
        let operator = self.products.operator;
        let null = if self.without_null { operator.known_nullity() } else { 0 };
        operator.size().saturating_sub(null + self.deflated.ncols())
    }

    /// How far out an eigenvalue is.
    fn outwards(&self, value: f64) -> f64 {
        match self.end {
            End::Largest => value,
            End::Smallest => -value,
        }
    }

    /// The numbers of the values, the outermost first.
    fn order(&self, values: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let outwards: Vec<f64> = values.into_iter().map(|value| self.outwards(value)).collect();
        let mut order: Vec<usize> = (0..outwards.len()).collect();
        order.sort_by(|&i, &j| outwards[j].total_cmp(&outwards[i]));
        order
    }

    fn outermost(&self, found: &Found, next: &Found, count: usize) -> Found {
        let values: Vec<f64> = found.values.iter().chain(&next.values).copied().collect();
        let order = self.order(values.iter().copied());
        let count = count.min(order.len());
        let both = beside(found.vectors.as_ref(), next.vectors.as_ref());
        let vectors = Mat::from_fn(both.nrows(), count, |row, column| both[(row, order[column])]);
        let values = order[..count].iter().map(|&i| values[i]).collect();
        Found { vectors, values, images: None }
    }

    /// The `count` outermost eigenpairs outside of what is deflated, as far as one Krylov space
    /// sees them.
    fn solve(&mut self, count: usize) -> Result<Solved, HessianError> {
        let most = (2 * count).max(KRYLOV).min(self.dimension());
        let mut space = Space::new(self.products.operator.size(), most)?;
        let mut next = self.fresh(&space);
        let (mut unlooked, mut between) = (0, BETWEEN_LOOKS);
        while let Some(direction) = next {
            next = self.step(&mut space, &direction)?;
            unlooked += 1;
            let is_full = space.columns() == most;
            let is_due = space.columns() >= count && unlooked >= between;
            if !(is_full || is_due || next.is_none()) {
                continue;
            }
            unlooked = 0;
            let ritz = self.ritz(&space)?;
            let small = self.tolerance * self.scale;
            let worst = (0..count).map(|i| ritz.residual(i, next.as_ref())).fold(0.0, f64::max);
            if space.columns() >= count && worst <= small {
                let found = space.found(&ritz, count, next.as_ref());
                return Ok(Solved { found, space, next });
            }
            between = if worst < NEAR * small { 1 } else { BETWEEN_LOOKS };
            if is_full && next.is_some() {
                space.restart(&ritz, space.after_restart(count));
            }
        }
        let ritz = self.ritz(&space)?;
        let found = space.found(&ritz, count.min(space.columns()), None);
        Ok(Solved { found, space, next: None })
    }

    /// Whether nothing outside of the `count` outermost Ritz pairs is farther out than they are, but for the
    /// tolerance, as a few steps from a random vector outside tell. `false` where they cannot.
    ///
    /// Of an eigenvector outside whose eigenvalue is lambda >= s let the random vector r have the
    /// cosine c. The steps make polynomials p_j that are orthonormal for r, (p_i(A) r)' p_j(A) r = 1
    /// if i = j. With p = sum_j p_j(s) p_j and S = sum_j p_j(s)^2
    ///
    /// ```text
    /// S = |p(A) r|^2 >= c^2 p(lambda)^2 >= c^2 S^2    =>    c^2 <= 1 / S,
    /// ```
    ///
    /// where all p_j increase from s on, which they do if all are positive there (Szegő, "Orthogonal
    /// Polynomials", section 3.3). Of a random vector |c| < d / sqrt(n) is as rare as 0.8 d.
    fn is_all_within(
        &mut self,
        mut space: Space,
        next: Option<Coupled>,
        count: usize,
    ) -> Result<bool, HessianError> {
        // Nothing is left outside.
        let Some(next) = next else { return Ok(true) };
        let ritz = self.ritz(&space)?;
        let half = 0.5 * self.tolerance * self.scale;
        let s = self.outwards(ritz.values[count - 1]) + half;
        // What else is in the space may stay there as far as what is outside cannot push it beyond s + half:
        // sum_i r_i^2 / (s + half - theta_i) < half, of residuals r_i.
        let pushed = (count..ritz.values.len()).scan(0.0, |sum, i| {
            *sum += ritz.residual(i, Some(&next)).powi(2) / (s + half - self.outwards(ritz.values[i]));
            Some(*sum)
        });
        let kept = count + pushed.take_while(|&sum| sum < half).count();
        space.restart(&ritz, kept.min(space.after_restart(count)));
        let enough = space.size() as f64 / OVERLOOKED.powi(2);
        let (mut before, mut polynomial, mut sum, mut coupling) = (0.0, 1.0, 1.0, 0.0);
        let mut next = self.fresh(&space);
        while let Some(current) = &next
            && space.has_room()
        {
            next = self.step(&mut space, current)?;
            // beta_(j+1) p_(j+1)(s) = (s - alpha_j) p_j(s) - beta_j p_(j-1)(s)
            let scaled = (s - self.outwards(space.last_diagonal())) * polynomial - coupling * before;
            if scaled <= 0.0 {
                return Ok(false);
            }
            coupling = next.as_ref().map_or(0.0, |next| next.coupling);
            // What the vector sees ends here, below s.
            if coupling == 0.0 {
                return Ok(true);
            }
            (before, polynomial) = (polynomial, scaled / coupling);
            sum += polynomial * polynomial;
            if sum > enough {
                return Ok(true);
            }
        }
        Ok(next.is_none())
    }

    /// Puts `current` into the space, with its product; what comes next, if any direction is left.
    fn step(&mut self, space: &mut Space, current: &Coupled) -> Result<Option<Coupled>, HessianError> {
        if self.products.count.load(Ordering::Relaxed) > self.budget {
            return Err(HessianError::NoConvergence { size: space.size() });
        }
        let mut image = self.products.of(current.direction.as_ref())?;
        if !image.is_all_finite() {
            return Err(HessianError::NotFiniteProduct);
        }
        space.extend(current.direction.as_ref(), image.as_mut());
        // After that: what rounding left of it in the space would grow from step to step.
        self.take_out(image.as_mut());
        // The norm of a column of V' A V bounds |A| from below too.
        self.scale = self.scale.max(space.last_column_norm());
        if space.columns() == self.dimension() {
            return Ok(None);
        }
        Ok(self.along(space, image).or_else(|| self.fresh(space)))
    }

    /// Eigenpairs of T, the outermost first.
    fn ritz(&mut self, space: &Space) -> Result<Ritz, HessianError> {
        let (values, vectors) = eigenpairs(space.projected())?;
        let columns = values.len();
        let order = self.order(values.iter().copied());
        self.scale = values.iter().fold(self.scale, |max, value| max.max(value.abs()));
        let margin = self.tolerance * self.scale;
        let beyond = values.iter().filter(|value| self.end.is_beyond(**value, margin)).count();
        self.beyond_zero = self.beyond_zero.max(beyond);
        Ok(Ritz {
            vectors: Mat::from_fn(columns, columns, |row, column| vectors[(row, order[column])]),
            values: order.iter().map(|&i| values[i]).collect(),
        })
    }

    /// The direction of an image [n, 1] that is orthogonal to the space; none where that is rounding.
    fn along(&self, space: &Space, image: Mat<f64>) -> Option<Coupled> {
        let length = image.norm_l2();
        let direction = match length {
            length if length <= ROUNDINGS * self.products.operator.epsilon() * self.scale => return None,
            // What rounding has left of the space is as much longer as the rest of the image is shorter.
            length if length < SHORT * self.scale => self.outside(space, image)?,
            length => image * faer::Scale(length.recip()),
        };
        Some(Coupled { direction, coupling: length })
    }

    /// A random direction that is orthogonal to the space and what is taken out, not coupled to the space;
    /// none where none is left.
    fn fresh(&mut self, space: &Space) -> Option<Coupled> {
        (0..TRIES).find_map(|_| {
            let generator = &mut self.generator;
            let direction = Mat::from_fn(space.size(), 1, |_, _| generator.random::<f64>() - 0.5);
            self.outside(space, direction).map(|direction| Coupled { direction, coupling: 0.0 })
        })
    }

    /// What `direction` [n, 1] has outside of the space and of what is taken out, at a length of one;
    /// nothing where that is rounding.
    fn outside(&self, space: &Space, mut direction: Mat<f64>) -> Option<Mat<f64>> {
        let mut left = 0.0;
        // Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", section 6.9) where something
        // is left: the last time nothing is to be lost.
        for _ in 0..3 {
            direction *= faer::Scale(direction.norm_l2().recip());
            self.take_out(direction.as_mut());
            orthogonalise(direction.as_mut(), space.basis());
            left = direction.norm_l2();
            if left < f64::EPSILON {
                return None;
            }
        }
        (left > 0.5).then(|| direction * faer::Scale(left.recip()))
    }

    /// Takes out what is deflated, and what is known to be null where that is.
    fn take_out(&self, mut block: MatMut<f64>) {
        if self.without_null {
            self.products.operator.take_out_null(block.rb_mut());
        }
        if self.deflated.ncols() > 0 {
            orthogonalise(block, self.deflated.as_ref());
        }
    }
}
