//! A normalisation at a point. With h the normalised units,
//!
//! ```text
//! forward    y = gamma h + beta                y. = gamma. h + gamma h. + beta.
//! reverse    gamma- = sum_n y- h, beta- = sum_n y-
//!            gamma-. = sum_n (y-. h + y- h.), beta-. = sum_n y-.
//! ```
//!
//! By running statistics mu and s are constants, h. = x. / s and x- = gamma y- / s. By those of a batch
//! they are functions of all its rows (Ioffe and Szegedy 2015, section 3; E is the mean over the rows).
//! One scheme has batch norm, its centring and its scaling, h = (x - mu) / s, x - mu and x / s:
//!
//! ```text
//! h.  = (x. - M - h S) / s
//! x-  = gamma / s u,                     u = y- - A - h B
//! x-. = (gamma / s). u + gamma / s u.,   u. = y-. - A. - h. B - h B.,    (gamma / s). = gamma. / s - gamma / s (S / s)
//!
//!           M       S                    A           B         A.                            B.
//! batch     E[x.]   E[h x.]              E[y-]       E[y- h]   E[y-.]                        E[y-. h + y- h.]
//! centre    E[x.]   0                    E[y-]       0         E[y-.]                        0
//! scale     0       E[h x.] - E[h] E[x.] -E[h] B     E[y- h]   -E[h.] B - E[h] B.            E[y-. h + y- h.]
//! ```
//!
//! Of the rows only sums are shared: of x. and h x. on the way up, of y-. and y-. h + y- h. on the way
//! down. What is left is, row by row, a sum of columns times factors.
//!
//! Layer norm has batch norm's formulas with each row's mean over its units in the place of E, and
//! k = gamma y- in that of y- (Ba, Kiros and Hinton 2016): nothing is shared.

use burn::tensor::Tensor;
use kappa_fused::piece;

use super::LayerDirection;
use crate::{Kind, Role, norm::Norm};

/// What all rows share.
#[derive(Debug, Clone)]
pub(super) struct NormPoint {
    /// gamma and beta: [1, m].
    gain: Tensor<2>,
    shift: Tensor<2>,
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    /// Statistics of each unit.
    Units(Box<Units>),
    /// Those of each row, this being added to the variance.
    Rows { epsilon: f64 },
}

#[derive(Debug, Clone)]
struct Units {
    kind: Kind,
    /// mu, absent where it is not taken off: [1, m].
    mean: Option<Tensor<2>>,
    /// 1 / s, or ones: [1, m].
    inverse: Tensor<2>,
    /// The rows whose statistics they are, and E[h], if they are not constants.
    batch: Option<(usize, Tensor<2>)>,
}

/// h of a piece: [n, m].
#[derive(Debug, Clone)]
pub(super) struct Normalised {
    pub h: Tensor<2>,
    /// 1 / s of each row, where each has its own: [n, 1].
    inverse: Option<Tensor<2>>,
}

/// What becomes of it along a direction.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub h: Tensor<2>,
    /// s. / s of each row, where each has its own: [n, 1].
    narrowed: Option<Tensor<2>>,
}

impl NormPoint {
    /// By what does not depend on a batch.
    pub fn by_running_statistics(norm: &Norm, like: &Tensor<2>) -> Self {
        let row = |role| norm.tensor(role).map(|vector| vector.unsqueeze_dim::<2>(0));
        Self::new(norm, like, row(Role::RunningMean), row(Role::RunningVariance), None)
    }

    /// By the statistics of `rows` rows, [1, m] each; layer norm by those of each row.
    pub fn by_statistics_of(
        norm: &Norm,
        like: &Tensor<2>,
        rows: usize,
        mean: Tensor<2>,
        variance: Tensor<2>,
    ) -> Self {
        Self::new(norm, like, Some(mean), Some(variance), Some(rows))
    }

    fn new(
        norm: &Norm,
        like: &Tensor<2>,
        mean: Option<Tensor<2>>,
        variance: Option<Tensor<2>>,
        rows: Option<usize>,
    ) -> Self {
        let (kind, epsilon) = (norm.settings().kind, norm.settings().epsilon);
        let gain = norm.gain(like).unsqueeze_dim::<2>(0);
        let shift = norm.shift(like).unsqueeze_dim(0);
        if kind == Kind::Layer {
            return Self { gain, shift, by: By::Rows { epsilon } };
        }
        let deviation = variance.filter(|_| kind.scales()).map(|variance| (variance + epsilon).sqrt());
        let inverse = deviation.map_or_else(|| gain.ones_like(), Tensor::recip);
        let level = match (&mean, kind.centres()) {
            (Some(mean), false) => mean.clone() * inverse.clone(),
            _ => gain.zeros_like(),
        };
        let mean = mean.filter(|_| kind.centres());
        let batch = rows.map(|rows| (rows, level));
        Self { gain, shift, by: By::Units(Box::new(Units { kind, mean, inverse, batch })) }
    }

