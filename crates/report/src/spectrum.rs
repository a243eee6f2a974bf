//! The data of the page's view of the whole spectrum: every eigenvalue that is drawn, of
//! every seed, variant and epoch at the chosen point.
//!
//! A view shows a logarithm to a pixel, and no eigenvalue below rounding
//! (size x 2^-52 x lambda_1); no more is stored. With S = seeds x variants x epochs
//! spectra, in the order [seed, variant, epoch], the bytes are, all little endian,
//!
//! ```text
//! counts  u32 [S]       how many eigenvalues of each spectrum are above rounding
//! top     f32 [S, 10]   the ten largest as they are, for the table; zero where there are fewer
//! steps   u8  [2, n]    the low bytes of n = sum of counts numbers, then their high bytes
//! ```
//!
//! The r-th number of a spectrum is k_r - k_(r-1), k_r being log10(lambda_1 / lambda_r)
//! in units of 1/[`STEPS_A_DECADE`], rounded, and k_0 = 0. So lambda_r is told to 0.06 %,
//! a hundredth of a pixel on an axis of 40 pixels a decade. Neighbours are near each other: the
//! numbers are small, and compress (zlib, RFC 1950) to less than a byte. Base64 makes text of it.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::ZlibEncoder};
use kappa_run::{Parameters, SpectraRow, Variant};
use serde::Serialize;

use crate::{
    ReportError,
    figures::{Marker, Stroke, looks, parameters_label},
    results::StudyResults,
};

/// Steps of the logarithm to base ten that are told apart.
const STEPS_A_DECADE: f64 = 2000.0;
/// Eigenvalues that are stored as they are.
const TOP: usize = 10;

/// What the page's script reads.
#[derive(Debug, Serialize)]
pub struct SpectrumView {
    /// The arms, the reference first, and how each is drawn.
    pub arms: Vec<ArmView>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// What was probed, the reference's first.
    pub variants: Vec<VariantView>,
    /// The epochs.
    pub epochs: Vec<usize>,
    /// [`STEPS_A_DECADE`].
    pub steps_a_decade: f64,
    /// What else than the last layer's weights can be shown: the largest eigenvalues with respect to it.
    pub parameters: Vec<String>,
    /// Those.
    pub whole: Vec<WholeView>,
    /// The bytes that this module's description is of, compressed, in base64.
    pub spectra: String,
}

/// How an arm is drawn.
#[derive(Debug, Serialize)]
pub struct ArmView {
    /// Its name.
    pub name: String,
    /// "#0072b2", say.
    pub colour: String,
    /// "solid", "dashed" or "dotted".
    pub stroke: Stroke,
    /// "disc", "square", "triangle" or "cross".
    pub marker: Marker,
}

/// The largest eigenvalues with respect to some parameters after one epoch.
#[derive(Debug, Serialize)]
pub struct WholeView {
    /// Which of the seeds.
    pub seed: usize,
    /// Which of the arms.
    pub arm: usize,
    /// "plain", "running", ..
    pub name: Variant,
    /// Which of the parameters.
    pub parameters: usize,
    /// Epochs of training.
    pub epoch: usize,
    /// Eigenvalues of the whole spectrum.
    pub size: usize,
    /// The largest, from the largest down, those above zero.
    pub values: Vec<f32>,
}

/// One thing that was probed.
#[derive(Debug, Serialize)]
pub struct VariantView {
    /// Which of the arms.
    pub arm: usize,
    /// "plain", "centred", ..; "running", ..
    pub name: Variant,
    /// Eigenvalues of one spectrum, those below rounding included.
    pub size: usize,
}

