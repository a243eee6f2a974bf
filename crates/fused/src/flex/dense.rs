//! The loops of a dense layer: products by faer, cut into pieces by shapes alone.

use std::ops::{AddAssign, Range};

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul, traits::ComplexField};
use rayon::prelude::*;

use super::{
    LIGHT_ROWS, column_sums,
    loops::{Scaled, run},
    total,
};
use crate::ByteScale;

/// Rows of a product that a thread takes at once, at the least (a batch of 128 is two such
/// pieces), and the multiply-adds: fewer are done before another thread has woken.
const ROWS: usize = 64;
const MULTIPLY_ADDS: usize = 1 << 20;
/// Samples of a part: a weight's gradient is the sum of its parts'.
const PART: usize = 8192;
/// Samples that are multiplied at once: with a few hundred inputs of each, about what a
/// second-level cache holds.
const SAMPLES: usize = 512;
/// Rows of a weight's gradient that a thread takes at once, where one part is all and where
/// there are more to share out: 784 inputs are four such pieces, and two.
const INPUTS: [usize; 2] = [196, 392];

/// A layer's arithmetic: f32, in which networks are trained, or f64.
pub(super) trait Number: ComplexField + Copy + AddAssign {
    const ONE: Self;

    /// number = factor * byte + offset.
    fn scale(bytes: &[u8], scale: ByteScale, numbers: &mut [Self]);

    /// sum_n u_n of rows of so many columns, the parts that rows are cut into added in f64.
    fn column_sums(rows: &[Self], columns: usize) -> Vec<Self>;
}

impl Number for f32 {
    const ONE: Self = 1.0;

    fn scale(bytes: &[u8], scale: ByteScale, numbers: &mut [Self]) {
        run(Scaled { bytes, scale, numbers });
    }

    fn column_sums(rows: &[Self], columns: usize) -> Vec<Self> {
        total(rows.par_chunks(LIGHT_ROWS * columns).map(|rows| column_sums(rows, columns)))
    }
}

impl Number for f64 {
    const ONE: Self = 1.0;

    fn scale(bytes: &[u8], ByteScale { factor, offset }: ByteScale, numbers: &mut [Self]) {
        numbers.iter_mut().zip(bytes).for_each(|(x, &byte)| *x = factor * Self::from(byte) + offset);
    }

    fn column_sums(rows: &[Self], columns: usize) -> Vec<Self> {
        let add = |mut sums: Vec<Self>, row: &[Self]| {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            sums
        };
        let parts = rows.par_chunks(LIGHT_ROWS * columns);
        let parts = parts.map(|rows| rows.chunks_exact(columns).fold(vec![0.0; columns], add));
        let parts: Vec<Vec<Self>> = parts.collect();
        parts.iter().fold(vec![0.0; columns], |sums, part| add(sums, part))
    }
}

/// The inputs x [n, d] of a layer, row by row.
#[derive(Clone, Copy)]
pub(super) enum Inputs<'a, T> {
    Numbers(&'a [T]),
    /// x = factor * byte + offset.
    Bytes(&'a [u8], ByteScale),
}

impl<'a, T: Number> Inputs<'a, T> {
    /// Some samples' inputs of some columns, written into `scratch` if they are no numbers yet.
    fn block<'b>(
        self,
        d: usize,
        samples: Range<usize>,
        columns: Range<usize>,
        scratch: &'b mut Vec<T>,
    ) -> MatRef<'b, T>
    where
        'a: 'b,
    {
        let rows = samples.start * d..samples.end * d;
        match self {
            Self::Numbers(numbers) => MatRef::from_row_major_slice(&numbers[rows], samples.len(), d)
                .subcols(columns.start, columns.len()),
            Self::Bytes(bytes, scale) => {
                scratch.resize(samples.len() * columns.len(), T::zero_impl());
                let rows = bytes[rows].chunks_exact(d).zip(scratch.chunks_exact_mut(columns.len()));
                rows.for_each(|(bytes, numbers)| T::scale(&bytes[columns.clone()], scale, numbers));
                MatRef::from_row_major_slice(scratch, samples.len(), columns.len())
            }
        }
    }
}

