"""What is measured: every work with its sizes, and what it costs by count."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Request = dict[str, Any]

ITEM = {"f32": 4, "f64": 8}
IMAGES = 55000
MNIST = "mnist"


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
    peers: list[str] | None = None  # Of the other side; all that there are if not given.
    # Another way of kappa's to part of the answer: (row's name, request).
    beside: tuple[str, Request] | None = None
    sums: int = 1  # Sums over all samples that the answer goes through, one after the other.
    # Works with one answer, which is kappa's in f64.
    answer: str | None = None

    @property
    def precision(self) -> str:
        return self.request["precision"]


def key(request: Request) -> str:
    """The work that a request asks for, by which both sides list their peers."""
    return request["work"] + (f"/{request['what']}" if "what" in request else "")


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


def hessian_of(inputs: str, sizes: tuple[int, int, int], precision: str, **more: Any) -> Work:
    N, m, K = sizes
    return Work(
        request={"work": "hessian", "precision": precision, "inputs": inputs},
        flop=N * K * (K - 1) / 2 * m * (m + 1),
        formula="N K(K-1)/2 m(m+1): half of each Gram matrix of each pair of classes",
        bytes=ITEM[precision] * (N * (m + K) + (m * K) ** 2),
        answer=inputs,
        **more,
    )


def hessian() -> Iterator[Work]:
    title = "The exact Hessian of MNIST's last layer, N = 60,000, m = 100, K = 10"
    for precision in ("f64", "f32"):
        named = {"name": f"hessian {precision}", "title": f"{title}, {precision}"}
        yield hessian_of(MNIST, (60000, 100, 10), precision, group="hessian", **named)


def eigen() -> Iterator[Work]:
    n = 1000
    reduction = 4 / 3 * n**3
    both = "10/3 n^3: to tridiagonal form, and its vectors back"
    for what, asked, flop, formula, title in (
        ("pairs", "eigen", reduction + 2 * n**3, both, "All eigenpairs of H, 1000 x 1000"),
        ("values", "eigen", reduction, "4/3 n^3: to tridiagonal form", "All eigenvalues of H, 1000 x 1000"),
        ("top10", "top10", None, None, "The ten largest eigenvalues of H, 1000 x 1000, given as a matrix"),
    ):
        # f64 comes first: its answer is what the others are held against.
        for precision in ("f64", "f32"):
            detail = {"what": what} if asked == "eigen" else {"inputs": MNIST}
            yield Work(
                group="eigen",
                name=f"eigen {what} {precision}",
                title=f"{title}, {precision}",
                request={"work": asked, "precision": precision, **detail},
                flop=flop,
                formula=formula,
                bytes=n * n * ITEM[precision],
                answer=f"eigen {what}",
            )


def training() -> Iterator[Work]:
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
                flop=float(IMAGES * (4 * 784 * 100 + 6 * 100 * 10)),
                formula="N (4 x 784 x 100 + 6 x 100 x 10): the products forward and backward",
                bytes=IMAGES * 784 * 4,
            )


# One product with a network's Hessian, of which two large ones are left while the weights stand still.
ALONG = float(IMAGES * (4 * 784 * 100 + 12 * 100 * 10))
STEP = "kappa, a step of training on all images"
NETWORKS = {"fc": "FC", "fc-bn": "FC+BN, the whole data set's statistics differentiated"}


def network() -> Iterator[Work]:
    one, several_of_fc = [("f32", 1), ("f64", 1)], [("f32", 2), ("f32", 8)]
    grid = [("fc", *how) for how in one + several_of_fc] + [("fc-bn", *how) for how in one]
    for name, precision, vectors in grid:
        several = {2: "Two products", 8: "Eight products"}.get(vectors)
        of = f"the Hessian of {NETWORKS[name]}, all parameters, 55,000 images, {precision}"
        request = {"work": "network", "precision": precision, "network": name}
        what = {"what": "products" if several else "product", "vectors": vectors}
        step = (STEP, request | {"what": "step"}) if vectors == 1 and precision == "f32" else None
        yield Work(
            group="network",
            name=f"network {what['what']} {vectors} {name} {precision}",
            title=f"{several or 'A product'} with {of}" + (", the time of each" if several else ""),
            request=request | what,
            flop=ALONG,
            formula="N (4 x 784 x 100 + 12 x 100 x 10): the products along a vector, forward and backward",
            bytes=IMAGES * 784 * ITEM[precision],
            beside=step,
            # With batch norm eight more that all samples share: mean, variance, the two means of the
            # backward pass, and the tangent of each.
            sums=9 if name == "fc-bn" else 1,
        )
    # f64 comes first: its answer is what the others are held against.
    for precision, more in (("f64", {"peers": [], "repeats": 1}), ("f32", {"repeats": 3})):
        yield Work(
            group="network",
            name=f"network pairs fc {precision}",
            title=f"The ten largest eigenpairs of FC's Hessian, all parameters, 55,000 images, {precision}",
            request={"work": "network", "what": "pairs", "precision": precision, "network": "fc"},
            answer="network pairs",
            **more,
        )
    yield from layer()


LAYER = (2000, 512, 300)


def layer() -> Iterator[Work]:
    N, m, K = LAYER
    of = f"a last layer's Hessian without forming it, N = {N:,}, m = {m}, K = {K}, f64"
    request = {"work": "layer", "precision": "f64", "inputs": "-".join(map(str, LAYER))}
    for vectors, what, title in ((1, "product", "A product"), (8, "products", "Eight products")):
        yield Work(
            group="network",
            name=f"layer {what} {vectors}",
            title=f"{title} with {of}" + (", the time of each" if vectors > 1 else ""),
            request=request | {"what": what, "vectors": vectors},
            flop=4.0 * N * m * K,
            formula="4 N m K: the logits along a vector, and the sum over samples",
            bytes=8 * (N * (m + K) + 2 * m * K),
        )
    yield Work(
        group="network",
        name="layer pairs",
        title=f"The ten largest eigenpairs of {of}",
        request=request | {"what": "pairs"},
        repeats=3,
        answer="layer pairs",
    )


def of_group(group: str, gpu: bool) -> Iterator[Work]:
    """All but those of scaling, whose peers follow from what was measured before."""
    of_groups = {"hessian": hessian, "eigen": eigen, "training": training, "network": network}
    return peak(gpu) if group == "peak" else of_groups[group]()


SWEEPS = {
    "N": [(samples, 100, 10) for samples in (1000, 6000, 60000)],
    "m": [(10000, features, 10) for features in (25, 50, 100, 200, 400)],
    "K": [(10000, 100, classes) for classes in (2, 5, 10, 20, 50)],
}


def scaling(gpu: bool, peers: list[str]) -> Iterator[Work]:
    """A GPU is asked for f32, which is all that WGSL has."""
    precision = "f32" if gpu else "f64"
    for sweep, grid in SWEEPS.items():
        for N, m, K in grid:
            inputs = f"{N}-{m}-{K}"
            request = {"work": "top10", "precision": precision, "inputs": inputs}
            yield hessian_of(
                inputs,
                (N, m, K),
                precision,
                group="scaling",
                name=f"scaling {sweep} {N} {m} {K}",
                title=f"N = {N:,}, m = {m}, K = {K}",
                repeats=3,
                peers=peers,
                beside=("kappa, ten largest eigenvalues without forming H", request),
            )
