"""A plain matrix product of square matrices: what the machine can do at best."""

import numpy as np

import checks
from peers import Context, Task
from peers.inputs import dtype, need_cpu
from works import Work


def square(work: Work) -> np.ndarray:
    n = work.given["n"]
    return np.random.default_rng(0).random((n, n)).astype(dtype(work))


def by_numpy(context: Context, work: Work) -> Task:
    need_cpu(context)
    A = square(work)
    out = np.empty_like(A)
    return Task(run=lambda: np.matmul(A, A, out=out), digest=checks.of_nothing)


def by_torch(context: Context, work: Work) -> Task:
    import torch

    A = torch.from_numpy(square(work)).to(context.device)
    out = torch.empty_like(A)
    return Task(run=lambda: torch.mm(A, A, out=out), digest=checks.of_nothing)
