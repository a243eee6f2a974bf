//! An array as it lies in a file, whichever format that has, and the way from
//! its bytes to numbers.

use std::fmt;

use super::{
    error::LayerError,
    matrix::{Elements, Matrix, Stray},
};

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
}

/// The types of elements that are read, for one role or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
pub(super) struct Array<'a> {
    place: Place,
    shape: Vec<usize>,
    kind: Kind,
    layout: Layout,
    data: &'a [u8],
}

/// How an array's elements lie in its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    /// The first byte of a number is the largest one.
    pub big_endian: bool,
    /// Column by column, as Fortran does.
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
            Self::Labels => "save `x.reshape(-1)`, or of one-hot rows `x.argmax(axis=1)`",
            Self::Features if dimensions == 1 => "of a single feature, save `x.reshape(-1, 1)`",
            Self::Logits if dimensions == 1 => {
                "of a single logit a sample, save `np.stack([0 * x, x], axis=1)`"
            }
            Self::Probabilities if dimensions == 1 => {
                "of a single probability a sample, save `np.stack([1 - x, x], axis=1)`"
            }
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
    pub fn malformed(&self, problem: impl Into<String>) -> LayerError {
        LayerError::Malformed { file: self.file.clone(), problem: problem.into() }
    }

    /// The error for elements of type `found`.
    pub fn element_type(&self, found: impl Into<String>) -> LayerError {
        let (expected, remedy) = if self.role == Role::Labels {
            ("integers of 8 to 64 bits", "save `x.astype(np.int64)` (in torch `x.long()`)")
        } else {
            ("f32 and f64", "save `x.astype(np.float32)` (in torch `x.float()`)")
        };
        LayerError::ElementType { array: self.to_string(), found: found.into(), expected, remedy }
    }
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
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
}

impl<'a> Array<'a> {
    /// Takes `data`, all that follows the header, as an array of that shape and kind.
    pub fn new(
        place: Place,
        shape: Vec<usize>,
        kind: Kind,
        layout: Layout,
        data: &'a [u8],
    ) -> Result<Self, LayerError> {
        let promised = shape.iter().try_fold(kind.width(), |product, &n| product.checked_mul(n));
        if promised == Some(data.len()) {
            return Ok(Self { place, shape, kind, layout, data });
        }
        let promised = promised.map_or_else(|| "more bytes than can be".to_owned(), |n| format!("{n} bytes"));
        Err(place.malformed(format!(
            "its header promises shape {shape:?} of {}, {promised}, and {} follow: save it again",
            kind.name(),
            data.len()
        )))
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The matrix, all of it finite, row by row however it lies in the file.
    pub fn matrix(&self) -> Result<Matrix, LayerError> {
        let &[rows, columns] = &self.shape[..] else {
            return Err(self.dimensions());
        };
        let array = self.place.to_string();
        // Also keeps the loop over rows in `decode` from being as long as an empty file says.
        if rows == 0 || columns == 0 {
            return Err(LayerError::Empty { array, found: self.shape.clone() });
        }
        if columns == 1 && matches!(self.place.role, Role::Logits | Role::Probabilities) {
            return Err(LayerError::OneClass { array });
        }
        let elements = match self.kind {
            Kind::F32 => Elements::F32(self.decode(f32::from_le_bytes)),
            Kind::F64 => Elements::F64(self.decode(f64::from_le_bytes)),
            other => return Err(self.place.element_type(other.name())),
        };
        let matrix = Matrix { rows, columns, elements };
        match matrix.first_not_finite() {
            None => Ok(matrix),
            Some(Stray { row, column, value }) => Err(LayerError::NotFinite { array, row, column, value }),
        }
    }

    /// The labels, whatever classes there are.
    pub fn labels(&self) -> Result<Vec<i128>, LayerError> {
        if self.shape.len() != 1 {
            return Err(self.dimensions());
        }
        Ok(match self.kind {
            Kind::I8 => self.decode(|word| i8::from_le_bytes(word).into()),
            Kind::I16 => self.decode(|word| i16::from_le_bytes(word).into()),
            Kind::I32 => self.decode(|word| i32::from_le_bytes(word).into()),
            Kind::I64 => self.decode(|word| i64::from_le_bytes(word).into()),
            Kind::U8 => self.decode(|word| u8::from_le_bytes(word).into()),
            Kind::U16 => self.decode(|word| u16::from_le_bytes(word).into()),
            Kind::U32 => self.decode(|word| u32::from_le_bytes(word).into()),
            Kind::U64 => self.decode(|word| u64::from_le_bytes(word).into()),
            Kind::F32 | Kind::F64 => return Err(self.place.element_type(self.kind.name())),
        })
    }

    fn dimensions(&self) -> LayerError {
        LayerError::Dimensions {
            array: self.place.to_string(),
            found: self.shape.clone(),
            expected: self.place.role.shape(),
            remedy: self.place.role.reshaped(self.shape.len()),
        }
    }

    /// All elements, row by row. `W` is the width of the kind.
    fn decode<T, const W: usize>(&self, number: impl Fn([u8; W]) -> T) -> Vec<T> {
        let number = |&word: &[u8; W]| {
            let mut word = word;
            if self.layout.big_endian {
                word.reverse();
            }
            number(word)
        };
        let (words, _) = self.data.as_chunks::<W>();
        match self.shape[..] {
            [rows, _] if self.layout.by_columns => {
                let mut numbers = Vec::with_capacity(words.len());
                for row in 0..rows {
                    numbers.extend(words.iter().skip(row).step_by(rows).map(number));
                }
                numbers
            }
            _ => words.iter().map(number).collect(),
        }
    }
}
