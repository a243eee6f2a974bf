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

use burn::{nn::BatchNorm, tensor::Tensor};

use super::LayerDirection;
use crate::Pass;

#[derive(Debug, Clone)]
pub(super) struct NormPoint {
    /// h: [n, m].
    normalised: Tensor<2>,
    /// 1 / s: [1, m].
    inverse: Tensor<2>,
    gain: Tensor<2>,
    shift: Tensor<2>,
    /// Whether the statistics are the batch's.
    by_batch: bool,
}

/// What becomes of it along a direction.
#[derive(Debug, Clone)]
pub(super) struct NormTangent {
    /// h. , absent where it is zero.
    normalised: Option<Tensor<2>>,
    /// s. / s: [1, m], absent where it is zero.
    deviation: Option<Tensor<2>>,
}

impl NormPoint {
    /// `norm` of what it sees, [n, m].
    pub fn new(norm: &BatchNorm, seen: Tensor<2>, pass: Pass) -> Self {
        let row = |vector: Tensor<1>| vector.unsqueeze_dim::<2>(0);
        let by_batch = pass != Pass::Running;
        let (mean, variance) = if by_batch {
            let mean = mean_of_rows(seen.clone());
            let centred = seen.clone() - mean.clone();
            (mean, mean_of_rows(centred.clone() * centred))
        } else {
            (row(norm.running_mean.value_sync()), row(norm.running_var.value_sync()))
        };
        let inverse = (variance + norm.epsilon).sqrt().recip();
        let normalised = (seen - mean) * inverse.clone();
        Self { normalised, inverse, gain: row(norm.gamma.val()), shift: row(norm.beta.val()), by_batch }
    }

    pub fn outputs(&self) -> Tensor<2> {
        self.normalised.clone() * self.gain.clone() + self.shift.clone()
    }

    /// Its tangents, and y. from x. .
    pub fn push_forward(
        &self,
        along: &LayerDirection,
        seen: Option<Tensor<2>>,
    ) -> (NormTangent, Option<Tensor<2>>) {
        let (normalised, deviation) = match seen {
            None => (None, None),
            Some(seen) if self.by_batch => {
                let shared = mean_of_rows(self.normalised.clone() * seen.clone());
                let centred = seen.clone() - mean_of_rows(seen);
                let moved = (centred - self.normalised.clone() * shared.clone()) * self.inverse.clone();
                (Some(moved), Some(shared * self.inverse.clone()))
            }
            Some(seen) => (Some(seen * self.inverse.clone()), None),
        };
        let row = |vector: &Tensor<1>| vector.clone().unsqueeze_dim::<2>(0);
        let mut outputs = normalised.clone().map(|moved| moved * self.gain.clone());
        if let Some(gain) = &along.gain {
            let own = self.normalised.clone() * row(gain);
            outputs = Some(super::add(own, outputs));
        }
        if let Some(shift) = &along.shift {
            let own = row(shift).expand(self.normalised.dims());
            outputs = Some(super::add(own, outputs));
        }
        (NormTangent { normalised, deviation }, outputs)
    }

    /// x- from y- .
    pub fn pull_back(&self, upstream: Tensor<2>) -> Tensor<2> {
        self.scale() * self.centred(&upstream)
    }

    /// gamma- and beta- , where wanted, beside those of the layer's own parameters.
    pub fn gradient(
        &self,
        upstream: Tensor<2>,
        wanted: &LayerDirection,
        found: LayerDirection,
    ) -> LayerDirection {
        let gain = wanted.gain.as_ref().map(|_| sum_of_rows(upstream.clone() * self.normalised.clone()));
        let shift = wanted.shift.as_ref().map(|_| sum_of_rows(upstream));
        LayerDirection { gain, shift, ..found }
    }

    /// gamma-. and beta-. where they are named, and x-. , from y- and y-. .
    pub fn gradient_along(
        &self,
        along: &LayerDirection,
        upstream: Tensor<2>,
        tangent: &NormTangent,
        upstream_along: Tensor<2>,
    ) -> (LayerDirection, Tensor<2>) {
        // y-. h + y- h.
        let own = upstream_along.clone() * self.normalised.clone();
        let moved = tangent.normalised.clone().map(|normalised| upstream.clone() * normalised);
        let of_gain = super::add(own, moved);
        let centred = self.centred(&upstream);
        let centred_along = if self.by_batch {
            let mean = mean_of_rows(upstream_along.clone());
            let shared = self.normalised.clone() * mean_of_rows(of_gain.clone());
            let rest = upstream_along.clone() - mean - shared;
            match &tangent.normalised {
                None => rest,
                Some(normalised) => {
                    rest - normalised.clone() * mean_of_rows(upstream * self.normalised.clone())
                }
            }
        } else {
            upstream_along.clone()
        };
        let mut seen = self.scale() * centred_along;
        // (gamma / s). = gamma. / s - gamma / s (s. / s)
        let gain = along.gain.clone().map(|gain| gain.unsqueeze_dim::<2>(0) * self.inverse.clone());
        let narrowed = tangent.deviation.clone().map(|deviation| (self.scale() * deviation).neg());
        if let Some(scale) = super::sum(gain, narrowed) {
            seen = seen + centred * scale;
        }
        let gain = along.gain.as_ref().map(|_| sum_of_rows(of_gain));
        let shift = along.shift.as_ref().map(|_| sum_of_rows(upstream_along));
        (LayerDirection { gain, shift, ..LayerDirection::default() }, seen)
    }

    /// gamma / s: [1, m].
    fn scale(&self) -> Tensor<2> {
        self.gain.clone() * self.inverse.clone()
    }

    /// u, or y- itself where the statistics are constants.
    fn centred(&self, upstream: &Tensor<2>) -> Tensor<2> {
        if !self.by_batch {
            return upstream.clone();
        }
        let shared = mean_of_rows(upstream.clone() * self.normalised.clone());
        upstream.clone() - mean_of_rows(upstream.clone()) - self.normalised.clone() * shared
    }
}

/// [n, m] -> \[m\], as a product: burn's reduction over the first dimension takes several times
/// as long on a CPU.
pub(super) fn sum_of_rows(rows: Tensor<2>) -> Tensor<1> {
    let [count, _] = rows.dims();
    Tensor::<2>::ones([1, count], (&rows.device(), rows.dtype())).matmul(rows).squeeze_dim(0)
}

/// [n, m] -> [1, m]
fn mean_of_rows(rows: Tensor<2>) -> Tensor<2> {
    let count = rows.dims()[0] as f64;
    sum_of_rows(rows).unsqueeze_dim::<2>(0).div_scalar(count)
}
