//! Samples of which each process has its own.

use std::sync::Arc;

use faer::Mat;
use kappa_world::{Combine, World};

use crate::{HessianError, Samples};

/// The samples that this process has of all.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub world: Arc<dyn World>,
    /// Samples before this process's own, in the order of all.
    pub first: usize,
    /// Samples of all processes.
    pub all: usize,
}

impl Samples {
    /// Samples of other processes before this one's own.
    pub(crate) fn first(&self) -> usize {
        self.share.as_ref().map_or(0, |share| share.first)
    }

    /// How many processes have samples of these.
    pub fn processes(&self) -> usize {
        self.share.as_ref().map_or(1, |share| share.world.processes())
    }

    /// Makes of numbers that are of the own samples those of all.
    pub(crate) fn combine(&self, numbers: &mut [f64], how: Combine) -> Result<(), HessianError> {
        match &self.share {
            Some(share) => Ok(share.world.combine(numbers, how)?),
            None => Ok(()),
        }
    }

    /// The sum over all processes.
    pub(crate) fn sum_of_all(&self, mut number: f64) -> Result<f64, HessianError> {
        self.combine(std::slice::from_mut(&mut number), Combine::Sum)?;
        Ok(number)
    }

    /// The same of a matrix.
    pub(crate) fn add_up(&self, matrix: &mut Mat<f64>) -> Result<(), HessianError> {
        if self.share.is_none() {
            return Ok(());
        }
        let mut numbers: Vec<f64> = matrix.col_iter().flat_map(|column| column.iter().copied()).collect();
        self.combine(&mut numbers, Combine::Sum)?;
        let rows = matrix.nrows();
        *matrix = Mat::from_fn(rows, matrix.ncols(), |i, j| numbers[j * rows + i]);
        Ok(())
    }
}
