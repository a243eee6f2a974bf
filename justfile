# The front door. `just` alone lists what there is.

kappa := "cargo run --release --quiet --"

[private]
default:
    @just --list --unsorted

# Train both networks on the GPU (30 epochs of MNIST)
train-gpu *args:
    {{kappa}} train configs/fc.toml configs/fc-bn.toml --backend wgpu {{args}}

# Train both networks on the CPU (30 epochs of MNIST)
train-cpu *args:
    {{kappa}} train configs/fc.toml configs/fc-bn.toml --backend flex {{args}}

# The last layer's Hessian spectrum of the latest run of each network, e.g. `just hessian --epoch 30`
hessian *args:
    {{kappa}} hessian {{args}}

# Why it is faster: arms, interventions, rates, explanations
why *args:
    {{kappa}} why configs/why.toml {{args}}

# The paper's study: grid, paired seeds, a Hessian each epoch, verdicts, report
paper *args:
    {{kappa}} study configs/paper.toml {{args}}

# A study's report again, from what its runs left, e.g. `just report outputs/paper`
report *args:
    {{kappa}} report {{args}}

# kappa beside numpy, torch, laplace-torch, curvlinops and hessian-eigenthings -> BENCHMARKS.md, e.g. `just bench --skip paper`
bench *args:
    #!/usr/bin/env bash
    set -euo pipefail
    # Where there is no Rust, e.g. beside a borrowed GPU, the two programs were brought along.
    if command -v cargo >/dev/null; then cargo build --release --workspace; fi
    KAPPA_COMMIT="$(git rev-parse --short=12 HEAD 2>/dev/null || true)" python3 bench {{args}}

# Check every file of a run or a study, and compute a spectrum again, e.g. `just verify outputs/paper`
verify *args:
    {{kappa}} verify {{args}}

# Fuzz one reader (needs nightly Rust and cargo-fuzz), e.g. `just fuzz npy -runs=10000000`
fuzz target *args:
    mkdir -p fuzz/found/{{target}}
    cargo +nightly fuzz run --sanitizer none --fuzz-dir fuzz {{target}} fuzz/found/{{target}} fuzz/corpus/{{target}} -- -max_len=8192 {{args}}

# All tests
test *args:
    cargo test --release --workspace {{args}}

# rustfmt and clippy, warnings denied
lint:
    cargo fmt --all -- --check
    cargo clippy --release --workspace --all-targets -- -D warnings
