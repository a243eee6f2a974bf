"""Whether two peers computed the same thing.

A time is worth nothing if the answer is another one, so every answer comes with a digest, and every
digest is held against kappa's in double precision.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

Digest = dict[str, Any]
Array = np.ndarray

TOLERANCE = {"f64": 1e-10, "f32": 1e-4}
# |error| / |H v| of a product over N = 55,000 images. Each number of it is a sum of N terms, which loses
# about sqrt(N) roundings of half an epsilon of the absolute sum where one term follows the other; by
# length the absolute sums are 3.0 (FC) and 3.3 (FC+BN) times the sums, taken as 3.5.
# 3.5 x 234.5 / 2 = 410 epsilons for each sum over samples that a product goes through (`sums`). Sums of
# 784 terms and fewer come before. In f32 a unit's sign is another one for about one of 5.5 million
# pairs of a unit and an image, which is worth 6e-6.
PRODUCT = {"f64": 410 * 2.0**-52, "f32": 410 * 2.0**-23}
# What solvers are asked for, and what may be on top of it: they judge by their own products.
RESIDUAL = {"f64": 2e-7, "f32": 2e-5}
ELEMENTS = 8


def of_nothing(_: object) -> Digest:
    return {}


def of_loss(loss: float) -> Digest:
    return {"loss": loss}


def of_matrix(H: Array) -> Digest:
    return {
        "trace": float(np.trace(H, dtype=np.float64)),
        # Row by row in f64: no second matrix of that size is made.
        "frobenius": float(np.sqrt(sum(np.dot(row, row) for row in map(np.float64, H)))),
        "elements": [float(H[row, column]) for row, column in positions(len(H))],
    }


def of_part(part: Array, G: Array, P: Array) -> Digest:
    """Of some columns of H [K m, c], or of H over some samples: against direct sums over G and P."""
    G, P = np.float64(G), np.float64(P)
    m = G.shape[1]
    found, expected = [], []
    for row, column in positions(len(part)):
        column %= part.shape[1]
        (a, i), (b, j) = divmod(row, m), divmod(column, m)
        jacobian = P[:, a] * ((a == b) - P[:, b])
        found.append(float(part[row, column]))
        expected.append(float(np.mean(jacobian * G[:, i] * G[:, j])))
    distance = np.max(np.abs(np.subtract(found, expected)))
    return {"largest_difference": float(distance / np.max(np.abs(expected)))}


def of_spectrum(values: Array | list[float]) -> Digest:
    """Of eigenvalues in any order; their sum is over those that were asked for."""
    ordered = np.sort(np.float64(values))[::-1]
    return {"lambda_1": float(ordered[0]), "lambda_10": float(ordered[9]), "sum": float(ordered.sum())}


def of_products(found: Array, exact: Array) -> Digest:
    """Of H V [k, n], a row each: the error by each one's length, the largest of them."""
    errors = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return {"relative_error": float(errors.max())}


def of_posterior(log_marginals: Array, covariances: Array, probabilities: Array) -> Digest:
    """All of what a posterior was asked for: [deltas], [T, K, K], [T, K]."""
    found = {"log_marginals": log_marginals, "covariances": covariances, "probabilities": probabilities}
    return {name: np.float64(values) for name, values in found.items()}


def positions(n: int) -> list[tuple[int, int]]:
    """The elements of an n x n matrix that a digest shows: rows evenly spread, columns scattered."""
    return [(j * n // ELEMENTS, (3 * j * n // ELEMENTS + j) % n) for j in range(ELEMENTS)]


def difference(digest: Digest, reference: Digest | None, precision: str, sums: int = 1) -> str | None:
    """What is wrong with an answer, or nothing."""
    if "loss" in digest:
        loss = digest["loss"]
        return None if math.isfinite(loss) else f"the loss is {loss}"
    # Both written so that a NaN is too far as well.
    for name, found, allowed in limits(digest, precision, sums):
        if not found <= allowed:
            return f"{name}: {found:.1e}, allowed {allowed:.1e}"
    tolerance = TOLERANCE[precision]
    for name, distance in distances(digest, reference or {}):
        if not distance <= tolerance:
            return f"{name}: differs by {distance:.1e}, allowed {tolerance:.0e}"
    return None


def limits(digest: Digest, precision: str, sums: int) -> Iterator[tuple[str, float, float]]:
    """What was held against an exact answer where it was computed."""
    if "relative_error" in digest:
        yield "the product's error", digest["relative_error"], sums * PRODUCT[precision]
    if "residual" in digest:
        yield "the largest residual", digest["residual"], RESIDUAL[precision]


def distances(digest: Digest, reference: Digest) -> Iterator[tuple[str, float]]:
    """How far each number of a digest is from what it should be, by the size that counts for it."""
    if "largest_difference" in digest:
        # Of a part of the work: it was held against direct sums where it was computed.
        yield "a part's elements", digest["largest_difference"]
    elif "lambda_1" in reference:
        # An eigenvalue is known as well as the largest one, whatever its own size.
        for name in ("lambda_1", "lambda_10", "sum"):
            yield name, abs(digest[name] - reference[name]) / reference["lambda_1"]
    elif "log_marginals" in reference:
        errors = {name: np.abs(digest[name] - reference[name]) for name in reference}
        yield "ln p(D | delta)", (errors["log_marginals"] / np.abs(reference["log_marginals"])).max()
        yield "a covariance", errors["covariances"].max() / np.abs(reference["covariances"]).max()
        yield "a probability", errors["probabilities"].max()
    elif reference:
        for name in ("trace", "frobenius"):
            yield name, abs(digest[name] - reference[name]) / reference[name]
        # Silent features make elements that are exactly zero; they cannot be the measure of the others.
        largest = max(1e-6 * reference["frobenius"], *map(abs, reference["elements"]))
        for index, (value, expected) in enumerate(zip(digest["elements"], reference["elements"])):
            yield f"element {index}", abs(value - expected) / largest
