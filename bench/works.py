"""What is measured: every work with its sizes, and what it costs by count."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Request = dict[str, Any]

ITEM = {"f32": 4, "f64": 8}
MNIST = {"samples": 60000, "features": 100, "classes": 10}
IMAGES = 55000

HESSIAN_FORMULA = "N K(K-1)/2 m(m+1): half of each Gram matrix of each pair of classes"
# Those that a grid of sizes is measured with where no run has said which are the fastest.
FAST_PEERS = [
    "numpy: 45 weighted Grams by syrk, threads over samples",
    "numpy: pair weights times outer products, threads over samples",
]
FAST_PEERS_ON_GPU = [
    "torch: 45 weighted Grams, one product a chunk",
    "torch: pair weights times outer products",
]


@dataclass(frozen=True)
class Work:
    """A row of requests that ask for the same thing, differing in the peer alone."""

    group: str  # What --only and --skip name.
    name: str
    title: str
    request: Request
    flop: float | None = None  # What the work takes, whichever way a peer goes about it.
    formula: str | None = None
    bytes: int | None = None  # Inputs read once, and the answer.
    repeats: int | None = None  # Fewer than what was asked for.
    limit_s: float | None = None  # A peer that would take longer is left out.
    peers: list[str] | None = None  # Of the other side; all that there are if not given.
    # Of kappa's other ways to part of the answer: (row's name, request).
    beside: list[tuple[str, Request]] = field(default_factory=list)
    # Works with one answer: the first that kappa gives, in f64, is the reference of all of them.
    answer: str | None = None

    @property
    def key(self) -> str:
        """By which both sides list their peers."""
        what = self.request.get("what")
        return f"{self.request['work']}/{what}" if what else self.request["work"]

    @property
    def precision(self) -> str:
        return self.request["precision"]


def peak(gpu: bool) -> Iterator[Work]:
    for precision, n in (("f64", 8192 if gpu else 3072), ("f32", 8192 if gpu else 4096)):
        yield Work(
            group="peak",
            name=f"peak {precision}",
            title=f"A plain product of {n} x {n} matrices, {precision}",
            request={"work": "peak", "precision": precision, "n": n},
            flop=2.0 * n**3,
            formula="2 n^3",
            bytes=3 * n * n * ITEM[precision],
        )


def hessian() -> Iterator[Work]:
    # f64 comes first: its answer is what the others are held against.
    for precision in ("f64", "f32"):
        yield Work(
            group="hessian",
            name=f"hessian {precision}",
            title=f"The exact Hessian of MNIST's last layer, N = 60,000, m = 100, K = 10, {precision}",
            request={"work": "hessian", "precision": precision, "inputs": "mnist"},
            flop=hessian_flop(**MNIST),
            formula=HESSIAN_FORMULA,
            bytes=hessian_bytes(**MNIST, precision=precision),
            answer="mnist",
        )


def hessian_flop(samples: int, features: int, classes: int) -> float:
    return samples * classes * (classes - 1) / 2 * features * (features + 1)


def hessian_bytes(samples: int, features: int, classes: int, precision: str) -> int:
    return ITEM[precision] * (samples * (features + classes) + (features * classes) ** 2)


def eigen() -> Iterator[Work]:
    n = 1000
    reduction = 4 / 3 * n**3
    counts = {
        "pairs": (reduction + 2 * n**3, "10/3 n^3: to tridiagonal form, and its vectors back"),
        "values": (reduction, "4/3 n^3: to tridiagonal form"),
        "top10": (None, None),
    }
    titles = {
        "pairs": "All eigenpairs of H, 1000 x 1000",
        "values": "All eigenvalues of H, 1000 x 1000",
        "top10": "The ten largest eigenvalues of H, 1000 x 1000, given as a matrix",
    }
    for what, (flop, formula) in counts.items():
        for precision in ("f64", "f32"):
            yield Work(
                group="eigen",
                name=f"eigen {what} {precision}",
                title=f"{titles[what]}, {precision}",
                request={"work": "eigen", "precision": precision, "what": what},
                flop=flop,
                formula=formula,
                bytes=n * n * ITEM[precision],
                answer=f"eigen {what}",
            )


def training() -> Iterator[Work]:
    flop = IMAGES * (4 * 784 * 100 + 6 * 100 * 10)
    formula = "N (4 x 784 x 100 + 6 x 100 x 10): the products forward and backward"
    for network, label in (("fc", "FC"), ("fc-bn", "FC+BN")):
        for work, batch, title in (
            ("epoch", 128, "An epoch of 55,000 images in batches of 128"),
            ("step", "full", "One step on all 55,000 images"),
        ):
            yield Work(
                group="training",
                name=f"{work} {network}",
                title=f"{title}, {label}, f32",
                request={"work": work, "precision": "f32", "network": network, "batch": batch},
                flop=float(flop),
                formula=formula,
                bytes=IMAGES * 784 * 4,
            )


SWEEPS = {
    "N": [(samples, 100, 10) for samples in (1000, 6000, 60000)],
    "m": [(10000, features, 10) for features in (25, 50, 100, 200, 400)],
    "K": [(10000, 100, classes) for classes in (2, 5, 10, 20, 50)],
}


def scaling(gpu: bool, peers: list[str]) -> Iterator[Work]:
    """A GPU is asked for f32, which is all that WGSL has."""
    precision = "f32" if gpu else "f64"
    for sweep, grid in SWEEPS.items():
        for samples, features, classes in grid:
            sizes = {"samples": samples, "features": features, "classes": classes}
            yield Work(
                group="scaling",
                name=f"scaling {sweep} {samples} {features} {classes}",
                title=f"N = {samples:,}, m = {features}, K = {classes}",
                request={"work": "hessian", "precision": precision, **sizes},
                flop=hessian_flop(**sizes),
                formula=HESSIAN_FORMULA,
                bytes=hessian_bytes(**sizes, precision=precision),
                repeats=3,
                limit_s=30.0,
                peers=peers,
                beside=[
                    (
                        "kappa, ten largest eigenvalues without forming H",
                        {"work": "top10", "precision": precision, "peer": "kappa", **sizes},
                    )
                ],
                answer=f"{samples} {features} {classes}",
            )
