"""Loads a checkpoint of kappa's into a torch module, and compares what both make of the images.

    python pytorch.py CHECKPOINT SPECTRUM IMAGES KIND PLACE

SPECTRUM is what `kappa hessian --save-matrix` left, IMAGES an IDX file, KIND a normalisation, PLACE
where it stands: after or before the ReLU.
"""

import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Centre(nn.Module):
    """Half of batch norm, which torch has no module of: by running statistics."""

    def __init__(self, units):
        super().__init__()
        self.bias = nn.Parameter(torch.empty(units))
        self.register_buffer("running_mean", torch.empty(units))

    def forward(self, x):
        return x - self.running_mean + self.bias


class Scale(nn.Module):
    """The other half."""

    def __init__(self, units):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units))
        self.register_buffer("running_var", torch.empty(units))

    def forward(self, x):
        return x / torch.sqrt(self.running_var + 1e-5) * self.weight


NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "centre": Centre, "scale": Scale}


class Network(nn.Module):
    """A network of several hidden layers, as kappa names them."""

    def __init__(self, sizes, kind, place):
        super().__init__()
        pairs = list(zip(sizes[:-1], sizes[1:]))
        linear = (lambda *sizes: weight_norm(nn.Linear(*sizes))) if kind == "weight" else nn.Linear
        self.hidden = nn.ModuleList(linear(a, b) for a, b in pairs[:-1])
        if kind != "weight":
            self.norm = nn.ModuleList(NORMS[kind](b) for _, b in pairs[:-1])
        self.output = linear(*pairs[-1])
        self.place = place

    def features(self, x):
        for linear, norm in zip(self.hidden, getattr(self, "norm", [nn.Identity()] * len(self.hidden))):
            x = torch.relu(norm(linear(x))) if self.place == "before" else norm(torch.relu(linear(x)))
        return x


def main():
    checkpoint, spectrum, images, kind, place = sys.argv[1:]
    tensors = load_file(checkpoint)
    weight = "parametrizations.weight.original1" if kind == "weight" else "weight"
    layers = sum(name.startswith("hidden.") and name.endswith(f".{weight}") for name in tensors)
    sizes = [tensors[f"hidden.0.{weight}"].shape[1]]
    sizes += [tensors[f"hidden.{layer}.{weight}"].shape[0] for layer in range(layers)]
    network = Network([*sizes, tensors[f"output.{weight}"].shape[0]], kind, place)
    missing = network.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys, missing
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys), missing
    network.eval()
    saved = load_file(spectrum)
    pixels = np.frombuffer(open(images, "rb").read()[16:], dtype=np.uint8).reshape(-1, sizes[0])
    x = torch.tensor(pixels[: len(saved["features"])] / 255.0, dtype=torch.float32)
    with torch.no_grad():
        features = network.features(x)
        probabilities = torch.softmax(network.output(features).double(), 1)
    # Sums of some dozen numbers of order one in f32, 1e-6, over three layers. Running variances
    # begin at one and keep 0.9 of themselves in each of four steps: they magnify by no more than
    # 0.66^(-1/2) a layer.
    apart = max((features.double() - saved["features"]).abs().max().item(),
                (probabilities - saved["probabilities"]).abs().max().item())
    assert apart < 1e-4, apart
    assert features.abs().max() > 0.1, "else nothing is compared"
    print("torch and kappa agree")


main()
