"""The peers: other ways to what kappa computes, by hand and by the libraries that people use.

They are listed here by name, without importing what they are made of: a peer whose library is not
installed is then a row that says so, and not a row that is missing.
"""

import importlib

from peers.task import Context, Prepare, Request, Task, Unavailable
from works import key

TRAINING = {
    "torch (eager, fused Adam)": "training.eager_fused",
    "torch (eager, Adam foreach)": "training.eager_foreach",
    "torch.compile, fused Adam": "training.compiled",
}
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
# Work -> peer -> where it is: module.function in this package. Where the work is done by several
# peers of one library, the first is what a reader of its manual would write.
PEERS: dict[str, dict[str, str]] = {
    "peak": {"numpy": "products.by_numpy", "torch": "products.by_torch"},
    "hessian": {
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
    },
    "eigen/pairs": {
        "numpy eigh": "eigen.numpy_pairs",
        "scipy eigh, evd": "eigen.scipy_pairs_evd",
        "scipy eigh, evr": "eigen.scipy_pairs_evr",
        "torch.linalg.eigh": "eigen.torch_pairs",
    },
    "eigen/values": {
        "numpy eigvalsh": "eigen.numpy_values",
        "scipy eigvalsh, evd": "eigen.scipy_values_evd",
        "scipy eigvalsh, evr": "eigen.scipy_values_evr",
        "torch.linalg.eigvalsh": "eigen.torch_values",
    },
    "top10": {
        "scipy eigsh (ARPACK)": "eigen.scipy_arpack",
        "scipy eigh, evr, a subset": "eigen.scipy_subset",
        "torch.lobpcg": "eigen.torch_lobpcg",
    },
    "network/product": PRODUCT,
    "network/products": {
        f"{KEPT}, one after the other": "network.double_backward_kept",
        f"{KEPT}, vmap": "network.double_backward_batched",
        "torch: written by hand, one after the other": "network.by_hand",
        "curvlinops: HessianLinearOperator": "network.curvlinops",
    },
    "network/pairs": {
        # By torch on either device.
        f"ARPACK (scipy eigsh); {KEPT}": "largest_pairs.network_by_arpack",
        "hessian-eigenthings: lanczos, HessianOperator": "largest_pairs.network_by_eigenthings",
    },
    "layer/product": {"numpy": "layer.by_numpy"},
    "layer/products": {"numpy, one after the other": "layer.by_numpy"},
    "layer/pairs": {"scipy eigsh (ARPACK); product by numpy": "largest_pairs.layer_by_arpack"},
    "epoch": TRAINING,
    "step": TRAINING,
}


def prepare(context: Context, request: Request) -> Task:
    """The task that a request asks for, with its inputs in memory."""
    where = PEERS.get(key(request), {}).get(request["peer"])
    if where is None:
        raise Unavailable(f"no peer of that name does {key(request)}")
    module, function = where.split(".")
    try:
        need_device(context, request["peer"])
        make: Prepare = getattr(importlib.import_module(f"peers.{module}"), function)
        return make(context, request)
    except ModuleNotFoundError as missing:
        raise Unavailable(f"{missing.name} is not installed") from missing


def need_device(context: Context, peer: str) -> None:
    """numpy and scipy know no GPU; the others are of torch, which may find none."""
    if context.device == "cpu":
        return
    if peer.startswith(("numpy", "scipy")):
        raise Unavailable("runs on a CPU only")
    import torch

    if not torch.cuda.is_available():
        raise Unavailable("no CUDA device, or a torch without CUDA")
