//! An array as a table, a row for each sample, and the way from its bytes to numbers.

use std::ops::Range;

use half::{bf16, f16};

use super::{
    array::{Kind, Layout, Place},
    error::LayerError,
    matrix::{Elements, Matrix},
    source::Source,
};

/// Bytes of a file that are decoded at once.
const PART_BYTES: usize = 1 << 20;

/// An array whose shape is known to agree with its bytes.
#[derive(Debug, Clone)]
pub(super) struct Table {
    place: Place,
    /// The dimensions of samples, none of them 0: their product is the number of rows.
    samples: Vec<usize>,
    rows: usize,
    columns: usize,
    kind: Kind,
    layout: Layout,
    data: Source,
}

/// Which rows of a table: a range, or these, in ascending order.
#[derive(Debug, Clone)]
pub(super) enum Wanted<'a> {
    Range(Range<usize>),
    These(&'a [usize]),
}

impl Wanted<'_> {
    pub fn count(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::These(rows) => rows.len(),
        }
    }

    /// The row of the table that is the `index`th of these.
    pub fn row(&self, index: usize) -> usize {
        match self {
            Self::Range(range) => range.start + index,
            Self::These(rows) => rows.get(index).copied().unwrap_or_default(),
        }
    }

    /// Those of `range` among them.
    fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::Range(all) => Self::Range(all.start + range.start..all.start + range.end),
            Self::These(rows) => Self::These(rows.get(range).unwrap_or_default()),
        }
    }

    /// Ranges of rows that follow each other.
    fn runs(&self) -> Vec<Range<usize>> {
        let rows = match self {
            Self::Range(range) => return vec![range.clone()],
            Self::These(rows) => rows,
        };
        let mut runs: Vec<Range<usize>> = Vec::new();
        for &row in *rows {
            match runs.last_mut() {
                Some(run) if run.end == row => run.end += 1,
                _ => runs.push(row..row + 1),
            }
        }
        runs
    }
}

