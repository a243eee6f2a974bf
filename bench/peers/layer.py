"""Products with the Hessian of a last layer, without forming it, by numpy."""

from collections.abc import Callable

import numpy as np

import checks
from peers import Context, Task, inputs
from peers.kappa import exact_of_layer
from works import Work

Product = Callable[[np.ndarray], np.ndarray]


def product_of(work: Work) -> tuple[Product, int]:
    """H v = S_n G V' summed over samples, by two products, and the size of v."""
    G, P = inputs.features_and_probabilities(work)
    (N, m), K = G.shape, P.shape[1]

    def product(v: np.ndarray) -> np.ndarray:
        T = G @ v.reshape(K, m).T
        T *= P
        T -= P * T.sum(axis=1, keepdims=True)
        T /= N
        return (T.T @ G).ravel()

    return product, K * m


def by_numpy(context: Context, work: Work) -> Task:
    inputs.need_cpu(context)
    product, size = product_of(work)
    exact, count = exact_of_layer(work), work.given["vectors"]
    V = inputs.vectors(size, count).astype(inputs.dtype(work))
    return Task(
        run=lambda: np.stack([product(v) for v in V]),
        digest=lambda HV: checks.of_products(HV, exact),
        scale=1 / count,
    )
