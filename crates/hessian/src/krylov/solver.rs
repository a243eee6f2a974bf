//! Block Lanczos with full reorthogonalisation and thick restarts (Wu and Simon 2000,
//! "Thick-restart Lanczos method for large symmetric eigenvalue problems"; of blocks: Golub and
//! Van Loan, "Matrix Computations", section 10.3.6).
//!
//! For an orthonormal basis V [n, j] of a Krylov space, T = V' A V and the next block Q
//!
//! ```text
//! A V = V T + Q R E',    E' taking the rows of the block that came last,
//! ```
//!
//! so that of a Ritz pair T y = theta y the residual is |A V y - theta V y| = |R E' y|. A full basis
//! shrinks to the Ritz vectors at the wanted end, V Y, with T = diag(theta), and grows again.
//!
//! What other solvers stumble over has its place here. Where an image lies in the space
//! already, as it does of an operator of low rank or of few different eigenvalues, a random
//! direction takes its place, not coupled to the rest. Where no direction is left, the Ritz
//! pairs are the eigenpairs. And products are counted: there is a most.

use std::sync::atomic::Ordering;

use faer::{Mat, MatMut, MatRef, prelude::ReborrowMut};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{End, KRYLOV, Products};
use crate::{HessianError, decomposition::eigenpairs, subspace::product, sums::zeros};

/// Directions that share a product.
const BLOCK: usize = 2;
/// Images whose part outside the space is shorter than so many units of rounding, over |A|,
/// lie in it.
const ROUNDINGS: f64 = 10.0;
/// Images whose part outside is shorter than this, over |A|, have what rounding left of the space in
/// them taken out again.
const SHORT: f64 = 1e-3;
/// Random directions that are tried before there is taken to be none left.
const TRIES: usize = 3;

/// Some orthonormal vectors [n, k], and v' A v of each.
#[derive(Debug, Clone)]
struct Found {
    vectors: Mat<f64>,
    values: Vec<f64>,
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

