//! The one place where a panic ends: burn and what is below it panic where a driver fails, and
//! their users should not have to read a backtrace for that.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use crate::error::CliError;

/// What the first panic said, and in which file: later ones, of threads that waited for the
/// first, say less.
static FIRST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Parts of the names of crates that speak with a device.
const BACKENDS: [&str; 6] = ["burn", "cubecl", "wgpu", "naga", "ash-", "metal"];

/// Does `work`; a panic in it is an error. RUST_BACKTRACE shows it all the same.
pub fn caught(work: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
    let print = panic::take_hook();
    let with_backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |info| {
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| {
            let place = info.location().map_or_else(String::new, |place| place.to_string());
            (said(info.payload()), place)
        });
        if with_backtrace {
            print(info);
        }
    }));
    // Nothing that the work has touched is used afterwards.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (message, place) = first.unwrap_or_else(|| (said(&*payload), String::new()));
        // The path in cargo's registry holds the crate's name.
        Err(if BACKENDS.iter().any(|name| place.contains(name)) {
            CliError::Backend(crate::backend::BackendError::Failed(message))
        } else {
            CliError::Panic { message, place }
        })
    })
}

/// What a panic says.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_and_where() {
        let error = caught(|| panic!("seven is {}", 8)).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("seven is 8") && told.contains("panics.rs") && told.contains("bug"), "{told}");
        caught(|| Ok(())).unwrap();
    }
}
