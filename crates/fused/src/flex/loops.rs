//! The inner loops, compiled by pulp for AVX-512 and AVX2 beside the baseline.
//!
//! Each is a structure whose body is inlined into what pulp compiles for the processor it
//! runs on. A closure would do the same as long as the compiler chooses to inline it, and
//! where it does not, the loop is the baseline's: several times slower, and right.

use std::ops::{Add, AddAssign, Mul};

use pulp::{Arch, Simd, WithSimd};

use crate::{ByteScale, operations::AdamFactors};

/// Runs a loop.
pub(super) fn run<L: WithSimd>(lines: L) -> L::Output {
    Arch::new().dispatch(lines)
}

/// sum_i x_i^2, in 16 sums side by side, so that it is as wide as registers are and its order
/// is the same whatever they are.
pub(super) struct SumOfSquares<'a>(pub &'a [f32]);

impl WithSimd for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let mut sums = [0.0f32; 16];
        let (groups, rest) = self.0.as_chunks::<16>();
        for group in groups {
            for (sum, &x) in sums.iter_mut().zip(group) {
                *sum += x * x;
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += x * x;
        }
        sums.into_iter().sum()
    }
}

/// y = factor x.
pub(super) struct Multiples<'a> {
    pub factor: f32,
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

impl WithSimd for Multiples<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = self.factor * x;
        }
    }
}

/// number = factor * byte + offset.
pub(super) struct Scaled<'a> {
    pub bytes: &'a [u8],
    pub scale: ByteScale,
    pub numbers: &'a mut [f32],
}

impl WithSimd for Scaled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [factor, offset] = [self.scale.factor, self.scale.offset].map(|number| number as f32);
        for (number, &byte) in self.numbers.iter_mut().zip(self.bytes) {
            *number = factor * f32::from(byte) + offset;
        }
    }
}

/// sums += the rows x [n, m].
pub(super) struct ColumnSums<'a> {
    pub x: &'a [f32],
    pub sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.x.chunks_exact(self.sums.len()) {
            for (sum, &x) in self.sums.iter_mut().zip(x) {
                *sum += x;
            }
        }
    }
}

/// sums += (x - mean)^2 of the rows x [n, m].
pub(super) struct SquaredDeviations<'a> {
    pub x: &'a [f32],
    pub mean: &'a [f32],
    pub sums: &'a mut [f32],
}

impl WithSimd for SquaredDeviations<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.x.chunks_exact(self.sums.len()) {
            for ((sum, &x), &mean) in self.sums.iter_mut().zip(x).zip(self.mean) {
                *sum += (x - mean) * (x - mean);
            }
        }
    }
}

/// y = scale (x - mean) + beta, each of the m features of the rows x [n, m] for itself.
pub(super) struct Normalised<'a> {
    pub x: &'a [f32],
    pub mean: &'a [f32],
    pub scale: &'a [f32],
    pub beta: &'a [f32],
    pub y: &'a mut [f32],
}

impl WithSimd for Normalised<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let units = self.mean.len();
        for (y, x) in self.y.chunks_exact_mut(units).zip(self.x.chunks_exact(units)) {
            let features = x.iter().zip(self.mean).zip(self.scale.iter().zip(self.beta));
            for (y, ((&x, &mean), (&scale, &beta))) in y.iter_mut().zip(features) {
                *y = scale * (x - mean) + beta;
            }
        }
    }
}

/// of_gamma += h dy and of_beta += dy of the rows x, dy [n, m], h = (x - mean) inverse.
pub(super) struct BatchNormSums<'a> {
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub mean: &'a [f32],
    pub inverse: &'a [f32],
    pub of_gamma: &'a mut [f32],
    pub of_beta: &'a mut [f32],
}

