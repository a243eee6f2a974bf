//! An array as its header says, whichever format that has: what it is, its shape, and where its
//! bytes lie.

use std::fmt;

use super::{error::LayerError, source::Source, table::Table};

/// What an array is in a last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Features,
    Logits,
    Probabilities,
    Weights,
    Labels,
}

/// An array's role and the file it lies in: "features in G.npy" in messages.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub role: Role,
    pub file: String,
    /// Of an array in several files, each with its entries along the first dimension.
    parts: Vec<(String, usize)>,
}

/// The types of elements that are read, for one role or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// An array whose header was read. Only [`Array::new`] makes one, so that the
/// shape is known to agree with the bytes.
#[derive(Debug)]
pub(super) struct Array {
    place: Place,
    shape: Vec<usize>,
    kind: Kind,
    layout: Layout,
    data: Source,
}

/// How an array's elements lie in its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    /// The first byte of a number is the largest one.
    pub big_endian: bool,
    /// The first index runs fastest, as in Fortran: a matrix column by column.
    pub by_columns: bool,
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Features, Self::Logits, Self::Probabilities, Self::Weights, Self::Labels];

    /// What it is called in messages, and what its tensor is called in a file of several.
    pub fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::Weights => "weights",
            Self::Labels => "labels",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Features => "[N, m]",
            Self::Logits | Self::Probabilities => "[N, K]",
            Self::Weights => "[K, m]",
            Self::Labels => "[N]",
        }
    }

    /// What to do with an array of the wrong number of dimensions.
    fn reshaped(self, dimensions: usize) -> &'static str {
        match self {
            Self::Labels => "save `x.reshape(-1)`, or of one-hot rows `x.argmax(axis=-1)`",
            Self::Features if dimensions == 1 => "of a single feature, save `x.reshape(-1, 1)`",
            Self::Weights if dimensions == 1 => "save `x.reshape(K, m)`",
            _ => "save `x.reshape(len(x), -1)`",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.role.name(), self.file)
    }
}

impl Place {
    pub fn new(role: Role, file: impl Into<String>) -> Self {
        Self { role, file: file.into(), parts: Vec::new() }
    }

    /// Where a row lies, of `rows` in all: the array, or the part of it, and the row there.
    pub fn of_row(&self, row: usize, rows: usize) -> (String, usize) {
        let entries: usize = self.parts.iter().map(|(_, entries)| entries).sum();
        let each = rows.checked_div(entries).unwrap_or(0);
        let mut before = 0;
        for (file, entries) in &self.parts {
            let own = entries * each;
            if row < before + own {
                return (Self::new(self.role, file.clone()).to_string(), row - before);
            }
            before += own;
        }
        (self.to_string(), row)
    }

    pub fn malformed(&self, problem: impl Into<String>) -> LayerError {
        LayerError::Malformed { file: self.file.clone(), problem: problem.into() }
    }

    /// The error for elements of type `found`.
    pub fn element_type(&self, found: impl Into<String>) -> LayerError {
        let (expected, remedy) = if self.role == Role::Labels {
            ("integers of 8 to 64 bits", "save `x.astype(np.int64)` (in torch `x.long()`)")
        } else {
            ("f16, bf16, f32 and f64", "save `x.astype(np.float32)` (in torch `x.float()`)")
        };
        LayerError::ElementType { array: self.to_string(), found: found.into(), expected, remedy }
    }
}

impl Kind {
    pub fn width(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }

    /// Bytes of a number once it is read; nothing for what is no real number.
    pub fn decoded_width(self) -> Option<usize> {
        match self {
            Self::F16 | Self::BF16 | Self::F32 => Some(size_of::<f32>()),
            Self::F64 => Some(size_of::<f64>()),
            _ => None,
        }
    }
}

impl Array {
    /// Takes `data`, all that follows the header, as an array of that shape and kind.
    pub fn new(
        place: Place,
        shape: Vec<usize>,
        kind: Kind,
        layout: Layout,
        data: Source,
    ) -> Result<Self, LayerError> {
        let promised = shape.iter().try_fold(kind.width(), |product, &n| product.checked_mul(n));
        if promised.is_some_and(|bytes| bytes as u64 == data.length()) {
            return Ok(Self { place, shape, kind, layout, data });
        }
        let promised = promised.map_or_else(|| "more bytes than can be".to_owned(), |n| format!("{n} bytes"));
        Err(place.malformed(format!(
            "its header promises shape {shape:?} of {}, {promised}, and {} follow: save it again",
            kind.name(),
            data.length()
        )))
    }

