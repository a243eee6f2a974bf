//! Processes that share the samples: what each has summed over its own is added up over all.
//!
//! All of them do the same, one step after the other, but that each goes through samples of its own. Whatever
//! is a sum over samples is added up before anything is made of it, so that from there on all have the same
//! numbers, to the last bit, and take the same decisions.
//!
//! One process alone is a world too: [`Alone`]. That of several, by MPI, is in `kappa-mpi`.
#![deny(missing_docs)]

use std::{fmt::Debug, ops::Range};

/// All processes, as one of them sees them.
pub trait World: Debug + Send + Sync {
    /// How many there are.
    fn processes(&self) -> usize;

    /// Which of them this one is, counted from 0.
    fn rank(&self) -> usize;

    /// Puts in the place of each number what `how` makes of all processes' numbers there. Every process calls it
    /// with as many numbers, and all have the same bits then, the same each time with as many processes.
    ///
    /// # Errors
    ///
    /// [`WorldError`] if a process cannot be reached.
    fn combine(&self, numbers: &mut [f64], how: Combine) -> Result<(), WorldError>;
}

/// Another process cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another process cannot be reached: {0}")]
pub struct WorldError(pub String);

/// What is made of a number of each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// The sum.
    Sum,
    /// The largest; what is not a number is above all.
    Largest,
    /// The smallest.
    Smallest,
}

impl Combine {
    /// Of two processes' numbers, in their order: put in the place of the first's.
    ///
    /// ```
    /// use kappa_world::Combine;
    ///
    /// let mut first = [1.0, f64::NAN, 2.0];
    /// Combine::Largest.of(&mut first, &[f64::NAN, 1.0, 3.0]);
    /// assert!(first[0].is_nan() && first[1].is_nan() && first[2] == 3.0);
    /// ```
    pub fn of(self, first: &mut [f64], second: &[f64]) {
        let pairs = first.iter_mut().zip(second);
        match self {
            Self::Sum => pairs.for_each(|(a, b)| *a += b),
            Self::Largest => pairs.for_each(|(a, b)| *a = if b.is_nan() || *b > *a { *b } else { *a }),
            Self::Smallest => pairs.for_each(|(a, b)| *a = a.min(*b)),
        }
    }
}

/// The only process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl World for Alone {
    fn processes(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn combine(&self, _numbers: &mut [f64], _how: Combine) -> Result<(), WorldError> {
        Ok(())
    }
}

/// This process's own of `count` samples: as many as each other's, but for one.
///
/// ```
/// use kappa_world::{Alone, share_of};
///
/// assert_eq!(share_of(&Alone, 10), 0..10);
/// ```
pub fn share_of(world: &dyn World, count: usize) -> Range<usize> {
    let (each, rest) = (count / world.processes().max(1), count % world.processes().max(1));
    let before = |rank: usize| each * rank + rank.min(rest);
    before(world.rank())..before(world.rank() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Of(usize, usize);

    impl World for Of {
        fn processes(&self) -> usize {
            self.1
        }

        fn rank(&self) -> usize {
            self.0
        }

        fn combine(&self, _numbers: &mut [f64], _how: Combine) -> Result<(), WorldError> {
            Err(WorldError("there is none".to_owned()))
        }
    }

    #[test]
    fn shares_are_as_large_as_each_other_but_for_one_and_there_may_be_none() {
        let of = |count, processes| {
            (0..processes).map(|rank| share_of(&Of(rank, processes), count)).collect::<Vec<_>>()
        };
        assert_eq!(of(10, 3), [0..4, 4..7, 7..10]);
        assert_eq!(of(1, 2), [0..1, 1..1]);
        assert_eq!(of(usize::MAX, 2)[1].end, usize::MAX);
    }
}