    /// Whether the statistics are a batch's, and functions of the parameters.
    pub fn by_batch(&self) -> bool {
        matches!(&self.by, By::Units(units) if units.batch.is_some())
    }

    /// E from a sum over all rows.
    pub fn mean(&self, sum: Tensor<2>) -> Tensor<2> {
        let By::Units(units) = &self.by else { return sum };
        match &units.batch {
            Some((rows, _)) => sum.div_scalar(*rows as f64),
            None => sum,
        }
    }

    /// h: [n, m].
    pub fn normalised(&self, seen: Tensor<2>) -> Normalised {
        match &self.by {
            By::Units(units) => {
                let centred = match &units.mean {
                    Some(mean) => seen - mean.clone(),
                    None => seen,
                };
                Normalised { h: centred * units.inverse.clone(), inverse: None }
            }
            By::Rows { epsilon } => {
                let centred = seen.clone() - seen.mean_dim(1);
                let variance = (centred.clone() * centred.clone()).mean_dim(1);
                let inverse = (variance + *epsilon).sqrt().recip();
                Normalised { h: centred * inverse.clone(), inverse: Some(inverse) }
            }
        }
    }

    /// y from h.
    pub fn outputs(&self, normalised: &Normalised) -> Tensor<2> {
        normalised.h.clone() * self.gain.clone() + self.shift.clone()
    }

    /// h. from x. , and from E[x.] and E[h x.] [2, m] where the statistics are a batch's.
    pub fn push_forward(
        &self,
        seen: Tensor<2>,
        normalised: &Normalised,
        shared: Option<&Tensor<2>>,
    ) -> Moved {
        let h = normalised.h.clone();
        if let Some(inverse) = &normalised.inverse {
            let slope = (h.clone() * seen.clone()).mean_dim(1);
            let moved = (seen.clone() - seen.mean_dim(1) - h * slope.clone()) * inverse.clone();
            return Moved { h: moved, narrowed: Some(slope * inverse.clone()) };
        }
        let By::Units(units) = &self.by else { return Moved { h: seen, narrowed: None } };
        let Some([mean, slope]) = shared.map(|shared| units.tangent(shared)) else {
            return Moved { h: seen * units.inverse.clone(), narrowed: None };
        };
        let factor = (slope * units.inverse.clone()).neg();
        let offset = (mean * units.inverse.clone()).neg();
        let moved = piece::blend([(seen, units.inverse.clone()), (h, factor)], Some(offset));
        Moved { h: moved, narrowed: None }
    }

    /// y. from h. and what is named of gamma and beta.
    pub fn outputs_along(
        &self,
        along: &LayerDirection,
        normalised: &Normalised,
        moved: Option<Tensor<2>>,
    ) -> Option<Tensor<2>> {
        let row = |vector: &Tensor<1>| vector.clone().unsqueeze_dim::<2>(0);
        let (shift, h) = (along.shift.as_ref().map(row), &normalised.h);
        match (moved, along.gain.as_ref().map(row)) {
            (Some(moved), Some(gain)) => {
                Some(piece::blend([(moved, self.gain.clone()), (h.clone(), gain)], shift))
            }
            (Some(moved), None) => Some(shifted(moved * self.gain.clone(), shift)),
            (None, Some(gain)) => Some(shifted(h.clone() * gain, shift)),
            (None, None) => shift.map(|shift| shift.expand(h.dims())),
        }
    }

    /// x- from y- , and from E[y-] and E[y- h] [2, m] where the statistics are a batch's.
    pub fn pull_back(
        &self,
        upstream: Tensor<2>,
        normalised: &Normalised,
        means: Option<&Tensor<2>>,
    ) -> Tensor<2> {
        let h = normalised.h.clone();
        match (&self.by, &normalised.inverse) {
            (By::Rows { .. }, Some(inverse)) => turned(upstream * self.gain.clone(), &h) * inverse.clone(),
            (By::Rows { .. }, None) => upstream,
            (By::Units(units), _) => {
                let scale = self.gain.clone() * units.inverse.clone();
                let Some([mean, slope]) = means.map(|means| units.upstream(means)) else {
                    return upstream * scale;
                };
                let (factor, offset) = ((slope * scale.clone()).neg(), (mean * scale.clone()).neg());
                piece::blend([(upstream, scale), (h, factor)], Some(offset))
            }
        }
    }

    /// x-. from y-. , h. and y- , which are absent where they are zero or left out, and from what all rows
    /// share (see [`Shared`]).
    pub fn pull_back_along(
        &self,
        along: &LayerDirection,
        upstream_along: Tensor<2>,
        normalised: &Normalised,
        point: Option<(Tensor<2>, Option<Moved>)>,
        shared: Shared<'_>,
    ) -> Tensor<2> {
        match (&self.by, &normalised.inverse) {
            (By::Units(units), _) => {
                self.by_units(units, along, upstream_along, &normalised.h, point, shared)
            }
            (By::Rows { .. }, inverse) => {
                let inverse = inverse.clone().unwrap_or_else(|| upstream_along.ones_like());
                self.by_rows(along, upstream_along, &normalised.h, inverse, point)
            }
        }
    }

