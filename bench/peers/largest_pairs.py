"""The ten largest eigenpairs of a Hessian that is known by its products.

All are asked for the same residual: |H u - lambda u| of each is at most what kappa's solver stops at,
over |H|. It is taken anew, by products in f64, and told beside the time.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

import checks
from peers import Context, Task, inputs, layer, network
from peers.kappa import LEADING
from peers.layer import Product
from works import Work

# ARPACK stops by each eigenvalue's own size, of which the tenth is the smallest. These are the largest
# tolerances, of 1, 2, 5 by tens, by which all residuals are as small over |H| as was asked for.
OF_NETWORK, OF_LAYER = 5e-5, 5e-7
# hessian-eigenthings is given a number of steps: the fewest, in fives, by which they are.
STEPS = 35


@dataclass(frozen=True)
class Pairs:
    values: np.ndarray
    vectors: np.ndarray  # [n, 10]
    products: int


def digest(pairs: Pairs, exact: Product) -> dict:
    """`exact` multiplies in f64."""
    vectors = np.array(pairs.vectors, dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=0)
    images = np.stack([exact(vector) for vector in vectors.T], axis=1)
    distances = np.linalg.norm(images - vectors * pairs.values, axis=0)
    residual = float(distances.max() / np.abs(pairs.values).max())
    note = f"{pairs.products} products, residual {residual:.1e}"
    return checks.of_spectrum(pairs.values) | {"residual": residual, "note": note}


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


def exact_of_network(context: Context, work: Work) -> Product:
    return of_torch(network.problem(context, work, "f64"))


def exact_of_layer(work: Work) -> Product:
    return layer.product_of(replace(work, precision="f64"))[0]


def network_by_arpack(context: Context, work: Work) -> Task:
    given = network.problem(context, work)
    exact = exact_of_network(context, work)

    def run() -> Pairs:
        return by_arpack(of_torch(given), given.size, inputs.dtype(work), OF_NETWORK)

    return Task(run=run, digest=lambda pairs: digest(pairs, exact))


def network_by_eigenthings(context: Context, work: Work) -> Task:
    from hessian_eigenthings import lanczos

    given = network.problem(context, work)
    exact = exact_of_network(context, work)

    def run() -> Pairs:
        operator = network.eigenthings_operator(given)
        found = lanczos(operator, k=LEADING, max_iter=STEPS, which="LA", reorthogonalize=True, seed=0)
        return Pairs(found.eigenvalues.cpu().numpy(), found.eigenvectors.T.cpu().numpy(), found.iterations)

    return Task(run=run, digest=lambda pairs: digest(pairs, exact))


def layer_by_arpack(context: Context, work: Work) -> Task:
    inputs.need_cpu(context)
    product, size = layer.product_of(work)
    exact = exact_of_layer(work)
    return Task(
        run=lambda: by_arpack(product, size, inputs.dtype(work), OF_LAYER),
        digest=lambda pairs: digest(pairs, exact),
    )
