"""Whole commands of kappa, as a user runs them: how long, and how much memory at most."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sides import environment, without_paths


class Commands:
    """Runs kappa from the project's root, with results in a folder that is thrown away."""

    def __init__(self, program: Path, root: Path, out: Path, threads: int, backend: str) -> None:
        self.program = program
        self.root = root
        self.out = out
        self.threads = threads
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
        with tempfile.TemporaryFile("w+") as messages:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=environment(self.threads),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,
            )
            usage = wait(process)
            seconds = time.perf_counter() - start
            if process.returncode != 0:
                messages.seek(0)
                said = [line for line in messages.read().splitlines() if "error" in line.lower()]
                text = without_paths(said[-1]) if said else f"ended with status {process.returncode}"
                return {"peer": label, "error": text}
        # The kernel counts in KiB, Darwin's in bytes.
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
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


def wait(process: subprocess.Popen) -> Any:
    """Waits for one process, for its own usage; `getrusage` would give the largest of all."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage
