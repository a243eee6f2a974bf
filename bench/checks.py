"""Whether two peers computed the same thing.

A time is worth nothing if the answer is another one, so every answer comes with a digest, and every
digest is held against kappa's in double precision.
"""

import math
from typing import Any

Digest = dict[str, Any]

TOLERANCE = {"f64": 1e-10, "f32": 1e-4}
ELEMENTS = 8


def positions(n: int) -> list[tuple[int, int]]:
    """The elements of an n x n matrix that a digest shows: rows evenly spread, columns scattered."""
    return [(j * n // ELEMENTS, (3 * j * n // ELEMENTS + j) % n) for j in range(ELEMENTS)]


def difference(digest: Digest, reference: Digest | None, precision: str) -> str | None:
    """What is wrong with an answer, or nothing."""
    tolerance = TOLERANCE[precision]
    if "loss" in digest:
        loss = digest["loss"]
        return None if loss is not None and math.isfinite(loss) else f"the loss is {loss}"
    if "largest_difference" in digest:
        # Of a part of the work: it was held against direct sums where it was computed.
        return too_far("a part's elements", digest["largest_difference"], tolerance)
    for name, (value, expected, scale) in pairs(digest, reference or {}).items():
        if found := too_far(name, abs(value - expected) / scale, tolerance):
            return found
    return None


def pairs(digest: Digest, reference: Digest) -> dict[str, tuple[float, float, float]]:
    """Each number of a digest with what it should be, and the size that it is measured by."""
    if not reference:
        return {}
    if "lambda_1" in reference:
        # An eigenvalue is known as well as the largest one, whatever its own size.
        scale = reference["lambda_1"]
        return {
            name: (digest[name], reference[name], scale) for name in ("lambda_1", "lambda_10", "sum")
        }
    found = {name: (digest[name], reference[name], reference[name]) for name in ("trace", "frobenius")}
    # Silent features make elements that are exactly zero; they cannot be the measure of the others.
    largest = max(1e-6 * reference["frobenius"], *map(abs, reference["elements"]))
    for index, (value, expected) in enumerate(zip(digest["elements"], reference["elements"])):
        found[f"element {index}"] = (value, expected, largest)
    return found


def too_far(name: str, found: float, tolerance: float) -> str | None:
    # Written so that a NaN is too far as well.
    return None if found <= tolerance else f"{name}: differs by {found:.1e}, allowed {tolerance:.0e}"
