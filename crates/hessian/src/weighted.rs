//! The same features under other weights: what a last layer says when it is moved.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData};
use faer::{Mat, MatRef};
use kappa_fused::clear_upper_halves;

use crate::{
    Chunk, HessianError, InputError, SampleSource, Samples, classes, directions::logit_gradients,
    host::doubles, probabilities::softmax, samples::unit, subspace::product,
};

/// A last layer's weights [K, m], class by class, and what is added to each class's logit: z = W g + b.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// W: [K m].
    pub elements: Vec<f64>,
    /// b, one for each class. Zeros where the bias is the weight of a constant feature.
    pub offsets: Vec<f64>,
}

impl Weights {
    /// The logits [n, K], row by row, of features [n, m].
    pub fn logits(&self, features: &[f64]) -> Vec<f64> {
        let k = self.offsets.len();
        let m = self.elements.len() / k.max(1);
        let features = MatRef::from_row_major_slice(features, features.len() / m.max(1), m);
        let weights = MatRef::from_row_major_slice(&self.elements, k, m);
        let made = product(features, weights.transpose());
        (0..made.nrows())
            .flat_map(|n| (0..k).map(move |a| (n, a)))
            .map(|(n, a)| made[(n, a)] + self.offsets[a])
            .collect()
    }
}

/// Features of others, with probabilities by weights of one's own.
#[derive(Debug)]
struct Weighted {
    source: Arc<dyn SampleSource>,
    weights: Weights,
    dtype: DType,
}

impl SampleSource for Weighted {
    fn chunks(&self) -> usize {
        self.source.chunks()
    }

    fn chunk(&self, index: usize) -> Result<Chunk, HessianError> {
        let Chunk { features, .. } = self.source.chunk(index)?;
        let classes = self.weights.offsets.len();
        let probabilities = probabilities(&self.weights.logits(&doubles(features.clone())?), classes);
        Ok(Chunk { probabilities: tensor(&probabilities, &features, classes, self.dtype), features })
    }
}

/// What a last layer of other weights says of the same samples.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The same features, with the probabilities that these weights give them: the softmax of W g + b in f64, or the
    /// sigmoid of one logit.
    pub samples: Samples,
    /// The mean loss in nats, from the logits ([`loss_of_logits`]).
    pub loss: f64,
    /// Its gradient, mean_n (p_n - y_n) g_n^T, flattened class by class: [K m].
    pub gradient: Vec<f64>,
}

impl Samples {
    /// The same samples with a label each, under other weights, in one pass.
    ///
    /// ```
    /// use kappa_hessian::{Samples, Weights, burn::tensor::Device};
    ///
    /// let samples = Samples::from_slices(1, 2, &[2.0], &[0.9, 0.1], &Device::flex())?;
    /// let weights = Weights { elements: vec![0.0, 0.5], offsets: vec![0.0, -1.0] };
    /// let moved = samples.moved(&weights, &[0])?;
    /// assert_eq!((moved.loss, moved.gradient), (2f64.ln(), vec![-1.0, 1.0]));
    /// assert_eq!(moved.samples.trace()?, 2.0);
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongWeights`], [`HessianError::WrongLabels`], [`HessianError::Device`], and as
    /// [`Self::chunks`].
    pub fn moved(&self, weights: &Weights, labels: &[usize]) -> Result<Moved, HessianError> {
        self.check_weights(weights)?;
        self.check_labels(labels)?;
        let (m, k) = (self.features(), self.classes());
        // What a source makes comes first, and is made again when it is wanted.
        let first_held = self.first() + self.count - self.chunks.iter().map(Chunk::rows).sum::<usize>();
        let parts = self.on_host(|chunk| {
            let labels = &labels[chunk.first..];
            let logits = weights.logits(&chunk.features);
            let loss: f64 =
                logits.chunks_exact(k).zip(labels).map(|(z, &label)| loss_of_logits(z, label)).sum();
            let probabilities = probabilities(&logits, k);
            let g = MatRef::from_row_major_slice(&chunk.features, chunk.rows, m);
            let errors = logit_gradients(probabilities.clone(), labels, k);
            let gradient = product(g.transpose(), MatRef::from_row_major_slice(&errors, chunk.rows, k));
            (loss, gradient, (chunk.first >= first_held).then_some(probabilities))
        })?;
        let (mut loss, mut gradient, mut probabilities) = (0.0, Mat::zeros(m, k), Vec::new());
        for (of_part, direction, found) in parts {
            loss += of_part;
            gradient += direction;
            probabilities.extend(found.unwrap_or_default());
        }
        Ok(Moved {
            samples: self.weighted(weights, &probabilities),
            loss: self.sum_of_all(loss)? / self.count() as f64,
            gradient: self.mean_by_class(gradient)?,
        })
    }

    /// With the probabilities of what is held, in order.
    fn weighted(&self, weights: &Weights, probabilities: &[f64]) -> Self {
        let mut samples = self.clone();
        if let Some(source) = &self.source {
            let (source, weights) = (source.clone(), weights.clone());
            samples.source = Some(Arc::new(Weighted { source, weights, dtype: self.dtype }));
        }
        let mut rest = probabilities;
        for chunk in &mut samples.chunks {
            let (own, others) = rest.split_at(chunk.rows() * classes::columns(self.classes()));
            chunk.probabilities = tensor(own, &chunk.features, self.classes(), self.dtype);
            rest = others;
        }
        samples.input_error = InputError {
            features: self.input_error.features,
            probabilities: unit(self.dtype),
            underflow: InputError::underflow(unit(self.dtype)),
            ..InputError::of_softmax(classes::columns(self.classes()), f64::EPSILON)
        };
        samples
    }

    fn check_weights(&self, weights: &Weights) -> Result<(), HessianError> {
        let (found, offsets) = (weights.elements.len(), weights.offsets.len());
        if found != self.size() || offsets != self.classes() {
            let (size, classes) = (self.size(), self.classes());
            return Err(HessianError::WrongWeights { found, size, offsets, classes });
        }
        Ok(())
    }
}

/// -ln p_y of logits; of one logit z of [0, z].
pub fn loss_of_logits(logits: &[f64], label: usize) -> f64 {
    clear_upper_halves();
    let (both, logits) = match *logits {
        [z] => ([0.0, z], None),
        _ => ([0.0; 2], Some(logits)),
    };
    let z = logits.unwrap_or(&both);
    let likeliest = (1..z.len()).fold(0, |best, class| if z[class] > z[best] { class } else { best });
    let others = z.iter().enumerate().filter(|&(class, _)| class != likeliest);
    let rest: f64 = others.map(|(_, other)| (other - z[likeliest]).exp()).sum();
    (z[likeliest] - z[label]) + rest.ln_1p()
}

/// The softmax of each of the logits [n, K], or the sigmoid of one, which has both classes.
fn probabilities(logits: &[f64], classes: usize) -> Vec<f64> {
    let of_sample = |z: &[f64]| if classes == 1 { softmax(&[0.0, z[0]]) } else { softmax(z) };
    logits.chunks_exact(classes).flat_map(of_sample).collect()
}

/// Probabilities where the features are.
fn tensor(probabilities: &[f64], features: &Tensor<2>, classes: usize, dtype: DType) -> Tensor<2> {
    let columns = classes::columns(classes);
    let data = TensorData::new(probabilities.to_vec(), [probabilities.len() / columns, columns]);
    Tensor::from_data(data.convert_dtype(dtype), (&features.device(), dtype))
}
