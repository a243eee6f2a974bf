"""Draws docs/picture.png from the latest run of each network.

    just train-cpu
    for epoch in $(seq 0 30); do cargo run --release --quiet -- hessian --epoch $epoch --quiet; done
    python3 docs/picture.py        (needs matplotlib, numpy and safetensors)
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from safetensors.numpy import load_file

LOOKS = {"FC": {"color": "#0072b2", "marker": "o"}, "FC+BN": {"color": "#d55e00", "marker": "s"}}


def latest_runs():
    runs = {}
    for manifest in Path("outputs").glob("*/run.json"):
        story = json.loads(manifest.read_text())
        folder = manifest.parent
        if (folder / "hessian" / "epoch-0030").is_dir():
            newest = runs.get(story["network"], ("", None))[0]
            if story["started"] > newest:
                runs[story["network"]] = (story["started"], folder)
    return {network: folder for network, (_, folder) in sorted(runs.items())}


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
for network, folder in latest_runs().items():
    spectra = sorted((folder / "hessian").glob("epoch-*/spectrum.json"))
    records = [json.loads(path.read_text()) for path in spectra]
    epochs = [record["settings"]["epoch"] for record in records]
    kappa_prime = [record["spectrum"]["kappa_prime"] for record in records]
    left.plot(epochs, kappa_prime, label=network, markersize=4, **LOOKS[network])
    last = load_file(spectra[-1].with_suffix(".safetensors"))["eigenvalues"]
    # What is above the 100 exact zeros of the softmax and the dead units' zeros.
    positive = last[last > 1e-13 * last[0]]
    ranks = range(1, len(positive) + 1)
    right.plot(ranks, positive, label=network, markersize=5, markevery=[0, 9], **LOOKS[network])

left.set(xlabel="epoch", ylabel="κ′ = λ₁ / λ₁₀", title="Pseudo-condition number of the last layer's Hessian")
left.set_ylim(bottom=0)
right.set(xlabel="rank", ylabel="eigenvalue", title="Its spectrum after epoch 30 (marks: λ₁, λ₁₀)", yscale="log")
for axes in (left, right):
    axes.grid(alpha=0.3)
    axes.legend()
figure.savefig("docs/picture.png", dpi=110)
