"""Writes pytorch.json: loss, gradient and a product with the Hessian of small networks of each normalisation, by
PyTorch's automatic differentiation in double precision. Run it with PyTorch installed: python pytorch.py"""

import json
from pathlib import Path

import torch
from torch.nn import functional

INPUTS, HIDDEN, CLASSES, SAMPLES, EPSILON = 6, [5, 4], 3, 11, 0.01
torch.set_default_dtype(torch.float64)


def made(count: int, salt: int) -> torch.Tensor:
    """Multiples of 1/16, which every format has."""
    numbers = [((i * 37 + salt * 11) % 23 - 8) / 16 for i in range(count)]
    return torch.tensor(numbers)


def shapes(kind: str) -> list[tuple[str, tuple[int, ...]]]:
    """The trained tensors, in the order of kappa's table."""
    found: list[tuple[str, tuple[int, ...]]] = []
    widths = [INPUTS, *HIDDEN, CLASSES]
    for layer, (fan_in, out) in enumerate(zip(widths, widths[1:], strict=False)):
        if kind == "weight":
            found += [("bias", (out,)), ("length", (out, 1)), ("weight", (out, fan_in))]
        else:
            found += [("weight", (out, fan_in)), ("bias", (out,))]
        if layer < len(HIDDEN):
            found += [("gain", (out,))] if kind in ("batch", "scale", "layer") else []
            found += [("shift", (out,))] if kind in ("batch", "centre", "layer") else []
    return found


def start(kind: str) -> torch.Tensor:
    parts = []
    for salt, (name, shape) in enumerate(shapes(kind)):
        part = made(int(torch.tensor(shape).prod()), salt)
        parts.append(part.abs() + 0.5 if name == "length" else part)
    return torch.cat(parts)


def loss(theta: torch.Tensor, kind: str, place: str) -> torch.Tensor:
    rest, tensors = theta, []
    for name, shape in shapes(kind):
        count = int(torch.tensor(shape).prod())
        tensors.append((name, rest[:count].reshape(shape)))
        rest = rest[count:]
    take = iter(tensors)

    def dense(x: torch.Tensor) -> torch.Tensor:
        own = dict(next(take) for _ in range(3 if kind == "weight" else 2))
        weight = own["weight"]
        if kind == "weight":
            # Not torch._weight_norm: its second derivative fails PyTorch's own gradgradcheck (2.15.0).
            weight = own["length"] * weight / weight.norm(dim=1, keepdim=True)
        return functional.linear(x, weight, own["bias"])

    def norm(h: torch.Tensor) -> torch.Tensor:
        if kind == "batch":
            gain, shift = next(take)[1], next(take)[1]
            return functional.batch_norm(h, None, None, gain, shift, training=True, eps=EPSILON)
        if kind == "layer":
            gain, shift = next(take)[1], next(take)[1]
            return functional.layer_norm(h, h.shape[1:], gain, shift, eps=EPSILON)
        if kind == "centre":
            return h - h.mean(0) + next(take)[1]
        if kind == "scale":
            return next(take)[1] * h / (h.var(0, unbiased=False) + EPSILON).sqrt()
        return h

    pixels = torch.tensor([i * 7919 % 251 for i in range(SAMPLES * INPUTS)]).double().reshape(SAMPLES, INPUTS)
    h = pixels / 255
    for _ in HIDDEN:
        h = dense(h)
        h = norm(h).relu() if place == "before" else norm(h.relu())
    labels = torch.tensor([i * 5 % CLASSES for i in range(SAMPLES)])
    return functional.cross_entropy(dense(h), labels)


def case(kind: str, place: str) -> dict[str, object]:
    theta = start(kind).requires_grad_()
    value = loss(theta, kind, place)
    (gradient,) = torch.autograd.grad(value, theta, create_graph=True)
    along = made(len(theta), 99)
    (product,) = torch.autograd.grad(gradient @ along, theta)
    numbers = {"gradient": gradient.tolist(), "product": product.tolist()}
    return {"kind": kind, "place": place, "loss": value.item(), **numbers}


kinds = ["none", "batch", "centre", "scale", "layer", "weight"]
cases = [case(kind, place) for kind in kinds for place in ("after", "before")]
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=None) + "\n")
