"""A torch network in, and what the spectrum of its last layer says.

    pip install ./python torch matplotlib
    python examples/in_python.py [--plot spectrum.png]

Trains a small convolutional network on made-up images, once with batch norm and once without, and takes the
exact Hessian of each last layer. Nothing is downloaded, and no file is written but the plot.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import kappa

CLASSES = 6


def images(count: int) -> TensorDataset:
    """A pattern for each class, under noise."""
    labels = torch.randint(CLASSES, (count,))
    patterns = torch.randn(CLASSES, 1, 10, 10)
    return TensorDataset(patterns[labels] + 1.5 * torch.randn(count, 1, 10, 10), labels)


def network(batch_norm: bool) -> nn.Sequential:
    normalisation = [nn.BatchNorm1d(24)] if batch_norm else []
    convolution = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolution, nn.Linear(96, 24), nn.ReLU(), *normalisation, nn.Linear(24, CLASSES))


def train(model: nn.Module, data: TensorDataset) -> None:
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        for inputs, labels in DataLoader(data, batch_size=50, shuffle=True):
            adam.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            adam.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="where a plot of both goes")
    plot = parser.parse_args().plot

    torch.manual_seed(0)
    data = images(600)
    spectra = {}
    for name, batch_norm in (("without batch norm", False), ("with batch norm", True)):
        model = network(batch_norm)
        train(model, data)
        # In evaluation mode, and in the mode that it was in afterwards.
        layer = kappa.last_layer(model, DataLoader(data, batch_size=200), progress=False)
        spectra[name] = kappa.hessian(layer)
        print(f"{name}\n{spectra[name]}\n")

    for name, spectrum in spectra.items():
        assert spectrum.trusted, spectrum.evidence
        # Softmax ignores a shift of all logits: a zero for each feature.
        assert spectrum.null_space["shift"] == spectrum.features == 24
        found = spectrum.directions
        assert found is not None and found.gradient_share is not None
        print(f"{name}: {found.gradient_share:.0%} of the gradient lies in ten of {len(spectrum.eigenvalues)} directions")

    # The same largest eigenvalues by a solver that knows the layer by its products alone.
    values = kappa.top(layer, count=3).eigenvalues
    assert abs(values - spectra["with batch norm"].eigenvalues[:3]).max() < 1e-6 * values[0]

    if plot:
        spectra["with batch norm"].plot().figure.savefig(plot)
        print(f"plot -> {plot}")


if __name__ == "__main__":
    main()
