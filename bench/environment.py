"""What all is measured in: one process of a Python of its own, with the threads that were asked for.

A comparison is only worth its versions, so they are written down in requirements.txt and
installed into an environment beside this file, once, which nothing else shares.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from failure import BenchError

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
FOLDER = HERE / ".venv"
# Which requirements the environment was made from; written last, so that a half-made one has none.
STAMP = FOLDER / "requirements.sha256"
ENTERED = "KAPPA_BENCH_ENTERED"
OPENBLAS_CHOICES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP", "MKL", "OPENBLAS", "RAYON")


def entered() -> bool:
    return ENTERED in os.environ


def enter(program: Path, threads: int) -> NoReturn:
    """Starts again in `program`, a Python, as this process."""
    command = [str(program), "-W", "ignore", str(HERE), *sys.argv[1:]]
    try:
        os.execve(program, command, variables(threads) | {ENTERED: "1"})
    except OSError as error:
        raise BenchError(f"cannot start {program}: {error.strerror}") from error


def variables(threads: int) -> dict[str, str]:
    """This process's, with so many threads for every library that reads them when it starts."""
    counts = {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    counts["VECLIB_MAXIMUM_THREADS"] = str(threads)
    # OpenBLAS knows best which kernels this processor runs: a choice made outside is not the peers'.
    inherited = {name: value for name, value in os.environ.items() if name not in OPENBLAS_CHOICES}
    # Whoever waits for its turn sleeps: by default OpenMP's idle threads keep their cores busy.
    return inherited | counts | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}


def ensure() -> Path:
    """The environment's Python, made first if it is missing or its requirements have changed."""
    program = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if program.exists() and STAMP.exists() and STAMP.read_text().strip() == wanted:
        return program
    print(f"making {FOLDER.name} from {REQUIREMENTS.name}, once (some minutes)", file=sys.stderr)
    STAMP.unlink(missing_ok=True)
    run(
        [sys.executable, "-m", "venv", "--clear", FOLDER],
        "cannot make a virtual environment; on Debian it takes the package python3-venv",
    )
    run(
        [program, "-m", "pip", "install", "--quiet", "--retries", "1", "--requirement", REQUIREMENTS],
        f"pip could not install bench/{REQUIREMENTS.name}",
    )
    STAMP.write_text(wanted + "\n")
    return program


def run(command: list[str | Path], failure: str) -> None:
    # What pip prints goes where progress goes: standard output is the caller's.
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise BenchError(f"{failure}. `--python PROGRAM` takes a Python that has everything")