    /// Parts of one array, one behind the other along their first dimension; messages call it `name`.
    pub fn of_parts(name: &str, parts: Vec<Self>) -> Result<Self, LayerError> {
        let [first, ..] = &parts[..] else {
            return Err(LayerError::Parts { pattern: name.to_owned(), problem: "has no parts".to_owned() });
        };
        let wrong = |problem: String| LayerError::Parts { pattern: name.to_owned(), problem };
        let of_one = |array: &Self| array.shape.get(1..).map(<[usize]>::to_vec);
        let (kind, layout, row) = (first.kind, first.layout, of_one(first));
        let by_columns = |array: &Self| array.layout.by_columns && array.shape.len() > 1;
        for part in &parts {
            if of_one(part) != row || part.kind != kind || part.layout.big_endian != layout.big_endian {
                let told = |array: &Self| {
                    let order = if array.layout.big_endian { ", largest byte first" } else { "" };
                    format!("{} are {:?} of {}{order}", array.place, array.shape, array.kind.name())
                };
                return Err(wrong(format!(
                    "has parts that are no parts of one array: {}, and {}; all dimensions but the first are to \
                     be the same, and the type",
                    told(first),
                    told(part)
                )));
            }
            if by_columns(part) && parts.len() > 1 {
                return Err(wrong(format!(
                    "has a part in Fortran order, {}: save `np.ascontiguousarray(x)`",
                    part.place
                )));
            }
        }
        let entries = |array: &Self| array.shape.first().copied().unwrap_or_default();
        let shape = row.map(|row| [vec![parts.iter().map(entries).sum()], row].concat()).unwrap_or_default();
        let place = Place {
            role: first.place.role,
            file: name.to_owned(),
            parts: parts.iter().map(|array| (array.place.file.clone(), entries(array))).collect(),
        };
        let layout = Layout { by_columns: parts.len() == 1 && layout.by_columns, ..layout };
        let data = parts.into_iter().map(|array| array.data).collect();
        Self::new(place, shape, kind, layout, Source::of_parts(name, data))
    }

    /// Features: the last dimension is that of the features, all before it are of samples.
    pub fn features(self) -> Result<Table, LayerError> {
        match self.shape.split_last() {
            Some((&columns, samples)) if !samples.is_empty() => {
                let samples = samples.to_vec();
                self.table(samples, columns)
            }
            _ => Err(self.dimensions()),
        }
    }

    /// Scores of the samples of `features`: one for each of some classes, or a single one.
    pub fn scores(self, features: &Table) -> Result<Table, LayerError> {
        let samples = features.samples();
        if self.shape.as_slice() == samples {
            return self.table(samples.to_vec(), 1);
        }
        match self.shape.split_last() {
            Some((&columns, found)) if found == samples => self.table(samples.to_vec(), columns),
            Some((_, found)) if !found.is_empty() => Err(self.other_samples(found, features)),
            Some(_) => Err(self.other_samples(&self.shape, features)),
            None => Err(self.dimensions()),
        }
    }

    /// Weights of so many classes and features.
    pub fn weights(self, expected: [usize; 2]) -> Result<Table, LayerError> {
        let &[rows, columns] = &self.shape[..] else {
            return Err(self.dimensions());
        };
        let (array, found) = (self.place.to_string(), [rows, columns]);
        if found == expected {
            self.table(vec![rows], columns)
        } else if [columns, rows] == expected {
            Err(LayerError::TransposedWeights { array, found })
        } else {
            Err(LayerError::WeightsShape { array, found, expected })
        }
    }

    /// Labels of the samples of `features`, as one column.
    pub fn labels(self, features: &Table) -> Result<Table, LayerError> {
        let samples = features.samples();
        if self.shape.as_slice() == samples {
            return self.table(samples.to_vec(), 1);
        }
        let of_rows = self.shape.split_last().is_some_and(|(_, found)| found == samples);
        if self.shape.is_empty() || of_rows {
            return Err(self.dimensions());
        }
        Err(self.other_samples(&self.shape, features))
    }

    fn table(self, samples: Vec<usize>, columns: usize) -> Result<Table, LayerError> {
        if self.shape.contains(&0) {
            return Err(LayerError::Empty { array: self.place.to_string(), found: self.shape });
        }
        let Self { place, kind, layout, data, .. } = self;
        if place.role != Role::Labels && kind.decoded_width().is_none() {
            return Err(place.element_type(kind.name()));
        }
        Ok(Table::new(place, samples, columns, kind, layout, data))
    }

    fn other_samples(&self, found: &[usize], features: &Table) -> LayerError {
        LayerError::SampleCount {
            array: self.place.to_string(),
            found: found.to_vec(),
            features: features.place().to_string(),
            expected: features.samples().to_vec(),
        }
    }

    fn dimensions(&self) -> LayerError {
        LayerError::Dimensions {
            array: self.place.to_string(),
            found: self.shape.clone(),
            expected: self.place.role.shape(),
            remedy: self.place.role.reshaped(self.shape.len()),
        }
    }
}
