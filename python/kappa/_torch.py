"""The last layer of a torch model, on the samples of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kappa._arrays import as_numpy
from kappa._kappa import KappaError
from kappa._layer import LastLayer
from kappa._progress import Progress, watching

if TYPE_CHECKING:
    import torch
    from torch import nn


def last_layer(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    layer: nn.Module | str | None = None,
    device: torch.device | str | None = None,
    progress: Progress = True,
) -> LastLayer:
    """What the last linear layer of a torch model gets and makes of the samples of a loader.

    Parameters
    ----------
    model
        Any. It is in evaluation mode during the pass, and in the mode that it was in afterwards.
    loader
        Batches: ``(inputs, labels)``, ``inputs`` alone, or a mapping that the model takes as keywords, as
        Hugging Face's are, whose ``labels`` are kept from the model. Labels of -100 are left out.
    layer
        The layer, or its name in the model; the ``nn.Linear`` that is called last if not given.
    device
        Where batches are moved to; where the model's parameters are if not given.
    progress
        As of :func:`kappa.hessian`.

    Returns
    -------
    LastLayer
        Features [N, m], logits [N, K], the layer's weights [K, m], and labels [N] if there are any. All
        dimensions but the last are of samples, and become one.

    Raises
    ------
    KappaError
        If there is no such layer, or labels are of other samples than logits.
    """
    import torch

    head = _named(model, layer)
    parameter = next(model.parameters(), None)
    place = device if device is not None else "cpu" if parameter is None else parameter.device
    features: list[NDArray[Any]] = []
    logits: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    length = len(loader) if isinstance(loader, Sized) else None
    with _evaluating(model), torch.no_grad(), watching(progress) as told:
        for number, batch in enumerate(loader):
            arguments, keywords, of_batch = _parts(batch, place)
            caught = _Caught(model, head)
            with caught:
                model(*arguments, **keywords)
            head, inputs, outputs = caught.last()
            features.append(as_numpy(inputs.reshape(-1, inputs.shape[-1]), "features"))
            logits.append(as_numpy(outputs.reshape(-1, outputs.shape[-1]), "logits"))
            if of_batch is not None:
                labels.append(_labels(of_batch, outputs))
            if told is not None:
                told("samples", number + 1, length)
    if head is None or not features:
        raise KappaError("the loader has no batch")
    if labels and len(labels) != len(features):
        raise KappaError(f"{len(labels)} of {len(features)} batches have labels")
    return LastLayer(
        np.concatenate(features),
        np.concatenate(logits),
        weights=as_numpy(head.weight, "weights"),
        labels=np.concatenate(labels) if labels else None,
        name=type(model).__name__,
    )


class _Caught:
    """Hooks that see what linear layers get and make."""

    def __init__(self, model: nn.Module, head: nn.Module | None) -> None:
        from torch import nn

        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self._watched = linear if head is None else [head]
        self._calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> None:
            self._calls.append((module, inputs[0], outputs))

        self._handles = [module.register_forward_hook(hook) for module in self._watched]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def last(self) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
        if not self._calls:
            raise KappaError("no linear layer of the model was called: name it, as `layer`")
        return self._calls[-1]


def _named(model: nn.Module, layer: nn.Module | str | None) -> nn.Module | None:
    if not isinstance(layer, str):
        return layer
    modules = dict(model.named_modules())
    if layer not in modules:
        from torch import nn

        linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
        raise KappaError(f"the model has no layer `{layer}`; its linear ones are {', '.join(linear)}")
    return modules[layer]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and the mode of each module again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _parts(batch: Any, place: Any) -> tuple[list[Any], dict[str, Any], Any]:
    """What the model is called with, and the labels."""

    def moved(value: Any) -> Any:
        return value.to(place) if hasattr(value, "to") else value

    if isinstance(batch, Mapping):
        keywords = {name: moved(value) for name, value in batch.items() if name != "labels"}
        return [], keywords, batch.get("labels")
    if isinstance(batch, (tuple, list)):
        return [moved(batch[0])], {}, batch[1] if len(batch) > 1 else None
    return [moved(batch)], {}, None


def _labels(labels: Any, outputs: Any) -> NDArray[Any]:
    found = as_numpy(labels, "labels")
    expected = tuple(outputs.shape[:-1])
    if found.shape != expected:
        raise KappaError(
            f"labels of a batch have shape {list(found.shape)}, and the last layer's outputs are of {list(expected)} "
            "samples: of language models shift the labels first"
        )
    return found.reshape(-1)
