"""Golden numbers for a last-layer Laplace approximation, from laplace-torch.

Writes `laplace_torch.json` beside itself. Every problem has its own seed, all of it is float64 on
one thread, and no curvature is sampled. The weights are not an optimum: nothing here needs one.

A problem in the file holds what went in (`features`, `labels`, `weights` as K rows of m, `bias` or
null, `test_features`) and what came out, under the structure of the Hessian: `full` for each prior
precision, and `diag` and `kron` for one of them.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from laplace import Laplace
from laplace.baselaplace import ParametricLaplace
from laplace.curvature import CurvlinopsGGN
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

OUTPUT = Path(__file__).with_suffix(".json")
PRIOR_PRECISIONS = [1e-3, 0.1, 1.0, 30.0, 1e4]
PRIOR_PRECISION_OF_STRUCTURES = 1.0
TEST_ROWS = 9
LINKS = ["probit", "bridge", "bridge_norm"]
# The largest difference allowed between a library's Hessian and ours, against the largest entry.
TOLERANCE = 1e-13


@dataclass(frozen=True)
class Problem:
    """A linear layer over given features, with data.

    Attributes
    ----------
    features : ndarray of shape (N, m)
    labels : ndarray of int, shape (N,)
    weights : ndarray of shape (K, m)
    bias : ndarray of shape (K,), or None
    test_features : ndarray of shape (TEST_ROWS, m)
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    bias: np.ndarray | None
    test_features: np.ndarray


def make(
    seed: int, N: int, m: int, K: int, bias: bool = False, absent: int | None = None
) -> Problem:
    """Draw a problem.

    Parameters
    ----------
    seed : int
    N, m, K : int
        How many samples, features and classes.
    bias : bool
        Whether the layer has a bias.
    absent : int, optional
        A class that no sample has.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(N, m))
    # Labels from a noisy linear rule, which is not the layer's.
    scores = features @ rng.normal(size=(m, K)) + rng.gumbel(size=(N, K))
    if absent is not None:
        scores[:, absent] = -np.inf
    weights = 0.7 * rng.normal(size=(K, m))
    offsets = 0.7 * rng.normal(size=K) if bias else None
    test_features = rng.normal(size=(TEST_ROWS, m))
    return Problem(features, scores.argmax(axis=1), weights, offsets, test_features)


PROBLEMS = {
    "three": make(seed=1, N=40, m=5, K=3),
    "two": make(seed=2, N=25, m=4, K=2),
    "bias": make(seed=3, N=50, m=6, K=4, bias=True),
    "ragged": make(seed=4, N=3, m=7, K=3),
    "absent": make(seed=5, N=30, m=4, K=4, absent=2),
}


def hessians(problem: Problem) -> dict[str, np.ndarray]:
    """Our own Hessian of the summed cross-entropy, whole and in its approximations.

    Returns
    -------
    dict of ndarray of shape (D, D)
        Over the weights, row after row, and then the bias. `full` is the sum over samples of
        (diag p - p p') ⊗ g g'. `diag` is its diagonal. `kron` is, for the weights, the sum of
        diag p - p p' ⊗ the mean of g g', and for the bias, apart from them, that sum alone.
    """
    G, K = problem.features, len(problem.weights)
    logits = G @ problem.weights.T + (0 if problem.bias is None else problem.bias)
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    of_logits = np.einsum("nk,kl->nkl", P, np.eye(K)) - np.einsum("nk,nl->nkl", P, P)

    jacobian = np.einsum("kl,nj->nklj", np.eye(K), G).reshape(len(G), K, -1)
    kron = np.kron(of_logits.sum(axis=0), G.T @ G / len(G))
    if problem.bias is not None:
        jacobian = np.concatenate([jacobian, np.broadcast_to(np.eye(K), (len(G), K, K))], axis=2)
        apart = np.zeros((len(kron), K))
        kron = np.block([[kron, apart], [apart.T, of_logits.sum(axis=0)]])
    full = np.einsum("nka,nkl,nlb->ab", jacobian, of_logits, jacobian)
    return {"full": full, "diag": np.diag(np.diag(full)), "kron": kron}


def fit(problem: Problem, structure: str) -> ParametricLaplace:
    """Fit laplace-torch to the problem's layer, and check its Hessian against ours."""
    K, m = problem.weights.shape
    layer = nn.Linear(m, K, bias=problem.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(problem.weights))
        if problem.bias is not None:
            layer.bias.copy_(torch.from_numpy(problem.bias))

    fitted = Laplace(
        nn.Sequential(nn.Identity(), layer),
        "classification",
        subset_of_weights="last_layer",
        hessian_structure=structure,
        backend=CurvlinopsGGN,
        last_layer_name="1",
    )
    data = TensorDataset(torch.from_numpy(problem.features), torch.from_numpy(problem.labels))
    fitted.fit(DataLoader(data, batch_size=len(data)))

    dense = {"full": lambda H: H, "diag": torch.diag, "kron": lambda H: H.to_matrix()}
    theirs, ours = dense[structure](fitted.H).numpy(), hessians(problem)[structure]
    difference = np.abs(theirs - ours).max() / np.abs(ours).max()
    assert difference <= TOLERANCE, f"{structure}: the Hessians differ by {difference:.1e}"
    return fitted


def moments(fitted: ParametricLaplace, X: torch.Tensor, prior_precision: float) -> dict[str, Any]:
    """The log marginal likelihood, and the covariance of the test rows' logits.

    This leaves the prior precision set in `fitted`.
    """
    log_marginal = fitted.log_marginal_likelihood(prior_precision=torch.tensor(prior_precision))
    _, covariance = fitted._glm_predictive_distribution(X)
    return {
        "prior_precision": prior_precision,
        "log_marginal": log_marginal.item(),
        "covariance": covariance.tolist(),
    }


def golden(problem: Problem) -> dict[str, Any]:
    """A problem and its numbers, as they go into the file."""
    X = torch.from_numpy(problem.test_features)
    result: dict[str, Any] = {
        name: None if value is None else value.tolist() for name, value in vars(problem).items()
    }

    full = fit(problem, "full")
    result["log_likelihood"] = full.log_likelihood.item()
    result["full"] = [
        moments(full, X, prior_precision)
        | {link: full(X, pred_type="glm", link_approx=link).tolist() for link in LINKS}
        for prior_precision in PRIOR_PRECISIONS
    ]
    for structure in ["diag", "kron"]:
        result[structure] = moments(fit(problem, structure), X, PRIOR_PRECISION_OF_STRUCTURES)
    return result


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    packages = ["laplace-torch", "curvlinops-for-pytorch", "torch", "numpy"]
    document = {
        "versions": {package: version(package) for package in packages},
        "backends": dict.fromkeys(["full", "diag", "kron"], CurvlinopsGGN.__name__),
        "problems": {name: golden(problem) for name, problem in PROBLEMS.items()},
    }
    OUTPUT.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
