//! A Krylov space: its basis, and the operator in it.

use faer::{
    Accum, Mat, MatMut, MatRef, Par,
    linalg::matmul::matmul,
    prelude::{Reborrow, ReborrowMut},
};
use rayon::prelude::*;

use super::solver::Found;
use crate::{HessianError, subspace::product, sums::zeros};

/// Rows that a thread takes at once.
const ROWS: usize = 4096;

/// A direction [n, 1] outside of the space.
pub(super) struct Coupled {
    pub direction: Mat<f64>,
    /// beta, what the image of the space's last direction has along it.
    pub coupling: f64,
}

/// Eigenpairs of T, the outermost first.
pub(super) struct Ritz {
    pub vectors: Mat<f64>,
    pub values: Vec<f64>,
}

impl Ritz {
    /// beta |e_j' y| of the i-th.
    pub fn residual(&self, i: usize, next: Option<&Coupled>) -> f64 {
        let last = self.vectors.nrows() - 1;
        next.map_or(0.0, |next| (next.coupling * self.vectors[(last, i)]).abs())
    }
}

/// A Krylov space.
pub(super) struct Space {
    size: usize,
    /// V, a column after the other, with room for as many as a space has at the most.
    elements: Vec<f64>,
    columns: usize,
    /// T = V' A V.
    projected: Mat<f64>,
}

impl Space {
    pub fn new(size: usize, most: usize) -> Result<Self, HessianError> {
        let elements = zeros(size * most)
            .ok_or(HessianError::NoMemory { gigabytes: (size * most * size_of::<f64>()) as f64 / 1e9 })?;
        Ok(Self { size, elements, columns: 0, projected: Mat::zeros(most, most) })
    }

    /// n.
    pub fn size(&self) -> usize {
        self.size
    }

    /// j.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn has_room(&self) -> bool {
        self.columns < self.projected.ncols()
    }

    /// Columns that a full space shrinks to, of which `count` are wanted: half of the others are kept.
    pub fn after_restart(&self, count: usize) -> usize {
        (count + self.projected.ncols()) / 2
    }

    /// V: [n, j].
    pub fn basis(&self) -> MatRef<'_, f64> {
        self.basis_from(0)
    }

    fn basis_from(&self, first: usize) -> MatRef<'_, f64> {
        let elements = &self.elements[self.size * first..self.size * self.columns];
        MatRef::from_column_major_slice(elements, self.size, self.columns - first)
    }

    /// T.
    pub fn projected(&self) -> MatRef<'_, f64> {
        self.projected.submatrix(0, 0, self.columns, self.columns)
    }

    fn push(&mut self, direction: MatRef<f64>) {
        let place = &mut self.elements[self.size * self.columns..self.size * (self.columns + 1)];
        MatMut::from_column_major_slice_mut(place, self.size, 1).copy_from(direction);
        self.columns += 1;
    }

    /// Puts a direction q [n, 1] beside V and V' A q beside T; of its `image` A q is left what is
    /// orthogonal to the space.
    pub fn extend(&mut self, direction: MatRef<f64>, mut image: MatMut<f64>) {
        self.push(direction);
        // It is coupled to the one before and itself, but for rounding: then once more is enough.
        let near = self.columns.saturating_sub(2);
        let mut along = Mat::zeros(self.columns, 1);
        let of_near = orthogonalise(image.rb_mut(), self.basis_from(near));
        along.as_mut().subrows_mut(near, of_near.nrows()).copy_from(of_near);
        for _ in 0..2 {
            let rest = orthogonalise(image.rb_mut(), self.basis());
            along += &rest;
            // Where more was taken than is left, rounding of it is much of that.
            if rest.norm_l2() < image.rb().norm_l2() {
                break;
            }
        }
        let column = self.columns - 1;
        for row in 0..=column {
            self.projected[(row, column)] = along[(row, 0)];
            self.projected[(column, row)] = along[(row, 0)];
        }
    }

    /// The norm of the column of T that came last.
    pub fn last_column_norm(&self) -> f64 {
        self.projected().col(self.columns - 1).norm_l2()
    }

    /// The element of T's diagonal that came last.
    pub fn last_diagonal(&self) -> f64 {
        self.projected[(self.columns - 1, self.columns - 1)]
    }

    /// The `count` outermost Ritz pairs, and their images V T y + beta q e_j' y.
    pub fn found(&self, ritz: &Ritz, count: usize, next: Option<&Coupled>) -> Found {
        let vectors = product(self.basis(), ritz.vectors.subcols(0, count));
        let last = ritz.vectors.nrows() - 1;
        let images = Mat::from_fn(self.size, count, |row, i| {
            let beyond =
                next.map_or(0.0, |next| next.coupling * ritz.vectors[(last, i)] * next.direction[(row, 0)]);
            ritz.values[i] * vectors[(row, i)] + beyond
        });
        Found { vectors, values: ritz.values[..count].to_vec(), images: Some(images) }
    }

    /// Keeps the `count` outermost Ritz vectors, in the place of V: some rows after the others, since another
    /// basis beside it would be most of the memory.
    pub fn restart(&mut self, ritz: &Ritz, count: usize) {
        let elements = &mut self.elements[..self.size * self.columns];
        let basis = MatMut::from_column_major_slice_mut(elements, self.size, self.columns);
        let turned = ritz.vectors.subcols(0, count);
        basis.par_row_partition_mut(self.size.div_ceil(ROWS)).for_each(|mut rows| {
            let mut kept = Mat::zeros(rows.nrows(), count);
            matmul(kept.as_mut(), Accum::Replace, rows.rb(), turned, 1.0, Par::Seq);
            rows.rb_mut().subcols_mut(0, count).copy_from(kept);
        });
        self.columns = count;
        for row in 0..count {
            for column in 0..count {
                self.projected[(row, column)] = if row == column { ritz.values[row] } else { 0.0 };
            }
        }
    }
}

/// Takes out of `block` [n, k] what it has along the orthonormal `directions` [n, d]; that is returned:
/// [d, k]. A part of the rows after the other, on all threads: the product of a matrix with one vector
/// would be on one.
pub(super) fn orthogonalise(block: MatMut<f64>, directions: MatRef<f64>) -> Mat<f64> {
    let mut along = Mat::zeros(directions.ncols(), block.ncols());
    if directions.ncols() == 0 {
        return along;
    }
    let parts = block.nrows().div_ceil(ROWS);
    let products: Vec<Mat<f64>> = (directions.par_row_partition(parts))
        .zip(block.rb().par_row_partition(parts))
        .map(|(directions, block)| {
            let mut product = Mat::zeros(directions.ncols(), block.ncols());
            matmul(product.as_mut(), Accum::Replace, directions.transpose(), block, 1.0, Par::Seq);
            product
        })
        .collect();
    // In the order of the parts, on any number of threads.
    products.iter().for_each(|product| along += product);
    (directions.par_row_partition(parts)).zip(block.par_row_partition_mut(parts)).for_each(
        |(directions, mut block)| {
            matmul(block.rb_mut(), Accum::Add, directions, along.as_ref(), -1.0, Par::Seq);
        },
    );
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
