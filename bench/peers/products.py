"""A plain matrix product of square matrices: what the machine can do at best."""

import numpy as np

from peers.inputs import dtype
from peers.task import Context, Request, Task


def square(request: Request) -> np.ndarray:
    n = request["n"]
    return np.random.default_rng(0).random((n, n)).astype(dtype(request))


def by_numpy(context: Context, request: Request) -> Task:
    A = square(request)
    out = np.empty_like(A)
    return Task(run=lambda: np.matmul(A, A, out=out), digest=lambda _: {})


def by_torch(context: Context, request: Request) -> Task:
    import torch

    A = torch.from_numpy(square(request)).to(context.device)
    out = torch.empty_like(A)
    return Task(run=lambda: torch.mm(A, A, out=out), digest=lambda _: {})
