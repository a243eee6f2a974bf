"""Eigenvalues and eigenvectors of MNIST's H by LAPACK, ARPACK and torch."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import eigsh

from peers import digests, inputs
from peers.inputs import Array
from peers.task import Context, Prepare, Request, Task


def on_cpu(solve: Callable[[Array], Array]) -> Prepare:
    """A peer of numpy or scipy; `solve` gives the eigenvalues, whatever else it computed."""

    def prepare(context: Context, request: Request) -> Task:
        H = inputs.hessian(context, request)
        return Task(run=lambda: solve(H), digest=digests.of_spectrum)

    return prepare


def by_torch(name: str, values_of: Callable, **arguments: object) -> Prepare:
    """A peer of torch, by the name of its function under `torch`."""

    def prepare(context: Context, request: Request) -> Task:
        from operator import attrgetter

        import torch

        H = torch.from_numpy(inputs.hessian(context, request)).to(context.device)
        solve = attrgetter(name)(torch)
        return Task(
            run=lambda: values_of(solve(H, **arguments)),
            digest=lambda values: digests.of_spectrum(values.cpu().numpy()),
        )

    return prepare


def lapack(driver: str, **arguments: object) -> Prepare:
    # H is known to be finite, and is left as it is for the next round.
    if arguments.get("eigvals_only"):
        return on_cpu(lambda H: scipy.linalg.eigh(H, driver=driver, check_finite=False, **arguments))
    return on_cpu(lambda H: scipy.linalg.eigh(H, driver=driver, check_finite=False, **arguments)[0])


def ten_largest(H: Array) -> Array:
    # A start that is the same in every round, for times that can be compared.
    start = np.random.default_rng(0).standard_normal(len(H)).astype(H.dtype)
    return eigsh(H, k=10, which="LA", v0=start, return_eigenvectors=False)


def last_ten(H: Array) -> Array:
    last = [len(H) - 10, len(H) - 1]
    return scipy.linalg.eigh(H, driver="evr", subset_by_index=last, check_finite=False)[0]


numpy_pairs = on_cpu(lambda H: np.linalg.eigh(H)[0])
numpy_values = on_cpu(np.linalg.eigvalsh)
scipy_pairs_evd = lapack("evd")
scipy_pairs_evr = lapack("evr")
scipy_values_evd = lapack("evd", eigvals_only=True)
scipy_values_evr = lapack("evr", eigvals_only=True)
scipy_arpack = on_cpu(ten_largest)
scipy_subset = on_cpu(last_ten)
torch_pairs = by_torch("linalg.eigh", lambda pairs: pairs[0])
torch_values = by_torch("linalg.eigvalsh", lambda values: values)
torch_lobpcg = by_torch("lobpcg", lambda pairs: pairs[0], k=10, largest=True, niter=1000)
