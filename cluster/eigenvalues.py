"""Compares two answers of kappa hessian, and makes what the test of several processes asks about.

    python eigenvalues.py ONE OTHER               all eigenvalues of two last layers
    python eigenvalues.py --network ONE OTHER     the same of a network, whose forward is in f32
    python eigenvalues.py --top ONE OTHER         the largest, and the trace of a density
    python eigenvalues.py --curvature ONE OTHER   both ends of two networks' spectra
    python eigenvalues.py --make                  arrays of numbers without a pattern
"""

import array
import json
import math
import random
import struct
import sys
from pathlib import Path


def npy(path: str, shape: tuple[int, ...], kind: str, numbers: array.array) -> None:
    header = repr({"descr": kind, "fortran_order": False, "shape": shape}) + "\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    Path(path).write_bytes(start + numbers.tobytes())


def make() -> None:
    draw = random.Random(0)
    for name, n, m, k in (("1001", 1001, 12, 4), ("3", 3, 5, 3), ("1", 1, 3, 3), ("large", 20000, 40, 8)):
        features = array.array("d", (draw.uniform(-1, 1) for _ in range(n * m)))
        npy(f"G-{name}.npy", (n, m), "<f8", features)
        npy(f"Z-{name}.npy", (n, k), "<f8", array.array("d", (draw.uniform(-3, 3) for _ in range(n * k))))
        npy(f"y-{name}.npy", (n,), "<i8", array.array("q", (draw.randrange(k) for _ in range(n))))
        if name == "1001":
            features[900 * m + 3] = math.nan
            npy("G-nan.npy", (n, m), "<f8", features)


def all_of(folder: Path) -> list[float]:
    """The eigenvalues of spectrum.safetensors."""
    data = (folder / "spectrum.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    start, end = json.loads(data[8 : 8 + length])["eigenvalues"]["data_offsets"]
    numbers = array.array("d")
    numbers.frombytes(data[8 + length + start : 8 + length + end])
    record = json.loads((folder / "spectrum.json").read_text())
    assert record["evidence"]["passed"], folder
    return numbers.tolist()


def top_of(folder: Path) -> list[float]:
    record = json.loads((folder / "matrix-free.json").read_text())
    assert record["top"]["passed"], folder
    return [*record["top"]["eigenvalues"], record["density"]["trace"], record["density"]["trace_of_samples"]]


def ends_of(folder: Path) -> list[float]:
    record = json.loads((folder / "curvature.json").read_text())
    assert record["evidence"]["passed"], folder
    curvature = record["curvature"]
    return [*curvature["largest"]["eigenvalues"], curvature["trace"]["value"], curvature["gradient"]]


def main(arguments: list[str]) -> None:
    if arguments == ["--make"]:
        return make()
    # Statistics of 500 images in f32: 4 sqrt(500) roundings of half a unit add up at the most.
    kinds = {"--network": (all_of, 1e-5), "--top": (top_of, 1e-6), "--curvature": (ends_of, 1e-6)}
    # All eigenvalues: a thousand roundings of sums and of a decomposition. The ends: the search's tolerance.
    of, tolerance = kinds.get(arguments[0], (all_of, 1e-12))
    one, other = (of(Path(folder)) for folder in arguments[-2:])
    scale = max(abs(value) for value in one)
    apart = max(abs(a - b) for a, b in zip(one, other, strict=True))
    if not apart <= tolerance * scale:
        sys.exit(f"{arguments[-1]} is {apart / scale} from {arguments[-2]}")


main(sys.argv[1:])