    /// The `count` outermost eigenvectors, in any order: [n, count].
    ///
    /// A Krylov space sees as many copies of an eigenvalue that occurs several times, as all do
    /// where the classes are alike, as its first block has vectors. Therefore what was found is
    /// deflated and the rest searched again, until nothing is farther out. Of the outermost one alone a
    /// copy is as good as another.
    pub fn search(&mut self, count: usize) -> Result<Mat<f64>, HessianError> {
        let mut found = self.solve(count)?;
        if count == 1 {
            return Ok(found.vectors);
        }
        let mut more = 1;
        loop {
            self.deflated = found.vectors.clone();
            let next = self.solve(more.min(count).min(self.dimension()))?;
            let innermost =
                found.values.iter().map(|value| self.outwards(*value)).fold(f64::INFINITY, f64::min);
            let farther = |value: &f64| self.outwards(*value) > innermost + self.tolerance * self.scale;
            if !next.values.iter().any(farther) {
                return Ok(found.vectors);
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
        let vectors = Mat::from_fn(found.vectors.nrows(), count, |row, column| {
            match order[column].checked_sub(found.values.len()) {
                None => found.vectors[(row, order[column])],
                Some(column) => next.vectors[(row, column)],
            }
        });
        Found { vectors, values: order[..count].iter().map(|&i| values[i]).collect() }
    }

    /// The `count` outermost eigenpairs outside of what is deflated, as far as one Krylov space
    /// sees them.
    fn solve(&mut self, count: usize) -> Result<Found, HessianError> {
        let size = self.products.operator.size();
        let room = self.dimension();
        let most = (2 * count).max(KRYLOV).min(room);
        let mut space = Space::new(size, most)?;
        let mut block = self.fresh(&space, Mat::zeros(size, 0), BLOCK.min(room));
        let mut unlooked = 0;
        while block.ncols() > 0 {
            if self.products.count.load(Ordering::Relaxed) > self.budget {
                return Err(HessianError::NoConvergence { size });
            }
            let mut images = self.products.of(block.as_ref())?;
            if !images.is_all_finite() {
                return Err(HessianError::NotFiniteProduct);
            }
            self.take_out(images.as_mut());
            space.extend(block.as_ref(), images.as_mut());
            // The norm of a block of V' A V bounds |A| from below too.
            self.scale = self.scale.max(space.last_column_norm());
            unlooked += block.ncols();
            let (next, coupling) = self.next_block(&space, images, BLOCK.min(room - space.columns));
            let is_full = space.columns + next.ncols() > most;
            // A look at the Ritz pairs costs the cube of their number.
            if is_full
                || next.ncols() == 0
                || (space.columns >= count && unlooked >= 4.max(space.columns / 8))
            {
                unlooked = 0;
                let ritz = self.ritz(&space)?;
                let residual = |i: usize| space.residual(&ritz, i, coupling.as_ref());
                let small = self.tolerance * self.scale;
                if space.columns >= count && (0..count).all(|i| residual(i) <= small) {
                    return Ok(space.found(&ritz, count));
                }
                if is_full {
                    space.restart(&ritz, (count + most) / 2 - BLOCK.min(most / 4));
                }
            }
            block = next;
        }
        let ritz = self.ritz(&space)?;
        Ok(space.found(&ritz, count.min(space.columns)))
    }

    /// Eigenpairs of T, the outermost first.
    fn ritz(&mut self, space: &Space) -> Result<Ritz, HessianError> {
        let columns = space.columns;
        let (values, vectors) = eigenpairs(space.projected.submatrix(0, 0, columns, columns))?;
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

    /// An orthonormal basis Q [n, b] of `images`, which are orthogonal to the space, and R [b, c] with
    /// images = Q R; of at most `most` directions. A random one stands in for each that lies in
    /// the space but for rounding, and has a row of zeros in R.
    fn next_block(&mut self, space: &Space, mut images: Mat<f64>, most: usize) -> (Mat<f64>, Mat<f64>) {
        let (size, columns) = (images.nrows(), images.ncols());
        let count = columns.min(most);
        let rounding = ROUNDINGS * self.products.operator.epsilon() * self.scale;
        let mut block = Mat::zeros(size, 0);
        let mut coupling = Mat::zeros(count, columns);
        for column in 0..columns {
            let along = orthogonalise(images.as_mut().subcols_mut(column, 1), block.as_ref());
            coupling.as_mut().submatrix_mut(0, column, along.nrows(), 1).copy_from(along);
            if block.ncols() == count {
                continue;
            }
            let row = block.ncols();
            let image = images.subcols(column, 1).to_owned();
            let length = image.norm_l2();
            // What rounding has left of the space is as much longer as the rest of the image is shorter.
            let outside = match length {
                length if length <= rounding => None,
                length if length < SHORT * self.scale => self.outside(space, block.as_ref(), image),
                length => Some(image * faer::Scale(length.recip())),
            };
            block = match outside {
                Some(direction) => {
                    coupling[(row, column)] = length;
                    beside(block.as_ref(), direction.as_ref())
                }
                None => self.fresh(space, block, row + 1),
            };
        }
        let coupling = coupling.submatrix(0, 0, block.ncols(), columns).to_owned();
        (block, coupling)
    }

    /// `block` with random directions beside it, orthogonal to it, the space and what is taken out,
    /// until there are `count`, or none is left.
    fn fresh(&mut self, space: &Space, mut block: Mat<f64>, count: usize) -> Mat<f64> {
        let mut tries = 0;
        while block.ncols() < count && tries < TRIES {
            let generator = &mut self.generator;
            let direction = Mat::from_fn(block.nrows(), 1, |_, _| generator.random::<f64>() - 0.5);
            match self.outside(space, block.as_ref(), direction) {
                Some(direction) => block = beside(block.as_ref(), direction.as_ref()),
                None => tries += 1,
            }
        }
        block
    }

    /// What `direction` [n, 1] has outside of the space, of `block` and of what is taken out, at a length
    /// of one; nothing where that is rounding.
    fn outside(&self, space: &Space, block: MatRef<f64>, mut direction: Mat<f64>) -> Option<Mat<f64>> {
        let mut left = 0.0;
        // Twice is enough (Parlett, "The Symmetric Eigenvalue Problem", section 6.9) where something
        // is left: the last time nothing is to be lost.
        for _ in 0..3 {
            direction *= faer::Scale(direction.norm_l2().recip());
            self.take_out(direction.as_mut());
            orthogonalise(direction.as_mut(), space.basis());
            orthogonalise(direction.as_mut(), block);
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

/// Eigenpairs of T.
struct Ritz {
    vectors: Mat<f64>,
    values: Vec<f64>,
}

/// A Krylov space.
struct Space {
    size: usize,
    /// V, a column after the other, with room for as many as a space has at the most.
    elements: Vec<f64>,
    columns: usize,
    /// Columns of the block that came last.
    last: usize,
    /// T = V' A V.
    projected: Mat<f64>,
}

impl Space {
    fn new(size: usize, most: usize) -> Result<Self, HessianError> {
        let elements = zeros(size * most)
            .ok_or(HessianError::NoMemory { gigabytes: (size * most * size_of::<f64>()) as f64 / 1e9 })?;
        Ok(Self { size, elements, columns: 0, last: 0, projected: Mat::zeros(most, most) })
    }

    /// V: [n, j].
    fn basis(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.elements[..self.size * self.columns], self.size, self.columns)
    }

    /// Puts a block Q beside V and V' A Q beside T; of the `images` A Q is left what is orthogonal to
    /// the space.
    fn extend(&mut self, block: MatRef<f64>, mut images: MatMut<f64>) {
        let (before, added) = (self.columns, block.ncols());
        let place = &mut self.elements[self.size * before..self.size * (before + added)];
        MatMut::from_column_major_slice_mut(place, self.size, added).copy_from(block);
        (self.columns, self.last) = (before + added, added);
        let mut along = orthogonalise(images.rb_mut(), self.basis());
        along += orthogonalise(images, self.basis());
        for column in 0..added {
            for row in 0..self.columns {
                let element = match row.checked_sub(before) {
                    // Rounding keeps the block's own from being symmetric.
                    Some(row) => 0.5 * (along[(before + row, column)] + along[(before + column, row)]),
                    None => along[(row, column)],
                };
                self.projected[(row, before + column)] = element;
                self.projected[(before + column, row)] = element;
            }
        }
    }

    /// The largest norm of a column of T that came last.
    fn last_column_norm(&self) -> f64 {
        let first = self.columns - self.last;
        let columns = self.projected.submatrix(0, first, self.columns, self.last);
        columns.col_iter().map(|column| column.norm_l2()).fold(0.0, f64::max)
    }

    /// |R E' y| of the i-th Ritz pair.
    fn residual(&self, ritz: &Ritz, i: usize, coupling: MatRef<f64>) -> f64 {
        let last = ritz.vectors.submatrix(self.columns - self.last, i, self.last, 1);
        (coupling * last).norm_l2()
    }

    fn found(&self, ritz: &Ritz, count: usize) -> Found {
        let vectors = product(self.basis(), ritz.vectors.subcols(0, count));
        Found { vectors, values: ritz.values[..count].to_vec() }
    }

    /// Keeps the `count` outermost Ritz vectors.
    fn restart(&mut self, ritz: &Ritz, count: usize) {
        let kept = product(self.basis(), ritz.vectors.subcols(0, count));
        let place = &mut self.elements[..self.size * count];
        MatMut::from_column_major_slice_mut(place, self.size, count).copy_from(kept);
        self.columns = count;
        for row in 0..count {
            for column in 0..count {
                self.projected[(row, column)] = if row == column { ritz.values[row] } else { 0.0 };
            }
        }
    }
}

/// Takes out of `block` [n, k] what it has along the orthonormal `directions` [n, d]; that is returned:
/// [d, k].
fn orthogonalise(mut block: MatMut<f64>, directions: MatRef<f64>) -> Mat<f64> {
    if directions.ncols() == 0 {
        return Mat::zeros(0, block.ncols());
    }
    let along = product(directions.transpose(), block.rb_mut().as_ref());
    block -= product(directions, along.as_ref());
    along
}

/// An orthonormal basis of what the columns of `vectors` [n, k], which are nearly so, span.
pub(super) fn orthonormal(vectors: MatRef<f64>) -> Mat<f64> {
    let mut basis = Mat::zeros(vectors.nrows(), 0);
    for column in 0..vectors.ncols() {
        let mut vector = vectors.subcols(column, 1).to_owned();
        for _ in 0..2 {
            orthogonalise(vector.as_mut(), basis.as_ref());
            vector *= faer::Scale(vector.norm_l2().recip());
        }
        basis = beside(basis.as_ref(), vector.as_ref());
    }
    basis
}

/// Columns beside others.
pub(super) fn beside(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    Mat::from_fn(left.nrows(), left.ncols() + right.ncols(), |row, column| {
        match column.checked_sub(left.ncols()) {
            None => left[(row, column)],
            Some(column) => right[(row, column)],
        }
    })
}
