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

# The paper's study: grid, paired seeds, a Hessian each epoch, verdicts, report
paper *args:
    {{kappa}} study configs/paper.toml {{args}}

# A study's report again, from what its runs left, e.g. `just report outputs/paper`
report *args:
    {{kappa}} report {{args}}

# All tests
test *args:
    cargo test --release --workspace {{args}}

# rustfmt and clippy, warnings denied
lint:
    cargo fmt --all -- --check
    cargo clippy --release --workspace --all-targets -- -D warnings
