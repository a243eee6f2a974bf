//! What the last layer's Hessian is as an operator, from its samples and as a matrix.
//!
//! One product of H with a direction V [K, m] is three steps a chunk,
//!
//! ```text
//! u_n = V g_n,    w_n = S_n u_n = p_n (u_n - p_n . u_n),    H V = 1/N sum_n w_n g_n^T,
//! ```
//!
//! 4 N K m operations and no memory beyond the samples and some directions.
//!
//! Softmax ignores a shift of all logits: H maps what all classes share, 1 (x) v for every
//! v, to zero. That is m of K m dimensions, and taking it out leaves contrasts of the classes.

use burn::tensor::{Tensor, TensorData};
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Mat, MatMut, MatRef};

use crate::{
    Hessian, HessianError, Samples, SymmetricOperator,
    operator::check_rows,
    samples::{Chunk, doubles},
    subspace::product,
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
        let mut images = Mat::zeros(block.nrows(), block.ncols());
        for (mut image, column) in images.col_iter_mut().zip(block.col_iter()) {
            let elements = product_with(self, column.iter().copied().collect())?;
            image.rb_mut().iter_mut().zip(elements).for_each(|(image, element)| *image = element);
        }
        Ok(images)
    }

    fn is_semi_definite(&self) -> bool {
        true
    }

    fn known_nullity(&self) -> usize {
        self.features()
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
        self.features()
    }

    fn take_out_null(&self, block: MatMut<'_, f64>) {
        take_out_class_means(block, self.features(), self.classes());
    }

    fn eigenvectors(&self) -> Result<Mat<f64>, HessianError> {
        Ok(self.eigenpairs()?.vectors)
    }
}

/// H v for a direction v [K m], flattened class by class.
fn product_with(samples: &Samples, direction: Vec<f64>) -> Result<Vec<f64>, HessianError> {
    if samples.count() == 0 {
        return Err(HessianError::NoSamples);
    }
    let data = TensorData::new(direction, [samples.classes(), samples.features()]);
    let mut sum = vec![0.0; samples.size()];
    for Chunk { features, probabilities } in samples.chunks().iter().cloned() {
        let place = (&features.device(), features.dtype());
        let direction = Tensor::<2>::from_data(data.clone().convert_dtype(place.1), place);
        let along = features.clone().matmul(direction.transpose());
        let mean = (probabilities.clone() * along.clone()).sum_dim(1);
        let curved = probabilities * (along - mean);
        let product = doubles(curved.transpose().matmul(features))?;
        for (sum, addend) in sum.iter_mut().zip(product) {
            *sum += addend;
        }
    }
    let count = samples.count() as f64;
    sum.iter_mut().for_each(|sum| *sum /= count);
    Ok(sum)
}

/// What is left of directions [K m, k] without what all classes share.
fn take_out_class_means(block: MatMut<'_, f64>, m: usize, k: usize) {
    for mut direction in block.col_iter_mut() {
        for feature in 0..m {
            let mean = direction.rb().iter().skip(feature).step_by(m).sum::<f64>() / k as f64;
            direction.rb_mut().iter_mut().skip(feature).step_by(m).for_each(|element| *element -= mean);
        }
    }
}
