//! Labels: which class a sample is of, and which samples are left out.

use std::sync::Arc;

use super::{
    Ignored,
    error::LayerError,
    memory::Budget,
    table::{Table, Wanted},
};

/// Labels that are decoded at once.
const AT_ONCE: usize = 1 << 15;
/// Bytes of one that is decoded: as it is in the file, and as any integer.
const DECODED_BYTES: u64 = 8 + 16;
/// Bytes of one that is kept: the class, and the sample.
const KEPT_BYTES: u64 = 8 + 8;

/// The labels of the samples that are not left out.
#[derive(Debug)]
pub(super) struct Labels {
    pub classes: Vec<usize>,
    /// The samples that are kept, if any are left out.
    pub kept: Option<Arc<[usize]>>,
    pub ignored: Ignored,
}

impl Labels {
    /// Reads a column of labels, each from 0 to `classes` - 1 or `ignore_index`.
    pub fn read(
        table: &Table,
        classes: usize,
        ignore_index: i64,
        budget: &mut Budget,
    ) -> Result<Self, LayerError> {
        let (array, samples) = (table.place().to_string(), table.rows());
        let at_once = if table.is_scattered() { samples } else { AT_ONCE.min(samples) };
        let needed = (samples as u64).saturating_mul(KEPT_BYTES);
        let needed = needed.saturating_add((at_once as u64).saturating_mul(DECODED_BYTES));
        budget.take(needed, &array, "labels are held whole")?;
        let (mut found, mut kept) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        for start in (0..samples).step_by(at_once) {
            let end = (start + at_once).min(samples);
            for (sample, label) in (start..end).zip(table.integers(&Wanted::Range(start..end))?) {
                if label == i128::from(ignore_index) {
                    continue;
                }
                let class = usize::try_from(label).ok().filter(|&class| class < classes);
                found.push(class.ok_or_else(|| {
                    let (array, sample) = table.place().of_row(sample, samples);
                    LayerError::LabelRange { array, sample, label, classes }
                })?);
                kept.push(sample);
            }
        }
        if kept.is_empty() {
            return Err(LayerError::AllIgnored { array, samples, label: ignore_index });
        }
        let ignored = Ignored { label: ignore_index, samples: samples - kept.len() };
        let kept = (ignored.samples > 0).then(|| kept.into());
        Ok(Self { classes: found, kept, ignored })
    }
}
