"""A torch model, in."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import kappa


FASHION = Path("/usr/share/datasets/fashion-mnist")
# Debian's package of it, where that is installed.
SOURCES = ["made-up images"] + (["Fashion-MNIST"] if FASHION.is_dir() else [])


def images(source: str) -> tuple[torch.Tensor, torch.Tensor]:
    if source == "made-up images":
        return torch.randn(96, 1, 8, 8), torch.randint(0, 4, (96,))
    pixels = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    found = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)[:2000] / np.float32(255)
    return torch.as_tensor(found), torch.as_tensor(np.frombuffer(labels, np.uint8)[:2000].astype(np.int64))


@pytest.fixture(params=SOURCES)
def convolutional(request: pytest.FixtureRequest) -> tuple[nn.Module, DataLoader]:
    torch.manual_seed(0)
    inputs, labels = images(request.param)
    classes = int(labels.max()) + 1
    size = 6 * ((inputs.shape[-1] - 2) // 3) ** 2
    body = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3), nn.Dropout(0.5), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(size, 12), nn.ReLU(), nn.Linear(12, classes, bias=False))
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=40)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for batch, targets in loader:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(batch), targets).backward()
        optimiser.step()
    return model, loader


def test_the_last_layers_hessian_is_what_torch_differentiates(convolutional: tuple[nn.Module, DataLoader]) -> None:
    model, loader = convolutional
    model[0].eval()
    modes = [module.training for module in model.modules()]
    layer = kappa.last_layer(model, loader, progress=False)
    assert [module.training for module in model.modules()] == modes, "each in the mode that it was in"
    assert not model[-1]._forward_hooks
    spectrum = kappa.hessian(layer)
    assert spectrum.trusted and spectrum.samples == len(loader.dataset)

    features = torch.as_tensor(np.asarray(layer.features), dtype=torch.float64)
    labels = torch.as_tensor(np.asarray(layer.labels))
    W = model[-1].weight.detach().double()
    loss = lambda W: nn.functional.cross_entropy(features @ W.T, labels)  # noqa: E731
    expected = torch.func.hessian(loss)(W).reshape(W.numel(), W.numel()).numpy()
    # The logits are the model's, in single precision.
    assert np.abs(spectrum.matrix() - expected).max() < 1e-5 * np.abs(expected).max()


def test_tensors_of_every_kind_are_read() -> None:
    torch.manual_seed(0)
    features = torch.randint(-8, 8, (24, 6)) / 2.0
    logits = torch.randint(-6, 6, (24, 4)) / 2.0
    expected = kappa.hessian(features, logits).eigenvalues
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        found = kappa.hessian(features.to(kind).requires_grad_(), logits.to(kind)).eigenvalues
        assert np.array_equal(found, expected), kind
    assert np.array_equal(kappa.hessian(features.T.contiguous().T, logits).eigenvalues, expected)
    assert np.array_equal(kappa.hessian(features[::1], logits.reshape(4, 6, 4).reshape(24, 4)).eigenvalues, expected)


def test_logits_are_held_against_the_layer_whatever_its_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    spectrum = kappa.hessian(kappa.last_layer(model, [torch.randn(40, 5)], progress=False))
    assert [check.name for check in spectrum.evidence].count("weights") == 1 and spectrum.trusted
    assert spectrum.directions is not None and spectrum.directions.weights_share is not None


class Tied(nn.Module):
    """As language models have it: the head's weights are the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.middle = nn.Linear(5, 5)
        self.lm_head = nn.Linear(5, 11, bias=False)
        self.lm_head.weight = self.embedding.weight

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> object:
        return type("Output", (), {"logits": self.lm_head(torch.tanh(self.middle(self.embedding(input_ids))))})()


def test_batches_of_keywords_and_tokens_that_are_ignored() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 11, (6, 7))
    labels = ids.clone()
    labels[:, -2:] = -100
    loader = [{"input_ids": ids[i : i + 2], "attention_mask": torch.ones(2, 7), "labels": labels[i : i + 2]} for i in (0, 2, 4)]
    layer = kappa.last_layer(Tied(), loader, progress=False)
    assert np.shape(layer.features) == (42, 5) and np.shape(layer.weights) == (11, 5)
    assert kappa.hessian(layer).samples == 30


def test_what_cannot_be_found_is_told(convolutional: tuple[nn.Module, DataLoader]) -> None:
    model, loader = convolutional
    with pytest.raises(kappa.KappaError, match="no layer `head`; its linear ones are 6, 8"):
        kappa.last_layer(model, loader, layer="head", progress=False)
    with pytest.raises(kappa.KappaError, match="no linear layer"):
        kappa.last_layer(nn.Flatten(), loader, progress=False)
    with pytest.raises(kappa.KappaError, match="no batch"):
        kappa.last_layer(model, [], progress=False)
    with pytest.raises(kappa.KappaError, match="shift the labels"):
        inputs = next(iter(loader))[0][:3]
        kappa.last_layer(model, [(inputs, torch.zeros(2, 2, dtype=torch.long))], progress=False)


def test_the_example_runs(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "in_python.py", "--plot", tmp_path / "spectrum.png"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "spectrum.png").stat().st_size > 1000
