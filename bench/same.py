"""Whether two versions of kappa compute the same, to the last bit, on this machine.

    python3 bench/same.py BINARY_A TREE_A BINARY_B TREE_B

Each binary trains the configurations of its own tree for a moment, takes spectra in every way, and
runs a tiny study; then everything that is a number is compared: checkpoints, Adam's states, metrics,
eigenvalues, evidence, densities, verdicts. What takes time, and names of machines and versions, are
left out. The exit status is 1 if anything differs. Nothing but Python is needed.
"""

import csv
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

# Fields that differ from run to run, or name the program and the machine.
LEFT_OUT = {"seconds", "training_seconds", "timings", "kappa_version", "schema_version", "sha256"}
# What is said in words, or says what was asked: versions may word it otherwise.
WORDS = {"settings", "request", "source", "unit", "pairs", "seeds", "arm", "spectral"}


def run(binary: Path, folder: Path, *arguments: str) -> str:
    command = [str(binary), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def npy(path: Path, rows: int, columns: int, numbers: list[float]) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header = f"{header:<117}\n"
    data = struct.pack(f"<{len(numbers)}d", *numbers)
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + data)


def layer(folder: Path, rows: int, features: int, classes: int) -> None:
    """A last layer of random numbers, the same for both."""
    draw = random.Random(rows)
    g = [max(0.0, draw.gauss(0, 1)) for _ in range(rows * features)]
    z = [2 * draw.gauss(0, 1) for _ in range(rows * classes)]
    npy(folder / "G.npy", rows, features, g)
    npy(folder / "Z.npy", rows, classes, z)


def compute(binary: Path, tree: Path, folder: Path) -> None:
    configs = tree / "configs"
    common = ["--backend", "flex", "--quiet"]
    few = ["--set", "training.epochs=2", "--set", "data.train=6000"]
    hessian_of = []
    for name, more in [
        ("smoke", []),
        ("fc", few),
        ("fc-bn", few),
        ("fc-bn-full", ["--set", "training.batch_size=full", *few]),
    ]:
        config = configs / f"{name.removesuffix('-full')}.toml"
        out = run(binary, folder, "train", str(config), "--out", f"runs/{name}", *common, *more)
        hessian_of.append((name, out.split()[-1]))
    for name, path in hessian_of:
        further = ["--directions", "--overlap-with", "0,1", "--subsets", "2", "--limit", "3000"]
        more = [] if name == "fc" else ["--bn-stats", "all", "--folded"]
        run(binary, folder, "hessian", path, "--out", f"spectra/{name}", *common, *more, *further)
        run(binary, folder, "hessian", path, "--out", f"bias/{name}", *common, "--bias", "--split", "test")
        single = ["--precision", "f32", "--limit", "2000"]
        run(binary, folder, "hessian", path, "--out", f"single/{name}", *common, *single)
    # Wider than faer's Krylov space, and narrower.
    for rows, features, classes in [(300, 40, 5), (50, 6, 3)]:
        layer(folder, rows, features, classes)
        files = ["--features", "G.npy", "--logits", "Z.npy"]
        out = f"layer/{features}"
        run(binary, folder, "hessian", *files, "--out", out, *common, "--subsets", "2")
        without = ["--top", "5", "--density", "--probes", "3", "--steps", "12"]
        run(binary, folder, "hessian", *files, "--out", f"{out}-free", *common, *without)
    small = [
        "seeds=2", "grid.learning_rates=[1e-3,3e-3]", "grid.l2=[1e-5]", "sweep.learning_rates=[1e-2]",
        "sweep.l2=[1e-2]", "sweep.widths=[8,24]", "recipe.data.train=3000", "recipe.data.validation=500",
        "recipe.data.test=500", "recipe.network.hidden=16", "recipe.training.epochs=3",
    ]
    settings = [argument for value in small for argument in ("--set", value)]
    for name in ["paper", "tuned"]:
        study = ["study", str(configs / f"{name}.toml"), "--out", "studies"]
        run(binary, folder, *study, "--set", f"name={name}", *common, *settings)


def tensors(path: Path) -> dict[str, bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        f"{name} {entry['dtype']} {entry['shape']}": data[slice(*entry["data_offsets"])]
        for name, entry in header.items()
    }


def flat(value, path: str = "") -> dict[str, object]:
    """Every number and word of a JSON value, by its path."""
    if isinstance(value, dict):
        items = [(key, inner) for key, inner in value.items() if key not in LEFT_OUT | WORDS]
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return {path: value}
    return {key: inner for name, value in items for key, inner in flat(value, f"{path}/{name}").items()}


def without_time(findings: dict) -> dict:
    """Findings without the verdicts on seconds, which differ from run to run."""
    for point in findings["points"]:
        timed = ("seconds of training", "takes longer")
        point["verdicts"] = [v for v in point["verdicts"] if not any(word in v["what"] for word in timed)]
    return findings


def content(path: Path) -> dict[str, object]:
    if path.suffix == ".safetensors":
        return tensors(path)
    if path.suffix == ".csv":
        with path.open() as lines:
            rows = list(csv.DictReader(lines))
        return {f"{i}/{key}": row[key] for i, row in enumerate(rows) for key in row if key not in LEFT_OUT}
    value = json.loads(path.read_text())
    return flat(without_time(value) if path.name == "findings.json" else value)


def files(folder: Path) -> dict[str, Path]:
    """The files with numbers, by what they are of: names of runs hold the time when they began."""
    found = {}
    for path in sorted(folder.rglob("*")):
        of_numbers = path.suffix == ".safetensors" or path.name in (
            "metrics.csv", "spectrum.json", "matrix-free.json", "spectra.json", "findings.json",
        )
        if of_numbers and path.is_file():
            parts = path.relative_to(folder).parts
            # A run's folder is named by the time when it began; its parent tells which it is.
            found["/".join(part for part in parts if "-s0-20" not in part)] = path
    return found


def main() -> int:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        both = []
        for side, (binary, tree) in enumerate([sys.argv[1:3], sys.argv[3:5]]):
            folder = Path(os.environ.get("KAPPA_SAME_KEEP", scratch)) / str(side)
            if not (folder / "studies").is_dir():
                folder.mkdir(parents=True)
                compute(Path(binary).resolve(), Path(tree).resolve(), folder)
            both.append(files(folder))
        a, b = both
        wrong = [f"{name}: only one version writes it" for name in sorted(a.keys() ^ b.keys())]
        compared = 0
        for name in sorted(a.keys() & b.keys()):
            left, right = content(a[name]), content(b[name])
            shared = left.keys() & right.keys()
            apart = [key for key in sorted(shared) if left[key] != right[key]]
            compared += len(shared)
            for key in apart[:5]:
                values = [value for value in (left[key], right[key]) if not isinstance(value, bytes)]
                wrong.append(f"{name}: {key} differs {values or ''}")
            missing = sorted(left.keys() - right.keys())
            if missing:
                print(f"{name}: the second version has not {', '.join(missing[:8])} ({len(missing)})")
    print("\n".join(wrong))
    print(f"{len(a.keys() & b.keys())} files, {compared} numbers and tensors, {len(wrong)} differences")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
