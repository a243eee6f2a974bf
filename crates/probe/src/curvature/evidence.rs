//! What is checked of a network's Hessian.
//!
//! ```text
//! residual, orthogonality, symmetry   by products with H, of both ends
//! central difference  (grad(theta + h v) - grad(theta - h v)) / 2h, where no ReLU has its kink between
//! output weights      the W2 block of H against class pairs of features: another code
//! output shift        H times a shift of all output biases is zero, since softmax ignores it
//! scaled rows         a layer before batch norm can be scaled, and the loss stays
//! ```

use std::{ops::Range, time::Instant};

use kappa_hessian::{
    ExtremePairs, InputError, SymmetricOperator,
    faer::{Col, ColRef},
    verify_pairs,
};
use kappa_model::{Direction, Kind, Layer, Network, Parameter, Role, Statistics};
use kappa_run::{CheckRecord, CurvatureEvidence, Parameters, Precision, Request};

use super::{Looked, Pairs, Proof};
use crate::{
    NetworkHessian, Observer, ProbeError, forward,
    measure::check_record,
    samples::{has_doubles, looked_at, samples},
};

/// The first distance of a central difference along a direction of length one, and how often it is
/// halved to find one without kinks. What it cuts off, h^2, and what it rounds, epsilon / h, are about
/// as large.
const STEP: f64 = 1.0 / (1 << 19) as f64;
const HALVINGS: usize = 7;
/// The change of ln epsilon by which its influence is told.
const OF_EPSILON: f64 = 0.01;

