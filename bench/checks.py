"""Whether two peers computed the same thing.

A time is worth nothing if the answer is another one, so every answer comes with a digest, and every
digest is held against kappa's in double precision.
"""

import math
from collections.abc import Iterator
from typing import Any

Digest = dict[str, Any]

TOLERANCE = {"f64": 1e-10, "f32": 1e-4}
ELEMENTS = 8


def positions(n: int) -> list[tuple[int, int]]:
    """The elements of an n x n matrix that a digest shows: rows evenly spread, columns scattered."""
    return [(j * n // ELEMENTS, (3 * j * n // ELEMENTS + j) % n) for j in range(ELEMENTS)]


def difference(digest: Digest, reference: Digest | None, precision: str) -> str | None:
    """What is wrong with an answer, or nothing."""
    if "loss" in digest:
        loss = digest["loss"]
        return None if loss is not None and math.isfinite(loss) else f"the loss is {loss}"
    tolerance = TOLERANCE[precision]
    for name, distance in distances(digest, reference or {}):
        # Written so that a NaN is too far as well.
        if not distance <= tolerance:
            return f"{name}: differs by {distance:.1e}, allowed {tolerance:.0e}"
    return None


def distances(digest: Digest, reference: Digest) -> Iterator[tuple[str, float]]:
    """How far each number of a digest is from what it should be, by the size that counts for it."""
    if "largest_difference" in digest:
        # Of a part of the work: it was held against direct sums where it was computed.
        yield "a part's elements", digest["largest_difference"]
    elif "lambda_1" in reference:
        # An eigenvalue is known as well as the largest one, whatever its own size.
        for name in ("lambda_1", "lambda_10", "sum"):
            yield name, abs(digest[name] - reference[name]) / reference["lambda_1"]
    elif reference:
        for name in ("trace", "frobenius"):
            yield name, abs(digest[name] - reference[name]) / reference[name]
        # Silent features make elements that are exactly zero; they cannot be the measure of the others.
        largest = max(1e-6 * reference["frobenius"], *map(abs, reference["elements"]))
        for index, (value, expected) in enumerate(zip(digest["elements"], reference["elements"])):
            yield f"element {index}", abs(value - expected) / largest
