//! Samples that a layer was not fitted to: their features, and their labels where they are known.

use std::path::Path;

use super::{
    HostArray, HostArrays, Inputs, LayerError,
    array::{Array, Role},
    labels::Labels,
    matrix::Elements,
    memory::Budget,
    missing,
    rows::{Rule, Stored},
};
use crate::FileDigest;

/// Other samples of the features that a layer gets, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherSamples {
    /// Their features [T, m], row by row.
    pub features: Vec<f64>,
    /// Their classes.
    pub labels: Option<Vec<usize>>,
    /// The files that they were read from.
    pub files: Vec<FileDigest>,
}

impl OtherSamples {
    /// Reads an .npy file of features with one of labels, or a .safetensors or .npz file of both, for a layer of
    /// `classes` (of one logit 2) and `columns` features. Samples of label `ignore_index` are left out.
    ///
    /// # Errors
    ///
    /// [`LayerError`].
    pub fn from_files(
        features: &Path,
        labels: Option<&Path>,
        [classes, columns]: [usize; 2],
        ignore_index: i64,
        memory_budget_bytes: u64,
    ) -> Result<Self, LayerError> {
        let mut budget = Budget::new(memory_budget_bytes);
        let mut inputs = Inputs::open(features, &mut budget)?;
        let own = Some(features).filter(|_| inputs.bundles.is_empty());
        let found = inputs.array(Role::Features, own, &mut budget)?;
        let labels = inputs.array(Role::Labels, labels, &mut budget)?;
        let found = found.ok_or_else(|| missing(&features.display().to_string(), Role::Features))?;
        Ok(Self {
            files: inputs.digests()?,
            ..Self::of(found, labels, [classes, columns], ignore_index, budget)?
        })
    }

    /// Takes them from arrays that somebody holds in memory.
    ///
    /// # Errors
    ///
    /// As [`Self::from_files`].
    pub fn from_arrays(
        features: Vec<HostArray>,
        labels: Option<Vec<HostArray>>,
        [classes, columns]: [usize; 2],
        ignore_index: i64,
        memory_budget_bytes: u64,
    ) -> Result<Self, LayerError> {
        let arrays = HostArrays { labels, ..HostArrays::new(features) };
        let found = arrays.array(Role::Features)?.ok_or_else(|| missing("memory", Role::Features))?;
        let labels = arrays.array(Role::Labels)?;
        Self::of(found, labels, [classes, columns], ignore_index, Budget::new(memory_budget_bytes))
    }

    fn of(
        features: Array,
        labels: Option<Array>,
        [classes, columns]: [usize; 2],
        ignore_index: i64,
        mut budget: Budget,
    ) -> Result<Self, LayerError> {
        let table = features.features()?;
        if table.columns() != columns {
            let (array, found) = (table.place().to_string(), table.columns());
            return Err(LayerError::OtherFeatures { array, found, expected: columns });
        }
        let labels = labels.map(|labels| labels.labels(&table)).transpose()?;
        let labels =
            labels.map(|labels| Labels::read(&labels, classes, ignore_index, &mut budget)).transpose()?;
        let kept = labels.as_ref().and_then(|labels| labels.kept.clone());
        let own = 0..kept.as_ref().map_or(table.rows(), |kept| kept.len());
        let stored = Stored { table, rule: Rule::Finite, kept, own };
        let held = (stored.count() as u64).saturating_mul(columns as u64).saturating_mul(8);
        let needed = stored.bytes_in_memory().saturating_add(stored.bytes_to_read()).saturating_add(held);
        budget.take(needed, &stored.table.place().to_string(), "they are held whole: give fewer at once")?;
        let features = match stored.read(0..stored.count())?.elements {
            Elements::F32(elements) => elements.into_iter().map(f64::from).collect(),
            Elements::F64(elements) => elements,
        };
        Ok(Self { features, labels: labels.map(|labels| labels.classes), files: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn array(descr: &str, shape: &[usize], bytes: Vec<u8>) -> Vec<HostArray> {
        vec![HostArray {
            descr: descr.into(),
            shape: shape.to_vec(),
            by_columns: false,
            bytes: Arc::new(bytes),
        }]
    }

    fn features(columns: usize) -> Vec<HostArray> {
        array("<f4", &[6 / columns, columns], (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect())
    }

    #[test]
    fn samples_without_a_label_of_a_class_are_left_out() {
        let labels =
            array("<i8", &[3], [1i64, -100, 0].iter().flat_map(|label| label.to_le_bytes()).collect());
        let others = OtherSamples::from_arrays(features(2), Some(labels), [2, 2], -100, 1 << 20).unwrap();
        assert_eq!((others.features, others.labels), (vec![0.0, 1.0, 4.0, 5.0], Some(vec![1, 0])));
    }

    #[test]
    fn features_of_another_layer_are_refused() {
        let error =
            OtherSamples::from_arrays(features(3), None, [2, 2], -100, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("3 features") && error.contains("2"), "{error}");
    }
}