pub(super) fn evidence(
    looked: &Looked<'_>,
    measured: &Pairs,
    proof: Proof,
    observer: &dyn Observer,
) -> Result<CurvatureEvidence, ProbeError> {
    let start = Instant::now();
    let mut checks = Vec::new();
    let smallest = measured.smallest.iter().map(|pairs| (pairs, "smallest"));
    for (pairs, of) in [(&measured.largest, "largest")].into_iter().chain(smallest) {
        let found = verify_pairs(&looked.hessian, pairs, observer)?;
        let named = |check| {
            let record = check_record(check);
            CheckRecord { name: format!("{}, {of}", record.name), ..record }
        };
        checks.extend(found.iter().map(named));
    }
    let device = looked.network.output_parameters().0.device();
    let in_doubles =
        proof == Proof::Whole && looked.request.precision == Precision::F32 && has_doubles(&device)?;
    let double = match in_doubles {
        true => Some(Looked::new(
            &looked.network,
            looked.split,
            Request { precision: Precision::F64, ..looked.request.clone() },
        )?),
        false => None,
    };
    let exact = Exact {
        looked: double.as_ref().unwrap_or(looked),
        scale: measured.smallest.iter().fold(measured.largest.scale, |scale, pairs| scale.max(pairs.scale)),
    };
    let (error, residual) = exact.error(&measured.largest)?;
    if proof == Proof::Whole && exact.epsilon() == f64::EPSILON {
        checks.push(exact.central_difference(&measured.largest)?);
    }
    checks.extend(exact.output_weights(observer)?);
    checks.extend(exact.output_shift()?);
    checks.extend(exact.scaled_rows()?);
    let lambda_1 = measured.summary.lambda_1().unwrap_or(0.0);
    Ok(CurvatureEvidence {
        passed: checks.iter().all(|check| check.passed),
        rounding: in_doubles.then_some(residual),
        known_digits_of_lambda_1: digits(error, lambda_1),
        checks,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Decimal digits of a number that is known to `error`; none of what is not a number.
fn digits(error: f64, number: f64) -> u32 {
    let relative = (error / number.abs()).max(f64::EPSILON);
    if relative < 1.0 { (-relative.log10()).floor() as u32 } else { 0 }
}

/// The Hessian in the best arithmetic that there is.
struct Exact<'a> {
    looked: &'a Looked<'a>,
    /// |H|, by which what is wrong is measured.
    scale: f64,
}

impl Exact<'_> {
    fn epsilon(&self) -> f64 {
        self.looked.hessian.epsilon()
    }

    fn along(&self, vector: ColRef<'_, f64>) -> Result<Col<f64>, ProbeError> {
        Ok(self.looked.hessian.product(vector.as_mat())?.col(0).to_owned())
    }

    /// How far lambda_1 = `value` of the eigenvector `vector` can be from an eigenvalue, `next` being the
    /// one that follows: as far as its residual r, and if no other is nearer than the gap, r^2 / gap from
    /// v' H v (Kato and Temple; Parlett, "The Symmetric Eigenvalue Problem", section 10.8); and the residual
    /// over |H|.
    fn error(&self, largest: &ExtremePairs) -> Result<(f64, f64), ProbeError> {
        let Some(value) = largest.eigenvalues.first() else { return Ok((0.0, 0.0)) };
        let vector = largest.vectors.col(0);
        let image = self.along(vector)?;
        let quotient = vector.transpose() * &image;
        let residual = (&image - *value * vector).norm_l2();
        let gap = largest.eigenvalues.get(1).map_or(0.0, |next| value - next - residual);
        let near =
            if gap > residual { (value - quotient).abs() + residual * residual / gap } else { residual };
        Ok((residual.min(near) + self.rounding() * self.scale, residual / self.scale))
    }

    /// Along a direction that has something of every other and much of the leading one.
    fn central_difference(&self, largest: &ExtremePairs) -> Result<CheckRecord, ProbeError> {
        let size = self.looked.hessian.size();
        let golden = 0.5 * (5.0f64.sqrt() - 1.0);
        let irregular = Col::from_fn(size, |row| ((row + 1) as f64 * golden).fract() - 0.5);
        let mut direction = largest.vectors.col(0) + &irregular * (1.0 / irregular.norm_l2());
        direction *= 1.0 / direction.norm_l2();
        let along = self.along(direction.as_ref())?;
        let quantity = "|(grad(w + h v) - grad(w - h v)) / 2h - H v| / |H|";
        let mut step = STEP;
        for _ in 0..=HALVINGS {
            let near = self.difference(direction.as_ref(), step)?;
            let far = self.difference(direction.as_ref(), 2.0 * step)?;
            if let (Some(near), Some(far)) = (near, far) {
                // By h^2 the far one is three times more off by what it cuts off than the near one, and
                // their difference is at least what rounding makes of the near one. Twice that, for luck.
                let bound = 2.0 * (&near - &far).norm_l2() / self.scale + self.rounding();
                let apart = (&near - &along).norm_l2() / self.scale;
                return Ok(self.check("central difference", quantity, apart, bound));
            }
            step /= 2.0;
        }
        // A ReLU has its kink at the point itself: there is nothing to compare with.
        Ok(blind("central difference", quantity))
    }

    /// The central difference of the gradient along `direction`, unless a ReLU has its kink within.
    fn difference(&self, direction: ColRef<'_, f64>, step: f64) -> Result<Option<Col<f64>>, ProbeError> {
        let looked = self.looked;
        let weight = looked.network.output_parameters().0;
        let place = (&weight.device(), weight.dtype());
        let hidden = looked.network.shape().hidden.len();
        let direction: Vec<f64> = direction.iter().copied().collect();
        let direction = Direction::from_vector(hidden, &looked.parameters, &direction, place);
        let at = |step: f64| looked.of(&looked.network.moved(&direction, step), &looked.parameters);
        let (after, before) = (at(step)?, at(-step)?);
        if after.kinks_between(&before)? > 0 {
            return Ok(None);
        }
        Ok(Some((gradient(&after)? - gradient(&before)?) * (0.5 / step)))
    }

    /// The block of the last layer's weights, if they are among the parameters, against the samples of
    /// that layer.
    fn output_weights(&self, observer: &dyn Observer) -> Result<Option<CheckRecord>, ProbeError> {
        let looked = self.looked;
        // By weight norm the parameter is another than the layer's weights.
        let range = self.range(Layer::Output, Role::Weight);
        let normalised = looked.network.shape().normalisation.kind == Kind::Weight;
        let Some(range) = range.filter(|_| !normalised) else { return Ok(None) };
        let precision = looked.request.precision;
        let request = Request {
            parameters: Parameters::LastLayer,
            forward: precision,
            bias: false,
            folded: false,
            verify: false,
            ..looked.request.clone()
        };
        let samples = samples(&looked.network, looked.split, &request, observer)?;
        let mut vector = Col::from_fn(range.len(), |row| ((row * 7 + 3) as f64).sin());
        vector *= 1.0 / vector.norm_l2();
        let expected = samples.product(vector.as_mat())?.col(0).to_owned();
        let mut whole = Col::zeros(looked.hessian.size());
        whole.as_mut().subrows_mut(range.start, range.len()).copy_from(&vector);
        let found = self.along(whole.as_ref())?;
        // What features and probabilities are off by moves no eigenvalue by more than so much of tr H,
        // in one code as in the other, and so no image of a direction.
        let seen = looked_at(&looked.network, looked.split, request.statistics, precision)?;
        let of_inputs = forward::input_error(&seen, looked.split, request.statistics, precision)?;
        let softmax = InputError::of_softmax(seen.shape().classes, precision.epsilon());
        let of_one =
            2.0 * (of_inputs.features + of_inputs.probabilities + softmax.probabilities) + self.rounding();
        let trace = samples.trace()?;
        let apart = (found.subrows(range.start, range.len()) - &expected).norm_l2();
        let value = if trace > 0.0 { apart / trace } else { apart };
        let quantity = "|(H v)_W2 - H_W2 v| / tr H_W2";
        Ok(Some(self.check("output weights", quantity, value, 2.0 * of_one)))
    }

    fn output_shift(&self) -> Result<Option<CheckRecord>, ProbeError> {
        let Some(range) = self.range(Layer::Output, Role::Bias) else { return Ok(None) };
        let classes = range.len() as f64;
        let unit = classes.sqrt().recip();
        let shift =
            Col::from_fn(self.looked.hessian.size(), |row| if range.contains(&row) { unit } else { 0.0 });
        let value = self.along(shift.as_ref())?.norm_l2() / self.scale;
        // Of each sample K terms cancel.
        let bound = (classes + 4.0) * self.epsilon();
        Ok(Some(self.check("output shift", "|H u| / |H|, u a shift of all output biases", value, bound)))
    }

    /// Where batch norm's statistics are those of a batch, the loss does not change when the weights and
    /// biases r of the layer before it are multiplied by c > 0, but for epsilon's share:
    /// L(c r; epsilon) = L(r; epsilon / c^2). Differentiated by the parameters and by c at c = 1,
    ///
    /// ```text
    /// H r = -g_r - 2 epsilon dg / d epsilon,
    /// ```
    ///
    /// g_r being the gradient g with respect to r (Euler's theorem of homogeneous functions).
    fn scaled_rows(&self) -> Result<Vec<CheckRecord>, ProbeError> {
        let looked = self.looked;
        let shape = looked.network.shape();
        let by_batch = looked.request.statistics != Statistics::Running;
        let roles: &[Role] = match shape.normalisation.kind {
            Kind::Batch | Kind::Scale if by_batch => &[Role::Weight, Role::Bias],
            // v alone, and no epsilon.
            Kind::Weight => &[Role::Weight],
            _ => return Ok(Vec::new()),
        };
        let values = looked.network.parameters()?;
        let mut checks = Vec::new();
        for index in 0..shape.hidden.len() {
            let layer = Layer::Hidden(index);
            let ranges: Vec<_> =
                roles.iter().filter_map(|&role| Some((self.range(layer, role)?, role))).collect();
            if ranges.len() < roles.len() {
                continue;
            }
            let mut rows = Col::zeros(looked.hessian.size());
            let mut left = match shape.normalisation.kind {
                Kind::Weight => Col::zeros(looked.hessian.size()),
                _ => self.of_epsilon(index)?,
            };
            let cut_off = OF_EPSILON * OF_EPSILON * left.norm_l2();
            let own = gradient(&looked.hessian)?;
            for (range, role) in ranges {
                let of_it = |parameter: &Parameter| (parameter.layer, parameter.role) == (layer, role);
                if let Some((_, values)) = values.iter().find(|(parameter, _)| of_it(parameter)) {
                    let place = rows.as_mut().subrows_mut(range.start, range.len());
                    place.iter_mut().zip(values).for_each(|(row, value)| *row = *value);
                }
                let mut left = left.as_mut().subrows_mut(range.start, range.len());
                left += own.subrows(range.start, range.len());
            }
            left += self.along(rows.as_ref())?;
            let unit = self.scale * rows.norm_l2();
            let value = left.norm_l2() / unit;
            let quantity = "|H r + g_r + 2 epsilon dg/d epsilon| / (|H| |r|)";
            let name = format!("scaled rows of layer {}", index + 1);
            checks.push(CheckRecord {
                name,
                ..self.check("", quantity, value, self.rounding() + cut_off / unit)
            });
        }
        Ok(checks)
    }

    /// 2 epsilon dg / d epsilon of a layer's batch norm = 2 dg / d ln epsilon, by a central difference.
    fn of_epsilon(&self, index: usize) -> Result<Col<f64>, ProbeError> {
        let looked = self.looked;
        let epsilon = looked.network.shape().normalisation.epsilon;
        let at = |change: f64| {
            let network: Network = looked.network.clone().with_epsilon(index, epsilon * change.exp());
            gradient(&looked.of(&network, &looked.parameters)?)
        };
        Ok((at(OF_EPSILON)? - at(-OF_EPSILON)?) * OF_EPSILON.recip())
    }

    /// Where the elements of a tensor are, if it is among the parameters.
    fn range(&self, layer: Layer, role: Role) -> Option<Range<usize>> {
        let mut start = 0;
        for (parameter, size) in self.looked.parameters.iter().zip(self.looked.sizes()) {
            if (parameter.layer, parameter.role) == (layer, role) {
                return Some(start..start + size.elements);
            }
            start += size.elements;
        }
        None
    }

    /// What a product's sums round: over the inputs, the units and, with 4 sqrt(N) roundings at the most
    /// (Higham and Mary 2019, theorem 2.4), the samples.
    fn rounding(&self) -> f64 {
        let shape = self.looked.network.shape();
        let widths = shape.inputs + shape.hidden.iter().sum::<usize>() + shape.classes;
        let samples = self.looked.split.all() as f64;
        (widths as f64 + samples.min(4.0 * samples.sqrt())) * self.epsilon()
    }

    fn check(&self, name: &str, quantity: &str, value: f64, bound: f64) -> CheckRecord {
        CheckRecord {
            name: name.to_owned(),
            quantity: quantity.to_owned(),
            value: value.is_finite().then_some(value),
            bound,
            passed: value <= bound,
        }
    }
}

/// A check that could see nothing.
fn blind(name: &str, quantity: &str) -> CheckRecord {
    CheckRecord {
        name: name.to_owned(),
        quantity: quantity.to_owned(),
        value: None,
        bound: 1.0,
        passed: true,
    }
}

fn gradient(hessian: &NetworkHessian) -> Result<Col<f64>, ProbeError> {
    Ok(hessian.gradient()?.into_iter().collect())
}