/// z = x W + b, row by row.
pub(super) fn forward<T: Number>(x: Inputs<T>, w: &[T], b: &[T], d: usize) -> Vec<T> {
    let units = b.len();
    let samples = match x {
        Inputs::Numbers(numbers) => numbers.len(),
        Inputs::Bytes(bytes, _) => bytes.len(),
    } / d.max(1);
    let mut outputs = vec![T::zero_impl(); samples * units];
    if outputs.is_empty() || d == 0 {
        return outputs;
    }
    let w = MatRef::from_row_major_slice(w, d, units);
    let rows = ROWS.max(MULTIPLY_ADDS / (d * units));
    outputs.par_chunks_mut(rows * units).enumerate().for_each_init(Vec::new, |scratch, (piece, z)| {
        let samples = piece * rows..piece * rows + z.len() / units;
        z.chunks_exact_mut(units).for_each(|z| z.copy_from_slice(b));
        let x = x.block(d, samples, 0..d, scratch);
        let z = MatMut::from_row_major_slice_mut(z, x.nrows(), units);
        matmul(z, Accum::Add, x, w, T::ONE, Par::Seq);
    });
    outputs
}

/// dL/dW = x^T dL/dz [d, m] and dL/db = sum_n dL/dz_n \[m\], dL/dz [n, m] row by row.
pub(super) fn gradients<T: Number>(x: Inputs<T>, dz: &[T], d: usize, units: usize) -> (Vec<T>, Vec<T>) {
    let bias = T::column_sums(dz, units);
    let samples = dz.len() / units;
    let parts = samples.div_ceil(PART).max(1);
    let width = INPUTS[usize::from(parts > 1)];
    let pieces = d.div_ceil(width);
    let of_piece = |piece: usize| piece * width..((piece + 1) * width).min(d);
    let tasks = (0..pieces * parts).into_par_iter();
    let partial: Vec<Vec<T>> = tasks
        .map_init(Vec::new, |scratch, task| {
            let (columns, part) = (of_piece(task / parts), task % parts);
            let mut gradient = vec![T::zero_impl(); columns.len() * units];
            let end = ((part + 1) * PART).min(samples);
            for start in (part * PART..end).step_by(SAMPLES) {
                let rows = start..(start + SAMPLES).min(end);
                let dz = &dz[rows.start * units..rows.end * units];
                let dz = MatRef::from_row_major_slice(dz, rows.len(), units);
                let x = x.block(d, rows, columns.clone(), scratch).transpose();
                let gradient = MatMut::from_row_major_slice_mut(&mut gradient, columns.len(), units);
                matmul(gradient, Accum::Add, x, dz, T::ONE, Par::Seq);
            }
            gradient
        })
        .collect();
    let mut weight = vec![T::zero_impl(); d * units];
    weight.par_chunks_mut(width * units).zip(partial.par_chunks(parts)).for_each(|(sum, parts)| {
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        }
    });
    (weight, bias)
}

/// factor * byte + offset.
pub(super) fn scaled<T: Number>(bytes: &[u8], scale: ByteScale) -> Vec<T> {
    let mut numbers = vec![T::zero_impl(); bytes.len()];
    T::scale(bytes, scale, &mut numbers);
    numbers
}

/// [`forward`] of a piece, in one product on one thread.
pub(super) fn of_piece<T: Number>(x: &[T], w: &[T], b: &[T], d: usize) -> Vec<T> {
    let units = b.len();
    let samples = x.len() / d.max(1);
    let mut outputs = b.repeat(samples);
    if !outputs.is_empty() && d > 0 {
        let (x, w) = (MatRef::from_row_major_slice(x, samples, d), MatRef::from_row_major_slice(w, d, units));
        let z = MatMut::from_row_major_slice_mut(&mut outputs, samples, units);
        matmul(z, Accum::Add, x, w, T::ONE, Par::Seq);
    }
    outputs
}

/// [`gradients`] of a piece, likewise.
pub(super) fn gradients_of_piece<T: Number>(x: &[T], dz: &[T], d: usize, units: usize) -> (Vec<T>, Vec<T>) {
    let samples = dz.len() / units;
    let mut weight = vec![T::zero_impl(); d * units];
    let gradient = MatMut::from_row_major_slice_mut(&mut weight, d, units);
    let x = MatRef::from_row_major_slice(x, samples, d).transpose();
    matmul(gradient, Accum::Replace, x, MatRef::from_row_major_slice(dz, samples, units), T::ONE, Par::Seq);
    (weight, T::column_sums(dz, units))
}
