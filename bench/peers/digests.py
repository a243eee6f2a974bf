"""What is said of a matrix so that two of them can be compared without sending them."""

from typing import Any

import numpy as np

from checks import positions


def of_matrix(H: np.ndarray) -> dict[str, Any]:
    return {
        "trace": float(np.trace(H, dtype=np.float64)),
        # Row by row in f64: no second matrix of that size is made.
        "frobenius": float(np.sqrt(sum(np.dot(row, row) for row in map(np.float64, H)))),
        "elements": [float(H[row, column]) for row, column in positions(len(H))],
    }


def of_part(part: np.ndarray, G: np.ndarray, P: np.ndarray) -> dict[str, Any]:
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


def of_spectrum(values: np.ndarray) -> dict[str, float]:
    """Of eigenvalues in any order; their sum is over those that were asked for."""
    ordered = np.sort(np.float64(values))[::-1]
    return {"lambda_1": float(ordered[0]), "lambda_10": float(ordered[9]), "sum": float(ordered.sum())}


def of_products(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Of H V [k, n], a row each: the error by each one's length, the largest of them."""
    errors = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return {"relative_error": float(errors.max())}