    fn by_units(
        &self,
        units: &Units,
        along: &LayerDirection,
        upstream_along: Tensor<2>,
        h: &Tensor<2>,
        point: Option<(Tensor<2>, Option<Moved>)>,
        shared: Shared<'_>,
    ) -> Tensor<2> {
        let scale = self.gain.clone() * units.inverse.clone();
        // (gamma / s). = gamma. / s - gamma / s (S / s)
        let gain = along.gain.clone().map(|gain| gain.unsqueeze_dim::<2>(0) * units.inverse.clone());
        let deviation = shared.tangent.map(|means| {
            let [_, slope] = units.tangent(means);
            slope * units.inverse.clone()
        });
        let narrowed = deviation.map(|deviation| (scale.clone() * deviation).neg());
        let scale_along = super::sum(gain, narrowed);
        let means = shared.upstream.map(|means| units.upstream(means));
        let (mut factor, mut offset) = (None, None);
        if let Some(along) = shared.upstream_along {
            let [mean, slope] = units.upstream_along(along, means.as_ref(), shared.tangent);
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
                piece::blend([own, (h.clone(), factor.neg())], offset)
            }
            None => upstream_along * scale.clone(),
        };
        let moved = moved.flatten().zip(means).map(|(moved, [_, slope])| (moved.h, (slope * scale).neg()));
        let turned = upstream.zip(scale_along);
        match (turned, moved) {
            (Some(turned), Some(moved)) => seen = seen + piece::blend([turned, moved], None),
            (Some((x, factor)), None) | (None, Some((x, factor))) => seen = seen + x * factor,
            (None, None) => {}
        }
        seen
    }

    fn by_rows(
        &self,
        along: &LayerDirection,
        upstream_along: Tensor<2>,
        h: &Tensor<2>,
        inverse: Tensor<2>,
        point: Option<(Tensor<2>, Option<Moved>)>,
    ) -> Tensor<2> {
        let mut k_along = upstream_along * self.gain.clone();
        let Some((upstream, moved)) = point else { return turned(k_along, h) * inverse };
        if let Some(gain) = &along.gain {
            k_along = k_along + upstream.clone() * gain.clone().unsqueeze_dim::<2>(0);
        }
        let k = upstream * self.gain.clone();
        let mut seen = turned(k_along, h);
        if let Some(Moved { h: moved, narrowed }) = moved {
            let slope = (k.clone() * h.clone()).mean_dim(1);
            let slope_moved = (k.clone() * moved.clone()).mean_dim(1);
            seen = seen - moved * slope - h.clone() * slope_moved;
            if let Some(narrowed) = narrowed {
                // (1 / s). = - (s. / s) / s
                seen = seen - turned(k, h) * narrowed;
            }
        }
        seen * inverse
    }
}

impl Units {
    /// M and S of E[x.] and E[h x.].
    fn tangent(&self, means: &Tensor<2>) -> [Tensor<2>; 2] {
        let [mean, slope] = two_rows(means);
        match (self.kind, &self.batch) {
            (Kind::Centre, _) => [mean, slope.zeros_like()],
            (Kind::Scale, Some((_, level))) => [mean.zeros_like(), slope - level.clone() * mean],
            _ => [mean, slope],
        }
    }

    /// A and B of E[y-] and E[y- h].
    fn upstream(&self, means: &Tensor<2>) -> [Tensor<2>; 2] {
        let [mean, slope] = two_rows(means);
        match (self.kind, &self.batch) {
            (Kind::Centre, _) => [mean, slope.zeros_like()],
            (Kind::Scale, Some((_, level))) => [(level.clone() * slope.clone()).neg(), slope],
            _ => [mean, slope],
        }
    }

    /// A. and B. of E[y-.] and E[y-. h + y- h.], from B and from E[x.] and E[h x.].
    fn upstream_along(
        &self,
        means: &Tensor<2>,
        upstream: Option<&[Tensor<2>; 2]>,
        tangent: Option<&Tensor<2>>,
    ) -> [Tensor<2>; 2] {
        let [mean, slope] = self.upstream(means);
        let (Kind::Scale, Some((_, level))) = (self.kind, &self.batch) else { return [mean, slope] };
        let (Some([_, of_point]), Some(tangent)) = (upstream, tangent) else { return [mean, slope] };
        // E[h.] = (E[x.] - E[h] S) / s
        let [_, narrowed] = self.tangent(tangent);
        let [seen, _] = two_rows(tangent);
        let level_along = (seen - level.clone() * narrowed) * self.inverse.clone();
        [mean - level_along * of_point.clone(), slope]
    }
}

/// k - mean k - h mean(k h), means over each row's units.
fn turned(k: Tensor<2>, h: &Tensor<2>) -> Tensor<2> {
    let slope = (k.clone() * h.clone()).mean_dim(1);
    k.clone() - k.mean_dim(1) - h.clone() * slope
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
