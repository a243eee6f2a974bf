"""The processes that do the work: each answers a line of JSON with a line of JSON."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from failure import BenchError

OPENBLAS_CHOICES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP", "MKL", "OPENBLAS", "RAYON")


def environment(threads: int) -> dict[str, str]:
    """This process's environment with so many threads for every library that reads them from it."""
    counts = {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    counts["VECLIB_MAXIMUM_THREADS"] = str(threads)
    # OpenBLAS knows best which kernels this processor runs: a choice made outside is not the peers'.
    inherited = {name: value for name, value in os.environ.items() if name not in OPENBLAS_CHOICES}
    # Whoever waits for its turn sleeps: by default OpenMP's idle threads keep their cores busy.
    return inherited | counts | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}


class Side:
    """One long-lived process, kappa's or the peers'."""

    def __init__(self, name: str, command: list[str | Path], threads: int) -> None:
        self.name = name
        try:
            # In a session of its own, so that Ctrl-C reaches this process alone, which ends it.
            self.process = subprocess.Popen(
                [*map(str, command), "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env=environment(threads),
                start_new_session=True,
            )
        except OSError as error:
            raise BenchError(f"cannot start {name} ({command[0]}): {error.strerror}") from error
        self.hello = self.read("its greeting")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(request)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # It has ended; reading says so.
        answer = self.read(line)
        said = {name: without_paths(answer[name]) for name in ("error", "unavailable") if name in answer}
        return answer | said

    def read(self, what: str) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait(timeout=10)
            raise BenchError(f"{self.name} ended with status {status} before answering {what}")
        try:
            return json.loads(line)
        except json.JSONDecodeError as error:
            said = line[:200].strip()
            raise BenchError(f"{self.name} answered {what} with something else: {said}") from error

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the process: by the end of its input, or by force where it is in the middle of work."""
        if kind is None:
            self.process.stdin.close()
        else:
            self.process.kill()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def without_paths(text: str) -> str:
    """The first line of a message, without the folders of this machine, which are nobody's business."""
    first = (text.strip().splitlines() or ["no message"])[0]
    return re.sub(r"(?:/[\w.+~-]+){2,}/?|[A-Za-z]:\\\S+", "(path)", first)[:300]
