//! The last layer of any network, in arrays, which may be larger than the memory.

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use kappa_data::{LastLayer, Rows, Scores};
use kappa_hessian::{
    Chunk, HessianError, InputError, SampleSource, Samples, Weights,
    memory::{dense_bytes, density_bytes, krylov_bytes},
};
use kappa_run::{FileChecksum, IgnoredSamples, Request, SpectrumSettings, free_memory};
use kappa_trainer::Machine;
use kappa_world::{Combine, World};

use crate::{
    Layer, Observer, ProbeError,
    belonging::belonging,
    loss::share_of_loss,
    memory,
    parts::{Kept, Parts, beside, doubles, of_source},
    reading::Reader,
    samples::dtype,
};

/// Bytes of the wider array in one chunk, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// Bytes that reading and a product take beside what is kept: chunks, and the pieces and sums of each thread.
const WORK_BYTES: u64 = 128 << 20;

/// A last layer's features and logits, and what is known beside them.
#[derive(Debug)]
pub struct LayerArrays<'a> {
    /// The arrays.
    pub arrays: Arc<LastLayer>,
    /// What it is called.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// The L2 penalty of its training, 0 if it is not known.
    pub l2: f64,
    /// What computes.
    pub machine: &'a Machine,
    /// The processes that have samples: the arrays are this one's own.
    pub world: Arc<dyn World>,
}