impl Table {
    pub fn new(
        place: Place,
        samples: Vec<usize>,
        columns: usize,
        kind: Kind,
        layout: Layout,
        data: Source,
    ) -> Self {
        // No overflow: there are as many bytes at the least.
        let rows = samples.iter().product();
        Self { place, samples, rows, columns, kind, layout, data }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn samples(&self) -> &[usize] {
        &self.samples
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of `rows` of them once they are read.
    pub fn decoded_bytes(&self, rows: usize) -> u64 {
        let width = self.kind.decoded_width().unwrap_or_default() as u64;
        (rows as u64).saturating_mul(self.columns as u64).saturating_mul(width)
    }

    /// Bytes of the file that are held while `rows` of them are read.
    pub fn read_bytes(&self, rows: usize) -> u64 {
        let row = (self.columns * self.kind.width()) as u64;
        // Rows that do not follow each other are picked from a column.
        let column = if self.layout.by_columns { self.column_bytes() } else { 0 };
        (self.rows_at_once(rows) as u64).saturating_mul(row).saturating_add(column)
    }

    /// Whether rows that follow each other lie anywhere in each column: it is read whole, or not
    /// at all.
    pub fn is_scattered(&self) -> bool {
        self.layout.by_columns && self.samples.len() > 1
    }

    fn column_bytes(&self) -> u64 {
        (self.rows * self.kind.width()) as u64
    }

    fn rows_at_once(&self, rows: usize) -> usize {
        if self.is_scattered() {
            return rows;
        }
        (PART_BYTES / (self.columns * self.kind.width())).clamp(1, rows.max(1)).min(rows)
    }

    /// Some rows, in f32 or f64, whatever they are.
    pub fn matrix(&self, wanted: &Wanted<'_>) -> Result<Matrix, LayerError> {
        let elements = match self.kind {
            Kind::F16 => Elements::F32(self.decode(wanted, |word| f16::from_le_bytes(word).to_f32())?),
            Kind::BF16 => Elements::F32(self.decode(wanted, |word| bf16::from_le_bytes(word).to_f32())?),
            Kind::F32 => Elements::F32(self.decode(wanted, f32::from_le_bytes)?),
            Kind::F64 => Elements::F64(self.decode(wanted, f64::from_le_bytes)?),
            other => return Err(self.place.element_type(other.name())),
        };
        Ok(Matrix { rows: wanted.count(), columns: self.columns, elements })
    }

    /// Some rows of integers, whatever they are.
    pub fn integers(&self, wanted: &Wanted<'_>) -> Result<Vec<i128>, LayerError> {
        match self.kind {
            Kind::I8 => self.decode(wanted, |word| i8::from_le_bytes(word).into()),
            Kind::I16 => self.decode(wanted, |word| i16::from_le_bytes(word).into()),
            Kind::I32 => self.decode(wanted, |word| i32::from_le_bytes(word).into()),
            Kind::I64 => self.decode(wanted, |word| i64::from_le_bytes(word).into()),
            Kind::U8 => self.decode(wanted, |word| u8::from_le_bytes(word).into()),
            Kind::U16 => self.decode(wanted, |word| u16::from_le_bytes(word).into()),
            Kind::U32 => self.decode(wanted, |word| u32::from_le_bytes(word).into()),
            Kind::U64 => self.decode(wanted, |word| u64::from_le_bytes(word).into()),
            other => Err(self.place.element_type(other.name())),
        }
    }

    /// Some rows' elements, row by row. `W` is the width of the kind.
    fn decode<T, const W: usize>(
        &self,
        wanted: &Wanted<'_>,
        number: impl Fn([u8; W]) -> T,
    ) -> Result<Vec<T>, LayerError> {
        let number = |&word: &[u8; W]| {
            let mut word = word;
            if self.layout.big_endian {
                word.reverse();
            }
            number(word)
        };
        let count = wanted.count();
        let mut numbers = Vec::with_capacity(count * self.columns);
        let at_once = self.rows_at_once(count).max(1);
        let mut bytes = Vec::new();
        for start in (0..count).step_by(at_once) {
            let part = wanted.part(start..(start + at_once).min(count));
            self.fetch(&part, &mut bytes)?;
            let (words, _) = bytes.as_chunks::<W>();
            if self.layout.by_columns {
                let rows = part.count();
                for row in 0..rows {
                    numbers.extend(words.iter().skip(row).step_by(rows).map(number));
                }
            } else {
                numbers.extend(words.iter().map(number));
            }
        }
        Ok(numbers)
    }

    /// Puts some rows' bytes into `bytes`: row by row, or column by column if the file is so.
    fn fetch(&self, wanted: &Wanted<'_>, bytes: &mut Vec<u8>) -> Result<(), LayerError> {
        let (width, runs) = (self.kind.width(), wanted.runs());
        bytes.resize(wanted.count() * self.columns * width, 0);
        if !self.layout.by_columns {
            let (row, mut rest) = (self.columns * width, bytes.as_mut_slice());
            for run in runs {
                let (now, later) = rest.split_at_mut(run.len() * row);
                self.data.read_into((run.start * row) as u64, now)?;
                rest = later;
            }
            return Ok(());
        }
        let mut whole = Vec::new();
        for (column, piece) in bytes.chunks_exact_mut(wanted.count() * width).enumerate() {
            let start = column as u64 * self.column_bytes();
            match &runs[..] {
                [run] if !self.is_scattered() => {
                    self.data.read_into(start + (run.start * width) as u64, piece)?;
                }
                _ => {
                    // Many pieces of some bytes each would take longer.
                    let (first, last) = self.span(wanted);
                    whole.resize((last - first + 1) * width, 0);
                    self.data.read_into(start + (first * width) as u64, &mut whole)?;
                    for (index, element) in piece.chunks_exact_mut(width).enumerate() {
                        let at = (self.position(wanted.row(index)) - first) * width;
                        element.copy_from_slice(whole.get(at..at + width).unwrap_or_default());
                    }
                }
            }
        }
        Ok(())
    }

    /// The first and the last element of a column that `wanted` may need.
    fn span(&self, wanted: &Wanted<'_>) -> (usize, usize) {
        if self.is_scattered() {
            return (0, self.rows - 1);
        }
        (wanted.row(0), wanted.row(wanted.count().saturating_sub(1)))
    }

    /// Where in each column a row lies. Rows are counted with the last dimension of samples
    /// running fastest; by columns the first one does.
    fn position(&self, row: usize) -> usize {
        if !self.is_scattered() {
            return row;
        }
        let (mut rest, mut stride, mut position) = (row, self.rows, 0);
        for &length in self.samples.iter().rev() {
            stride /= length;
            position += rest % length * stride;
            rest /= length;
        }
        position
    }
}
