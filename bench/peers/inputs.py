"""The inputs that kappa-bench wrote, as the peers want them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from peers.task import Context, Request
from works import MNIST

DTYPES = {"f32": np.dtype("f4"), "f64": np.dtype("f8")}
Array = np.ndarray


def dtype(request: Request) -> np.dtype:
    return DTYPES[request["precision"]]


def features_and_probabilities(context: Context, request: Request) -> tuple[Array, Array]:
    """G [N, m] and P [N, K]."""
    return _features_and_probabilities(context.inputs, request["inputs"], dtype(request))


# As many as one work needs: f32 and f64 of the same samples.
@lru_cache(maxsize=2)
def _features_and_probabilities(folder: Path, name: str, kind: np.dtype) -> tuple[Array, Array]:
    return load(folder / f"G-{name}.npy", kind), load(folder / f"P-{name}.npy", kind)


def hessian(context: Context, request: Request) -> Array:
    """H [K m, K m] of MNIST."""
    return load(context.inputs / f"H-{MNIST}.npy", dtype(request))


def images(context: Context) -> tuple[Array, Array]:
    """Pixels as f32 in [0, 1] and labels as integers, as torch wants them."""
    pixels = load(context.inputs / "pixels.npy", np.float32)
    pixels /= 255
    return pixels, load(context.inputs / "labels.npy", np.int64)


def load(path: Path, kind: np.dtype) -> Array:
    return np.ascontiguousarray(np.load(path), dtype=kind)