impl SpectrumView {
    /// All spectra of the chosen point.
    pub fn new(results: &StudyResults) -> Result<Self, ReportError> {
        let (chosen, arms) = (&results.chosen, &results.arms);
        let order: Vec<usize> = arms.in_order().collect();
        let mut variants = Vec::new();
        for (index, &arm) in order.iter().enumerate() {
            for name in chosen.variants(arm) {
                let row = chosen.runs(arm).next().and_then(|run| run.spectra_of(name).next());
                variants.push(VariantView { arm: index, name, size: row.map_or(0, |row| row.size) });
            }
        }
        let first = chosen.runs(arms.reference).next();
        let epochs: Vec<usize> = first.map_or_else(Vec::new, |run| {
            let as_it_is = run.variants().into_iter().take(1);
            as_it_is.flat_map(|variant| run.spectra_of(variant).map(|row| row.epoch)).collect()
        });
        let mut packed = Packed::default();
        for seed in &chosen.seeds {
            for (index, &arm) in order.iter().enumerate() {
                let Some(run) = seed.runs.get(arm) else { continue };
                let eigenvalues = run.directory.eigenvalues()?;
                for variant in variants.iter().filter(|variant| variant.arm == index) {
                    for &epoch in &epochs {
                        let is_it = |row: &SpectraRow| row.variant == variant.name && row.epoch == epoch;
                        let row = run.spectra.iter().position(is_it);
                        let values = row.and_then(|row| eigenvalues.get(row));
                        packed.add(values.map_or(&[], Vec::as_slice));
                    }
                }
            }
        }
        // Of the last layer there is the whole spectrum.
        let mut parameters = results.parameters().to_vec();
        parameters.retain(|asked| *asked != Parameters::LastLayer);
        let mut whole = Vec::new();
        for (seed, runs) in chosen.seeds.iter().enumerate() {
            for (index, &arm) in order.iter().enumerate() {
                let rows = runs.runs.get(arm).map_or(&[][..], |run| &run.whole);
                whole.extend(rows.iter().filter_map(|row| {
                    let parameters = parameters.iter().position(|asked| *asked == row.point.parameters)?;
                    let values = row.summary.largest.eigenvalues.iter().filter(|value| **value > 0.0);
                    Some(WholeView {
                        seed,
                        arm: index,
                        name: row.variant(),
                        parameters,
                        epoch: row.point.epoch,
                        size: row.summary.size(),
                        values: values.map(|&value| value as f32).collect(),
                    })
                }));
            }
        }
        let failed = |error: std::io::Error| ReportError::Page(error.to_string());
        Ok(Self {
            arms: order.iter().enumerate().map(|(place, &arm)| arm_view(arms.name(arm), place)).collect(),
            seeds: chosen.seeds.iter().map(|seed| seed.seed).collect(),
            variants,
            epochs,
            steps_a_decade: STEPS_A_DECADE,
            parameters: parameters.iter().map(parameters_label).collect(),
            whole,
            spectra: STANDARD.encode(packed.compressed().map_err(failed)?),
        })
    }
}

/// How the arm at a place is drawn.
pub fn arm_view(name: &str, place: usize) -> ArmView {
    let (colour, stroke, marker) = looks(place);
    let (r, g, b) = (colour.0, colour.1, colour.2);
    ArmView { name: name.to_owned(), colour: format!("#{r:02x}{g:02x}{b:02x}"), stroke, marker }
}

/// Spectra, one behind the other.
#[derive(Default)]
struct Packed {
    counts: Vec<u32>,
    top: Vec<f32>,
    steps: Vec<u16>,
}

impl Packed {
    /// A spectrum, its eigenvalues from the largest down; none if there is none.
    fn add(&mut self, eigenvalues: &[f64]) {
        let largest = eigenvalues.first().copied().unwrap_or(0.0);
        let floor = eigenvalues.len() as f64 * f64::EPSILON * largest;
        let drawn = || eigenvalues.iter().take_while(|&&value| value > floor);
        // No step is larger than from lambda_1 to the floor: 15.7 decades, 31,400 steps.
        let mut before = 0.0;
        self.steps.extend(drawn().map(|value| {
            let place = ((largest / value).log10() * STEPS_A_DECADE).round();
            let step = place - before;
            before = place;
            step as u16
        }));
        self.counts.push(drawn().count() as u32);
        let top = drawn().map(|&value| value as f32).chain(std::iter::repeat(0.0));
        self.top.extend(top.take(TOP));
    }

    fn compressed(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes: Vec<u8> = self.counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        bytes.extend(self.top.iter().flat_map(|value| value.to_le_bytes()));
        for byte in [0, 1] {
            bytes.extend(self.steps.iter().map(|step| step.to_le_bytes()[byte]));
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        encoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_stored_is_each_eigenvalue_to_a_step_and_the_largest_as_they_are() {
        let falling =
            |count: usize| -> Vec<f64> { (0..count).map(|r| 3.7 * 0.77f64.powi(r as i32)).collect() };
        // Down to 3e-11, with zeros behind; nothing; one.
        let mut whole = falling(98);
        whole.extend([0.0, -1e-17]);
        let spectra = [whole, vec![], falling(1)];
        let mut packed = Packed::default();
        spectra.iter().for_each(|spectrum| packed.add(spectrum));
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&packed.compressed().unwrap()[..]).read_to_end(&mut bytes).unwrap();

        let word = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
        let counts: Vec<u32> = (0..3).map(|spectrum| u32::from_le_bytes(word(4 * spectrum))).collect();
        assert_eq!(counts, [98, 0, 1]);
        let top: Vec<f32> = (0..30).map(|place| f32::from_le_bytes(word(12 + 4 * place))).collect();
        let steps = &bytes[12 + 120..];
        let half = steps.len() / 2;
        let mut at = 0;
        for (index, spectrum) in spectra.iter().enumerate() {
            let mut place = 0;
            for rank in 0..counts[index] as usize {
                place += usize::from(steps[at]) + 256 * usize::from(steps[half + at]);
                at += 1;
                let told = spectrum[0] * 10f64.powf(-(place as f64) / STEPS_A_DECADE);
                // Half a step of the logarithm, 10^(1/4000).
                assert!((told / spectrum[rank]).log10().abs() <= 0.5 / STEPS_A_DECADE + 1e-12);
            }
            for rank in 0..10 {
                let expected = if rank < counts[index] as usize { spectrum[rank] as f32 } else { 0.0 };
                assert_eq!(top[10 * index + rank], expected);
            }
        }
        assert_eq!(at, half);
    }
}
