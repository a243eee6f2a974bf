"""Products with the Hessian of a last layer, without forming it, by numpy."""

from collections.abc import Callable

import numpy as np

from peers import digests, inputs
from peers.task import Context, Request, Task

Product = Callable[[np.ndarray], np.ndarray]


def product_of(context: Context, request: Request) -> tuple[Product, int]:
    """H v = S_n G V' summed over samples, by two products, and the size of v."""
    G, P = inputs.features_and_probabilities(context, request)
    (N, m), K = G.shape, P.shape[1]

    def product(v: np.ndarray) -> np.ndarray:
        T = G @ v.reshape(K, m).T
        T *= P
        T -= P * T.sum(axis=1, keepdims=True)
        T /= N
        return (T.T @ G).ravel()

    return product, K * m


def by_numpy(context: Context, request: Request) -> Task:
    product, _ = product_of(context, request)
    name, count = request["inputs"], request["vectors"]
    V = inputs.load(context.inputs / f"V-{name}.npy", inputs.dtype(request))[:count]
    exact = np.load(context.inputs / f"HV-{name}.npy")[:count]
    return Task(
        run=lambda: np.stack([product(v) for v in V]),
        digest=lambda HV: digests.of_products(HV, exact),
        scale=1 / count,
    )
