//! `kappa-bench serve`: answers requests until they end.

use std::{
    any::Any,
    io::{self, BufRead, Write},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use serde::Serialize;

use crate::{
    device::Backend,
    error::BenchError,
    protocol::{Answer, Hello},
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
    say(&mut answers, &Hello::of(&place))?;
    let mut works = Works::new(arguments.inputs.clone(), place);
    for line in io::stdin().lock().lines() {
        say(&mut answers, &answer(&mut works, &line?))?;
    }
    Ok(())
}

fn answer(works: &mut Works, line: &str) -> Answer {
    let work = match serde_json::from_str(line) {
        Ok(work) => work,
        Err(error) => return Answer::error(&error),
    };
    // burn and its backends panic where a device refuses something. One work that cannot be
    // done is no reason to leave the others undone; what it had in memory went with it.
    catch_unwind(AssertUnwindSafe(|| works.measure(&work).into()))
        .unwrap_or_else(|panic| Answer::Error { error: message(panic.as_ref()) })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

fn say(answers: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *answers, line)?;
    answers.write_all(b"\n")?;
    answers.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> String {
        let mut works = Works::new(PathBuf::from("nowhere"), Backend::Flex.open().unwrap());
        let mut bytes = Vec::new();
        say(&mut bytes, &answer(&mut works, line)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_cannot_be_done_is_answered_all_the_same() {
        let doubled = reply(r#"{"work": "epoch", "precision": "f64", "network": "fc", "batch": 128}"#);
        assert!(doubled.starts_with(r#"{"unavailable":"#) && doubled.ends_with("}\n"), "{doubled}");
        let missing = reply(r#"{"work": "hessian", "precision": "f64", "inputs": "mnist"}"#);
        assert!(missing.starts_with(r#"{"error":""#) && missing.contains("G-mnist.npy"), "{missing}");
        for unknown in [r#"{"work": "dream", "precision": "f32"}"#, "gibberish"] {
            assert!(reply(unknown).starts_with(r#"{"error":"#), "{unknown}");
        }
    }
}
