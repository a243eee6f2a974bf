//! `kappa-bench serve`: answers requests until they end.

use std::{
    any::Any,
    io::{self, BufRead, Write},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use crate::{
    device::Backend,
    error::BenchError,
    protocol::{Measured, answer, hello},
    works::Works,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder that `kappa-bench inputs` wrote to
    #[arg(long, value_name = "DIR")]
    inputs: PathBuf,
    /// What is computed on
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// Threads of everything on the CPU
    #[arg(long)]
    threads: NonZeroUsize,
}

pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    // As kappa does it, this thread being one of them; before anything computes, since the
    // first that does starts a pool of its own choice.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads.get());
    threads.use_current_thread().build_global()?;
    let place = arguments.backend.open()?;
    let mut answers = io::stdout().lock();
    writeln!(answers, "{}", hello(&place))?;
    let mut works = Works::new(arguments.inputs.clone(), place);
    for line in io::stdin().lock().lines() {
        writeln!(answers, "{}", answer(measured(&mut works, &line?)))?;
    }
    Ok(())
}

fn measured(works: &mut Works, line: &str) -> Result<Measured, BenchError> {
    let work = serde_json::from_str(line)?;
    // burn and its backends panic where a device refuses something. One work that cannot be
    // done is no reason to leave the others undone; what it had in memory went with it.
    catch_unwind(AssertUnwindSafe(|| works.measure(&work)))
        .unwrap_or_else(|panic| Err(BenchError::Panic(message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_answered_all_the_same() {
        let mut works = Works::new(PathBuf::from("nowhere"), Backend::Flex.open().unwrap());
        let mut reply = |line: &str| answer(measured(&mut works, line));
        let doubled = reply(r#"{"work": "epoch", "precision": "f64", "network": "fc", "batch": 128}"#);
        assert!(doubled["unavailable"].is_string(), "{doubled}");
        let missing = reply(r#"{"work": "hessian", "precision": "f64", "inputs": "mnist"}"#);
        assert!(missing["error"].as_str().is_some_and(|error| error.contains("G-mnist.npy")), "{missing}");
        for unknown in [r#"{"work": "dream", "precision": "f32"}"#, "gibberish"] {
            assert!(reply(unknown)["error"].is_string(), "{unknown}");
        }
    }
}
