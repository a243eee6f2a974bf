"""What is compared: kappa, and other ways to what it computes, by hand and by the libraries that people use.

A peer is a function here that `works` names: from a work to a task, with its inputs in memory.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from works import Work


class Unavailable(Exception):
    """Why a peer cannot be measured here. Not an error."""


@dataclass(frozen=True)
class Context:
    """What all peers share."""

    threads: int
    device: str  # Of the peers: "cpu" or "cuda".
    backend: str  # kappa's: "flex" or "wgpu".

    def synchronise(self) -> None:
        """Waits until the peers' device has nothing left to do: only then is a time a time."""
        if self.device == "cuda":
            import torch

            if torch.cuda.is_available():
                torch.cuda.synchronize()


@dataclass(frozen=True)
class Task:
    """A piece of work with its inputs in memory."""

    # What is timed; its result is complete once the device is synchronised.
    run: Callable[[], Any]
    # The numbers of a result by which it is compared with the other peers', and a `note` if there is
    # something to say beside the time.
    digest: Callable[[Any], dict[str, Any]]
    # How much more the whole work is than what is run, and what that part is.
    scale: float = 1.0
    scaled_from: str | None = None
    note: str | None = None


Prepare = Callable[[Context, Work], Task]


def call(where: str, context: Context, work: Work) -> Any:
    """What the function `where` makes of a work."""
    module, function = where.split(".")
    try:
        need_device(context, module)
        return getattr(importlib.import_module(f"peers.{module}"), function)(context, work)
    except ModuleNotFoundError as missing:
        raise Unavailable(f"{missing.name} is not installed") from missing


def need_device(context: Context, module: str) -> None:
    """The peers but numpy and scipy, which say so themselves, are of torch, which may find none."""
    if context.device == "cpu" or module == "kappa":
        return
    import torch

    if not torch.cuda.is_available():
        raise Unavailable("no CUDA device, or a torch without CUDA")
