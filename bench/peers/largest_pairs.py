"""The ten largest eigenpairs of a Hessian that is known by its products.

All are asked for the same residual: |H u - lambda u| of each is at most what kappa's solver stops at,
over |H|. It is taken anew, by products in f64, and told beside the time.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from peers import digests, inputs, layer, network
from peers.layer import Product
from peers.task import Context, Request, Task

LEADING = 10
# ARPACK stops by each eigenvalue's own size, of which the tenth is the smallest. These are the largest
# tolerances, of 1, 2, 5 by tens, by which all residuals are as small over |H| as was asked for.
OF_NETWORK, OF_LAYER = 5e-5, 1e-6
# hessian-eigenthings is given a number of steps: the fewest, in fives, by which they are.
STEPS = 35


@dataclass(frozen=True)
class Pairs:
    values: np.ndarray
    vectors: np.ndarray  # [n, 10]
    products: int


def digest(pairs: Pairs, exact: Product) -> dict:
    """`exact` multiplies in f64."""
    vectors = np.float64(pairs.vectors)
    vectors /= np.linalg.norm(vectors, axis=0)
    images = np.stack([exact(vector) for vector in vectors.T], axis=1)
    distances = np.linalg.norm(images - vectors * pairs.values, axis=0)
    residual = float(distances.max() / np.abs(pairs.values).max())
    note = f"{pairs.products} products, residual {residual:.1e}"
    return digests.of_spectrum(pairs.values) | {"residual": residual, "note": note}


def by_arpack(product: Product, size: int, kind: np.dtype, tolerance: float) -> Pairs:
    count = 0

    def counted(vector: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return product(vector)

    # A start that is the same in every round, for times that can be compared.
    start = np.random.default_rng(0).standard_normal(size).astype(kind)
    operator = LinearOperator((size, size), matvec=counted, dtype=kind)
    values, vectors = eigsh(operator, k=LEADING, which="LA", v0=start, tol=tolerance)
    return Pairs(values, vectors, count)


def of_torch(given: network.Problem) -> Product:
    """By the graph that is kept."""
    multiply = network.graph_kept(given)

    def product(vector: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(np.ascontiguousarray(vector).ravel()).to(given.X)
        return multiply(v).cpu().numpy()

    return product


def network_by_arpack(context: Context, request: Request) -> Task:
    given = network.problem(context, request)
    exact = of_torch(network.problem(context, request | {"precision": "f64"}))

    def run() -> Pairs:
        return by_arpack(of_torch(given), given.size, inputs.dtype(request), OF_NETWORK)

    return Task(run=run, digest=lambda pairs: digest(pairs, exact))


def network_by_eigenthings(context: Context, request: Request) -> Task:
    from hessian_eigenthings import lanczos

    given = network.problem(context, request)
    exact = of_torch(network.problem(context, request | {"precision": "f64"}))

    def run() -> Pairs:
        operator = network.eigenthings_operator(given)
        found = lanczos(operator, k=LEADING, max_iter=STEPS, which="LA", reorthogonalize=True, seed=0)
        return Pairs(found.eigenvalues.cpu().numpy(), found.eigenvectors.T.cpu().numpy(), found.iterations)

    return Task(run=run, digest=lambda pairs: digest(pairs, exact))


def layer_by_arpack(context: Context, request: Request) -> Task:
    product, size = layer.product_of(context, request)
    exact, _ = layer.product_of(context, request | {"precision": "f64"})
    return Task(
        run=lambda: by_arpack(product, size, inputs.dtype(request), OF_LAYER),
        digest=lambda pairs: digest(pairs, exact),
    )
