"""The Python that the peers run in: made once, from pinned versions, beside this file.

A comparison is only worth its versions, so they are written down in requirements.txt and
installed into an environment of their own, which nothing else shares.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from failure import BenchError

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
FOLDER = HERE / ".venv"
# Which requirements the environment was made from; written last, so that a half-made one has none.
STAMP = FOLDER / "requirements.sha256"
# The same torch without the CUDA libraries, which a CPU has no use for.
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
# What comes from that index: both must be built alike, or the second does not load.
FROM_TORCH_INDEX = ("torch", "torchvision")


def ensure() -> Path:
    """The environment's Python, made first if it is missing or its requirements have changed."""
    program = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if program.exists() and STAMP.exists() and STAMP.read_text().strip() == wanted:
        return program
    say(f"making {FOLDER.name} from {REQUIREMENTS.name}, once (some minutes)")
    STAMP.unlink(missing_ok=True)
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)]).returncode != 0:
        raise BenchError(
            "cannot make a virtual environment; on Debian it takes the package python3-venv. "
            "`--python PROGRAM` takes a Python that has everything"
        )
    install(program)
    STAMP.write_text(wanted + "\n")
    return program


def install(program: Path) -> None:
    """Everything in requirements.txt, torch without CUDA where its own index can be reached."""
    torch = [line for line in REQUIREMENTS.read_text().splitlines() if is_torch(line)]
    index = ["--index-url", TORCH_FOR_CPUS, "--timeout", "20", "--retries", "1"]
    if pip(program, *index, *torch) != 0:
        say(f"{TORCH_FOR_CPUS} did not give torch; taking PyPI's, with CUDA's libraries (3 GB)")
    if pip(program, "--requirement", str(REQUIREMENTS)) != 0:
        raise BenchError(
            f"pip could not install bench/{REQUIREMENTS.name}. "
            "`--python PROGRAM` takes a Python that has everything"
        )


def is_torch(line: str) -> bool:
    return line.split("==")[0].strip() in FROM_TORCH_INDEX


def pip(program: Path, *arguments: str) -> int:
    # What pip prints goes where progress goes: standard output is the caller's.
    command = [str(program), "-m", "pip", "install", "--quiet", *arguments]
    return subprocess.run(command, stdout=sys.stderr).returncode


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