impl LayerArrays<'_> {
    /// The layer, as `request` wants to see it. Arrays that are not in memory stay where they are, and
    /// are read again whenever the samples are gone through.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoDoublePrecision`], [`ProbeError::NoMemoryToKeep`], [`ProbeError::Device`],
    /// [`ProbeError::Hessian`], which [`kappa_data::LayerError`] may be the source of.
    pub fn layer(&self, request: &Request, observer: &dyn Observer) -> Result<Layer, ProbeError> {
        let start = Instant::now();
        let (samples, kept) = self.samples(request, observer)?;
        let belonging = if request.verify { belonging(&self.arrays, &*self.world)? } else { None };
        let labels = self.arrays.labels.as_ref().and_then(|labels| labels.get(..samples.count()));
        let loss = match labels {
            Some(labels) => loss(&self.arrays, labels, &*self.world)?,
            None => None,
        };
        let checksum = |file: &kappa_data::FileDigest| FileChecksum {
            file: file.file.clone(),
            sha256: file.sha256.clone(),
        };
        Ok(Layer {
            settings: SpectrumSettings {
                request: request.clone(),
                source: self.source.clone(),
                network: self.name.clone(),
                epoch: None,
                data: None,
                data_files: Vec::new(),
                scaling: None,
                samples: samples.count(),
                features: samples.features(),
                classes: samples.classes(),
                statistics: None,
                epsilon: None,
                interpretation: kappa_run::Interpretation::default(),
                files: self.arrays.files.iter().map(checksum).collect(),
                scores: Some(match self.arrays.scores {
                    Scores::Logits(_) => kappa_run::Scores::Logits,
                    Scores::Probabilities(_) => kappa_run::Scores::Probabilities,
                }),
                ignored: self
                    .arrays
                    .ignored
                    .map(|ignored| IgnoredSamples { label: ignored.label, samples: ignored.samples }),
                input_checks: belonging.into_iter().collect(),
                backend: self.machine.provenance.backend,
                device: self.machine.provenance.device.clone(),
                l2: self.l2,
            },
            // With the bias among the parameters the weights are not all of them.
            weights: self.arrays.weights.as_ref().filter(|_| !request.bias).map(doubles),
            loss,
            labels: labels.map(<[usize]>::to_vec),
            samples,
            kept,
            adam: None,
            others: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// The weights and biases that make the logits of the features; with `bias` the biases are the weights of a
    /// constant feature, the last one. W has to be given; b is the mean of z - W g, class by class.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Missing`], [`ProbeError::NoLogits`], and as [`Self::layer`].
    pub fn weights(&self, bias: bool) -> Result<Weights, ProbeError> {
        let Scores::Logits(logits) = &self.arrays.scores else {
            return Err(ProbeError::NoLogits("probabilities do not say which"));
        };
        let weights = self.arrays.weights.as_ref().ok_or(ProbeError::Missing("weights"))?;
        let (w, m, k) = (doubles(weights), weights.columns, weights.rows);
        let mut offsets = vec![0.0; k];
        let made = Weights { elements: w.clone(), offsets: offsets.clone() };
        let wider = if k > m { logits } else { &self.arrays.features };
        for range in wider.ranges(CHUNK_BYTES / size_of::<f64>()) {
            let g = doubles(&self.arrays.features.read(range.clone()).map_err(of_source)?);
            let z = doubles(&logits.read(range).map_err(of_source)?);
            for (z, made) in z.chunks_exact(k).zip(made.logits(&g).chunks_exact(k)) {
                offsets.iter_mut().zip(z.iter().zip(made)).for_each(|(sum, (z, made))| *sum += z - made);
            }
        }
        offsets.iter_mut().for_each(|sum| *sum /= logits.count() as f64);
        if !offsets.iter().all(|offset| offset.is_finite()) {
            return Err(ProbeError::NoLogits("some are -inf"));
        }
        Ok(match bias {
            false => Weights { elements: w, offsets },
            true => {
                let rows = w.chunks_exact(m).zip(&offsets);
                let elements = rows.flat_map(|(w, b)| w.iter().chain([b]).copied()).collect();
                Weights { elements, offsets: vec![0.0; k] }
            }
        })
    }

    /// The samples, and how many of them are kept in memory where not all are.
    fn samples(
        &self,
        request: &Request,
        observer: &dyn Observer,
    ) -> Result<(Samples, Option<usize>), ProbeError> {
        let (device, dtype) = (self.machine.device.clone(), dtype(request.precision));
        if !device.supports_dtype(dtype) {
            return Err(ProbeError::NoDoublePrecision);
        }
        let (features, scores) = (&self.arrays.features, self.arrays.scores.rows());
        let (first, all) = self.arrays.place;
        let limit = request.limit.map_or(usize::MAX, usize::from);
        let (count, all) = (features.count().min(limit.saturating_sub(first)), all.min(limit));
        let mut distributions = [f64::from(u8::from(self.arrays.logits_are_distributions))];
        self.world.combine(&mut distributions, Combine::Smallest)?;
        if distributions == [1.0] {
            return Err(of_source(self.arrays.no_logits()));
        }
        let (m, classes) = (features.columns() + usize::from(request.bias), scores.columns());
        let rows = (CHUNK_BYTES / (features.columns().max(classes) * size_of::<f64>())).max(1);
        let arrays = self.arrays.clone();
        let mut kept = None;
        let mut parts = Parts { reader: Reader::new(arrays, rows, count), bias: request.bias, device, dtype };
        let samples = if features.is_in_memory() && scores.is_in_memory() {
            observer.stage(&self.name, Some(count));
            let mut samples = Samples::new(m, classes, dtype)?;
            for index in 0..parts.chunks() {
                let Chunk { features, probabilities } = parts.chunk(index)?;
                samples.push(features, probabilities)?;
                if observer.advance(parts.reader.range(index).len()).is_break() {
                    return Err(HessianError::Stopped.into());
                }
            }
            samples
        } else {
            if request.keep_matrix {
                memory::check_kept(count, m + classes)?;
            }
            observer.stage(&self.name, Some(count));
            parts.reader.keep(self.room(request, m, classes), |rows| match observer.advance(rows) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Kept::Stopped),
            })?;
            kept = Some(parts.reader.rows_kept());
            Samples::from_source(m, classes, count, dtype, Arc::new(parts))?
        };
        let error = self.input_error(samples.epsilon());
        let samples = match self.world.processes() {
            1 => samples,
            _ => samples.shared(self.world.clone(), first, all),
        };
        Ok((samples.with_input_error(error), kept))
    }

    /// Bytes in which arrays that are read again can be kept: what is free, but for what is computed of them, and for
    /// a fifth of the rest.
    fn room(&self, request: &Request, features: usize, classes: usize) -> u64 {
        if !self.arrays.is_read_again {
            return 0;
        }
        let size = features.saturating_mul(classes);
        let top = request.top.map_or(0, |count| krylov_bytes(size, count.get()));
        let density = request.density.map_or(0, |density| density_bytes(size, density.steps.get()));
        let needed = if request.is_matrix_free() { top.max(density) } else { dense_bytes(features, classes) };
        free_memory().saturating_sub(needed).saturating_sub(WORK_BYTES) / 5 * 4
    }

    /// How far what is computed with, in an arithmetic of unit `epsilon`, is from what is in the files.
    fn input_error(&self, epsilon: f64) -> InputError {
        let rounded = |rows: &Rows| if rows.is_double() && epsilon > f64::EPSILON { epsilon } else { 0.0 };
        let (features, scores) = (&self.arrays.features, self.arrays.scores.rows());
        let columns = scores.columns();
        let of_scores = match self.arrays.scores {
            // Rounded after the largest was taken off: so by a unit of the difference.
            Scores::Logits(_) => {
                // Of one logit it is that of [0, z].
                let softmax = InputError::of_softmax(columns.max(2), epsilon);
                InputError { logits: softmax.logits + rounded(scores), ..softmax }
            }
            // Rounded, and divided by a sum of K.
            Scores::Probabilities(_) => InputError {
                probabilities: rounded(scores) + (columns as f64 + 1.0) * epsilon,
                underflow: if rounded(scores) > 0.0 { InputError::underflow(epsilon) } else { 0.0 },
                ..InputError::default()
            },
        };
        InputError { features: rounded(features), ..of_scores }
    }
}

