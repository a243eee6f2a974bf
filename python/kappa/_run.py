"""Networks that kappa has trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kappa import _kappa
from kappa._devices import prepare
from kappa._layer import asked
from kappa._progress import Progress, watching
from kappa._results import Curvature, Density, Leading, Spectrum, result

TYPES = {"F32": np.float32, "F64": np.float64}


@dataclass(frozen=True)
class Row:
    """A spectrum that a study has taken.

    Attributes
    ----------
    epoch
        After which epoch.
    variant
        Of which of the arm's networks: ``"fc"``, ``"fc-centred"``, ``"fc-bn-dataset"``, ..
    eigenvalues
        All of them, the largest first: float64.
    summary
        What else was measured.
    """

    epoch: int
    variant: str
    eigenvalues: NDArray[np.float64]
    summary: dict[str, Any]


class Run:
    """A network that kappa has trained, by its directory.

    Parameters
    ----------
    path
        The run's directory, ``outputs/fc-s0-20261125-175213`` say.

    Raises
    ------
    KappaError
        If it is none. Every file has its checksum, and one that was altered is refused when it is read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)
        self._run = _kappa.StoredRun(path)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained by."""
        config: dict[str, Any] = json.loads(self._run.manifest())["config"]
        return config

    @property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """A column for each metric, an element for each epoch, 0 first: losses in nats, accuracies from 0 to
        1, seconds. NaN where there is none."""
        rows = json.loads(self._run.metrics())
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return {name: np.array(column, np.float64) for name, column in columns.items()}

    @property
    def epochs(self) -> list[int]:
        """The epochs that have a checkpoint, ascending."""
        return self._run.epochs()

    def checkpoint(self, epoch: int | None = None) -> dict[str, NDArray[Any]]:
        """The tensors after an epoch, or after the last one, by PyTorch's names and in its layout."""
        tensors = self._run.checkpoint(epoch)
        return {
            name: np.frombuffer(elements, TYPES[kind]).reshape(shape) for name, shape, kind, elements in tensors
        }

    @property
    def spectra(self) -> list[Spectrum | Leading | Density | Curvature]:
        """What ``kappa hessian`` has measured of it and saved."""
        return [result(answer) for answer in self._run.answers()]

    @property
    def rows(self) -> list[Row]:
        """What a study has measured of it."""
        rows = []
        for text, eigenvalues in self._run.rows():
            row = json.loads(text)
            rows.append(Row(row["epoch"], row["variant"], np.array(eigenvalues), row))
        return rows

    def hessian(
        self,
        epoch: int | None = None,
        *,
        parameters: str | Sequence[str] = "output.weight",
        bn_stats: str = "running",
        batch_size: int | None = None,
        split: str = "train",
        limit: int | None = None,
        bias: bool = False,
        blocks: bool = False,
        top: int | None = None,
        precision: str | None = None,
        verify: bool = True,
        seed: int = 0,
        data: str | PathLike[str] | None = None,
        backend: str = "auto",
        progress: Progress = None,
    ) -> Spectrum | Leading | Density | Curvature:
        """The Hessian of the mean loss, exact, after an epoch.

        Parameters
        ----------
        epoch
            The last one if not given.
        parameters
            ``"output.weight"`` (all eigenvalues of the last layer's weights), ``"all"``, or names of
            tensors: both ends of the spectrum, by products.
        bn_stats
            By which statistics batch norm normalises: ``"running"`` (constants), ``"batch"`` or ``"dataset"``
            (differentiated).
        batch_size
            Of ``"batch"``; that of the training if not given.
        split, limit
            Of which images: ``"train"``, ``"validation"``, ``"test"``; the first so many.
        bias
            Whether the last layer's bias is among its parameters.
        blocks
            Of several tensors: whether each is taken alone too.
        top
            So many largest eigenvalues.
        precision, verify, seed, backend, progress
            As of :func:`kappa.hessian`.
        data
            The folder of other images than MNIST, which comes with kappa.

        Returns
        -------
        Spectrum, Leading or Curvature
            Of the last layer, of it with ``top``, and of other parameters.
        """
        names = parameters if isinstance(parameters, str) else ",".join(parameters)
        request = asked(
            parameters=None if names == "output.weight" else names,
            statistics=None if bn_stats == "batch" else bn_stats,
            split=split,
            limit=limit,
            bias=bias,
            blocks=blocks or None,
            top=top,
            precision=precision,
            # A network's products are in one arithmetic throughout.
            forward=None if names == "output.weight" else precision,
            verify=verify,
            seed=seed,
        )
        batches = bn_stats == "batch"
        with watching(progress) as watch:
            answer = _kappa.measure_network(
                self.path, epoch, data, batches, batch_size, request, prepare(backend), watch
            )
        return result(answer)

    def __repr__(self) -> str:
        return f"<Run {self.path}: {len(self.epochs)} checkpoints>"
