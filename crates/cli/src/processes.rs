//! The processes that mpirun or srun has begun together, and which of them this one is.

use std::{sync::Arc, thread, time::Duration};

#[cfg(feature = "mpi")]
use kappa_run::{free_memory, limit_memory};
use kappa_world::{Alone, World};

use crate::{args::Command, error::CliError, output};

/// So long another process waits for the first one to tell of an error that it has too.
const PATIENCE: Duration = Duration::from_secs(1);

/// This process among those that do the same.
#[derive(Debug, Clone)]
pub struct Processes {
    world: Arc<dyn World>,
    #[cfg(feature = "mpi")]
    joined: Option<Arc<kappa_mpi::Processes>>,
}

impl Processes {
    /// Joins those that were begun together, for `command`.
    ///
    /// # Errors
    ///
    /// [`CliError::NoMpi`] if several were begun and this build cannot join them, [`CliError::OneProcess`] if the
    /// command is not for several.
    pub fn join(command: &Command) -> Result<Self, CliError> {
        let Some(launched) = kappa_mpi::launched().filter(|launched| launched.processes > 1) else {
            return Ok(Self::alone());
        };
        if launched.rank > 0 {
            // The first one speaks for all.
            output::be_silent();
        }
        match command {
            Command::Hessian(_) => Self::of_several(launched.processes),
            _ => Err(CliError::OneProcess(launched.processes)),
        }
    }

    fn alone() -> Self {
        Self {
            world: Arc::new(Alone),
            #[cfg(feature = "mpi")]
            joined: None,
        }
    }

    #[cfg(feature = "mpi")]
    fn of_several(_processes: usize) -> Result<Self, CliError> {
        let joined = Arc::new(kappa_mpi::Processes::join()?);
        // What is free on a machine is shared by the processes there.
        limit_memory(free_memory() / joined.processes_on_node().max(1) as u64);
        Ok(Self { world: joined.clone(), joined: Some(joined) })
    }

    #[cfg(not(feature = "mpi"))]
    fn of_several(processes: usize) -> Result<Self, CliError> {
        Err(CliError::NoMpi(processes))
    }

    /// All of them.
    pub fn world(&self) -> Arc<dyn World> {
        self.world.clone()
    }

    /// Whether this is the one that prints and writes.
    pub fn is_first(&self) -> bool {
        self.world.rank() == 0
    }

    /// Which of the processes on this machine it is, where there are several in all.
    pub fn rank_on_node(&self) -> Option<usize> {
        #[cfg(feature = "mpi")]
        return self.joined.as_ref().map(|joined| joined.rank_on_node());
        #[cfg(not(feature = "mpi"))]
        None
    }

    /// Leaves the others, with the status of this one; one that could not do its part ends all of them with it. `tell`
    /// tells of its error.
    pub fn end(&self, status: u8, tell: impl FnOnce()) -> u8 {
        if status == crate::SUCCESS {
            self.leave();
            return status;
        }
        // What goes wrong in all is told by the first, and ends the others meanwhile.
        if !self.is_first() {
            thread::sleep(PATIENCE);
        }
        tell();
        self.abort(status);
        status
    }

    #[cfg(feature = "mpi")]
    fn leave(&self) {
        if let Some(joined) = &self.joined {
            joined.leave();
        }
    }

    #[cfg(not(feature = "mpi"))]
    fn leave(&self) {}

    #[cfg(feature = "mpi")]
    fn abort(&self, status: u8) {
        if let Some(joined) = &self.joined {
            joined.abort(status.into());
        }
    }

    #[cfg(not(feature = "mpi"))]
    fn abort(&self, _status: u8) {}
}
