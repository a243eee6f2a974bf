#!/usr/bin/env bash
# One command submits a study to Slurm: its stages as job arrays, each after the one before, and at the end the
# verdicts and the report. The same command again goes on with what is not done.
#
#   cluster/slurm.sh configs/paper.toml
#   TASKS=40 SBATCH_OPTIONS="--partition=cpu --time=4:00:00 --cpus-per-task=8" \
#       cluster/slurm.sh configs/paper.toml --set seeds=20 --out /shared/outputs
#
# TASKS: tasks of an array (10). SBATCH_OPTIONS: of each sbatch. KAPPA: the program (kappa). What follows the
# configuration goes to `kappa study`; --out is to be on a file system that all nodes have (docs/guide/clusters.md).
set -euo pipefail

if [ "$#" -lt 1 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
fi
read -ra options <<<"${SBATCH_OPTIONS:-}"
study=("${KAPPA:-kappa}" study "$@")

# An error in the configuration is told here, and not by every task.
"${study[@]}" --plan

# Submits what computes, after the jobs that are named; prints the job's number.
submit() {
    local name=$1 after=$2
    shift 2
    sbatch --parsable --requeue --kill-on-invalid-dep=yes --open-mode=append --job-name="kappa-$name" \
        ${after:+--dependency=afterok:$after} "${options[@]}" "${array[@]}" <<SCRIPT
#!/bin/sh
exec $(printf '%q ' "${study[@]}" "$@")
SCRIPT
}

array=(--array="1-${TASKS:-10}")
grid=$(submit grid "" --stage grid --task)
runs=$(submit runs "$grid" --stage runs --task)
array=()
report=$(submit report "$runs")
echo "submitted: grid $grid, runs $runs, report $report"
