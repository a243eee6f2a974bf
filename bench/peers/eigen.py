"""Eigenvalues and eigenvectors of MNIST's H by LAPACK, ARPACK and torch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import eigsh

import checks
from peers import Context, Prepare, Task, inputs
from peers.inputs import Array
from peers.kappa import in_doubles, matrix
from works import Work

# H is known to be finite, and is left as it is for the next round.
eigh = partial(scipy.linalg.eigh, check_finite=False)


def hessian(work: Work) -> Array:
    """A copy of its own, in the work's type."""
    return matrix(in_doubles(work).hessian()).astype(inputs.dtype(work))


def on_cpu(solve: Callable[[Array], Array]) -> Prepare:
    """A peer of numpy or scipy; `solve` gives the eigenvalues, whatever else it computed."""

    def prepare(context: Context, work: Work) -> Task:
        inputs.need_cpu(context)
        H = hessian(work)
        return Task(run=lambda: solve(H), digest=checks.of_spectrum)

    return prepare


def by_torch(solve: Callable[[Any, Any], Any]) -> Prepare:
    """A peer of torch; `solve` gives the eigenvalues from the module and H."""

    def prepare(context: Context, work: Work) -> Task:
        import torch

        H = torch.from_numpy(hessian(work)).to(context.device)
        return Task(
            run=lambda: solve(torch, H),
            digest=lambda values: checks.of_spectrum(values.cpu().numpy()),
        )

    return prepare


def ten_largest(H: Array) -> Array:
    # A start that is the same in every round, for times that can be compared.
    start = np.random.default_rng(0).standard_normal(len(H)).astype(H.dtype)
    return eigsh(H, k=10, which="LA", v0=start, return_eigenvectors=False)


numpy_pairs = on_cpu(lambda H: np.linalg.eigh(H)[0])
numpy_values = on_cpu(np.linalg.eigvalsh)
scipy_pairs_evd = on_cpu(lambda H: eigh(H, driver="evd")[0])
scipy_pairs_evr = on_cpu(lambda H: eigh(H, driver="evr")[0])
scipy_values_evd = on_cpu(partial(eigh, driver="evd", eigvals_only=True))
scipy_values_evr = on_cpu(partial(eigh, driver="evr", eigvals_only=True))
scipy_arpack = on_cpu(ten_largest)
scipy_subset = on_cpu(lambda H: eigh(H, driver="evr", subset_by_index=[len(H) - 10, len(H) - 1])[0])
torch_pairs = by_torch(lambda torch, H: torch.linalg.eigh(H)[0])
torch_values = by_torch(lambda torch, H: torch.linalg.eigvalsh(H))
torch_lobpcg = by_torch(lambda torch, H: torch.lobpcg(H, k=10, largest=True, niter=1000)[0])
