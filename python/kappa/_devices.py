"""What can compute."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kappa import _kappa


@dataclass(frozen=True)
class Device:
    """What can compute.

    Attributes
    ----------
    backend
        Its name, as the argument ``backend`` takes it: ``"flex"`` (the CPU), ``"ndarray"`` (the CPU, for
        portable testing), ``"wgpu"`` (a GPU).
    name
        What it is called.
    software
        Whether it is a program that stands for a GPU; ``backend="auto"`` leaves those aside.
    """

    backend: str
    name: str
    software: bool


def devices() -> list[Device]:
    """What can compute, as ``kappa devices`` lists it."""
    prepare("wgpu")
    return [Device(**device) for device in _kappa.devices()]


def prepare(backend: str) -> str:
    """The name of a backend, before it is used for the first time.

    Mesa's device-select layer asks the desktop which adapter it prefers, and where there is no desktop
    it prints an error that reads like kappa's. It is told to stand aside.
    """
    if backend in ("auto", "wgpu") and "XDG_RUNTIME_DIR" not in os.environ:
        os.environ.setdefault("NODEVICE_SELECT", "1")
    return backend
