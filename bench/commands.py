"""Whole commands of kappa, as a user runs them: how long, and how much memory at most."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from failure import without_paths


class Commands:
    """Runs kappa from the project's root, with results in a folder that is thrown away."""

    def __init__(self, program: Path, root: Path, out: Path, backend: str) -> None:
        self.program = program
        self.root = root
        self.out = out
        self.backend = backend

    def paper(self) -> dict[str, Any]:
        rows = [self.row("kappa study configs/paper.toml", "study", "configs/paper.toml", out="paper")]
        whole = (self.root / "configs" / "paper.toml").read_text()
        alone = without_table(whole, "whole")
        if alone != whole:
            self.out.mkdir(parents=True, exist_ok=True)
            config = self.out / "paper.toml"
            config.write_text(alone)
            label = "the same without the whole network's spectra ([whole])"
            rows.append(self.row(label, "study", config, out="paper-last-layer"))
        title = "The paper's study, from nothing to its report"
        return {"group": "paper", "title": title, "rows": rows}

    def memory(self) -> dict[str, Any]:
        train = ["train", "configs/fc.toml", "--set", "training.epochs=1", "--quiet"]
        rows = [self.row("kappa train configs/fc.toml, one epoch", *train, out="runs")]
        if "error" not in rows[0]:
            (checkpoint,) = self.out.glob("runs/*/checkpoints/epoch-0001.safetensors")
            # By its checkpoint, since that takes all 60,000 images; a run holds some back.
            hessian = ["hessian", "--checkpoint", checkpoint, "--quiet"]
            label = "kappa hessian, N = 60,000: H, its spectrum and the evidence"
            rows.append(self.row(label, *hessian, out="spectra-1"))
            label = "kappa hessian --top 10, N = 60,000: without forming H"
            rows.append(self.row(label, *hessian, "--top", "10", out="spectra-2"))
        return {"group": "memory", "title": "Memory of whole commands, m = 100, K = 10", "rows": rows}

    def row(self, label: str, *arguments: str | Path, out: str) -> dict[str, Any]:
        """Run once: these are minutes, or of interest for their memory."""
        command = [self.program, *arguments, "--out", self.out / out, "--backend", self.backend]
        # By a process that is small itself: a new one's peak begins with that of who starts it.
        done = subprocess.run(
            [sys.executable, __file__, *map(str, command)], cwd=self.root, capture_output=True, text=True
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            text = without_paths(said[-1]) if said else f"ended with status {done.returncode}"
            return {"peer": label, "error": text}
        seconds, peak = json.loads(done.stdout.splitlines()[-1])
        return {"peer": label, "seconds": [seconds], "median": seconds, "runs": 1, "peak_bytes": peak}


def without_table(toml: str, name: str) -> str:
    """A configuration without one of its tables, and the tables within it."""
    kept, keep = [], True
    for line in toml.splitlines(keepends=True):
        if line.startswith("["):
            table = line.strip("[ \n").partition("]")[0].strip()
            keep = table != name and not table.startswith(f"{name}.")
        kept += [line] if keep else []
    return "".join(kept)


def main(command: list[str]) -> int:
    """Runs a command, whose output is thrown away; prints its seconds and its peak in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # Its own usage; `getrusage` would give the largest of all children.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    # The kernel counts in KiB, Darwin's in bytes.
    print(json.dumps([seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)]))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
