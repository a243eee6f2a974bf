//! Batch norm at a point. With h = (x - mu) / s, s = sqrt(v + epsilon),
//!
//! ```text
//! forward    y = gamma h + beta                y. = gamma. h + gamma h. + beta.
//! reverse    gamma- = sum_n y- h, beta- = sum_n y-
//!            gamma-. = sum_n (y-. h + y- h.), beta-. = sum_n y-.
//! ```
//!
//! By running statistics mu and s are constants, h. = x. / s and x- = gamma y- / s. By those of a batch
//! they are functions of all its rows (Ioffe and Szegedy 2015, section 3; E is the mean over the rows),
//!
//! ```text
//! s. / s = E[h x.] / s,                  h. = (x. - E[x.]) / s - h s. / s
//! x-  = gamma / s u,                     u = y- - E[y-] - h E[y- h]
//! x-. = (gamma / s). u + gamma / s u.,   u. = y-. - E[y-.] - h. E[y- h] - h E[y-. h + y- h.] .
//! ```
//!
//! Of the rows only sums are shared: of x. and h x. on the way up, of y-. and y-. h + y- h. on the way
//! down. What is left is, row by row, a sum of columns times factors.

use burn::{nn::BatchNorm, tensor::Tensor};
use kappa_fused::piece;

use super::LayerDirection;

/// What all rows share: [1, m] each.
#[derive(Debug, Clone)]
pub(super) struct NormPoint {
    mean: Tensor<2>,
    /// 1 / s.
    inverse: Tensor<2>,
    gain: Tensor<2>,
    shift: Tensor<2>,
    /// The rows whose statistics they are, if they are not constants.
    rows: Option<usize>,
}

/// What all rows share of a tangent, by a batch's statistics: [1, m] each.
pub(super) struct SharedTangent {
    /// E[x.].
    mean: Tensor<2>,
    /// E[h x.].
    slope: Tensor<2>,
}

impl NormPoint {
    pub fn by_running_statistics(norm: &BatchNorm) -> Self {
        let row = |vector: Tensor<1>| vector.unsqueeze_dim::<2>(0);
        Self::new(norm, row(norm.running_mean.value_sync()), row(norm.running_var.value_sync()), None)
    }

    /// By those of `rows` rows, [1, m] each.
    pub fn by_statistics_of(norm: &BatchNorm, rows: usize, mean: Tensor<2>, variance: Tensor<2>) -> Self {
        Self::new(norm, mean, variance, Some(rows))
    }

    fn new(norm: &BatchNorm, mean: Tensor<2>, variance: Tensor<2>, rows: Option<usize>) -> Self {
        let inverse = (variance + norm.epsilon).sqrt().recip();
        let row = |vector: Tensor<1>| vector.unsqueeze_dim::<2>(0);
        Self { mean, inverse, gain: row(norm.gamma.val()), shift: row(norm.beta.val()), rows }
    }

    /// Whether the statistics are a batch's, and functions of the parameters.
    pub fn by_batch(&self) -> bool {
        self.rows.is_some()
    }

    /// E from a sum over all rows.
    pub fn mean(&self, sum: Tensor<2>) -> Tensor<2> {
        sum.div_scalar(self.rows.unwrap_or(1) as f64)
    }

    /// h: [n, m].
    pub fn normalised(&self, seen: Tensor<2>) -> Tensor<2> {
        (seen - self.mean.clone()) * self.inverse.clone()
    }

    /// y from h.
    pub fn outputs(&self, normalised: Tensor<2>) -> Tensor<2> {
        normalised * self.gain.clone() + self.shift.clone()
    }

    /// h. from x. , and from E[x.] and E[h x.] [2, m] where the statistics are a batch's.
    pub fn push_forward(
        &self,
        seen: Tensor<2>,
        normalised: &Tensor<2>,
        shared: Option<&Tensor<2>>,
    ) -> Tensor<2> {
        let Some(shared) = shared.map(SharedTangent::new) else { return seen * self.inverse.clone() };
        let factor = (shared.slope * self.inverse.clone()).neg();
        let offset = (shared.mean * self.inverse.clone()).neg();
        piece::blend([(seen, self.inverse.clone()), (normalised.clone(), factor)], Some(offset))
    }

    /// y. from h. and what is named of gamma and beta.
    pub fn outputs_along(
        &self,
        along: &LayerDirection,
        normalised: &Tensor<2>,
        moved: Option<Tensor<2>>,
    ) -> Option<Tensor<2>> {
        let row = |vector: &Tensor<1>| vector.clone().unsqueeze_dim::<2>(0);
        let shift = along.shift.as_ref().map(row);
        match (moved, along.gain.as_ref().map(row)) {
            (Some(moved), Some(gain)) => {
                Some(piece::blend([(moved, self.gain.clone()), (normalised.clone(), gain)], shift))
            }
            (Some(moved), None) => Some(shifted(moved * self.gain.clone(), shift)),
            (None, Some(gain)) => Some(shifted(normalised.clone() * gain, shift)),
            (None, None) => shift.map(|shift| shift.expand(normalised.dims())),
        }
    }

