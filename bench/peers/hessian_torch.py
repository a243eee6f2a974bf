"""The Hessian by torch, on a CPU or a GPU: see hessian_numpy for what is computed.

torch's product of a matrix with its own transpose is no syrk, so there is no such peer here.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

import checks
from peers import Context, Prepare, Task
from peers.inputs import features_and_probabilities
from works import Work


def peer(compute: Callable[[Tensor, Tensor], Tensor]) -> Prepare:
    @wraps(compute)
    def prepare(context: Context, work: Work) -> Task:
        arrays = features_and_probabilities(work)
        G, P = (torch.from_numpy(array).to(context.device) for array in arrays)

        def run() -> Tensor:
            with torch.inference_mode():
                return compute(G, P)

        return Task(run=run, digest=lambda H: checks.of_matrix(H.cpu().numpy()))

    return prepare


@peer
def grams_plain(G: Tensor, P: Tensor) -> Tensor:
    """One weighted Gram matrix for each element of S_n's upper triangle."""
    (N, m), K = G.shape, P.shape[1]
    H = G.new_empty(K, m, K, m)
    for a in range(K):
        for b in range(a, K):
            jacobian = P[:, a] * (float(a == b) - P[:, b])
            block = G.T @ (jacobian[:, None] * G) / N
            H[a, :, b] = block
            H[b, :, a] = block
    return H.reshape(K * m, K * m)


@peer
def grams_in_one_product(G: Tensor, P: Tensor) -> Tensor:
    """G^T [w_1 G, w_2 G, ...] for the 45 pairs' weights, a chunk of samples at a time."""
    (N, m), K = G.shape, P.shape[1]
    first, second = torch.triu_indices(K, K, 1, device=G.device)
    total = G.new_zeros(m, len(first) * m)
    for g, p in chunks(G, P, on_cpu=256, on_gpu=8192):
        weighted = (p[:, first] * p[:, second])[:, :, None] * g[:, None]
        total.addmm_(g.T, weighted.flatten(1))
    return assemble((total / N).reshape(m, len(first), m).transpose(0, 1), first, second, K)


@peer
def outer_products(G: Tensor, P: Tensor) -> Tensor:
    """Upper triangles of g g^T [m (m+1)/2, n] times weights [n, 45], a chunk of samples at a time."""
    (N, m), K = G.shape, P.shape[1]
    first, second = torch.triu_indices(K, K, 1, device=G.device)
    i, j = torch.triu_indices(m, m, device=G.device)
    total = G.new_zeros(len(i), len(first))
    for g, p in chunks(G, P, on_cpu=128, on_gpu=16384):
        # Transposed, so that whole rows are gathered.
        g = g.T.contiguous()
        total.addmm_(g[i] * g[j], p[:, first] * p[:, second])
    blocks = G.new_empty(len(first), m, m)
    blocks[:, i, j] = total.T / N
    blocks[:, j, i] = total.T / N
    return assemble(blocks, first, second, K)


def chunks(G: Tensor, P: Tensor, on_cpu: int, on_gpu: int) -> zip:
    """Samples in chunks that stay in a CPU's cache, or that keep a GPU busy."""
    size = on_cpu if G.device.type == "cpu" else on_gpu
    return zip(G.split(size), P.split(size))


def assemble(blocks: Tensor, first: Tensor, second: Tensor, K: int) -> Tensor:
    """H [K m, K m] from sum_n p_a p_b g g^T of each pair; the rows of S_n sum to zero."""
    m = blocks.shape[1]
    H = blocks.new_zeros(K, K, m, m)
    H[first, second] = -blocks
    H[second, first] = -blocks
    every = torch.arange(K, device=H.device)
    H[every, every] = -H.sum(dim=1)
    return H.transpose(1, 2).reshape(K * m, K * m)
