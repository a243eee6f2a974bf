//! Arrays that somebody else holds in memory.

use std::{fmt, sync::Arc};

use super::{
    IGNORE_INDEX,
    array::{Array, Layout, Place, Role},
    error::LayerError,
    npy,
    source::Source,
};

/// An array in somebody's memory, which is read where it lies.
#[derive(Clone)]
pub struct HostArray {
    /// The type of its elements as numpy names it, `<f4` say; `bfloat16` for that.
    pub descr: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest, as in Fortran.
    pub by_columns: bool,
    /// Its elements, one after the other. They are not to change as long as they are held.
    pub bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl fmt::Debug for HostArray {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} of {}", self.shape, self.descr)
    }
}

/// The arrays that a last layer is made of, each in parts along the samples, or in one.
#[derive(Debug, Clone)]
pub struct HostArrays {
    /// Features, [N, m].
    pub features: Vec<HostArray>,
    /// Logits, [N, K]; or
    pub logits: Option<Vec<HostArray>>,
    /// probabilities, [N, K].
    pub probabilities: Option<Vec<HostArray>>,
    /// Weights, [K, m].
    pub weights: Option<HostArray>,
    /// N labels.
    pub labels: Option<Vec<HostArray>>,
    /// Whether logits are taken for logits though every row of them is a distribution.
    pub logits_are_meant: bool,
    /// Samples with this label are left out.
    pub ignore_index: i64,
}

impl HostArrays {
    /// Features, to which the rest is to be added.
    pub fn new(features: Vec<HostArray>) -> Self {
        Self {
            features,
            logits: None,
            probabilities: None,
            weights: None,
            labels: None,
            logits_are_meant: false,
            ignore_index: IGNORE_INDEX,
        }
    }

    pub(super) fn array(&self, role: Role) -> Result<Option<Array>, LayerError> {
        let parts = match role {
            Role::Features => Some(&self.features[..]),
            Role::Logits => self.logits.as_deref(),
            Role::Probabilities => self.probabilities.as_deref(),
            Role::Weights => self.weights.as_ref().map(std::slice::from_ref),
            Role::Labels => self.labels.as_deref(),
        };
        let Some(parts) = parts else { return Ok(None) };
        let of_one = |file: String, array: &HostArray| {
            let place = Place::new(role, file);
            let Some((kind, big_endian)) = npy::kind_of(&array.descr) else {
                return Err(place.element_type(&array.descr));
            };
            let layout = Layout { big_endian, by_columns: array.by_columns };
            let data = Source::of_memory(MEMORY, array.bytes.clone());
            Array::new(place, array.shape.clone(), kind, layout, data)
        };
        if let [array] = parts {
            return of_one(MEMORY.to_owned(), array).map(Some);
        }
        let arrays =
            parts.iter().enumerate().map(|(index, array)| of_one(format!("{MEMORY}, part {index}"), array));
        Array::of_parts(MEMORY, arrays.collect::<Result<_, _>>()?).map(Some)
    }
}

/// What messages call the place of arrays that lie in no file.
pub(super) const MEMORY: &str = "memory";

#[cfg(test)]
mod tests {
    use super::{super::SMALL_BYTES, *};
    use crate::{LastLayer, Rows, Scores};

    fn array(shape: &[usize], elements: &[f32]) -> HostArray {
        let bytes: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        HostArray { descr: "<f4".into(), shape: shape.to_vec(), by_columns: false, bytes: Arc::new(bytes) }
    }

    fn numbers(rows: &Rows) -> Vec<f64> {
        match rows.read(0..rows.count()).unwrap().elements {
            crate::Elements::F32(elements) => elements.into_iter().map(f64::from).collect(),
            crate::Elements::F64(elements) => elements,
        }
    }

