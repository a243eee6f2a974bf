"""Loads a checkpoint of kappa's into a torch module, and compares what both make of the images.

    python pytorch.py CHECKPOINT SPECTRUM IMAGES PLACE

SPECTRUM is what `kappa hessian --save-matrix` left, IMAGES an IDX file, PLACE where batch norm
stands: after or before the ReLU.
"""

import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


class Network(nn.Module):
    """A network of several hidden layers, as kappa names them."""

    def __init__(self, sizes, place):
        super().__init__()
        pairs = list(zip(sizes[:-1], sizes[1:]))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairs[:-1])
        self.norm = nn.ModuleList(nn.BatchNorm1d(b) for _, b in pairs[:-1])
        self.output = nn.Linear(*pairs[-1])
        self.place = place

    def features(self, x):
        for linear, norm in zip(self.hidden, self.norm):
            x = torch.relu(norm(linear(x))) if self.place == "before" else norm(torch.relu(linear(x)))
        return x


def main():
    checkpoint, spectrum, images, place = sys.argv[1:]
    tensors = load_file(checkpoint)
    layers = sum(name.startswith("hidden.") and name.endswith(".weight") for name in tensors)
    sizes = [tensors["hidden.0.weight"].shape[1]]
    sizes += [tensors[f"hidden.{layer}.weight"].shape[0] for layer in range(layers)]
    network = Network([*sizes, tensors["output.weight"].shape[0]], place)
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
