//! The same features under other weights: what a last layer says when it is moved.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData};
use faer::MatRef;
use rayon::prelude::*;

use crate::{
    Chunk, HessianError, InputError, SampleSource, Samples, classes,
    probabilities::softmax,
    samples::{doubles, unit},
    subspace::product,
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
        weighted(self.source.chunk(index)?, &self.weights, self.dtype)
    }
}

impl Samples {
    /// The same features, with the probabilities that a layer of these weights gives them: the softmax of
    /// W g + b in f64, or the sigmoid of one logit.
    ///
    /// ```
    /// use kappa_hessian::{Samples, Weights, burn::tensor::Device};
    ///
    /// let samples = Samples::from_slices(1, 2, &[2.0], &[0.5, 0.5], &Device::flex())?;
    /// let weights = Weights { elements: vec![0.0, 0.5], offsets: vec![0.0, -1.0] };
    /// assert_eq!(samples.with_weights(&weights)?.loss(&[0])?, 2f64.ln());
    /// # Ok::<(), kappa_hessian::HessianError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HessianError::WrongWeights`], [`HessianError::Device`], and as [`Self::chunks`].
    pub fn with_weights(&self, weights: &Weights) -> Result<Self, HessianError> {
        self.check_weights(weights)?;
        let mut samples = self.as_weighted(weights)?;
        samples.input_error = InputError {
            features: self.input_error.features,
            probabilities: unit(self.dtype),
            underflow: InputError::underflow(unit(self.dtype)),
            ..InputError::of_softmax(classes::columns(self.classes()), f64::EPSILON)
        };
        Ok(samples)
    }

    fn as_weighted(&self, weights: &Weights) -> Result<Self, HessianError> {
        let mut samples = self.clone();
        if let Some(source) = &self.source {
            let (source, weights) = (source.clone(), weights.clone());
            samples.source = Some(Arc::new(Weighted { source, weights, dtype: self.dtype }));
        }
        let chunks = self.chunks.iter().map(|chunk| weighted(chunk.clone(), weights, self.dtype));
        samples.chunks = chunks.collect::<Result<_, _>>()?;
        Ok(samples)
    }

    /// The mean loss for these labels under other weights, in nats, from the logits:
    ///
    /// ```text
    /// mean_n (z_c - z_y) + ln(1 + sum_(a /= c) exp(z_a - z_c)),      c the class of the largest logit
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::with_weights`], [`HessianError::WrongLabels`].
    pub fn loss_with(&self, labels: &[usize], weights: &Weights) -> Result<f64, HessianError> {
        self.check_labels(labels)?;
        self.check_weights(weights)?;
        let k = self.classes();
        let parts = self.on_host(|chunk| {
            let logits = weights.logits(&chunk.features);
            logits
                .chunks_exact(k)
                .zip(&labels[chunk.first..])
                .map(|(z, &label)| loss_of_logits(z, label))
                .sum::<f64>()
        })?;
        Ok(self.sum_of_all(parts.into_iter().sum())? / self.count() as f64)
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

fn weighted(chunk: Chunk, weights: &Weights, dtype: DType) -> Result<Chunk, HessianError> {
    let classes = weights.offsets.len();
    let columns = classes::columns(classes);
    let logits = weights.logits(&doubles(chunk.features.clone())?);
    let mut probabilities = vec![0.0; logits.len() / classes * columns];
    let rows = probabilities.par_chunks_mut(columns).zip(logits.par_chunks(classes));
    rows.for_each(|(p, z)| {
        let found = if classes == 1 { softmax(&[0.0, z[0]]) } else { softmax(z) };
        p.copy_from_slice(&found);
    });
    let device = chunk.features.device();
    let shape = [probabilities.len() / columns, columns];
    let data = TensorData::new(probabilities, shape).convert_dtype(dtype);
    Ok(Chunk { probabilities: Tensor::from_data(data, (&device, dtype)), features: chunk.features })
}
