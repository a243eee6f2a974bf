//! Arrays that are larger than the memory, gone through again and again: their first rows are kept where
//! there is room, and of the others the next are read while the last are computed with.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use kappa_data::{Elements, LastLayer, LayerError, Matrix, Scores};

/// Features [n, m] and scores [n, K] of some rows, as they are read.
pub(crate) type Read = (Matrix, Matrix);

/// Rows of a last layer's arrays, in parts.
#[derive(Debug)]
pub(crate) struct Reader {
    arrays: Arc<LastLayer>,
    /// Rows of a part.
    rows: usize,
    /// Rows of all.
    count: usize,
    /// The first parts.
    kept: Vec<Read>,
    ahead: Mutex<Option<Ahead>>,
}

/// A part that is being read.
#[derive(Debug)]
struct Ahead {
    index: usize,
    thread: JoinHandle<Result<Read, LayerError>>,
}

impl Reader {
    /// The first `count` rows of `arrays`, `rows` at a time.
    pub fn new(arrays: Arc<LastLayer>, rows: usize, count: usize) -> Self {
        Self { arrays, rows, count, kept: Vec::new(), ahead: Mutex::new(None) }
    }

    /// Reads as many of the first parts as have room in `bytes`, to keep them; `each` is told of their rows.
    pub fn keep<E: From<LayerError>>(
        &mut self,
        bytes: u64,
        mut each: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = bytes;
        for index in 0..self.parts() {
            let read = read(&self.arrays, self.range(index))?;
            let Some(rest) = left.checked_sub(bytes_of(&read.0) + bytes_of(&read.1)) else { break };
            left = rest;
            each(self.range(index).len())?;
            self.kept.push(read);
        }
        Ok(())
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.count.div_ceil(self.rows)
    }

    /// The rows of a part.
    pub fn range(&self, index: usize) -> Range<usize> {
        let start = (index * self.rows).min(self.count);
        start..(start + self.rows).min(self.count)
    }

    /// The scores, of either kind.
    pub fn scores(&self) -> &Scores {
        &self.arrays.scores
    }

    /// The rows that are kept.
    pub fn rows_kept(&self) -> usize {
        (0..self.kept.len()).map(|index| self.range(index).len()).sum()
    }

    /// A part, which may have been read before; the one after it is being read then.
    pub fn read(&self, index: usize) -> Result<Read, LayerError> {
        if let Some(kept) = self.kept.get(index) {
            // The first that is not kept may be there when it is asked for.
            if index == 0 {
                self.begin(self.kept.len());
            }
            return Ok(kept.clone());
        }
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let found = match ahead.filter(|ahead| ahead.index == index) {
            // A thread that panicked has read nothing.
            Some(ahead) => ahead.thread.join().unwrap_or_else(|_| read(&self.arrays, self.range(index)))?,
            None => read(&self.arrays, self.range(index))?,
        };
        // Behind the last one comes the first again that is not kept, unless the first of all is kept, which is
        // asked for before it.
        match index + 1 {
            next if next < self.parts() => self.begin(next),
            _ if self.kept.is_empty() => self.begin(0),
            _ => {}
        }
        Ok(found)
    }

    /// Begins to read a part.
    fn begin(&self, index: usize) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = ahead.as_ref().is_some_and(|ahead| ahead.index == index);
        if index < self.parts() && !is_there {
            let (arrays, range) = (self.arrays.clone(), self.range(index));
            let thread = thread::spawn(move || read(&arrays, range));
            *ahead = Some(Ahead { index, thread });
        }
    }
}

fn read(arrays: &LastLayer, range: Range<usize>) -> Result<Read, LayerError> {
    Ok((arrays.features.read(range.clone())?, arrays.scores.rows().read(range)?))
}

fn bytes_of(matrix: &Matrix) -> u64 {
    let bytes = match &matrix.elements {
        Elements::F32(elements) => size_of_val(&elements[..]),
        Elements::F64(elements) => size_of_val(&elements[..]),
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use kappa_data::Rows;

    use super::*;

    fn arrays(count: usize) -> Arc<LastLayer> {
        let column = |factor: f32| {
            let elements = Elements::F32((0..count).map(|n| factor * n as f32).collect());
            Rows::from(Matrix { rows: count, columns: 1, elements })
        };
        Arc::new(LastLayer {
            place: (0, 20),
            features: column(1.0),
            scores: Scores::Logits(column(-1.0)),
            weights: None,
            labels: None,
            ignored: None,
            files: Vec::new(),
            logits_are_distributions: false,
            is_read_again: false,
        })
    }

    fn first_of(read: &Read) -> f32 {
        match &read.0.elements {
            Elements::F32(elements) => elements[0],
            Elements::F64(_) => f32::NAN,
        }
    }

    #[test]
    fn parts_are_the_same_whether_they_are_kept_read_ahead_or_read_now() {
        let expected: Vec<f32> = (0..7).map(|part| (3 * part) as f32).collect();
        // Eight bytes a row: nothing, two parts and a bit, all.
        for (bytes, kept) in [(0, 0), (50, 6), (1 << 20, 20)] {
            let mut reader = Reader::new(arrays(20), 3, 20);
            let mut told = 0;
            let tell = |rows| {
                told += rows;
                Ok::<_, LayerError>(())
            };
            reader.keep(bytes, tell).unwrap();
            assert_eq!((reader.rows_kept(), told, reader.parts()), (kept, kept, 7));
            for _ in 0..3 {
                let found: Vec<f32> = (0..7).map(|part| first_of(&reader.read(part).unwrap())).collect();
                assert_eq!(found, expected);
            }
            // In any order.
            for part in [6, 2, 2, 5, 0, 3] {
                assert_eq!(first_of(&reader.read(part).unwrap()), (3 * part) as f32);
            }
            assert_eq!(reader.read(6).unwrap().0.rows, 2);
        }
    }
}
