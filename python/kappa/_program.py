"""The program ``kappa``, for whoever installed the package."""

from __future__ import annotations

import signal
import sys

from kappa import _kappa
from kappa._devices import prepare


def main() -> None:
    """Does what was typed, and exits with the program's status."""
    # Ctrl-C is the program's own, which finishes a step, and no exception.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    prepare("auto")
    sys.exit(_kappa.program(["kappa", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
