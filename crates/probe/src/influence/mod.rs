//! What leaving out a training sample does to the losses of test samples: predicted of all, done for some.

mod planted;
mod solved;
mod training;
mod truth;

use std::{ops::Range, time::Instant};

use kappa_hessian::{HessianError, faer::MatRef, product, verify};
use kappa_posterior::{Extremes, Influence, Point, Posterior, Problem};
use kappa_run::{INFLUENCE_VERSION, InfluenceRecord, InfluenceRequest, SavedTensor, free_memory};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    Classifier, Observer, OtherSet, ProbeError, check_record,
    classifier::{Known, Settled},
    laplace::optimum_check,
    memory,
};
use planted::plant;
pub(crate) use planted::precisions;
use solved::Solved;
use training::Training;
use truth::{Picked, Truth};

/// The stream of what is left out for real; docs/decisions/randomness.md lists all streams.
const LEFT_OUT_STREAM: u64 = 910;
/// Training samples that are taken together, at the most.
const BLOCK: usize = 4096;

/// Influences, as they stand on disk, and the arrays beside them.
#[derive(Debug, Clone)]
pub struct Influences {
    /// In short.
    pub record: InfluenceRecord,
    /// Of each test sample the most helpful and harmful training samples; of each training sample what leaving it out
    /// adds to its own loss, and to the mean test loss.
    pub tensors: Vec<SavedTensor>,
    /// All influences [T, N], if they were to be kept.
    pub table: Option<Vec<f32>>,
}

/// The influence of the training samples of `classifier` on the losses of `test`, as `asked`; all of them are kept if
/// `keep_table`.
///
/// # Errors
///
/// [`ProbeError`]. A check that did not pass is no error, but stands in the record.
pub fn influence(
    classifier: &Classifier,
    test: &OtherSet,
    asked: &InfluenceRequest,
    keep_table: bool,
    kappa_version: &str,
    observer: &dyn Observer,
) -> Result<Influences, ProbeError> {
    let start = Instant::now();
    let labels = test.labels.as_ref().ok_or(ProbeError::Missing("labels of the test samples"))?;
    let planted = (asked.planted > 0.0).then(|| plant(classifier, asked)).transpose()?;
    let classifier = planted.as_ref().map_or(classifier, |planted| &planted.classifier);
    let top = asked.top.map(usize::from);
    // Labels that are made wrong now were not those of the weights.
    let newton = asked.newton || planted.is_some();
    let Settled { point, delta, record: optimum, known } =
        classifier.settled(Some(asked.delta), newton, top, observer)?;
    let mut checks = vec![optimum_check(optimum.reached, optimum.bound)];
    let samples = point.samples.count();
    if keep_table {
        memory::check_kept(labels.len(), samples)?;
    }
    let mut found = Found {
        extremes: Extremes::new(labels.len(), asked.most.get()),
        training: Training::default(),
        table: keep_table.then(|| vec![0f32; labels.len() * samples]),
        tests: labels.len(),
        samples,
    };
    let problem = &classifier.problem;
    let subject = Subject { problem, point: &point, delta, test, labels };
    let mut left_out = None;
    match known {
        Known::Matrix(hessian) => {
            let pairs = hessian.eigenpairs()?;
            checks.extend(verify(&hessian, &pairs, &point.samples)?.checks.iter().map(check_record));
            drop(hessian);
            let posterior = Posterior::of_pairs(&point, pairs);
            let chosen = chosen(samples, asked);
            let picked = subject.by_all_pairs(&posterior, &chosen, &mut found, observer)?;
            if !chosen.is_empty() {
                let truth = Truth { problem, point: &point, delta, test, training: &found.training };
                let (record, check) = truth.compare(&chosen, &picked, observer)?;
                checks.push(check);
                left_out = Some(record);
            }
        }
        Known::Leading(known) => {
            let solved = Solved::of(&point, &known, delta, test, labels, observer)?;
            subject.each_block(BLOCK, |block| {
                found.add(block, solved.effects(block).as_ref(), 0..labels.len());
                Ok(())
            })?;
            checks.push(solved.check);
        }
    }
    let Found { extremes, training, table, .. } = found;
    let suspects = training.suspects(problem.labels());
    let planted = planted.as_ref().map(|planted| planted.found(&training));
    let tensors = tensors(&extremes, &training, asked, planted.as_ref().map(|(_, wrong)| wrong));
    Ok(Influences {
        record: InfluenceRecord {
            schema_version: INFLUENCE_VERSION,
            kappa_version: kappa_version.to_owned(),
            settings: classifier.settings.clone(),
            asked: asked.clone(),
            optimum,
            test_samples: labels.len(),
            test_files: test.files.clone(),
            suspects,
            left_out,
            planted: planted.map(|(record, _)| record),
            checks,
            seconds: start.elapsed().as_secs_f64(),
        },
        tensors,
        table,
    })
}

/// Some training samples, one after the other.
#[derive(Debug, Clone, Copy)]
struct Block<'a> {
    /// Samples before them.
    first: usize,
    features: &'a [f64],
    logits: &'a [f64],
    labels: &'a [usize],
}

/// What is found, block after block.
struct Found {
    extremes: Extremes,
    training: Training,
    /// [T, N].
    table: Option<Vec<f32>>,
    tests: usize,
    samples: usize,
}

impl Found {
    /// Takes in the effects [n, t] of a block's samples on the test samples `of`.
    fn add(&mut self, block: Block<'_>, effects: MatRef<'_, f64>, of: Range<usize>) {
        self.extremes.add(effects, block.first, of.start);
        self.training.add(block, effects, of.start == 0, self.tests);
        if let Some(table) = &mut self.table {
            for (column, test) in effects.col_iter().zip(of) {
                let row = table.iter_mut().skip(test * self.samples + block.first);
                row.zip(column.iter()).for_each(|(to, x)| *to = *x as f32);
            }
        }
    }
}

