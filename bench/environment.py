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
