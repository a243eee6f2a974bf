//! What `run.json` says of the program: its commit, and the versions of the crates that compute.
//!
//! Rejected: the crates that do this. They look at the repository's head alone, and would call
//! a build with changed files a clean one.

use std::{env, error::Error, fs, path::Path, process::Command};

/// The crates whose arithmetic is in the numbers.
const COMPUTING: [&str; 14] = [
    "burn",
    "burn-autodiff",
    "burn-flex",
    "burn-ndarray",
    "burn-wgpu",
    "cubecl",
    "faer",
    "gemm",
    "naga",
    "private-gemm-x86",
    "pulp",
    "rand_chacha",
    "safetensors",
    "wgpu",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Asked for when it runs: a target folder that two clones share holds one build of this script.
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    // Sources, so that "-dirty" is right; the log of the head, which each commit adds to.
    for watched in ["Cargo.lock", "Cargo.toml", "crates", "shaders", ".git/HEAD", ".git/logs/HEAD"] {
        let watched = root.join(watched);
        // One that is missing would have this crate compiled at every call.
        if watched.exists() {
            println!("cargo:rerun-if-changed={}", watched.display());
        }
    }
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
        .current_dir(&root)
        .output();
    // Without git, or outside a repository, nothing is known of the commit.
    if let Some(commit) = git.ok().filter(|git| git.status.success()) {
        println!("cargo:rustc-env=KAPPA_GIT_COMMIT={}", String::from_utf8(commit.stdout)?.trim());
    }
    let lock: toml::Table = toml::from_str(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let entry = |package: &toml::Value| {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        Some((text("name")?, text("version")?))
    };
    let versions: Vec<String> = packages
        .into_iter()
        .flatten()
        .filter_map(entry)
        .filter(|(name, _)| COMPUTING.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    println!("cargo:rustc-env=KAPPA_CRATES={}", versions.join(","));
    Ok(())
}