/// Training samples at an optimum, and test samples.
struct Subject<'a> {
    problem: &'a Problem,
    point: &'a Point,
    delta: f64,
    test: &'a OtherSet,
    labels: &'a [usize],
}

impl Subject<'_> {
    /// By all eigenpairs, some test samples at a time; with what was predicted of the training samples `chosen`.
    fn by_all_pairs(
        &self,
        posterior: &Posterior,
        chosen: &[usize],
        found: &mut Found,
        observer: &dyn Observer,
    ) -> Result<Vec<Picked>, ProbeError> {
        let influence = Influence::new(posterior, self.delta);
        let (k, m) = (posterior.classes(), posterior.features());
        let logits = self.point.weights.logits(&self.test.features);
        let mut picked = Vec::new();
        let blocks = test_blocks(k * m, self.labels.len());
        observer.stage("training samples", Some(self.problem.labels().len() * blocks.len()));
        for of in blocks {
            let tests = influence.project(
                self.test.features.get(of.start * m..of.end * m).unwrap_or_default(),
                logits.get(of.start * k..of.end * k).unwrap_or_default(),
                self.labels.get(of.clone()).unwrap_or_default(),
                false,
            )?;
            self.each_block(influence.block(), |block| {
                let seen = influence.project(block.features, block.logits, block.labels, true)?;
                let steps = seen.steps.as_ref().unwrap_or(&seen.gradients);
                let effects = product(steps.transpose(), tests.gradients.as_ref());
                if of.start == 0 {
                    found.training.add_seen(&seen);
                }
                found.add(block, effects.as_ref(), of.clone());
                let own = block.first..block.first + block.labels.len();
                for &index in chosen.iter().filter(|index| own.contains(index)) {
                    let row = index - block.first;
                    let gradient = seen.gradients.as_ref().subcols(row, 1);
                    let first_order = product(gradient.transpose(), tests.gradients.as_ref());
                    picked.push(Picked {
                        index,
                        of: of.clone(),
                        effects: effects.row(row).iter().copied().collect(),
                        first_order: first_order.row(0).iter().copied().collect(),
                        lengths: tests.lengths.clone(),
                        spreads: tests.spreads.clone(),
                    });
                }
                match observer.advance(block.labels.len()).is_break() {
                    true => Err(HessianError::Stopped),
                    false => Ok(()),
                }
            })?;
        }
        Ok(picked)
    }

    /// Goes through the training samples, so many together at the most.
    fn each_block(
        &self,
        together: usize,
        mut take: impl FnMut(Block<'_>) -> Result<(), HessianError>,
    ) -> Result<(), HessianError> {
        let samples = &self.point.samples;
        let (m, k, mut first) = (samples.features(), samples.classes(), 0);
        for features in samples.features_of_chunks() {
            let features = features?;
            let logits = self.point.weights.logits(&features);
            for (features, logits) in features.chunks(together * m).zip(logits.chunks(together * k)) {
                let count = features.len() / m;
                let labels = self.problem.labels().get(first..first + count).unwrap_or_default();
                take(Block { first, features, logits, labels })?;
                first += count;
            }
        }
        Ok(())
    }
}

/// Ranges of test samples whose projections, K m numbers each, fit into a fifth of what is free.
fn test_blocks(size: usize, tests: usize) -> Vec<Range<usize>> {
    let bytes = (size * size_of::<f64>()).max(1) as u64;
    let most = usize::try_from(free_memory() / 5 / bytes).unwrap_or(usize::MAX).max(1);
    (0..tests).step_by(most).map(|start| start..(start + most).min(tests)).collect()
}

/// The training samples that are left out for real.
fn chosen(samples: usize, asked: &InfluenceRequest) -> Vec<usize> {
    let mut all: Vec<usize> = (0..samples).collect();
    let mut generator = ChaCha8Rng::seed_from_u64(asked.seed);
    generator.set_stream(LEFT_OUT_STREAM);
    all.shuffle(&mut generator);
    // Without the only one nothing is left.
    all.truncate(if samples > 1 { asked.checked } else { 0 });
    all
}

fn tensors(
    extremes: &Extremes,
    training: &Training,
    asked: &InfluenceRequest,
    wrong: Option<&Vec<usize>>,
) -> Vec<SavedTensor> {
    let (tests, samples) = (extremes.helpful.len(), training.losses.len());
    let most = asked.most.get().min(samples);
    let mut tensors = vec![
        SavedTensor::of_doubles("losses", vec![samples], &training.losses),
        SavedTensor::of_doubles("gradient_norms", vec![samples], &training.gradients),
        SavedTensor::of_doubles("on_mean_test_loss", vec![samples], &training.on_mean),
    ];
    if !training.self_influences.is_empty() {
        tensors.push(SavedTensor::of_doubles("self_influences", vec![samples], &training.self_influences));
        tensors.push(SavedTensor::of_doubles("leverages", vec![samples], &training.leverages));
    }
    for (name, entries) in [("helpful", &extremes.helpful), ("harmful", &extremes.harmful)] {
        let numbers: Vec<usize> = entries.iter().flatten().map(|entry| entry.0).collect();
        let values: Vec<f64> = entries.iter().flatten().map(|entry| entry.1).collect();
        tensors.push(SavedTensor::of_integers(&format!("{name}.samples"), vec![tests, most], &numbers));
        tensors.push(SavedTensor::of_doubles(&format!("{name}.influences"), vec![tests, most], &values));
    }
    if let Some(wrong) = wrong {
        tensors.push(SavedTensor::of_integers("planted", vec![wrong.len()], wrong));
    }
    tensors
}
