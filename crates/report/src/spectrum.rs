//! The data of the page's view of the whole spectrum: every eigenvalue of every
//! seed, variant and epoch at the chosen point.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{ReportError, evidence::Evidence, figures::NETWORKS};

/// What the page's script reads.
#[derive(Debug, Serialize)]
pub struct SpectrumView {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// What was probed, FC's first.
    pub variants: Vec<Variant>,
    /// The epochs.
    pub epochs: Vec<usize>,
    /// Eigenvalues of one spectrum.
    pub size: usize,
    /// f32, little endian, in base64: [seed, variant, epoch, rank].
    pub eigenvalues: String,
}

/// One thing that was probed.
#[derive(Debug, Serialize)]
pub struct Variant {
    /// "FC" or "FC+BN".
    pub network: &'static str,
    /// "plain", "centred", ..; "running", ..
    pub name: String,
}

impl SpectrumView {
    /// All spectra of the chosen point.
    pub fn new(evidence: &Evidence) -> Result<Self, ReportError> {
        let chosen = &evidence.chosen;
        let mut variants = Vec::new();
        for (network, name) in NETWORKS.into_iter().enumerate() {
            let names = chosen.variants(network).into_iter();
            variants.extend(names.map(|variant| Variant { network: name, name: variant.to_owned() }));
        }
        let first = chosen.pairs.first().map(|pair| &pair.runs[0]);
        let epochs: Vec<usize> =
            first.map(|run| run.spectra_of("plain").map(|row| row.epoch).collect()).unwrap_or_default();
        let size = first.and_then(|run| run.spectra.first()).map_or(0, |row| row.size);
        let mut bytes = Vec::new();
        for pair in &chosen.pairs {
            let rows = [pair.runs[0].directory.eigenvalues()?, pair.runs[1].directory.eigenvalues()?];
            for variant in &variants {
                let network = usize::from(variant.network != NETWORKS[0]);
                for &epoch in &epochs {
                    let spectra = &pair.runs[network].spectra;
                    let row =
                        spectra.iter().position(|row| row.variant == variant.name && row.epoch == epoch);
                    let values = row.and_then(|row| rows[network].get(row));
                    for rank in 0..size {
                        let value = values.and_then(|values| values.get(rank)).copied().unwrap_or(f64::NAN);
                        bytes.extend((value as f32).to_le_bytes());
                    }
                }
            }
        }
        let seeds = chosen.pairs.iter().map(|pair| pair.seed).collect();
        Ok(Self { seeds, variants, epochs, size, eigenvalues: STANDARD.encode(bytes) })
    }
}