    /// x- from y- , and from E[y-] and E[y- h] [2, m] where the statistics are a batch's.
    pub fn pull_back(
        &self,
        upstream: Tensor<2>,
        normalised: Tensor<2>,
        means: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let scale = self.scale();
        let Some([mean, slope]) = means.as_ref().map(two_rows) else { return upstream * scale };
        let (factor, offset) = ((slope * scale.clone()).neg(), (mean * scale.clone()).neg());
        piece::blend([(upstream, scale), (normalised, factor)], Some(offset))
    }

    /// x-. from y-. , h. and y- , which are absent where they are zero or left out, and from what all rows
    /// share (see [`Shared`]).
    pub fn pull_back_along(
        &self,
        along: &LayerDirection,
        upstream_along: Tensor<2>,
        normalised: &Tensor<2>,
        point: Option<(Tensor<2>, Option<Tensor<2>>)>,
        shared: Shared<'_>,
    ) -> Tensor<2> {
        let scale = self.scale();
        // (gamma / s). = gamma. / s - gamma / s (s. / s)
        let gain = along.gain.clone().map(|gain| gain.unsqueeze_dim::<2>(0) * self.inverse.clone());
        let deviation = shared.tangent.map(|means| SharedTangent::new(means).slope * self.inverse.clone());
        let narrowed = deviation.map(|deviation| (scale.clone() * deviation).neg());
        let scale_along = super::sum(gain, narrowed);
        let means_along = shared.upstream_along.map(two_rows);
        let means = shared.upstream.map(two_rows);
        let (mut factor, mut offset) = (None, None);
        if let Some([mean, slope]) = means_along {
            (factor, offset) = (Some(slope * scale.clone()), Some(mean * scale.clone()));
        }
        let (upstream, moved) = point.unzip();
        if let (Some([mean, slope]), Some(along), Some(_)) = (&means, &scale_along, &upstream) {
            factor = super::sum(factor, Some(slope.clone() * along.clone()));
            offset = super::sum(offset, Some(mean.clone() * along.clone()));
        }
        let offset = offset.map(Tensor::neg);
        let mut seen = match factor {
            Some(factor) => {
                let own = (upstream_along, scale.clone());
                piece::blend([own, (normalised.clone(), factor.neg())], offset)
            }
            None => upstream_along * scale.clone(),
        };
        let moved = moved.flatten().zip(means).map(|(moved, [_, slope])| (moved, (slope * scale).neg()));
        let turned = upstream.zip(scale_along);
        match (turned, moved) {
            (Some(turned), Some(moved)) => seen = seen + piece::blend([turned, moved], None),
            (Some((x, factor)), None) | (None, Some((x, factor))) => seen = seen + x * factor,
            (None, None) => {}
        }
        seen
    }

    /// gamma / s: [1, m].
    fn scale(&self) -> Tensor<2> {
        self.gain.clone() * self.inverse.clone()
    }
}

/// What all rows share on the way down, where the statistics are a batch's: [2, m] each.
#[derive(Clone, Copy, Default)]
pub(super) struct Shared<'a> {
    /// E[x.] and E[h x.], absent where x. is zero.
    pub tangent: Option<&'a Tensor<2>>,
    /// E[y-] and E[y- h].
    pub upstream: Option<&'a Tensor<2>>,
    /// E[y-.] and E[y-. h + y- h.].
    pub upstream_along: Option<&'a Tensor<2>>,
}

impl SharedTangent {
    fn new(means: &Tensor<2>) -> Self {
        let [mean, slope] = two_rows(means);
        Self { mean, slope }
    }
}

/// gamma- and beta- , where they are wanted, from the sums of y- h and y- [2, m].
pub(super) fn add_gradients(found: &mut LayerDirection, wanted: &LayerDirection, sums: Tensor<2>) {
    let [of_shift, of_gain] = two_rows(&sums);
    found.gain = wanted.gain.as_ref().map(|_| of_gain.squeeze_dim(0));
    found.shift = wanted.shift.as_ref().map(|_| of_shift.squeeze_dim(0));
}

/// sum_n x_n and sum_n x_n h_n: [2, m].
pub(super) fn sums(rows: Tensor<2>, normalised: Tensor<2>) -> Tensor<2> {
    piece::sums(rows, normalised)
}

/// [n, m] -> [1, m], as a product: burn's reduction over the first dimension takes several times
/// as long on a CPU.
pub(super) fn sum_of_rows(rows: Tensor<2>) -> Tensor<2> {
    let [count, _] = rows.dims();
    Tensor::<2>::ones([1, count], (&rows.device(), rows.dtype())).matmul(rows)
}

fn two_rows(rows: &Tensor<2>) -> [Tensor<2>; 2] {
    [rows.clone().slice(0..1), rows.clone().slice(1..2)]
}

fn shifted(rows: Tensor<2>, shift: Option<Tensor<2>>) -> Tensor<2> {
    match shift {
        Some(shift) => rows + shift,
        None => rows,
    }
}
