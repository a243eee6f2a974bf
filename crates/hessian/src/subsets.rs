//! How many samples a spectrum needs: those of growing random subsets.

use burn::tensor::{Int, Tensor, TensorData};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{Accumulator, HessianError, Progress, Samples, Spectrum, progress::advance, samples::Chunk};

/// The spectra of random subsets of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// Samples in each.
    pub samples: usize,
    /// A spectrum for each of them.
    pub spectra: Vec<Spectrum>,
}

/// The spectra of random subsets that double in size, N/64, N/32, .., N/2, `repeats`
/// of each size, drawn without replacement. Those of one repeat contain each other:
/// they are the beginnings of one random order, so a repeat costs one pass.
///
/// `progress` is told of each spectrum.
///
/// ```
/// use kappa_hessian::{Samples, burn::tensor::Device, growing_subsets};
///
/// let features: Vec<f64> = (0..20).map(|n| f64::from(n).sin()).collect();
/// let logits: Vec<f64> = (0..20).map(|n| f64::from(n).cos()).collect();
/// let samples = Samples::from_logits(2, 2, &features, &logits, &Device::flex())?;
/// let subsets = growing_subsets(&samples, 3, 0, &())?;
/// assert_eq!(subsets.iter().map(|subset| subset.samples).collect::<Vec<_>>(), [1, 2, 5]);
/// assert!(subsets.iter().all(|subset| subset.spectra.len() == 3));
/// # Ok::<(), kappa_hessian::HessianError>(())
/// ```
///
/// # Errors
///
/// As [`Accumulator::add`] and [`crate::Hessian::spectrum`], and [`HessianError::Stopped`].
pub fn growing_subsets(
    samples: &Samples,
    repeats: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Subset>, HessianError> {
    let mut sizes: Vec<usize> = (1..=6).rev().map(|halvings| samples.count() >> halvings).collect();
    sizes.retain(|&size| size > 0);
    sizes.dedup();
    let mut subsets: Vec<_> = sizes.iter().map(|&samples| Subset { samples, spectra: Vec::new() }).collect();
    for repeat in 0..repeats {
        let mut order: Vec<usize> = (0..samples.count()).collect();
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(repeat as u64);
        order.shuffle(&mut generator);
        let mut sums = Accumulator::new(samples.features(), samples.classes())?;
        let mut taken = 0;
        for subset in &mut subsets {
            samples.add_rows(&mut sums, &order[taken..subset.samples])?;
            taken = subset.samples;
            subset.spectra.push(sums.finish()?.spectrum()?);
            advance(progress, 1)?;
        }
    }
    Ok(subsets)
}

impl Samples {
    /// Adds the samples of these indices to `sums`, chunk by chunk.
    fn add_rows(&self, sums: &mut Accumulator, indices: &[usize]) -> Result<(), HessianError> {
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        let (mut first, mut rest) = (self.first(), sorted.as_slice());
        let mut own = Accumulator::new(self.features(), self.classes())?;
        (_, rest) = rest.split_at(rest.partition_point(|&index| index < first));
        for chunk in self.chunks() {
            let Chunk { features, probabilities } = chunk?;
            let [rows, _] = features.dims();
            let (here, later) = rest.split_at(rest.partition_point(|&index| index < first + rows));
            if !here.is_empty() {
                let local: Vec<i32> = here.iter().map(|&index| (index - first) as i32).collect();
                let data = TensorData::new(local, [here.len()]);
                let local = Tensor::<1, Int>::from_data(data, &features.device());
                own.add(features.select(0, local.clone()), probabilities.select(0, local))?;
            }
            (first, rest) = (first + rows, later);
        }
        sums.add_sums_of_own(own, self, indices.len())
    }
}
