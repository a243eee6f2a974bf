//! The program `kappa`: what was typed, to the library of the same name.

use std::{env, ffi::OsString, process::ExitCode};

/// Keeps what is freed for what is taken next: from the system's allocator every large tensor
/// has fresh pages, and clearing those takes a third of a full batch's step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    #[cfg(all(feature = "wgpu", target_os = "linux"))]
    if kappa::looks_for_a_gpu(&arguments) {
        without_device_select(&arguments);
    }
    end(kappa::program(&arguments))
}

/// Ends at once: a GPU's driver may still be compiling in threads of its own, and crashes when at the end
/// of `main` the libraries that it compiles with are taken down under it (Mesa's software driver did, one
/// time in three, after an error).
#[cfg(unix)]
fn end(status: u8) -> ExitCode {
    // What could not be printed was told where it was printed.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    signal_hook::low_level::exit(status.into())
}

#[cfg(not(unix))]
fn end(status: u8) -> ExitCode {
    ExitCode::from(status)
}

/// Begins this program again without Mesa's device-select layer, where there is no desktop: the
/// layer asks the desktop for its preferred adapter, and where there is none it prints an error
/// that reads like kappa's. It is told to stand aside by a variable of the environment, which a
/// process cannot set for itself without unsafe code; the program that takes this one's place
/// can be given it.
#[cfg(all(feature = "wgpu", target_os = "linux"))]
fn without_device_select(arguments: &[OsString]) {
    use std::{os::unix::process::CommandExt, process::Command};
    const STAND_ASIDE: &str = "NODEVICE_SELECT";
    if env::var_os("XDG_RUNTIME_DIR").is_some() || env::var_os(STAND_ASIDE).is_some() {
        return;
    }
    if let Ok(this) = env::current_exe() {
        // It returns only if it fails; then everything works all the same.
        let error = Command::new(this).args(arguments.iter().skip(1)).env(STAND_ASIDE, "1").exec();
        tracing::debug!("the device-select layer stays: {error}");
    }
}
