"""Arrays of any library, as the engine reads them: where they lie, if they lie so that it can."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kappa._kappa import KappaError

#: What numpy, torch, jax and others call an array: whatever has ``__array__`` or DLPack.
ArrayLike = Any

#: Who holds it, address, bytes, type as numpy names it, shape, whether the first index runs fastest.
Described = tuple[object, int, int, str, list[int], bool]

BFLOAT16 = "bfloat16"


def described(array: ArrayLike, role: str) -> Described:
    """An array as the engine takes it, which reads it where it lies.

    Copied, once, is what lies on another device, needs a gradient's graph taken off, or has gaps or
    another order of its dimensions than C's or Fortran's.
    """
    found, name = _as_numpy(array, role)
    by_columns = found.flags.f_contiguous and not found.flags.c_contiguous
    if not (found.flags.c_contiguous or by_columns):
        found = np.ascontiguousarray(found)
    address = int(found.__array_interface__["data"][0])
    return found, address, found.nbytes, name or found.dtype.str, list(found.shape), by_columns


def parts_of(array: ArrayLike, least: int) -> list[ArrayLike]:
    """The arrays of a list of them, each of ``least`` dimensions or more: parts of one, one behind the other.

    Anything else is one array, a list of rows too.
    """
    if isinstance(array, (list, tuple)) and array:
        if all(len(getattr(part, "shape", ())) >= least for part in array):
            return list(array)
    return [array]


def as_numpy(array: ArrayLike, role: str) -> NDArray[Any]:
    """An array of numbers that numpy knows: a bfloat16 is widened."""
    found, name = _as_numpy(array, role)
    if name == BFLOAT16:
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found


def _as_numpy(array: ArrayLike, role: str) -> tuple[NDArray[Any], str | None]:
    """The array, and the name of its type where numpy has none of its own."""
    if _is_torch(array):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            import torch

            return array.view(torch.uint16).numpy(), BFLOAT16
        if array.is_conj() or array.is_neg():
            array = array.resolve_conj().resolve_neg()
        return array.numpy(), None
    found = _asarray(array, role)
    if found.dtype.name == BFLOAT16:
        return found.view(np.uint16), BFLOAT16
    return found, None


def _asarray(array: ArrayLike, role: str) -> NDArray[Any]:
    wrong = f"{role} are a {type(array).__name__}, and no array"
    try:
        if not hasattr(array, "__array__") and hasattr(array, "__dlpack__"):
            found: NDArray[Any] = np.from_dlpack(array)
        else:
            found = np.asarray(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise KappaError(f"{wrong}: {error}") from error
    if found.dtype.hasobject:
        raise KappaError(f"{wrong} of numbers")
    return found


def _is_torch(array: ArrayLike) -> bool:
    return type(array).__module__.partition(".")[0] == "torch" and hasattr(array, "detach")