    #[test]
    fn arrays_are_read_where_they_lie_and_samples_left_out_by_their_labels() {
        let features = array(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let labels = [1i16, -7, 0].iter().flat_map(|label| label.to_be_bytes()).collect::<Vec<u8>>();
        let labels =
            HostArray { descr: ">i2".into(), shape: vec![3], by_columns: false, bytes: Arc::new(labels) };
        // By columns: [[0, 9], [1, 8], [2, 7]].
        let logits = HostArray { by_columns: true, ..array(&[3, 2], &[0.0, 1.0, 2.0, 9.0, 8.0, 7.0]) };
        let arrays = HostArrays {
            logits: Some(vec![logits]),
            labels: Some(vec![labels]),
            ignore_index: -7,
            ..HostArrays::new(vec![features])
        };
        let layer = LastLayer::from_arrays(&arrays, 1 << 20).unwrap();
        assert_eq!(numbers(&layer.features), [1.0, 2.0, 5.0, 6.0]);
        let Scores::Logits(logits) = &layer.scores else { panic!("they are logits") };
        assert_eq!(numbers(logits), [0.0, 9.0, 2.0, 7.0]);
        assert_eq!((layer.labels.as_deref(), layer.ignored.unwrap().samples), (Some(&[1, 0][..]), 1));
        assert!(layer.files.is_empty());
    }

    #[test]
    fn arrays_in_parts_are_one_and_a_mistake_is_told_of_its_part() {
        let parts = |last: f32| vec![array(&[1, 2], &[1.0, 2.0]), array(&[2, 2], &[3.0, 4.0, 5.0, last])];
        let logits = vec![array(&[3, 2], &[0.0; 6])];
        let of = |features: Vec<HostArray>| {
            let arrays = HostArrays { logits: Some(logits.clone()), ..HostArrays::new(features) };
            LastLayer::from_arrays(&arrays, 1 << 20)
        };
        assert_eq!(numbers(&of(parts(6.0)).unwrap().features), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let message = of(parts(f32::NAN)).unwrap_err().to_string();
        assert!(message.starts_with("features in memory, part 1 hold NaN in row 1, column 1"), "{message}");
        let other = vec![array(&[1, 2], &[1.0, 2.0]), array(&[1, 3], &[0.0; 3])];
        let message = of(other).unwrap_err().to_string();
        assert!(message.contains("no parts of one array") && message.contains("[1, 3] of f32"), "{message}");
        let double = HostArray { descr: "<f8".into(), ..array(&[1, 1], &[0.0, 1.0]) };
        let message = of(vec![array(&[1, 2], &[1.0, 2.0]), HostArray { shape: vec![1, 1], ..double }]);
        assert!(message.unwrap_err().to_string().contains("[1, 1] of f64"));
        assert!(of(Vec::new()).unwrap_err().to_string().contains("no parts"));
    }

    #[test]
    fn large_arrays_stay_where_they_are_and_give_the_same_numbers() {
        let rows = (SMALL_BYTES / 8) as usize + 1;
        let features = array(&[rows, 2], &(0..2 * rows).map(|n| (n % 7) as f32).collect::<Vec<_>>());
        let logits = array(&[rows], &vec![0.5; rows]);
        let held = Arc::downgrade(&features.bytes);
        let arrays = HostArrays { logits: Some(vec![logits]), ..HostArrays::new(vec![features]) };
        let layer = LastLayer::from_arrays(&arrays, 1 << 20).unwrap();
        drop(arrays);
        assert!(held.upgrade().is_some() && !layer.features.is_in_memory());
        let part = layer.features.read(rows - 1..rows).unwrap();
        let last = |n: usize| ((2 * rows - n) % 7) as f32;
        assert_eq!(part.elements, crate::Elements::F32(vec![last(2), last(1)]));
    }

    #[test]
    fn what_is_wrong_with_an_array_is_told_as_of_a_file() {
        let features = || array(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let of = |change: &dyn Fn(&mut HostArrays)| {
            let mut arrays = HostArrays::new(vec![features()]);
            arrays.logits = Some(vec![array(&[2, 3], &[0.0; 6])]);
            change(&mut arrays);
            LastLayer::from_arrays(&arrays, 1 << 20).unwrap_err()
        };
        let error = of(&|arrays| arrays.logits = None);
        assert!(matches!(error, LayerError::NoScores { .. }), "{error}");
        let error = of(&|arrays| arrays.probabilities = arrays.logits.clone());
        assert!(matches!(error, LayerError::TwoScores { .. }), "{error}");
        let error = of(&|arrays| arrays.features[0].descr = "<c8".into());
        assert!(matches!(error, LayerError::ElementType { .. }), "{error}");
        let error = of(&|arrays| arrays.features[0].shape = vec![3, 2]);
        assert!(matches!(error, LayerError::Malformed { .. }), "{error}");
        let error = of(&|arrays| arrays.features = vec![array(&[2, 2], &[1.0, f32::NAN, 3.0, 4.0])]);
        assert!(error.to_string().starts_with("features in memory hold NaN in row 0, column 1"), "{error}");
    }
}
