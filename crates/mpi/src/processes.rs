//! The processes that MPI has begun together.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use kappa_world::{Combine, World, WorldError};
use mpi::{Threading, topology::SimpleCommunicator, traits::*};

/// Numbers that go from one process to another at once, at the most: a message may have 2^31 of them, and each has
/// a buffer of as many.
const PIECE: usize = 1 << 24;

/// MPI does not work.
#[derive(Debug, thiserror::Error)]
pub enum MpiError {
    /// It could not be begun.
    #[error("MPI cannot be begun: it has been already, or allows no threads beside its own")]
    NotBegun,
    /// Its thread has ended.
    #[error("MPI has ended")]
    Ended,
}

/// All processes, as one of them sees them.
#[derive(Debug)]
pub struct Processes {
    asked: Mutex<Sender<Asked>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    place: Place,
}

/// Where a process stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    rank: usize,
    processes: usize,
    /// Among the processes of the same machine.
    on_node: usize,
    /// How many these are.
    of_node: usize,
}

/// What the thread of MPI is asked for.
enum Asked {
    Combine { numbers: Vec<f64>, how: Combine, to: Sender<Vec<f64>> },
    Abort(i32),
    End,
}

impl Processes {
    /// Joins the others; every process does it once.
    ///
    /// # Errors
    ///
    /// [`MpiError::NotBegun`].
    pub fn join() -> Result<Self, MpiError> {
        let (asked, answers) = channel();
        let (told, begun) = channel();
        let thread = thread::Builder::new().name("mpi".to_owned()).spawn(move || serve(&answers, &told));
        let thread = thread.map_err(|_| MpiError::NotBegun)?;
        let place = begun.recv().map_err(|_| MpiError::NotBegun)?;
        Ok(Self { asked: Mutex::new(asked), thread: Mutex::new(Some(thread)), place })
    }

    /// Which of the processes on the same machine this one is, counted from 0.
    pub fn rank_on_node(&self) -> usize {
        self.place.on_node
    }

    /// How many of the processes are on this machine.
    pub fn processes_on_node(&self) -> usize {
        self.place.of_node
    }

    /// Leaves: every process does it, and none does anything with the others afterwards.
    pub fn leave(&self) {
        let _ = self.ask(Asked::End);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has nothing to tell any more.
            let _ = thread.join();
        }
    }

    /// Ends all processes with this status, wherever they are.
    pub fn abort(&self, status: i32) {
        let _ = self.ask(Asked::Abort(status));
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }

    fn ask(&self, asked: Asked) -> Result<(), MpiError> {
        let sender = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(asked).map_err(|_| MpiError::Ended)
    }
}

impl World for Processes {
    fn processes(&self) -> usize {
        self.place.processes
    }

    fn rank(&self) -> usize {
        self.place.rank
    }

    fn combine(&self, numbers: &mut [f64], how: Combine) -> Result<(), WorldError> {
        let (to, found) = channel();
        let ended = |error: MpiError| WorldError(error.to_string());
        self.ask(Asked::Combine { numbers: numbers.to_vec(), how, to }).map_err(ended)?;
        let found = found.recv().map_err(|_| ended(MpiError::Ended))?;
        numbers.copy_from_slice(&found);
        Ok(())
    }
}

/// Does what is asked, until it is to end.
fn serve(asked: &Receiver<Asked>, told: &Sender<Place>) {
    let Some((universe, allowed)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
    if allowed < Threading::Funneled {
        return;
    }
    let world = universe.world();
    let index = |number: i32| usize::try_from(number).unwrap_or(0);
    let node = world.split_shared(world.rank());
    let place = Place {
        rank: index(world.rank()),
        processes: index(world.size()),
        on_node: index(node.rank()),
        of_node: index(node.size()),
    };
    // Freed before the universe ends.
    drop(node);
    if told.send(place).is_err() {
        return;
    }
    while let Ok(asked) = asked.recv() {
        match asked {
            Asked::Combine { mut numbers, how, to } => {
                numbers.chunks_mut(PIECE).for_each(|piece| combine(&world, piece, how));
                // Whoever asked may be gone.
                let _ = to.send(numbers);
            }
            Asked::Abort(status) => world.abort(status),
            Asked::End => return,
        }
    }
}

/// Up a binary tree to process 0, in the order of the ranks, and from it to all. An error of MPI's ends all
/// processes, as MPI does unless it is told otherwise.
fn combine(world: &SimpleCommunicator, numbers: &mut [f64], how: Combine) {
    let (rank, processes) = (world.rank(), world.size());
    let mut step = 1;
    while step < processes {
        if rank % (2 * step) != 0 {
            world.process_at_rank(rank - step).send(&*numbers);
            break;
        }
        if rank + step < processes {
            let mut others = vec![0.0; numbers.len()];
            world.process_at_rank(rank + step).receive_into(&mut others[..]);
            how.of(numbers, &others);
        }
        step *= 2;
    }
    world.process_at_rank(0).broadcast_into(numbers);
}
