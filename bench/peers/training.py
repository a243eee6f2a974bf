"""Training by torch: the paper's networks, with the data on the device as f32.

An epoch gathers each batch by index from a permutation made anew. Permuting all images first and
slicing them was tried too, as was gathering sixteen batches at a time: neither is faster.
"""

import shutil
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import checks
from peers import Context, Prepare, Task, Unavailable, inputs
from works import Work

Step = Callable[[Tensor, Tensor], Tensor]


def network(name: str) -> nn.Sequential:
    """fc or fc-bn: batch norm stands after the ReLU."""
    norm = [nn.BatchNorm1d(100)] if name == "fc-bn" else []
    return nn.Sequential(nn.Linear(784, 100), nn.ReLU(), *norm, nn.Linear(100, 10))


def eager(model: nn.Module, **how: bool) -> Step:
    """One step of Adam on a batch; the batch's mean loss, not yet read."""
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, **how)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        adam.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        adam.step()
        return loss.detach()

    return step


def by_compiler(model: nn.Module) -> Step:
    """The whole step compiled, once for full batches and once for an epoch's last."""
    device = next(model.parameters()).device.type
    if device == "cpu" and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler")
    if device == "cuda" and find_spec("triton") is None:
        raise Unavailable("torch.compile needs triton")
    # On a GPU, where starting kernels is what takes time, their starts are recorded.
    mode = "reduce-overhead" if device == "cuda" else "default"
    return torch.compile(eager(model, fused=True), dynamic=False, mode=mode)


def epoch(step: Step, images: Tensor, labels: Tensor, size: int) -> Tensor:
    """All images once, in shuffled order; their mean loss."""
    total = torch.zeros((), device=images.device)
    for batch in torch.randperm(len(images), device=images.device).split(size):
        loss = step(images.index_select(0, batch), labels.index_select(0, batch))
        total += loss * len(batch)
    return total / len(images)


def peer(make_step: Callable[[nn.Module], Step]) -> Prepare:
    """A peer that keeps its network from call to call."""

    def prepare(context: Context, work: Work) -> Task:
        torch.manual_seed(0)
        step = make_step(network(work.given["network"]).to(context.device))
        images, labels = (torch.from_numpy(a).to(context.device) for a in inputs.images())

        def run() -> float:
            if work.given["batch"] == "full":
                return step(images, labels).item()
            return epoch(step, images, labels, work.given["batch"]).item()

        return Task(run=run, digest=checks.of_loss)

    return prepare


eager_fused = peer(lambda model: eager(model, fused=True))
eager_foreach = peer(lambda model: eager(model, foreach=True))
compiled = peer(by_compiler)
