//! The example in Python: the last layer of a network in torch, against torch's own Hessian.
//!
//! Without a Python that has torch, numpy and safetensors the test says so and passes,
//! unless KAPPA_REQUIRE_TORCH is set. KAPPA_PYTHON names another Python than python3.

use std::{ffi::OsString, process::Command};

use crate::Kappa;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/bring_your_own.py");

/// A Python that has what the example imports. Without one a test says so and passes, unless
/// KAPPA_REQUIRE_TORCH is set.
pub fn python_with_torch() -> Option<OsString> {
    let python = std::env::var_os("KAPPA_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(&python).args(["-c", "import torch, numpy, safetensors"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("KAPPA_REQUIRE_TORCH").is_none(), "there is no Python with torch");
    eprintln!("skipped: there is no Python with torch, numpy and safetensors");
    None
}

#[test]
fn torch_finds_the_same_hessian_of_a_network_of_its_own() {
    let Some(python) = python_with_torch() else { return };
    let kappa = Kappa::new();
    let output = Command::new(python)
        .current_dir(kappa.folder.path())
        .env_remove("KAPPA_LOG")
        .args([EXAMPLE, "--kappa", env!("CARGO_BIN_EXE_kappa")])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.lines().any(|line| line == "kappa and torch agree"), "{stdout}");
}
