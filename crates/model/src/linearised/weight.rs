//! Weight norm at a point: w = g u, u = v / r, r = |v| of each unit (Salimans and Kingma 2016). All else
//! knows the matrix W alone; here what is said of W becomes what is said of v and g, and the other way.
//!
//! ```text
//! forward    u. = (v. - u (u v.)) / r               w. = g. u + g u.
//! reverse    g- = u w-                              v- = g / r (w- - u (u w-))
//!            g-. = u w-. + u. w-                    v-. = g / r (w-. - u (u w-.)) + (g / r). (w- - u (u w-))
//!                                                         - g / r (u. (u w-) + u (u. w-))
//! ```
//!
//! (g / r). = g. / r - g (u v.) / r^2, and without the terms of w- the last line is that of Gauss-Newton.

use burn::tensor::Tensor;

use super::{LayerDirection, norm::sum_of_rows, sum};
use crate::{
    Role,
    dense::{Dense, lengths},
};

/// What a layer's v and g are at the point.
#[derive(Debug, Clone)]
pub(super) struct WeightPoint {
    /// u: [in, out].
    unit: Tensor<2>,
    /// r: [1, out].
    radius: Tensor<2>,
    /// g: [1, out].
    length: Tensor<2>,
}

impl WeightPoint {
    /// Nothing where W itself is the parameter.
    pub fn new(dense: &Dense) -> Option<Self> {
        let (v, length) = dense.normalisation()?;
        let radius = lengths(v.clone());
        Some(Self { unit: v / radius.clone(), radius, length })
    }

    /// u. , if v moves.
    fn unit_along(&self, along: &LayerDirection) -> Option<Tensor<2>> {
        let v = along.weight.clone()?;
        Some(self.across(v) / self.radius.clone())
    }

    /// x - u (u x) of each column.
    fn across(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone() - self.unit.clone() * self.dot(&self.unit, &x)
    }

    /// [1, out] of each column.
    fn dot(&self, a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
        sum_of_rows(a.clone() * b.clone())
    }

    /// The squares of each row's gradient with respect to g, or to v: [n, 1], of inputs [n, in] and what
    /// comes to z [n, out].
    pub fn squares(&self, role: Role, inputs: Tensor<2>, upstream: Tensor<2>) -> Tensor<2> {
        let along = inputs.clone().matmul(self.unit.clone());
        let square = |x: Tensor<2>| x.clone() * x;
        match role {
            Role::Length => square(upstream * along).sum_dim(1),
            _ => {
                let across = square(inputs).sum_dim(1) - square(along);
                let ratio = self.length.clone() / self.radius.clone();
                (square(upstream * ratio) * across).sum_dim(1)
            }
        }
    }

    /// Along W, from along v and g.
    pub fn push_forward(&self, along: &LayerDirection) -> LayerDirection {
        let turned = self.unit_along(along).map(|unit| unit * self.length.clone());
        let grown = along.length.clone().map(|length| self.unit.clone() * length);
        LayerDirection { weight: sum(turned, grown), length: None, ..along.clone() }
    }

    /// v- and g- , where they are wanted, from what is found of W.
    pub fn pull_back(&self, found: LayerDirection, wanted: &LayerDirection) -> LayerDirection {
        let Some(weight) = found.weight.clone() else { return found };
        let turned = || self.across(weight.clone()) * self.length.clone() / self.radius.clone();
        LayerDirection {
            weight: wanted.weight.as_ref().map(|_| turned()),
            length: wanted.length.as_ref().map(|_| self.dot(&self.unit, &weight)),
            ..found
        }
    }

    /// The same of what becomes of it along a direction, `gradient` being w- at the point, or nothing of
    /// Gauss-Newton.
    pub fn pull_back_along(
        &self,
        found: LayerDirection,
        along: &LayerDirection,
        gradient: Option<&Tensor<2>>,
    ) -> LayerDirection {
        let mut found = self.pull_back(found, along);
        let Some(gradient) = gradient else { return found };
        let ratio = self.length.clone() / self.radius.clone();
        let unit_along = self.unit_along(along);
        if let (Some(length), Some(unit_along)) = (&found.length, &unit_along) {
            found.length = Some(length.clone() + self.dot(unit_along, gradient));
        }
        if let Some(mut weight) = found.weight.take() {
            let grown = along.length.clone().map(|length| length / self.radius.clone());
            let widened = along.weight.as_ref().map(|v| {
                (self.dot(&self.unit, v) * self.length.clone() / self.radius.clone().powi_scalar(2)).neg()
            });
            if let Some(ratio_along) = sum(grown, widened) {
                weight = weight + self.across(gradient.clone()) * ratio_along;
            }
            if let Some(unit_along) = unit_along {
                let turned = unit_along.clone() * self.dot(&self.unit, gradient)
                    + self.unit.clone() * self.dot(&unit_along, gradient);
                weight = weight - turned * ratio;
            }
            found.weight = Some(weight);
        }
        found
    }
}
