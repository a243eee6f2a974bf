//! Which program this is, for the directories that it writes. `build.rs` finds it out.

use kappa_run::{Backend, Provenance};

/// This program, on that backend and device.
pub fn of(backend: Backend, device: String, driver: Option<String>) -> Provenance {
    let crates = env!("KAPPA_CRATES").split(',').filter_map(|pair| pair.split_once(' '));
    Provenance {
        kappa_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: option_env!("KAPPA_GIT_COMMIT").map(str::to_owned),
        crates: crates.map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
        backend,
        device,
        driver,
    }
}
