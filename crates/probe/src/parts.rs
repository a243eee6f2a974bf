//! The rows of arrays as samples: on a device, of a type, logits as probabilities.

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LayerError, Matrix, Scores};
use kappa_hessian::{Chunk, HessianError, SampleSource, with_constant_feature};

use crate::{ProbeError, reading::Reader};

/// What goes wrong while arrays are read again.
pub(crate) fn of_source(error: LayerError) -> ProbeError {
    HessianError::Source(Box::new(error)).into()
}

/// What goes wrong while rows are read to be kept.
pub(crate) enum Kept {
    Layer(LayerError),
    Stopped,
}

impl From<LayerError> for Kept {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl From<Kept> for ProbeError {
    fn from(error: Kept) -> Self {
        match error {
            Kept::Layer(error) => of_source(error),
            Kept::Stopped => HessianError::Stopped.into(),
        }
    }
}

/// The samples in parts, each made of some rows of the arrays when it is asked for.
#[derive(Debug)]
pub(crate) struct Parts {
    pub reader: Reader,
    pub bias: bool,
    pub device: Device,
    pub dtype: DType,
}

impl Parts {
    fn make(&self, index: usize) -> Result<Chunk, LayerError> {
        let place = (&self.device, self.dtype);
        let (features, scores) = self.reader.read(index)?;
        let features = tensor(features, place);
        let features = if self.bias { with_constant_feature(features) } else { features };
        let probabilities = match self.reader.scores() {
            Scores::Logits(_) if scores.columns == 1 => {
                // The sigmoid of a logit is the softmax of [0, z].
                softmax(shifted(beside(&scores, |_| 0.0), place), 1)
            }
            Scores::Logits(_) => softmax(shifted(scores, place), 1),
            // 1 - p is formed before it is rounded.
            Scores::Probabilities(_) if scores.columns == 1 => tensor(beside(&scores, |p| 1.0 - p), place),
            Scores::Probabilities(_) => {
                let scores = tensor(scores, place);
                // In this precision's own rounding.
                scores.clone() / scores.sum_dim(1)
            }
        };
        Ok(Chunk { features, probabilities })
    }
}

impl SampleSource for Parts {
    fn chunks(&self) -> usize {
        self.reader.parts()
    }

    fn chunk(&self, index: usize) -> Result<Chunk, HessianError> {
        self.make(index).map_err(|error| HessianError::Source(Box::new(error)))
    }
}

/// What class 0 has beside what class 1 has, for each sample: [N, 1] -> [N, 2].
pub(crate) fn beside(of_class_1: &Matrix, of_class_0: impl Fn(f64) -> f64) -> Matrix {
    let elements = doubles(of_class_1).iter().flat_map(|&x| [of_class_0(x), x]).collect();
    Matrix { rows: of_class_1.rows, columns: 2, elements: Elements::F64(elements) }
}

/// A matrix's elements, row by row.
pub(crate) fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

/// Logits on a device and of a type. Where that type has fewer digits, each row's largest is taken
/// off before they are rounded: a softmax ignores what all logits share, and their differences are
/// not to be rounded to its size.
fn shifted(logits: Matrix, place: (&Device, DType)) -> Tensor<2> {
    let (Elements::F64(elements), DType::F32) = (&logits.elements, place.1) else {
        return tensor(logits, place);
    };
    let row = |z: &[f64]| {
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter().map(|z| (z - largest) as f32).collect::<Vec<_>>()
    };
    let data: Vec<f32> = elements.chunks_exact(logits.columns).flat_map(row).collect();
    Tensor::from_data(TensorData::new(data, [logits.rows, logits.columns]), place)
}

/// A matrix on a device and of a type.
fn tensor(matrix: Matrix, place: (&Device, DType)) -> Tensor<2> {
    let shape = [matrix.rows, matrix.columns];
    let data = match matrix.elements {
        Elements::F32(elements) => TensorData::new(elements, shape),
        Elements::F64(elements) => TensorData::new(elements, shape),
    };
    Tensor::from_data(data.convert_dtype(place.1), place)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kappa_data::{LastLayer, Rows};

    use super::*;
    use crate::samples::numbers;

    /// In f32 1e15 + 1 and 1e15 are one number, and so were their probabilities.
    #[test]
    fn what_logits_share_is_taken_off_before_they_lose_digits() {
        let device = Device::flex();
        let elements = Elements::F64([1e15 + 1.0, 1e15, -1e15, 3.0 - 1e15, 1.7e308, -1.7e308].to_vec());
        let logits = Matrix { rows: 3, columns: 2, elements };
        let single = shifted(logits.clone(), (&device, DType::F32));
        let expected = [0.0, -1.0, -3.0, 0.0, 0.0, f64::NEG_INFINITY];
        assert_eq!(numbers(single.clone()).unwrap(), expected);
        assert!(numbers(softmax(single, 1)).unwrap().iter().all(|p| p.is_finite()));
        // Where no digits are lost all are as they are.
        assert_eq!(numbers(shifted(logits, (&device, DType::F64))).unwrap()[2..4], [-1e15, 3.0 - 1e15]);
    }

    /// The probability of the class that a certain sample is not of keeps its digits.
    #[test]
    fn one_logit_is_a_sigmoid() {
        let column = |elements: &[f64]| {
            let elements = Elements::F64(elements.to_vec());
            Rows::from(Matrix { rows: 3, columns: 1, elements })
        };
        let made = |scores: &Scores, dtype: DType| {
            let features = Rows::from(Matrix { rows: 3, columns: 1, elements: Elements::F64(vec![1.0; 3]) });
            let arrays = Arc::new(LastLayer {
                place: (0, 3),
                features,
                scores: scores.clone(),
                weights: None,
                labels: None,
                ignored: None,
                files: Vec::new(),
                logits_are_distributions: false,
                is_read_again: false,
            });
            let parts =
                Parts { reader: Reader::new(arrays, 3, 3), bias: false, device: Device::flex(), dtype };
            numbers(parts.make(0).unwrap().probabilities).unwrap()
        };
        let logits = Scores::Logits(column(&[40.0, -40.0, 0.5]));
        let small = (-40.0f64).exp();
        for (dtype, epsilon) in [(DType::F64, f64::EPSILON), (DType::F32, f64::from(f32::EPSILON))] {
            let half = 1.0 / (1.0 + (-0.5f64).exp());
            for (found, expected) in
                made(&logits, dtype).iter().zip([small, 1.0, 1.0, small, 1.0 - half, half])
            {
                // The softmax of two: K + 6 roundings, and an argument of 40 rounded by half a unit.
                assert!((found / expected - 1.0).abs() < 28.0 * epsilon, "{found} {expected}");
            }
        }
        let probabilities = Scores::Probabilities(column(&[1.0 - 1e-9, 0.25, 0.0]));
        let found = made(&probabilities, DType::F32);
        assert!((found[0] / 1e-9 - 1.0).abs() < 1e-6 && found[2..4] == [0.75, 0.25], "{found:?}");
    }
}
