"""The inputs that kappa-bench wrote, as the peers want them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from peers.task import Context, Request

DTYPES = {"f32": np.dtype("f4"), "f64": np.dtype("f8")}
Array = np.ndarray


def dtype(request: Request) -> np.dtype:
    return DTYPES[request["precision"]]


def suffix(request: Request) -> str:
    """What follows the name of an input file: nothing for MNIST's, sizes for random ones."""
    if request.get("inputs") == "mnist":
        return ""
    return "-{samples}-{features}-{classes}".format(**request)


def features_and_probabilities(context: Context, request: Request) -> tuple[Array, Array]:
    """G [N, m] and P [N, K]."""
    return _features_and_probabilities(context.inputs, suffix(request), dtype(request))


# As many as one work needs: f32 and f64 of the same samples.
@lru_cache(maxsize=2)
def _features_and_probabilities(folder: Path, ending: str, kind: np.dtype) -> tuple[Array, Array]:
    return load(folder / f"G{ending}.npy", kind), load(folder / f"P{ending}.npy", kind)


def logits(context: Context, request: Request) -> Array:
    """Logits [N, K]; of random inputs, which are probabilities, their logarithm."""
    path = context.inputs / f"logits{suffix(request)}.npy"
    if path.exists():
        return load(path, dtype(request))
    P = load(context.inputs / f"P{suffix(request)}.npy", dtype(request))
    return np.log(np.maximum(P, np.finfo(P.dtype).tiny))


def hessian(context: Context, request: Request) -> Array:
    """H [K m, K m] of MNIST."""
    return load(context.inputs / "H.npy", dtype(request))


def images(context: Context) -> tuple[Array, Array]:
    """Pixels as f32 in [0, 1] and labels as integers, as torch wants them."""
    pixels = np.load(context.inputs / "pixels.npy").astype(np.float32)
    pixels /= 255
    return pixels, np.load(context.inputs / "pixel_labels.npy").astype(np.int64)


def load(path: Path, kind: np.dtype) -> Array:
    return np.ascontiguousarray(np.load(path), dtype=kind)
