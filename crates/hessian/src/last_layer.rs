//! What the last layer's Hessian is as an operator, from its samples and as a matrix.
//!
//! One product of H with a direction V [K, m] is three steps a chunk,
//!
//! ```text
//! u_n = V g_n,    w_n = S_n u_n = p_n (u_n - p_n . u_n),    H V = 1/N sum_n w_n g_n^T,
//! ```
//!
//! 4 N K m operations and no memory beyond the samples and some directions. Several directions
//! share the two matrix products. S_n ignores what all classes share, and u_c of the likeliest class c
//! is taken off all of u first: of a sample whose p_c is nearly one, u_c - p_n . u_n would cancel
//! to rounding, and what is left is the sum of the others' p_a (u_a - u_c).
//!
//! Of one logit w_n = p_n (1 - p_n) u_n.
//!
//! Softmax ignores a shift of all logits: H maps what all classes share, 1 (x) v for every
//! v, to zero. That is m of K m dimensions, and taking it out leaves contrasts of the classes.

use std::ops::SubAssign;

use burn::tensor::{Tensor, TensorData};
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Col, Mat, MatMut, MatRef};

use crate::{
    Hessian, HessianError, Samples, SymmetricOperator, classes, host::doubles, operator::check_rows,
    products::curved_product, samples::Chunk, subspace::product,
};

impl SymmetricOperator for Samples {
    fn size(&self) -> usize {
        Samples::size(self)
    }

    fn epsilon(&self) -> f64 {
        Samples::epsilon(self)
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        check_rows(self.size(), block)?;
        product_with(self, block)
    }

    fn is_semi_definite(&self) -> bool {
        true
    }

    fn known_nullity(&self) -> usize {
        classes::zeros_of_shift(self.features(), self.classes())
    }

    fn take_out_null(&self, block: MatMut<'_, f64>) {
        take_out_class_means(block, self.features(), self.classes());
    }

    fn eigenvectors(&self) -> Result<Mat<f64>, HessianError> {
        self.hessian()?.eigenvectors()
    }
}

impl SymmetricOperator for Hessian {
    fn size(&self) -> usize {
        Hessian::size(self)
    }

    fn epsilon(&self) -> f64 {
        Hessian::epsilon(self)
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        check_rows(self.size(), block)?;
        Ok(product(self.matrix(), block))
    }

    fn is_semi_definite(&self) -> bool {
        true
    }

    fn known_nullity(&self) -> usize {
        classes::zeros_of_shift(self.features(), self.classes())
    }

    fn take_out_null(&self, block: MatMut<'_, f64>) {
        take_out_class_means(block, self.features(), self.classes());
    }

    fn eigenvectors(&self) -> Result<Mat<f64>, HessianError> {
        Ok(self.eigenpairs()?.vectors)
    }
}

/// H V for directions V [K m, k], flattened class by class.
fn product_with(samples: &Samples, directions: MatRef<f64>) -> Result<Mat<f64>, HessianError> {
    if samples.count() == 0 {
        return Err(HessianError::NoSamples);
    }
    let (size, count) = (samples.size(), directions.ncols());
    let flat: Vec<f64> = directions.col_iter().flat_map(|column| column.iter().copied()).collect();
    // A direction after the other, [k K, m].
    let data = TensorData::new(flat, [count * samples.classes(), samples.features()]);
    let mut sum = Mat::zeros(size, count);
    for chunk in samples.chunks() {
        let Chunk { features, probabilities } = chunk?;
        let place = (&features.device(), features.dtype());
        let directions = Tensor::<2>::from_data(data.clone().convert_dtype(place.1), place);
        let probabilities = if samples.classes() == 1 { probabilities.prod_dim(1) } else { probabilities };
        let product = doubles(curved_product(features, probabilities, directions))?;
        sum += MatRef::from_column_major_slice(&product, size, count);
    }
    samples.add_up(&mut sum)?;
    Ok(sum * faer::Scale((samples.count() as f64).recip()))
}

/// What is left of directions [K m, k] without what all classes share; one logit shares nothing.
fn take_out_class_means(block: MatMut<'_, f64>, m: usize, k: usize) {
    if k == 1 {
        return;
    }
    for mut direction in block.col_iter_mut() {
        let mut mean = Col::<f64>::zeros(m);
        (0..k).for_each(|class| mean += direction.rb().subrows(class * m, m));
        mean /= faer::Scale(k as f64);
        (0..k).for_each(|class| direction.rb_mut().subrows_mut(class * m, m).sub_assign(&mean));
    }
}
