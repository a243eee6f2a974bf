"""The Hessian by libraries that people use for such things.

They are given the last layer alone: a network whose input is a sample's features with its logits
beside them, and whose output is W g + logits, at W = 0. There the Hessian with respect to W is that
of the whole network, exactly, and without a bias.

They take ten seconds and more, so they do a part of the work, and the time is scaled up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import checks
from peers import Context, Task, inputs
from works import Work

# Of the samples, or of the columns: a part large enough that starting is nothing.
SAMPLES, COLUMNS = 6000, 100


class LastLayer(nn.Module):
    def __init__(self, m: int, K: int) -> None:
        super().__init__()
        self.m = m
        self.linear = nn.Linear(m, K, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, features_and_logits: Tensor) -> Tensor:
        features, logits = features_and_logits.tensor_split([self.m], dim=1)
        return self.linear(features) + logits


@dataclass(frozen=True)
class Problem:
    """The last layer with its first samples, on the device and in the type that was asked for."""

    layer: LastLayer
    X: Tensor
    y: Tensor  # Any classes do: the Hessian does not depend on them.
    G: np.ndarray
    P: np.ndarray
    N: int  # Samples, those that are left out included.

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.X.split(size), self.y.split(size)))

    def task(self, run: Callable[[], Tensor], part: int, whole: int, of: str) -> Task:
        return Task(
            run=run,
            digest=lambda H: checks.of_part(H.detach().cpu().numpy(), self.G, self.P),
            scale=whole / part,
            scaled_from=f"{part} of {whole} {of}",
        )


@contextmanager
def defaults(like: Tensor) -> Iterator[None]:
    """These libraries make identities of torch's default type, on its default device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(like.dtype)
    try:
        with like.device:
            yield
    finally:
        torch.set_default_dtype(before)


def problem(context: Context, work: Work, samples: int | None = None) -> Problem:
    whole = inputs.features_and_probabilities(work)
    G, P = (array[:samples] for array in whole)
    # Logits but for a shift, which no probability knows.
    logits = np.log(np.maximum(P, np.finfo(P.dtype).tiny))
    X = torch.from_numpy(np.hstack([G, logits])).to(context.device)
    y = torch.from_numpy(P.argmax(axis=1)).to(context.device)
    return Problem(LastLayer(G.shape[1], P.shape[1]).to(X), X, y, G, P, len(whole[0]))


def laplace(context: Context, work: Work) -> Task:
    """`FullLLLaplace(...).fit`, whose curvature is the sum over samples.

    Of its backends, all of which give the Hessian here, the fastest; and so for the batch.
    """
    from laplace import FullLLLaplace
    from laplace.curvature import CurvlinopsHessian
    from torch.utils.data import DataLoader, TensorDataset

    given = problem(context, work, SAMPLES)
    data = TensorDataset(given.X, given.y)

    def run() -> Tensor:
        with defaults(given.X):
            fit = FullLLLaplace(
                given.layer, "classification", last_layer_name="linear", backend=CurvlinopsHessian
            )
            fit.fit(DataLoader(data, batch_size=256))
        return fit.H / SAMPLES

    return given.task(run, SAMPLES, given.N, "samples")


def posterior(context: Context, work: Work, backend: str = "CurvlinopsGGN") -> Task:
    """All of `FullLLLaplace`, on all samples: it is fitted, and asked for what the work asks for.

    The probabilities are made from the covariances as its own `link_approx="probit"` makes them, which
    would compute the covariances once more.
    """
    from laplace import FullLLLaplace, curvature
    from torch.utils.data import DataLoader, TensorDataset

    given = inputs.classifier(work.given["delta"], work.given["others"])
    G, y, W, T = (torch.from_numpy(array.copy()).to(context.device) for array in (given.G, given.y, given.W, given.T))
    layer = nn.Linear(*W.T.shape, bias=False).to(W)
    layer.weight.data.copy_(W)
    model = nn.Sequential(nn.Identity(), layer)

    def run() -> tuple[list[float], Tensor, Tensor]:
        with defaults(G):
            fit = FullLLLaplace(model, "classification", last_layer_name="1", backend=getattr(curvature, backend))
            fit.fit(DataLoader(TensorDataset(G, y), batch_size=256))
            at = [torch.tensor(delta) for delta in work.given["deltas"]]
            log_marginals = [fit.log_marginal_likelihood(prior_precision=delta).item() for delta in at]
            fit.prior_precision = work.given["delta"]
            logits, covariances = fit._glm_predictive_distribution(T)
            variances = covariances.diagonal(dim1=1, dim2=2)
            probabilities = torch.softmax(logits / torch.sqrt(1 + torch.pi / 8 * variances), dim=1)
        return log_marginals, covariances, probabilities

    def digest(found: tuple[list[float], Tensor, Tensor]) -> checks.Digest:
        log_marginals, covariances, probabilities = found
        return checks.of_posterior(log_marginals, covariances.cpu().numpy(), probabilities.cpu().numpy())

    return Task(run=run, digest=digest)


def posterior_of_hessian(context: Context, work: Work) -> Task:
    return posterior(context, work, "CurvlinopsHessian")


def posterior_of_backpack(context: Context, work: Work) -> Task:
    return posterior(context, work, "BackPackGGN")


def functional(context: Context, work: Work) -> Task:
    """`torch.func.hessian` of the loss as a function of W, summed over batches."""
    given = problem(context, work, SAMPLES)
    m, K = given.G.shape[1], given.P.shape[1]
    weight = given.X.new_zeros(K, m)

    def loss(W: Tensor, X: Tensor, y: Tensor) -> Tensor:
        features, logits = X.tensor_split([m], dim=1)
        return cross_entropy(features @ W.T + logits, y, reduction="sum")

    def run() -> Tensor:
        of_batch = torch.func.hessian(loss)
        total = sum(of_batch(weight, X, y) for X, y in given.batches(250))
        return total.reshape(K * m, K * m) / SAMPLES

    return given.task(run, SAMPLES, given.N, "samples")


def curvlinops(context: Context, work: Work) -> Task:
    """`HessianLinearOperator @ identity`, of which some columns, in one product."""
    from curvlinops import HessianLinearOperator

    given = problem(context, work)
    weight = given.layer.linear.weight
    n = weight.numel()

    def run() -> Tensor:
        with defaults(given.X):
            data = given.batches(1000)
            operator = HessianLinearOperator(
                given.layer, nn.CrossEntropyLoss(), [weight], data, check_deterministic=False
            )
            return operator @ torch.eye(n, COLUMNS)

    return given.task(run, COLUMNS, n, "columns")
