"""What a peer is to the worker: something to prepare, something to time, something to check."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = dict[str, Any]


class Unavailable(Exception):
    """Why a peer cannot be measured here. Not an error."""


@dataclass(frozen=True)
class Context:
    """What all peers share."""

    inputs: Path
    threads: int
    device: str  # "cpu" or "cuda"

    def synchronise(self) -> None:
        """Waits until the device has nothing left to do: only then is a time a time."""
        if self.device == "cuda":
            import torch

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


Prepare = Callable[[Context, Request], Task]
