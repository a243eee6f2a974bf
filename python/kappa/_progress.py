"""How far a computation is, told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: ``True`` for a bar, or a callable of stage, what is done of it, and of how much (``None``: not known).
Progress = Callable[[str, int, "int | None"], object] | bool | None


@contextmanager
def watching(progress: Progress) -> Iterator[Callable[[str, int, int | None], object] | None]:
    """The callable for the engine."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        bar = Bar()
        try:
            yield bar
        finally:
            bar.close()
    else:
        yield progress


class Bar:
    """A bar of tqdm's for each stage; nothing where tqdm is not installed."""

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            tqdm = None
        self._make: Any = tqdm
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, length: int | None) -> None:
        if self._make is None:
            return
        if stage != self._stage:
            self.close()
            self._stage, self._bar = stage, self._make(total=length, desc=stage)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Ends the last bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
