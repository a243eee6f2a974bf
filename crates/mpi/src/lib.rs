//! Processes that share samples, by the Message Passing Interface: [`kappa_world::World`] over whatever MPI the
//! system has, Open MPI or MPICH.
//!
//! One thread owns the communicator and does what the others ask of it, so that MPI is only ever called from the
//! thread that has begun it, which every MPI allows. Sums are made along a binary tree whose shape is that of the
//! number of processes alone: the order of the additions, and so the bits, are the same each time.
//!
//! Without the feature `mpi` there is only [`launched`], which tells that several processes were begun.
#![deny(missing_docs)]

use std::env;

#[cfg(feature = "mpi")]
mod processes;

#[cfg(feature = "mpi")]
pub use processes::{MpiError, Processes};

/// What a launcher (mpirun, or srun with a plugin of MPI's) says of this process before MPI is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// Which of the processes it is, counted from 0.
    pub rank: usize,
    /// How many there are.
    pub processes: usize,
}

/// What a launcher says of this process; nothing if none has begun it.
pub fn launched() -> Option<Launched> {
    let number = |name: &str| env::var(name).ok()?.parse::<usize>().ok();
    // Open MPI's own, and what MPICH, Intel MPI and srun's PMI-1 and PMI-2 tell. PMIx tells the rank alone; with srun
    // the step's tasks are known.
    let told = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
    ];
    told.into_iter().find_map(|(rank, size)| Some(Launched { rank: number(rank)?, processes: number(size)? }))
}
