"""The engine: what the package calls. For users that package is there."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Final, TypedDict, final

__all__ = [
    "Answer",
    "InfluenceAnswer",
    "KappaError",
    "LaplaceAnswer",
    "LayerOperator",
    "StoredRun",
    "VERSION",
    "backends",
    "devices",
    "influence_layer",
    "laplace_layer",
    "load",
    "load_influence",
    "load_laplace",
    "measure_layer",
    "measure_network",
    "program",
]

VERSION: Final[str]

# Who holds it, address, bytes, type as numpy names it, shape, whether the first index runs fastest.
_Array = tuple[object, int, int, str, list[int], bool]
_Progress = Callable[[str, int, int | None], object]

class _Given(TypedDict):
    features: list[_Array]
    logits: list[_Array] | None
    probabilities: list[_Array] | None
    weights: _Array | None
    labels: list[_Array] | None
    logits_are_meant: bool
    ignore_index: int
    name: str
    l2: float

class _Others(TypedDict):
    name: str
    features: list[_Array]
    labels: list[_Array] | None

# Elements row by row, shape, type as safetensors names it.
_Tensor = tuple[bytes, list[int], str]

class KappaError(ValueError): ...

@final
class Answer:
    @property
    def kind(self) -> str: ...
    def record(self) -> str: ...
    def eigenvalues(self) -> bytes: ...
    def vectors(self, count: int) -> bytes: ...
    def matrix(self) -> bytes: ...
    def save(self, folder: str | PathLike[str]) -> None: ...

@final
class InfluenceAnswer:
    def record(self) -> str: ...
    @property
    def is_at_optimum(self) -> bool: ...
    def tensors(self) -> list[str]: ...
    def tensor(self, name: str) -> _Tensor | None: ...
    def table(self) -> _Tensor | None: ...
    def save(self, folder: str | PathLike[str]) -> None: ...

@final
class LaplaceAnswer:
    def record(self) -> str: ...
    @property
    def is_at_optimum(self) -> bool: ...
    def tensors(self) -> list[str]: ...
    def tensor(self, name: str) -> _Tensor | None: ...
    def save(self, folder: str | PathLike[str]) -> None: ...

@final
class LayerOperator:
    def __new__(cls, given: _Given, asked: str, backend: str) -> LayerOperator: ...
    @property
    def sizes(self) -> tuple[int, int]: ...
    @property
    def samples(self) -> int: ...
    def product(self, vectors: _Array) -> bytes: ...

@final
class StoredRun:
    def __new__(cls, path: str | PathLike[str]) -> StoredRun: ...
    def manifest(self) -> str: ...
    def metrics(self) -> str: ...
    def epochs(self) -> list[int]: ...
    def checkpoint(self, epoch: int | None) -> list[tuple[str, list[int], str, bytes]]: ...
    def answers(self) -> list[Answer]: ...
    def rows(self) -> list[tuple[str, list[float]]]: ...

def backends() -> list[str]: ...
def devices() -> list[dict[str, Any]]: ...
def influence_layer(
    given: _Given,
    test: _Others | None,
    asked: str,
    of_influence: str,
    keep_table: bool,
    backend: str,
    progress: _Progress | None = None,
) -> InfluenceAnswer: ...
def laplace_layer(
    given: _Given,
    others: list[_Others],
    asked: str,
    of_posterior: str,
    backend: str,
    progress: _Progress | None = None,
) -> LaplaceAnswer: ...
def load(folder: str | PathLike[str]) -> Answer: ...
def load_influence(folder: str | PathLike[str]) -> InfluenceAnswer | None: ...
def load_laplace(folder: str | PathLike[str]) -> LaplaceAnswer | None: ...
def measure_layer(
    given: _Given, asked: str, backend: str, progress: _Progress | None = None
) -> Answer: ...
def measure_network(
    run: str | PathLike[str],
    epoch: int | None,
    data: str | PathLike[str] | None,
    batches: bool,
    batch_size: int | None,
    asked: str,
    backend: str,
    progress: _Progress | None = None,
) -> Answer: ...
def program(arguments: list[str]) -> int: ...
