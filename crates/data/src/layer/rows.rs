//! The rows of a matrix that may be larger than the memory.

use std::{ops::Range, sync::Arc};

use super::{
    error::LayerError,
    matrix::{Elements, Matrix, NotDistributions, Stray},
    memory::Budget,
    table::{Table, Wanted},
};

/// Bytes of decoded rows that are gone through at once, at the most.
const PART_BYTES: u64 = 4 << 20;

/// A matrix that is read some rows at a time: from memory, or from the file that it lies in.
#[derive(Debug, Clone)]
pub struct Rows {
    /// What messages call it.
    name: Arc<str>,
    count: usize,
    columns: usize,
    double: bool,
    held: Held,
}

#[derive(Debug, Clone)]
enum Held {
    Memory(Matrix),
    File(Stored),
}

/// What a matrix's elements have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Finite.
    Finite,
    /// Finite, or -inf but for a whole row.
    Logits,
    /// From 0 to 1, a distribution each row, which is made to sum to 1.
    Distributions,
    /// From 0 to 1.
    Probabilities,
}

/// The rows of a table that are not left out, and of these a process's own, with what is asked of them.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub table: Table,
    pub rule: Rule,
    pub kept: Option<Arc<[usize]>>,
    pub own: Range<usize>,
}

impl Rows {
    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether elements are read as f64, and not as f32.
    pub fn is_double(&self) -> bool {
        self.double
    }

    /// Whether all rows are in memory, and none is read from a file again.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.held, Held::Memory(_))
    }

    /// The rows of `range`, cut where the rows end, decoded and checked as all of them were at first.
    ///
    /// # Errors
    ///
    /// [`LayerError`] if the file cannot be read any more, or does not hold what it held.
    pub fn read(&self, range: Range<usize>) -> Result<Matrix, LayerError> {
        let end = range.end.min(self.count);
        let range = range.start.min(end)..end;
        match &self.held {
            Held::Memory(matrix) => Ok(matrix.part(range)),
            Held::File(stored) => stored.read(range),
        }
    }

    /// All rows, in ranges of a size that is good to read, and of at most `most` elements unless
    /// that is less than a row.
    pub fn ranges(&self, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (count, at_once) = (self.count, (most / self.columns).max(1));
        (0..count).step_by(at_once).map(move |start| start..(start + at_once).min(count))
    }

    /// Reads a table: into memory, or, if it is to stay where it is, once in parts that `budget`
    /// allows, to check it. `each` is shown all of it with the row that it begins with.
    pub(super) fn new(
        stored: Stored,
        in_memory: bool,
        budget: &Budget,
        mut each: impl FnMut(&Matrix, usize) -> Result<(), LayerError>,
    ) -> Result<Self, LayerError> {
        let (count, columns) = (stored.count(), stored.table.columns());
        let name: Arc<str> = stored.table.place().to_string().into();
        let double = stored.table.kind().decoded_width() == Some(size_of::<f64>());
        if in_memory {
            let matrix = stored.read(0..count)?;
            each(&matrix, 0)?;
            return Ok(Self { name, count, columns, double, held: Held::Memory(matrix) });
        }
        let at_once = stored.rows_at_once(budget)?;
        for start in (0..count).step_by(at_once) {
            let part = stored.read(start..(start + at_once).min(count))?;
            each(&part, start)?;
        }
        Ok(Self { name, count, columns, double, held: Held::File(stored) })
    }
}

impl From<Matrix> for Rows {
    fn from(matrix: Matrix) -> Self {
        let (count, columns) = (matrix.rows, matrix.columns);
        let double = matches!(matrix.elements, Elements::F64(_));
        Self { name: "memory".into(), count, columns, double, held: Held::Memory(matrix) }
    }
}

/// The sample that is the `index`th of those that are kept.
pub(super) fn sample(kept: Option<&[usize]>, index: usize) -> usize {
    kept.map_or(index, |kept| kept.get(index).copied().unwrap_or_default())
}

impl Stored {
    pub fn count(&self) -> usize {
        self.own.len()
    }

    /// Bytes that it takes to have all of it in memory, while it is read.
    pub fn bytes_in_memory(&self) -> u64 {
        self.table.decoded_bytes(self.count())
    }

    /// Bytes that reading all of it takes beside.
    pub fn bytes_to_read(&self) -> u64 {
        self.table.read_bytes(self.count())
    }

    fn wanted(&self, range: Range<usize>) -> Wanted<'_> {
        let range = self.own.start + range.start..self.own.start + range.end;
        match &self.kept {
            Some(kept) => Wanted::These(kept.get(range).unwrap_or_default()),
            None => Wanted::Range(range),
        }
    }

    /// How many rows may be read at once: what is left has to hold one.
    fn rows_at_once(&self, budget: &Budget) -> Result<usize, LayerError> {
        let table = &self.table;
        let array = table.place().to_string();
        let allowed = budget.left();
        let too_large =
            |needed, remedy| LayerError::NoMemory { array: array.clone(), needed, allowed, remedy };
        if table.is_scattered() {
            let needed = self.bytes_in_memory().saturating_add(self.bytes_to_read());
            return Err(too_large(
                needed,
                "in Fortran order, with several dimensions of samples, it cannot be read in parts: \
                 save `np.ascontiguousarray(x)`",
            ));
        }
        let of_one = table.decoded_bytes(1).saturating_add(table.read_bytes(1));
        if of_one > allowed {
            return Err(too_large(of_one, "that is for one row"));
        }
        let rows = (allowed / 2).min(PART_BYTES) / of_one.max(1);
        Ok(usize::try_from(rows).unwrap_or(usize::MAX).max(1))
    }

    /// Some rows, checked; of probabilities each is made to sum to 1.
    pub fn read(&self, range: Range<usize>) -> Result<Matrix, LayerError> {
        let wanted = self.wanted(range);
        let mut matrix = self.table.matrix(&wanted)?;
        let place = |row: usize| self.table.place().of_row(wanted.row(row), self.table.rows());
        let not_finite = |Stray { row, column, value }: Stray| {
            let (array, row) = place(row);
            LayerError::NotFinite { array, row, column, value }
        };
        let no_probability = |Stray { row, column, value }: Stray| {
            let (array, row) = place(row);
            LayerError::NotAProbability { array, row, column, value }
        };
        match self.rule {
            Rule::Finite => matrix.first_not_finite().map_or(Ok(()), |stray| Err(not_finite(stray)))?,
            Rule::Logits if matrix.first_not_finite().is_some() => {
                if let Some(stray) = matrix.first_no_logit() {
                    return Err(not_finite(stray));
                }
                if let Some(row) = matrix.first_row_without_a_class() {
                    let (array, row) = place(row);
                    return Err(LayerError::NoClass { array, row });
                }
            }
            Rule::Logits => {}
            Rule::Probabilities => {
                matrix.first_no_probability().map_or(Ok(()), |stray| Err(no_probability(stray)))?;
            }
            Rule::Distributions => matrix.normalise_rows().map_err(|error| match error {
                NotDistributions::Element(stray) => no_probability(stray),
                NotDistributions::RowSum { row, sum } => {
                    let (array, row) = place(row);
                    LayerError::RowSum { array, row, sum }
                }
            })?,
        }
        Ok(matrix)
    }
}
