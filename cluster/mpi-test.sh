#!/usr/bin/env bash
# A last layer and a network by 2, 3 and 4 processes have the spectrum that one process finds, within rounding, and the
# same bits each time; a process that fails, or is killed, ends all of them, and leaves nothing half-written.
#
#   cluster/mpi-test.sh PATH/TO/kappa       (built with --features mpi)
#
# Needs mpirun of Open MPI or MPICH.
set -euo pipefail
kappa=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# Open MPI asks for this where root runs it, as in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none

fail() {
    echo "$1"
    exit 1
}
several() { mpirun -n "$1" "$kappa" "${@:2}"; }
eigenvalues() { python3 "$here/eigenvalues.py" "$@"; }

python3 "$here/eigenvalues.py" --make
# Ragged numbers of samples, and fewer than processes.
for samples in 1001 3 1; do
    files=(--features "G-$samples.npy" --logits "Z-$samples.npy" --labels "y-$samples.npy" --backend flex --quiet)
    "$kappa" hessian "${files[@]}" --out "one-$samples" >/dev/null
    for processes in 2 3 4; do
        several "$processes" hessian "${files[@]}" --out "of-$processes-$samples" >/dev/null
        eigenvalues "one-$samples" "of-$processes-$samples"
    done
done
several 3 hessian "${files[@]}" --out again >/dev/null
cmp again/spectrum.safetensors of-3-1/spectrum.safetensors || fail "the same processes, and other bits"
top=(--features G-1001.npy --logits Z-1001.npy --top 3 --density --probes 2 --steps 8 --backend flex --quiet)
"$kappa" hessian "${top[@]}" --out top-one >/dev/null
several 3 hessian "${top[@]}" --out top-of-3 >/dev/null
eigenvalues --top top-one top-of-3

# A network, by each of batch norm's statistics.
"$kappa" train "$here/../configs/fc-bn.toml" --set training.epochs=1 --set data.train=500 --set network.hidden=9 \
    --backend flex --quiet --out runs >/dev/null
run=$(echo runs/fc-bn-*)
for statistics in running batch dataset; do
    network=("$run" --bn-stats "$statistics" --batch-size 128 --backend flex --quiet)
    "$kappa" hessian "${network[@]}" --out "last-$statistics" >/dev/null
    "$kappa" hessian "${network[@]}" --parameters all --out "all-$statistics" >/dev/null
    for processes in 2 4; do
        several "$processes" hessian "${network[@]}" --out "last-$statistics-$processes" >/dev/null
        several "$processes" hessian "${network[@]}" --parameters all --out "all-$statistics-$processes" >/dev/null
        eigenvalues --network "last-$statistics"/* "last-$statistics-$processes"/*
        eigenvalues --curvature "all-$statistics"/* "all-$statistics-$processes"/*
    done
done

# An element that one process alone reads.
if several 3 hessian --features G-nan.npy --logits Z-1001.npy --backend flex --quiet --out nan >said 2>&1; then
    fail "a NaN passed"
fi
[ "$(grep -c 'error: ' said)" = 1 ] && grep -q "NaN in row 900, column 3" said || fail "$(cat said)"
if several 2 train "$here/../configs/smoke.toml" >said 2>&1; then fail "two processes trained"; fi
[ "$(grep -c 'error: ' said)" = 1 ] && grep -q 'only `kappa hessian` is for several' said || fail "$(cat said)"
if several 2 hessian --features G-1001.npy --logits Z-1001.npy --save-matrix >said 2>&1; then fail "--save-matrix passed"; fi
grep -q "is for one process" said || fail "$(cat said)"

# One of them is killed in the middle of its products.
several 3 hessian --features G-large.npy --logits Z-large.npy --density --probes 1000 --backend flex --quiet \
    --out killed >said 2>&1 &
launched=$!
for _ in $(seq 200); do
    ranks=$(pgrep -f "^$kappa hessian --features G-large.npy" || true)
    [ "$(wc -w <<<"$ranks")" = 3 ] && break
    sleep 0.05
done
[ "$(wc -w <<<"$ranks")" = 3 ] || fail "there are no three processes: $ranks"
sleep 1
kill -KILL "$(tail -n 1 <<<"$ranks")"
if wait "$launched"; then fail "one was killed, and all was well"; fi
sleep 0.5
! pgrep -f "^$kappa hessian --features G-large.npy" >/dev/null || fail "the others go on"
[ ! -e killed ] || [ -z "$(ls -A killed)" ] || fail "something was left: $(ls killed)"
echo "processes agree with one"
