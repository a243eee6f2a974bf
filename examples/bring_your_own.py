"""Any torch network's last layer through `kappa hessian`, held against torch's own Hessian.

    python examples/bring_your_own.py [--kappa PROGRAM] [--out DIR]

Trains a small convolutional network for a moment, saves its last layer's features, logits,
weights and labels, asks kappa for the Hessian, and compares with `torch.func.hessian`. Needs
torch, numpy and safetensors. The exit status is 1 if anything disagrees.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

N, K, M = 400, 7, 12  # samples, classes, features of the last layer


def train():
    """The network, and the images and labels whose mean loss is differentiated."""
    # In f64, so that torch and kappa can agree to twelve digits.
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    y = torch.randint(K, (N,))
    x = torch.randn(K, 1, 8, 8)[y] + 2.0 * torch.randn(N, 1, 8, 8)
    convolution = [nn.Conv2d(1, 4, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten()]
    body = nn.Sequential(*convolution, nn.Linear(36, M), nn.Tanh())
    model = nn.Sequential(OrderedDict(body=body, head=nn.Linear(M, K)))
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        adam.zero_grad()
        cross_entropy(model(x), y).backward()
        adam.step()
    # Features and logits are to be of one and the same function: no dropout, fixed statistics.
    return model.eval().requires_grad_(False), x, y


def last_layer(model, x, y):
    """What kappa needs. The hook sees what goes into the last layer, whatever is in front of it."""
    seen = []
    hook = model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = model(x)
    hook.remove()
    arrays = {"features": seen[0], "logits": logits, "weights": model.head.weight, "labels": y}
    # Contiguous, since `save_file` writes a transposed view as it lies in memory.
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


def by_torch(model, x, y):
    """Loss, gradient [K m] and Hessian [K m, K m], through the network by automatic differentiation."""

    def loss(weight):
        return cross_entropy(torch.func.functional_call(model, {"head.weight": weight}, (x,)), y)

    weight = model.head.weight
    # [K, m, K, m] row by row is kappa's order, class by class: index = k m + i.
    hessian = torch.func.hessian(loss)(weight).reshape(K * M, K * M)
    return loss(weight).item(), torch.func.grad(loss)(weight).reshape(-1).numpy(), hessian.numpy()


def kappa(program, folder, *arguments):
    # The CPU computes in f64; a GPU, which kappa would take if there is one, in f32.
    command = [program, "hessian", *arguments, "--backend", "flex"]
    print("$ kappa", *command[1:])
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}kappa ended with status {done.returncode}")


def main():
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kappa", default=shutil.which("kappa") or root / "target/release/kappa")
    parser.add_argument("--out", default="outputs/bring-your-own", help="folder for all files")
    arguments = parser.parse_args()
    program = shutil.which(arguments.kappa)
    if program is None:
        sys.exit(f"no program {arguments.kappa}: `cargo build --release` makes it, --kappa PATH names it")
    program, out = Path(program).resolve(), Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)

    model, x, y = train()
    arrays = last_layer(model, x, y)
    for name, file in [("features", "G"), ("logits", "Z"), ("weights", "W"), ("labels", "y")]:
        np.save(out / f"{file}.npy", arrays[name])
    save_file(arrays, out / "layer.safetensors")

    files = "--features G.npy --logits Z.npy --weights W.npy --labels y.npy".split()
    kappa(program, out, *files, "--directions", "--save-matrix", "--out", "npy")
    kappa(program, out, "--features", "layer.safetensors", "--save-matrix", "--out", "safetensors")
    kappa(program, out, *"--features layer.safetensors --top 10 --density --out matrix-free".split())
    one, two = (load_file(out / way / "spectrum.safetensors") for way in ("npy", "safetensors"))
    told = json.loads((out / "npy/spectrum.json").read_text())["directions"]
    free = json.loads((out / "matrix-free/matrix-free.json").read_text())
    top, density = free["top"], free["density"]
    loss, gradient, hessian = by_torch(model, x, y)
    values, vectors = np.linalg.eigh(hessian)
    values, leading = values[::-1], vectors[:, :-11:-1]
    l_1, trace = values[0], np.trace(hessian)

    def share(vector):
        return np.sum((leading.T @ vector) ** 2) / np.sum(vector**2)

    # Both sides round to 1.1e-16. Of the errors of N = 400 additions 4 sqrt(N) = 80 add up, and a
    # term has some 20 more: 1.1e-14 a side. Torch computes the logits anew, 13 roundings of numbers
    # below 5, twice: 1.4e-14, and four times that in p_a p_b. Together 8e-14 of the trace, which is
    # 12 lambda_1; eigenvalues move no further than the matrix (Weyl), and eigensolvers add 5e-14 or
    # so. The loss has fewer roundings; the gradient's terms are 11 times its norm.
    near = 1e-12
    # The leading eigenvectors turn by |dH| / gap (Davis and Kahan), a share by twice the angle.
    turned = 2 * near * l_1 / (values[9] - values[10])
    # Without H: within the residual |Hv - lv| of each eigenvalue; and of 8 random vectors, beyond
    # 6 standard errors for one seed in 2000 (Student's t, 7 degrees of freedom).
    found, spread = near + max(top["residuals"]), 6 * density["trace_error"] / trace
    rows = [  # what, by kappa, by torch, what the difference is measured by, its bound
        ("loss", told["loss"], loss, loss, near),
        ("|gradient|", told["gradient"], np.linalg.norm(gradient), np.linalg.norm(gradient), near),
        ("H, 84 x 84", one["hessian"], hessian, l_1, near),
        ("  .npy and .safetensors", one["hessian"], two["hessian"], l_1, 0.0),
        ("eigenvalues, all 84", one["eigenvalues"], values, l_1, near),
        ("  the largest", one["eigenvalues"][0], l_1, l_1, near),
        ("  ten by --top 10", np.array(top["eigenvalues"]), values[:10], l_1, found),
        ("trace, --density", density["trace_of_samples"], trace, trace, near),
        ("  its estimate", density["trace"], trace, trace, spread),
        ("gradient in ten leading", told["gradient_share"], share(gradient), 1, turned),
        ("weights in ten leading", told["weights_share"], share(arrays["weights"].ravel()), 1, turned),
    ]
    print(f"\n{'':<24}{'kappa':>19}{'torch':>19}  difference  at most")
    failed = 0
    for what, ours, theirs, scale, bound in rows:
        difference = np.abs(ours - theirs).max() / scale
        agrees = difference <= bound  # NaN does not
        failed += not agrees
        numbers = f"{ours:>19.15f} {theirs:>18.15f}" if np.ndim(ours) == 0 else " " * 38
        print(f"{what:<24}{numbers}  {difference:>10.1e}  {bound:.1e}{'' if agrees else '  DISAGREES'}")
    print(f"\n{failed} of {len(rows)} disagree" if failed else "\nkappa and torch agree")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
