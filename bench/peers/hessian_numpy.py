"""The Hessian by numpy, from the obvious to what someone would write who knows the machine.

H = 1/N sum_n S_n (x) g_n g_n^T with S_n = diag(p_n) - p_n p_n^T. The rows of S_n sum to zero, so the
diagonal blocks of H are minus the sums of the others, and those others are Gram matrices of the
features weighted by p_a p_b: for ten classes, 45 of them.

numpy's BLAS spreads one product over threads, which a product of 100 x 100 is too small for. The
peers "threads over samples" give each thread its own samples instead, in chunks that stay in cache.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

import numpy as np
from threadpoolctl import ThreadpoolController

import checks
from peers import Context, Prepare, Task
from peers.inputs import Array, features_and_probabilities, need_cpu
from works import Work

BLAS = ThreadpoolController()
Compute = Callable[[Array, Array, int], Array]


def peer(compute: Compute) -> Prepare:
    @wraps(compute)
    def prepare(context: Context, work: Work) -> Task:
        need_cpu(context)
        G, P = features_and_probabilities(work)
        return Task(run=lambda: compute(G, P, context.threads), digest=checks.of_matrix)

    return prepare


@peer
def grams_plain(G: Array, P: Array, threads: int) -> Array:
    """One weighted Gram matrix a pair of classes, over all samples at once; threads are BLAS's."""
    blocks = [G.T @ (G * (P[:, a] * P[:, b])[:, None]) for a, b in class_pairs(P.shape[1])]
    return assemble(np.array(blocks) / len(G), P.shape[1])


@peer
def grams_by_syrk(G: Array, P: Array, threads: int) -> Array:
    """The same with sqrt(p_a p_b) on both sides: half the arithmetic, since Y^T Y is one syrk.

    numpy turns `Y.T @ Y` into syrk, without holding the interpreter's lock as scipy's dsyrk does.
    """
    (N, m), K = G.shape, P.shape[1]
    pairs = class_pairs(K)
    # The fastest of 256, 384, ..., 2048 for both precisions.
    chunk = 640

    def sums(mine: list[slice]) -> Array:
        total = np.zeros((len(pairs), m, m), G.dtype)
        product = np.empty((m, m), G.dtype)
        buffers = np.empty((2, chunk, m), G.dtype)
        for samples in mine:
            g, q = G[samples], np.sqrt(P[samples])
            left, both = buffers[:, : len(g)]
            of_pair = iter(total)
            for a in range(K - 1):
                np.multiply(g, q[:, a, None], out=left)
                for b in range(a + 1, K):
                    np.multiply(left, q[:, b, None], out=both)
                    block = next(of_pair)
                    block += np.matmul(both.T, both, out=product)
        return total

    return assemble(over_samples(sums, N, threads, chunk), K)


@peer
def outer_products(G: Array, P: Array, threads: int) -> Array:
    """All pairs in one product: weights [45, n] times the upper triangles of g g^T [n, m (m+1)/2].

    The triangles are made a band of rows at a time, so that they are used while they are in cache.
    """
    (N, m), K = G.shape, P.shape[1]
    first, second = np.array(class_pairs(K)).T
    chunk = 256
    bands = list(bands_of_rows(m, 300))
    largest = max(size for *_, size in bands)

    def sums(mine: list[slice]) -> Array:
        total = np.zeros((m * (m + 1) // 2, len(first)), G.dtype)
        products = np.empty((largest, chunk), G.dtype)
        result = np.empty((largest, len(first)), G.dtype)
        for samples in mine:
            # Transposed, so that the inner loops run along samples, with no short ones.
            g = np.ascontiguousarray(G[samples].T)
            weights = P[samples][:, first] * P[samples][:, second]
            start = 0
            for rows, size in bands:
                outer = products[:size, : g.shape[1]]
                at = 0
                for i in rows:
                    np.multiply(g[i:], g[i], out=outer[at : at + m - i])
                    at += m - i
                total[start : start + size] += np.matmul(outer, weights, out=result[:size])
                start += size
        return total

    triangles = over_samples(sums, N, threads, chunk).T
    blocks = np.empty((len(first), m, m), G.dtype)
    i, j = np.triu_indices(m)
    blocks[:, i, j] = triangles
    blocks[:, j, i] = triangles
    return assemble(blocks, K)


@peer
def staircase(G: Array, P: Array, threads: int) -> Array:
    """H = Y^T Y with the factors of S_n = L L^T in closed form: the textbook's stacked Jacobians.

    With tails t_c = p_c + p_(c+1) + ..., column c of L is sqrt(p_c t_(c+1) / t_c) at c, that times
    -p_j / t_(c+1) at each j > c, and zero above: K - 1 columns, each shorter by one than the last.
    """
    (N, m), K = G.shape, P.shape[1]

    def sums(mine: list[slice]) -> Array:
        total = np.zeros((K * m, K * m), G.dtype)
        for samples in mine:
            g, p = G[samples], P[samples]
            # A tail that has underflown is of a sample that adds nothing: it must only not be 0/0.
            tails = np.maximum(np.cumsum(p[:, ::-1], axis=1)[:, ::-1], np.finfo(p.dtype).tiny)
            for c in range(K - 1):
                diagonal = np.sqrt(p[:, c, None] * tails[:, c + 1, None] / tails[:, c, None])
                column = np.hstack([diagonal, -diagonal * p[:, c + 1 :] / tails[:, c + 1, None]])
                Y = (column[:, :, None] * g[:, None, :]).reshape(len(g), -1)
                total[c * m :, c * m :] += Y.T @ Y
        return total

    return over_samples(sums, N, threads, 1024)


def class_pairs(K: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(K) for b in range(a + 1, K)]


def bands_of_rows(m: int, most: int) -> Iterator[tuple[range, int]]:
    """The rows of an upper triangle in bands of at most so many elements, each with its size."""
    start = 0
    while start < m:
        stop, size = start + 1, m - start
        while stop < m and size + m - stop <= most:
            size += m - stop
            stop += 1
        yield range(start, stop), size
        start = stop


def over_samples(sums: Callable[[list[slice]], Array], N: int, threads: int, chunk: int) -> Array:
    """The mean over all samples, every thread taking each so-many-th chunk, with a BLAS of one thread."""
    # Smaller ones where there are too few samples for every thread to have one.
    chunk = min(chunk, -(-N // threads))
    chunks = [slice(start, min(start + chunk, N)) for start in range(0, N, chunk)]
    with BLAS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        parts = pool.map(sums, [chunks[thread::threads] for thread in range(threads)])
        total = next(parts)
        for part in parts:
            total += part
    return total / N


def assemble(blocks: Array, K: int) -> Array:
    """H [K m, K m] from sum_n p_a p_b g g^T of each pair of classes."""
    m = blocks.shape[1]
    H = np.zeros((K, m, K, m), blocks.dtype)
    for (a, b), block in zip(class_pairs(K), blocks):
        H[a, :, b] = -block
        H[b, :, a] = -block
        H[a, :, a] += block
        H[b, :, b] += block
    return H.reshape(K * m, K * m)
