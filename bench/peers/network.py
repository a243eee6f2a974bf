"""Products with the Hessian of a network's mean loss: all parameters, all images in one batch.

FC+BN is in training mode: mean and variance are those of the batch, and are differentiated. What a
peer computes once, while the parameters stand still, it does before the clock starts, as kappa does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, linearize
from torch.nn.functional import cross_entropy

import checks
from peers import Context, Prepare, Task, Unavailable, inputs, kappa, training
from works import Work

# V [k, n] -> H V [k, n], a row each.
Multiply = Callable[[Tensor], Tensor]
# Images that curvlinops goes through at once: the fastest of 1,000, 5,000 and all.
BATCH = 5000


@dataclass(frozen=True)
class Problem:
    """A network with its initial weights, and its images."""

    name: str
    model: nn.Sequential
    X: Tensor
    y: Tensor

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.model.parameters())

    @property
    def size(self) -> int:
        return sum(p.numel() for p in self.parameters)

    def loss(self) -> Tensor:
        return cross_entropy(self.model(self.X), self.y)

    def gradient(self) -> tuple[Tensor, ...]:
        """With the graph that leads to it."""
        return torch.autograd.grad(self.loss(), self.parameters, create_graph=True)

    def gradient_of(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """As torch.func has it."""
        return grad(lambda at: cross_entropy(functional_call(self.model, at, (self.X,)), self.y))(parameters)

    def named(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def split(self, v: Tensor) -> list[Tensor]:
        """[.., n] -> a tensor [.., *shape] for each parameter."""
        parts = v.split([p.numel() for p in self.parameters], dim=-1)
        return [part.reshape(v.shape[:-1] + p.shape) for part, p in zip(parts, self.parameters)]

    def join(self, parts: tuple[Tensor, ...] | list[Tensor], lead: int = 0) -> Tensor:
        """The same back, `lead` dimensions standing before those of a parameter."""
        return torch.cat([part.flatten(lead) for part in parts], dim=-1)


def problem(context: Context, work: Work, precision: str | None = None) -> Problem:
    """In the work's precision, or in another."""
    return _problem(context.device, work.given["network"], precision or work.precision)


# The one that is measured, and the one in f64 that residuals are of.
@lru_cache(maxsize=2)
def _problem(device: str, name: str, precision: str) -> Problem:
    model = training.network(name)
    for module in model:
        if isinstance(module, nn.BatchNorm1d):
            # The batch's statistics, and no others to bring up to date.
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    # Scaled in the precision that is computed in.
    pixels, labels = (torch.from_numpy(part).to(device) for part in inputs.images(inputs.DTYPES[precision]))
    model.to(pixels)
    given = Problem(name, model, pixels, labels)
    theta = torch.from_numpy(kappa.initial_parameters(name).copy()).to(pixels)
    with torch.no_grad():
        for parameter, values in zip(given.parameters, given.split(theta)):
            parameter.copy_(values)
    return given


def peer(make: Callable[[Problem], Multiply]) -> Prepare:
    @wraps(make)
    def prepare(context: Context, work: Work) -> Task:
        given, count = problem(context, work), work.given["vectors"]
        exact = kappa.exact_products(given.name)[:count]
        V = torch.from_numpy(inputs.vectors(given.size, count)).to(given.X)
        multiply = make(given)
        return Task(
            run=lambda: multiply(V),
            digest=lambda HV: checks.of_products(HV.detach().cpu().numpy(), exact),
            scale=1 / count,
        )

    return prepare


def each(multiply: Callable[[Tensor], Tensor]) -> Multiply:
    """One vector after the other."""
    return lambda V: torch.stack([multiply(v) for v in V])


def graph_kept(given: Problem) -> Callable[[Tensor], Tensor]:
    gradient = given.gradient()

    def multiply(v: Tensor) -> Tensor:
        parts = given.split(v)
        return given.join(torch.autograd.grad(gradient, given.parameters, parts, retain_graph=True))

    return multiply


@peer
def double_backward_kept(given: Problem) -> Multiply:
    return each(graph_kept(given))


@peer
def double_backward_fresh(given: Problem) -> Multiply:
    def multiply(v: Tensor) -> Tensor:
        return given.join(torch.autograd.grad(given.gradient(), given.parameters, given.split(v)))

    return each(multiply)


@peer
def double_backward_batched(given: Problem) -> Multiply:
    """All vectors at once, by vmap."""
    gradient = given.gradient()

    def multiply(V: Tensor) -> Tensor:
        options = {"retain_graph": True, "is_grads_batched": True}
        return given.join(torch.autograd.grad(gradient, given.parameters, given.split(V), **options), 1)

    return multiply


@peer
def jvp_of_gradient(given: Problem) -> Multiply:
    at = given.named()

    def multiply(v: Tensor) -> Tensor:
        with torch.no_grad():
            along = dict(zip(at, given.split(v)))
            found = jvp(given.gradient_of, (at,), (along,))[1]
        return given.join([found[name] for name in at])

    return each(multiply)


@peer
def linearised_gradient(given: Problem) -> Multiply:
    """The jvp again, with all that does not depend on the vector computed once."""
    at = given.named()
    _, along = linearize(given.gradient_of, at)

    def multiply(v: Tensor) -> Tensor:
        found = along(dict(zip(at, given.split(v))))
        return given.join([found[name] for name in at])

    return each(multiply)


@peer
def by_hand(given: Problem) -> Multiply:
    """Forward over reverse for one hidden layer, written down."""
    if given.name != "fc":
        raise Unavailable("written for FC alone")
    X, N = given.X, len(given.X)
    W1, b1, W2, b2 = (parameter.detach() for parameter in given.parameters)
    a = torch.addmm(b1, X, W1.T)
    mask = (a > 0).to(X.dtype)
    h = mask * a
    p = torch.softmax(torch.addmm(b2, h, W2.T), 1)
    e = (p - nn.functional.one_hot(given.y, len(b2))) / N

    def multiply(v: Tensor) -> Tensor:
        with torch.inference_mode():
            V1, c1, V2, c2 = given.split(v)
            h_along = torch.addmm(c1, X, V1.T).mul_(mask)
            z_along = torch.addmm(torch.addmm(c2, h_along, W2.T), h, V2.T)
            e_along = p * (z_along - (p * z_along).sum(1, keepdim=True)) / N
            a_along = torch.addmm(e_along @ W2, e, V2).mul_(mask)
            of_W2 = torch.addmm(e_along.T @ h, e.T, h_along)
            return given.join([a_along.T @ X, a_along.sum(0), of_W2, e_along.sum(0)])

    return each(multiply)


@peer
def curvlinops(given: Problem) -> Multiply:
    from curvlinops import HessianLinearOperator

    size = len(given.X) if given.name == "fc-bn" else BATCH
    data = list(zip(given.X.split(size), given.y.split(size)))
    operator = HessianLinearOperator(
        given.model, nn.CrossEntropyLoss(), given.parameters, data, check_deterministic=False
    )
    return lambda V: (operator @ V.T).T


@peer
def eigenthings(given: Problem) -> Multiply:
    return each(eigenthings_operator(given).matvec)


def eigenthings_operator(given: Problem):
    from hessian_eigenthings.loss_fns import supervised_loss
    from hessian_eigenthings.operators import HessianOperator

    return HessianOperator(given.model, [(given.X, given.y)], supervised_loss(cross_entropy))
