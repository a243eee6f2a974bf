"""What is measured: every work with its sizes, what it costs by count, and who does it.

Who does it is told by name, without importing what it is made of: a peer whose library is not
installed is then a row that says so, and not a row that is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Row -> where it is done: module.function in peers.
Peers = dict[str, str]

ITEM = {"f32": 4, "f64": 8}
IMAGES = 55000
MNIST = "mnist"


@dataclass(frozen=True)
class Work:
    """What all of some peers are asked for."""

    group: str  # What --only and --skip name.
    name: str
    title: str
    precision: str
    peers: Peers  # kappa first.
    given: dict[str, Any] = field(default_factory=dict)  # What is asked for beside the precision.
    flop: float | None = None  # What the work takes, whichever way a peer goes about it.
    formula: str | None = None
    bytes: int | None = None  # Inputs read once, and the answer.
    repeats: int | None = None  # Fewer than what was asked for.
    # Rows that do something else than what is asked, shown beside it.
    beside: tuple[str, ...] = ()
    sums: int = 1  # Sums over all samples that the answer goes through, one after the other.
    # Works with one answer: what `reference`, a function in peers, makes, or kappa in f64.
    answer: str | None = None
    reference: str | None = None


def peak(gpu: bool) -> Iterator[Work]:
    for precision, n in (("f64", 8192 if gpu else 3072), ("f32", 8192 if gpu else 4096)):
        yield Work(
            group="peak",
            name=f"peak {precision}",
            title=f"A plain product of {n} x {n} matrices, {precision}",
            precision=precision,
            peers={"kappa": "kappa.square", "numpy": "products.by_numpy", "torch": "products.by_torch"},
            given={"n": n},
            flop=2.0 * n**3,
            formula="2 n^3",
            bytes=3 * n * n * ITEM[precision],
        )


# Where the work is done by several peers of one library, the first is what a reader of its manual
# would write.
HESSIAN = {
    "numpy: 45 weighted Grams by syrk, threads over samples": "hessian_numpy.grams_by_syrk",
    "numpy: pair weights times outer products, threads over samples": "hessian_numpy.outer_products",
    "numpy: 45 weighted Grams, plain": "hessian_numpy.grams_plain",
    "numpy: Cholesky staircase of S, by syrk, threads over samples": "hessian_numpy.staircase",
    "torch: 55 weighted Grams": "hessian_torch.grams_plain",
    "torch: 45 weighted Grams, one product a chunk": "hessian_torch.grams_in_one_product",
    "torch: pair weights times outer products": "hessian_torch.outer_products",
    "laplace-torch: FullLLLaplace, CurvlinopsHessian": "hessian_libraries.laplace",
    "curvlinops: HessianLinearOperator times identity": "hessian_libraries.curvlinops",
    "torch.func.hessian": "hessian_libraries.functional",
}


def hessian_of(inputs: str, sizes: tuple[int, int, int], precision: str, peers: Peers, **more: Any) -> Work:
    N, m, K = sizes
    return Work(
        precision=precision,
        peers={"kappa": "kappa.hessian"} | peers,
        given={"inputs": inputs},
        flop=N * K * (K - 1) / 2 * m * (m + 1),
        formula="N K(K-1)/2 m(m+1): half of each Gram matrix of each pair of classes",
        bytes=ITEM[precision] * (N * (m + K) + (m * K) ** 2),
        answer=inputs,
        reference="kappa.reference",
        **more,
    )


def hessian(gpu: bool) -> Iterator[Work]:
    of = "MNIST's last layer, N = 60,000, m = 100, K = 10"
    for precision in ("f64", "f32"):
        named = {"name": f"hessian {precision}", "title": f"The exact Hessian of {of}, {precision}"}
        yield hessian_of(MNIST, (60000, 100, 10), precision, HESSIAN, group="hessian", **named)
    precision = "f32" if gpu else "f64"
    yield Work(
        group="hessian",
        name="hessian call",
        title=f"From two arrays to a spectrum and its evidence, {of}, sums in {precision}",
        precision=precision,
        peers={"kappa": "kappa.whole_call", "kappa.hessian(..), called from Python": "kappa.python_call"},
        given={"inputs": MNIST},
        answer="hessian call",
    )


def eigen(_: bool) -> Iterator[Work]:
    n = 1000
    reduction = 4 / 3 * n**3
    pairs = {
        "kappa": "kappa.eigenpairs",
        "numpy eigh": "eigen.numpy_pairs",
        "scipy eigh, evd": "eigen.scipy_pairs_evd",
        "scipy eigh, evr": "eigen.scipy_pairs_evr",
        "torch.linalg.eigh": "eigen.torch_pairs",
    }
    values = {
        "kappa": "kappa.eigenvalues",
        "numpy eigvalsh": "eigen.numpy_values",
        "scipy eigvalsh, evd": "eigen.scipy_values_evd",
        "scipy eigvalsh, evr": "eigen.scipy_values_evr",
        "torch.linalg.eigvalsh": "eigen.torch_values",
    }
    top10 = {
        "kappa": "kappa.ten_largest",
        "scipy eigsh (ARPACK)": "eigen.scipy_arpack",
        "scipy eigh, evr, a subset": "eigen.scipy_subset",
        "torch.lobpcg": "eigen.torch_lobpcg",
    }
    both = "10/3 n^3: to tridiagonal form, and its vectors back"
    for what, peers, flop, formula, title in (
        ("pairs", pairs, reduction + 2 * n**3, both, "All eigenpairs of H, 1000 x 1000"),
        ("values", values, reduction, "4/3 n^3: to tridiagonal form", "All eigenvalues of H, 1000 x 1000"),
        ("top10", top10, None, None, "The ten largest eigenvalues of H, 1000 x 1000, given as a matrix"),
    ):
        # f64 comes first: its answer is what the others are held against.
        for precision in ("f64", "f32"):
            yield Work(
                group="eigen",
                name=f"eigen {what} {precision}",
                title=f"{title}, {precision}",
                precision=precision,
                peers=peers,
                given={"inputs": MNIST},
                flop=flop,
                formula=formula,
                bytes=n * n * ITEM[precision],
                answer=f"eigen {what}",
            )


# Precisions of the prior at which the marginal likelihood is asked for, and the one of the predictions.
DELTAS, DELTA, OTHERS = [1e-2, 0.1, 1.0, 10.0, 100.0], 1.0, 1000


def laplace(_: bool) -> Iterator[Work]:
    of = f"MNIST's last layer, its marginal likelihood at {len(DELTAS)} deltas and {OTHERS:,} predictions"
    yield Work(
        group="laplace",
        name="laplace f64",
        title=f"The posterior of {of}, N = 60,000, m = 100, K = 10, f64",
        precision="f64",
        peers={
            "kappa": "kappa.posterior",
            "kappa.laplace(..), called from Python": "kappa.python_posterior",
            "laplace-torch: FullLLLaplace, CurvlinopsGGN (its own choice)": "hessian_libraries.posterior",
            "laplace-torch: FullLLLaplace, CurvlinopsHessian": "hessian_libraries.posterior_of_hessian",
            "laplace-torch: FullLLLaplace, BackPackGGN": "hessian_libraries.posterior_of_backpack",
        },
        given={"deltas": DELTAS, "delta": DELTA, "others": OTHERS},
        answer="laplace",
    )


TRAINING = {
    "kappa": "kappa.training",
    "torch (eager, fused Adam)": "training.eager_fused",
    "torch (eager, Adam foreach)": "training.eager_foreach",
    "torch.compile, fused Adam": "training.compiled",
}


def training(_: bool) -> Iterator[Work]:
    for network, label in (("fc", "FC"), ("fc-bn", "FC+BN")):
        for work, batch, title in (
            ("epoch", 128, "An epoch of 55,000 images in batches of 128"),
            ("step", "full", "One step on all 55,000 images"),
        ):
            yield Work(
                group="training",
                name=f"{work} {network}",
                title=f"{title}, {label}, f32",
                precision="f32",
                peers=TRAINING,
                given={"network": network, "batch": batch},
                flop=float(IMAGES * (4 * 784 * 100 + 6 * 100 * 10)),
                formula="N (4 x 784 x 100 + 6 x 100 x 10): the products forward and backward",
                bytes=IMAGES * 784 * 4,
            )


# One product with a network's Hessian, of which two large ones are left while the weights stand still.
ALONG = float(IMAGES * (4 * 784 * 100 + 12 * 100 * 10))
STEP = "kappa, a step of training on all images"
NETWORKS = {"fc": "FC", "fc-bn": "FC+BN, the whole data set's statistics differentiated"}
KEPT = "torch: double backward, graph kept"
PRODUCT = {
    KEPT: "network.double_backward_kept",
    "torch: double backward, fresh graph": "network.double_backward_fresh",
    "torch.func: jvp of the gradient": "network.jvp_of_gradient",
    "torch.func: linearize of the gradient": "network.linearised_gradient",
    "torch: written by hand": "network.by_hand",
    "curvlinops: HessianLinearOperator": "network.curvlinops",
    "hessian-eigenthings: HessianOperator": "network.eigenthings",
}
PRODUCTS = {
    f"{KEPT}, one after the other": "network.double_backward_kept",
    f"{KEPT}, vmap": "network.double_backward_batched",
    "torch: written by hand, one after the other": "network.by_hand",
    "curvlinops: HessianLinearOperator": "network.curvlinops",
}


def network(_: bool) -> Iterator[Work]:
    one, several_of_fc = [("f32", 1), ("f64", 1)], [("f32", 2), ("f32", 8)]
    grid = [("fc", *how) for how in one + several_of_fc] + [("fc-bn", *how) for how in one]
    for name, precision, vectors in grid:
        title = {1: "A product", 2: "Two products", 8: "Eight products"}[vectors]
        of = f"the Hessian of {NETWORKS[name]}, all parameters, 55,000 images, {precision}"
        step = {STEP: "kappa.step"} if vectors == 1 and precision == "f32" else {}
        others = PRODUCTS if vectors > 1 else PRODUCT
        yield Work(
            group="network",
            name=f"network product{'s' if vectors > 1 else ''} {vectors} {name} {precision}",
            title=f"{title} with {of}" + (", the time of each" if vectors > 1 else ""),
            precision=precision,
            peers={"kappa": "kappa.network_product"} | step | others,
            given={"network": name, "batch": "full", "vectors": vectors},
            flop=ALONG,
            formula="N (4 x 784 x 100 + 12 x 100 x 10): the products along a vector, forward and backward",
            bytes=IMAGES * 784 * ITEM[precision],
            beside=(STEP,),
            # With batch norm eight more that all samples share: mean, variance, the two means of the
            # backward pass, and the tangent of each.
            sums=9 if name == "fc-bn" else 1,
        )
    kappa = {"kappa": "kappa.network_pairs"}
    others = {
        # By torch on either device.
        f"ARPACK (scipy eigsh); {KEPT}": "largest_pairs.network_by_arpack",
        "hessian-eigenthings: lanczos, HessianOperator": "largest_pairs.network_by_eigenthings",
    }
    # f64 comes first: its answer is what the others are held against.
    for precision, peers, repeats in (("f64", kappa, 1), ("f32", kappa | others, 3)):
        yield Work(
            group="network",
            name=f"network pairs fc {precision}",
            title=f"The ten largest eigenpairs of FC's Hessian, all parameters, 55,000 images, {precision}",
            precision=precision,
            peers=peers,
            given={"network": "fc"},
            repeats=repeats,
            answer="network pairs",
        )
    yield from layer()


def layer() -> Iterator[Work]:
    N, m, K = sizes = (2000, 512, 300)
    of = f"a last layer's Hessian without forming it, N = {N:,}, m = {m}, K = {K}, f64"
    common = {"group": "network", "precision": "f64"}
    given = {"inputs": "layer-" + "-".join(map(str, sizes))}
    for vectors, numpy, title in ((1, "numpy", "A product"), (8, "numpy, one after the other", "Eight products")):
        yield Work(
            **common,
            name=f"layer product{'s' if vectors > 1 else ''} {vectors}",
            title=f"{title} with {of}" + (", the time of each" if vectors > 1 else ""),
            peers={"kappa": "kappa.layer_product", numpy: "layer.by_numpy"},
            given=given | {"vectors": vectors},
            flop=4.0 * N * m * K,
            formula="4 N m K: the logits along a vector, and the sum over samples",
            bytes=8 * (N * (m + K) + 2 * m * K),
        )
    arpack = {"scipy eigsh (ARPACK); product by numpy": "largest_pairs.layer_by_arpack"}
    yield Work(
        **common,
        name="layer pairs",
        title=f"The ten largest eigenpairs of {of}",
        peers={"kappa": "kappa.layer_pairs"} | arpack,
        given=given,
        repeats=3,
        answer="layer pairs",
    )


# All but those of scaling, whose peers follow from what was measured before.
OF_GROUP = {
    "peak": peak,
    "hessian": hessian,
    "eigen": eigen,
    "laplace": laplace,
    "training": training,
    "network": network,
}
SWEEPS = {
    "N": [(samples, 100, 10) for samples in (1000, 6000, 60000)],
    "m": [(10000, features, 10) for features in (25, 50, 100, 200, 400)],
    "K": [(10000, 100, classes) for classes in (2, 5, 10, 20, 50)],
}
WITHOUT_H = "kappa, ten largest eigenvalues without forming H"


def scaling(gpu: bool, peers: Peers) -> Iterator[Work]:
    """A GPU is asked for f32, which is all that WGSL has."""
    for sweep, grid in SWEEPS.items():
        for N, m, K in grid:
            yield hessian_of(
                f"random-{N}-{m}-{K}",
                (N, m, K),
                "f32" if gpu else "f64",
                {WITHOUT_H: "kappa.ten_largest"} | peers,
                group="scaling",
                name=f"scaling {sweep} {N} {m} {K}",
                title=f"N = {N:,}, m = {m}, K = {K}",
                repeats=3,
                beside=(WITHOUT_H,),
            )