impl WithSimd for BatchNormSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let units = self.mean.len();
        for (x, dy) in self.x.chunks_exact(units).zip(self.dy.chunks_exact(units)) {
            let features = x.iter().zip(dy).zip(self.mean.iter().zip(self.inverse));
            let sums = self.of_gamma.iter_mut().zip(self.of_beta.iter_mut());
            for ((of_gamma, of_beta), ((&x, &dy), (&mean, &inverse))) in sums.zip(features) {
                *of_gamma += (x - mean) * inverse * dy;
                *of_beta += dy;
            }
        }
    }
}

/// dx = scale (dy - offset - slope (x - mean)) of the rows x, dy [n, m].
pub(super) struct BatchNormGradient<'a> {
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub mean: &'a [f32],
    pub scale: &'a [f32],
    pub offset: &'a [f32],
    pub slope: &'a [f32],
    pub dx: &'a mut [f32],
}

impl WithSimd for BatchNormGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let units = self.mean.len();
        let rows = self.x.chunks_exact(units).zip(self.dy.chunks_exact(units));
        for (dx, (x, dy)) in self.dx.chunks_exact_mut(units).zip(rows) {
            let features = x.iter().zip(dy).zip(self.mean.iter().zip(self.scale));
            let affine = self.offset.iter().zip(self.slope);
            for ((dx, ((&x, &dy), (&mean, &scale))), (&offset, &slope)) in
                dx.iter_mut().zip(features).zip(affine)
            {
                *dx = scale * (dy - offset - slope * (x - mean));
            }
        }
    }
}

/// One step of Adam ([`crate::FusedOperations::adam_step`]): m and v in place, theta after it
/// into `stepped`.
pub(super) struct AdamStep<'a> {
    pub theta: &'a [f32],
    pub gradient: &'a [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    pub stepped: &'a mut [f32],
    pub factors: AdamFactors,
}

impl WithSimd for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamFactors { beta_1, beta_2, correction, epsilon, rate } = self.factors;
        let elements = self.theta.iter().zip(self.gradient).zip(self.m.iter_mut().zip(self.v));
        for (stepped, ((&theta, &g), (m, v))) in self.stepped.iter_mut().zip(elements) {
            *m = *m * beta_1 + g * (1.0 - beta_1);
            *v = *v * beta_2 + g * g * (1.0 - beta_2);
            *stepped = theta - *m * correction / (v.sqrt() + epsilon) * rate;
        }
    }
}

/// sum_n x_n and sum_n x_n h_n, one after the other, of the rows x, h [n, m].
pub(super) struct PieceSums<'a, T> {
    pub x: &'a [T],
    pub h: &'a [T],
    pub units: usize,
}

impl<T: Copy + Default + AddAssign + Mul<Output = T>> WithSimd for PieceSums<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<T> {
        let mut sums = vec![T::default(); 2 * self.units];
        let (of_x, of_products) = sums.split_at_mut(self.units);
        for (x, h) in self.x.chunks_exact(self.units).zip(self.h.chunks_exact(self.units)) {
            let columns = of_x.iter_mut().zip(of_products.iter_mut()).zip(x.iter().zip(h));
            for ((of_x, of_product), (&x, &h)) in columns {
                *of_x += x;
                *of_product += x * h;
            }
        }
        sums
    }
}

/// x a + y b + c of the rows x, y [n, m], each of the m columns for itself.
pub(super) struct Blend<'a, T> {
    pub x: &'a [T],
    pub a: &'a [T],
    pub y: &'a [T],
    pub b: &'a [T],
    pub c: &'a [T],
}

impl<T: Copy + Default + Add<Output = T> + Mul<Output = T>> WithSimd for Blend<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<T> {
        let mut blended = vec![T::default(); self.x.len()];
        let units = self.a.len();
        let rows = self.x.chunks_exact(units).zip(self.y.chunks_exact(units));
        for (blended, (x, y)) in blended.chunks_exact_mut(units).zip(rows) {
            let columns = x.iter().zip(y).zip(self.a.iter().zip(self.b).zip(self.c));
            for (blended, ((&x, &y), ((&a, &b), &c))) in blended.iter_mut().zip(columns) {
                *blended = x * a + y * b + c;
            }
        }
        blended
    }
}
