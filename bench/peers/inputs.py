"""What all peers compute from. What is random has a seed: the same for everybody, and every time."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import kappa_bench
import numpy as np

from peers import Context, Unavailable
from works import MNIST, Work

DTYPES = {"f32": np.dtype("f4"), "f64": np.dtype("f8")}
Array = np.ndarray
CONFIGURATIONS = Path(__file__).resolve().parents[2] / "configs"
# Vectors that products are made with.
VECTORS = 8


def configuration(network: str) -> Path:
    """fc or fc-bn: what kappa ships."""
    return CONFIGURATIONS / f"{network}.toml"


def dtype(work: Work) -> np.dtype:
    return DTYPES[work.precision]


def features_and_probabilities(work: Work) -> tuple[Array, Array]:
    """G [N, m] and P [N, K] of a work's inputs, in its type."""
    return _in_type(work.given["inputs"], dtype(work))


# As many as one work needs: f32 and f64 of the same samples.
@lru_cache(maxsize=2)
def _in_type(name: str, kind: np.dtype) -> tuple[Array, Array]:
    G, P = last_layer(name)
    return G.astype(kind, copy=False), P.astype(kind, copy=False)


@lru_cache(maxsize=1)
def last_layer(name: str) -> tuple[Array, Array]:
    """In f64: of FC after an epoch, or random of the sizes that the name has."""
    if name == MNIST:
        return mnist(test=False)[:2]
    kind, *sizes = name.split("-")
    N, m, K = map(int, sizes)
    draw = np.random.default_rng(0)
    if kind == "random":
        # As a ReLU leaves them, half of them zero; logits spread out, so that some leave no doubt.
        return np.maximum(draw.uniform(-1, 1, (N, m)), 0), softmax(draw.uniform(-4, 4, (N, K)))
    # A layer whose logits are those of its features, as those of a network are.
    G = np.maximum(draw.standard_normal((N, m)), 0)
    return G, softmax(2 * G @ draw.standard_normal((m, K)) / np.sqrt(m))


def mnist(test: bool) -> tuple[Array, Array, Array]:
    """Of FC after an epoch: G, P and the labels of all training images, or of all test images."""
    G, P, y, (N, m, K) = kappa_bench.last_layer(configuration("fc"), test)
    return np.frombuffer(G).reshape(N, m), np.frombuffer(P).reshape(N, K), np.frombuffer(y, np.uint8)


@dataclass(frozen=True)
class Classifier:
    """A last layer without a bias, whose posterior is asked for, in f64."""

    G: Array  # [N, m]
    y: Array  # [N], integers.
    W: Array  # [K, m]
    T: Array  # Features of others, [T, m].

    def in_kappa(self) -> kappa_bench.Classifier:
        """On the CPU: WGSL has no f64."""
        sizes = (*self.G.shape, len(self.W))
        at = kappa_bench.Place(False)
        return kappa_bench.Classifier(at, self.G.tobytes(), self.y.tolist(), self.T.tobytes(), sizes)


@lru_cache(maxsize=1)
def classifier(delta: float, others: int) -> Classifier:
    """MNIST's features of FC after an epoch, and weights at the optimum of the loss with a prior of
    precision `delta`: Laplace's method is of an optimum. The others are the first test images."""
    (G, P, y), (T, _, _) = mnist(test=False), mnist(test=True)
    start = Classifier(G, y.astype(np.int64), np.zeros((P.shape[1], G.shape[1])), T[:others])
    W = np.frombuffer(start.in_kappa().optimum(delta)).reshape(start.W.shape)
    return Classifier(start.G, start.y, W, start.T)


def softmax(logits: Array) -> Array:
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)


def images(kind: np.dtype = DTYPES["f32"]) -> tuple[Array, Array]:
    """MNIST's training images: pixels [55000, 784] in [0, 1], labels as integers."""
    pixels, labels = (np.frombuffer(part, np.uint8) for part in kappa_bench.images(configuration("fc")))
    return pixels.reshape(len(labels), -1).astype(kind) / kind.type(255), labels.astype(np.int64)


def vectors(size: int, count: int) -> Array:
    """[count, size], the same ones however many are asked for, of numbers that f32 has."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (VECTORS, size))
    return drawn[:count].astype(np.float32).astype(np.float64)


def need_cpu(context: Context) -> None:
    """Of numpy and scipy."""
    if context.device != "cpu":
        raise Unavailable("runs on a CPU only")
