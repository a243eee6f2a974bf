//! A computation on a thread of its own, while the caller's asks for signals and tells of progress.

use std::{
    any::Any,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel},
    },
    thread,
    time::Duration,
};

use kappa_hessian::Progress;
use kappa_probe::Observer;
use pyo3::prelude::*;

use crate::failure::KappaError;

/// How often the caller's thread looks whether it is to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// How long it waits then for the computation to see that. One that does not goes on alone until it does,
/// and nobody gets what it finds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far a computation is, for the thread that waits.
#[derive(Clone, Default)]
pub struct Watch(Arc<State>);

#[derive(Default)]
struct State {
    stage: Mutex<(String, Option<usize>)>,
    done: AtomicUsize,
    stopped: AtomicBool,
}

impl Progress for Watch {
    fn advance(&self, by: usize) -> ControlFlow<()> {
        self.0.done.fetch_add(by, Ordering::Relaxed);
        if self.0.stopped.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Observer for Watch {
    fn stage(&self, what: &str, length: Option<usize>) {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner) = (what.to_owned(), length);
        self.0.done.store(0, Ordering::Relaxed);
    }
}

/// Does `work` on another thread, without the GIL. Ctrl-C and what `progress` raises stop it.
pub fn watched<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Watch) -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    let watch = Watch::default();
    let (sender, answers) = channel();
    // Of one thread at a time; the one that waits lets go of the GIL.
    let answers = Mutex::new(answers);
    let watched = watch.clone();
    computed(Box::new(move || {
        let answer = catch_unwind(AssertUnwindSafe(|| work(&watched)));
        // Nobody listens any more if it was stopped.
        let _ = sender.send(answer.unwrap_or_else(|panic| Err(bug(&*panic))));
    }))?;
    let mut told = Told { progress, stage: String::new(), done: 0 };
    loop {
        match wait(py, &answers, BETWEEN_LOOKS) {
            Some(answer) => {
                told.tell(py, &watch)?;
                return answer;
            }
            None => {
                if let Err(stop) = py.check_signals().and_then(|()| told.tell(py, &watch)) {
                    watch.0.stopped.store(true, Ordering::Relaxed);
                    wait(py, &answers, PATIENCE);
                    return Err(stop);
                }
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that computes while it is idle. It belongs to the pool, as the program's own thread does: one
/// outside would wait for those of the pool, with a wake-up there and back for each of many small products.
struct First {
    jobs: Mutex<Sender<Job>>,
    /// Whose it is: the child of a fork has none of its parent's threads.
    process: u32,
}

static FIRST: LazyLock<Option<First>> = LazyLock::new(First::new);
static IS_IDLE: AtomicBool = AtomicBool::new(true);

impl First {
    fn new() -> Option<Self> {
        let (jobs, taken) = channel::<Job>();
        let (ready, is_ready) = channel();
        let work = move || {
            let pool = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
            let _ = ready.send(pool.is_ok());
            for job in taken {
                job();
                IS_IDLE.store(true, Ordering::Release);
            }
        };
        thread::Builder::new().name("kappa".to_owned()).spawn(work).ok()?;
        is_ready.recv().ok().filter(|&is_ready| is_ready)?;
        Some(Self { jobs: Mutex::new(jobs), process: process::id() })
    }
}

/// Has `job` done: by the first thread, or while that is busy by one of its own.
fn computed(job: Job) -> PyResult<()> {
    let mut job = job;
    if let Some(first) = &*FIRST {
        if first.process != process::id() {
            return Err(KappaError::new_err(
                "this process was forked from one that had used kappa, whose threads it has not: \
                 start it by `spawn` (multiprocessing.get_context(\"spawn\"))",
            ));
        }
        if IS_IDLE.swap(false, Ordering::Acquire) {
            match first.jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job) {
                Ok(()) => return Ok(()),
                Err(SendError(back)) => job = back,
            }
        }
    }
    let spawned = thread::Builder::new().name("kappa, beside".to_owned()).spawn(job);
    spawned.map(|_| ()).map_err(|error| KappaError::new_err(format!("no thread can be started: {error}")))
}

/// What was found, if it is found before long.
fn wait<T: Send>(
    py: Python<'_>,
    answers: &Mutex<Receiver<PyResult<T>>>,
    most: Duration,
) -> Option<PyResult<T>> {
    py.detach(|| match answers.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(most) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(bug(&"a thread has ended"))),
    })
}

/// What was told to a callable that wants to know.
struct Told {
    progress: Option<Py<PyAny>>,
    stage: String,
    done: usize,
}

impl Told {
    /// Calls it with the stage, what is done of it, and of how much, if that is new.
    fn tell(&mut self, py: Python<'_>, watch: &Watch) -> PyResult<()> {
        let Some(progress) = &self.progress else { return Ok(()) };
        let (stage, length) = watch.0.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let done = watch.0.done.load(Ordering::Relaxed);
        if stage.is_empty() || (stage == self.stage && done == self.done) {
            return Ok(());
        }
        progress.call1(py, (&stage, done, length))?;
        (self.stage, self.done) = (stage, done);
        Ok(())
    }
}

/// What is said of a panic.
fn bug(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "no message".to_owned());
    KappaError::new_err(format!("kappa has a bug: {text}. Please report it with what you called"))
}