/// The mean loss by the logits over all processes' samples, whose `labels` these are; none of probabilities, or if
/// it is not finite.
fn loss(arrays: &LastLayer, labels: &[usize], world: &dyn World) -> Result<Option<f64>, ProbeError> {
    let Scores::Logits(logits) = &arrays.scores else { return Ok(None) };
    let own = labels.get(arrays.place.0..).unwrap_or_default();
    let mut mean = [0.0];
    for range in logits.ranges(CHUNK_BYTES / size_of::<f64>()) {
        // Of a limited number of samples the last part is shorter, or there is none.
        let Some(of_part) = own.get(range.start..range.end.min(own.len())) else { break };
        let part = logits.read(range.start..range.start + of_part.len()).map_err(of_source)?;
        let both = if part.columns == 1 { beside(&part, |_| 0.0) } else { part };
        mean[0] += share_of_loss(&doubles(&both), both.columns, of_part, labels.len());
    }
    world.combine(&mut mean, Combine::Sum)?;
    Ok(Some(mean[0]).filter(|mean| mean.is_finite()))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use kappa_data::{Elements, Matrix};
    use kappa_hessian::verify;
    use kappa_run::{Precision, Provenance};
    use kappa_world::Alone;

    use super::*;

    fn loss_of(scores: &Scores, labels: &[usize]) -> f64 {
        loss(&layer_of(scores.rows().clone(), scores.clone()), labels, &Alone).unwrap().unwrap()
    }

    /// Of a sigmoid it is that of labels 0 and 1.
    #[test]
    fn the_loss_of_one_logit_is_the_binary_cross_entropy() {
        let elements = Elements::F64(vec![40.0, -40.0, 0.5]);
        let logits = Scores::Logits(Matrix { rows: 3, columns: 1, elements }.into());
        let small = (-40.0f64).exp();
        let expected = (small.ln_1p() + (40.0 + small.ln_1p()) + (0.5f64.exp()).ln_1p()) / 3.0;
        let found = loss_of(&logits, &[1, 1, 0]);
        assert!((found / expected - 1.0).abs() < 8.0 * f64::EPSILON, "{found} {expected}");
    }

    /// The means of two parts were added up.
    #[test]
    fn the_loss_of_logits_in_several_parts_is_their_mean() {
        let count = CHUNK_BYTES / size_of::<f64>() / 2 + 50_000;
        let elements = (0..count).flat_map(|n| [0.0, (n % 3) as f32]).collect();
        let logits =
            Scores::Logits(Matrix { rows: count, columns: 2, elements: Elements::F32(elements) }.into());
        assert!(logits.rows().ranges(CHUNK_BYTES / size_of::<f64>()).count() == 2);
        let labels: Vec<usize> = (0..count).map(|n| n % 2).collect();
        for taken in [1000, count - 60_000, count] {
            let of_sample = |n: usize| {
                let z = (n % 3) as f64;
                z.exp().ln_1p() - if n % 2 == 1 { z } else { 0.0 }
            };
            let expected = (0..taken).map(of_sample).sum::<f64>() / taken as f64;
            let found = loss_of(&logits, &labels[..taken]);
            // Two sums of so many numbers of one sign, a rounding each.
            let bound = 2.0 * taken as f64 * f64::EPSILON;
            assert!((found / expected - 1.0).abs() < bound, "{taken}: {found} {expected}");
        }
    }

    fn layer_of(features: Rows, scores: Scores) -> LastLayer {
        LastLayer {
            place: (0, features.count()),
            features,
            scores,
            weights: None,
            labels: None,
            ignored: None,
            files: Vec::new(),
            logits_are_distributions: false,
            is_read_again: false,
        }
    }

    /// Numbers without a pattern, of mean 0 and variance 1.
    fn normal(count: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24)
        };
        (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
    }

    /// The arrays' lambda_1 and lambda_10, and how many digits are claimed of each.
    fn known(features: &[f64], logits: &[f64], [m, k]: [usize; 2], precision: Precision) -> [(f64, u32); 2] {
        let matrix = |columns: usize, elements: &[f64]| Matrix {
            rows: elements.len() / columns,
            columns,
            elements: Elements::F64(elements.to_vec()),
        };
        let arrays = layer_of(matrix(m, features).into(), Scores::Logits(matrix(k, logits).into()));
        let machine = Machine { device: Device::flex(), provenance: Provenance::default() };
        let layer = LayerArrays {
            arrays: Arc::new(arrays),
            name: String::new(),
            source: String::new(),
            l2: 0.0,
            machine: &machine,
            world: Arc::new(Alone),
        };
        let (samples, _) = layer.samples(&Request::new(precision), &()).unwrap();
        let hessian = samples.hessian().unwrap();
        let pairs = hessian.eigenpairs().unwrap();
        let evidence = verify(&hessian, &pairs, &samples).unwrap();
        let lambda = |rank| pairs.spectrum.lambda(rank).unwrap();
        [(lambda(1), evidence.known.lambda_1), (lambda(10), evidence.known.lambda_10.unwrap())]
    }

    /// Five digits were claimed where three were right: what f64 files lose on their way to f32 was
    /// left out.
    #[test]
    fn the_digits_that_are_claimed_of_f64_files_in_f32_are_right() {
        let [n, m, k] = [500, 20, 6];
        for (seed, shared, scale) in
            [(1, 0.0, 1.0), (2, 1e5, 1.0), (3, 1e5, 0.1), (4, 0.0, 30.0), (5, 1e3, 10.0), (6, 0.0, 1e-3)]
        {
            let (features, weights) = (normal(n * m, seed), normal(k * m, seed + 100));
            let shift = normal(n, seed + 200);
            let rows = features.chunks_exact(m).zip(&shift);
            let logits: Vec<f64> = rows
                .flat_map(|(g, shift)| {
                    let of_class = |w: &[f64]| w.iter().zip(g).map(|(w, g)| w * g).sum::<f64>();
                    weights
                        .chunks_exact(m)
                        .map(move |w| scale * of_class(w) + shared * shift)
                        .collect::<Vec<_>>()
                })
                .collect();
            let of = |precision| known(&features, &logits, [m, k], precision);
            for ((rough, digits), (fine, of_fine)) in of(Precision::F32).into_iter().zip(of(Precision::F64)) {
                let error = (rough / fine - 1.0).abs();
                assert!(error < 10f64.powi(-(digits as i32)), "{seed}: {rough} {fine}, {digits} digits");
                assert!((3..=7).contains(&digits) && of_fine >= 11, "{seed}: {digits} {of_fine}");
            }
        }
    }
}
