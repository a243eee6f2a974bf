//! The squares of the gradient of each sample for itself.

use burn::tensor::Tensor;
use kappa_fused::{DeviceError, piece};

use super::{Linearised, PiecePoint, PieceUpstreams, Upstreams, place, weight::WeightPoint};
use crate::{Layer, Parameter, Role};

impl Linearised {
    /// sum_n |dL_n/dt|^2 of each of `parameters`, L_n being what sample n has of the loss: one number each.
    /// With a bar for what came to the layers,
    ///
    /// ```text
    /// W: |a_n|^2 |z-_n|^2      b: |z-_n|^2      gamma: |y-_n h_n|^2      beta: |y-_n|^2
    /// g: sum_j (z-_nj u_j a_n)^2                v: sum_j (g_j / r_j z-_nj)^2 (|a_n|^2 - (u_j a_n)^2)
    /// ```
    ///
    /// the last two by weight norm.
    ///
    /// By a batch's statistics no sample is for itself, and these are numbers of no use.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if they cannot be read.
    pub fn squared_gradients(
        &self,
        upstreams: &Upstreams,
        parameters: &[Parameter],
    ) -> Result<Vec<f64>, DeviceError> {
        let (device, dtype) = place(&self.network);
        let mut pieces: Vec<_> = self.pieces.iter().zip(&upstreams.pieces).collect();
        let found = piece::map(&device, &mut pieces, |_, (piece, upstreams)| {
            let squares = |parameter| piece.squares(upstreams, parameter, &self.weights, dtype);
            parameters.iter().map(squares).collect::<Vec<_>>()
        });
        let mut sums = vec![0.0; parameters.len()];
        for squares in found {
            for (sum, squares) in sums.iter_mut().zip(squares) {
                let Some(squares) = squares else { continue };
                let squares = squares.try_into_data().map_err(DeviceError::new)?;
                *sum += squares.iter::<f64>().sum::<f64>();
            }
        }
        Ok(sums)
    }
}

impl PiecePoint {
    /// Of this piece, \[1\]; nothing where nothing came to the layer, or of what is not trained.
    fn squares(
        &self,
        upstreams: &PieceUpstreams,
        parameter: &Parameter,
        weights: &[Option<WeightPoint>],
        dtype: burn::tensor::DType,
    ) -> Option<Tensor<1>> {
        let of_rows = |rows: Tensor<2>| (rows.clone() * rows).sum_dim(1);
        let (index, preactivations, norm) = match parameter.layer {
            Layer::Hidden(index) => {
                let upstream = upstreams.layers.get(index)?.as_ref()?;
                (index, upstream.preactivations.clone(), Some(upstream.norm.clone()))
            }
            Layer::Output => (self.layers.len(), upstreams.logits.clone(), None),
        };
        let normalised = || Some(self.layers.get(index)?.normalised.as_ref()?.h.clone());
        let point = weights.get(index).and_then(Option::as_ref);
        let squares = match (parameter.role, point) {
            (role @ (Role::Weight | Role::Length), Some(point)) => {
                point.squares(role, self.inputs_of(index, dtype), preactivations)
            }
            (Role::Length, None) => return None,
            (Role::Weight, None) => of_rows(self.inputs_of(index, dtype)) * of_rows(preactivations),
            (Role::Bias, _) => of_rows(preactivations),
            (Role::Gain, _) => of_rows(norm? * normalised()?),
            (Role::Shift, _) => of_rows(norm?),
            (Role::RunningMean | Role::RunningVariance, _) => return None,
        };
        Some(squares.sum())
    }
}
