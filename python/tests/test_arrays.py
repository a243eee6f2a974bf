"""Every type and layout that arrays come in, and that none is copied or written to without need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import kappa
from kappa._arrays import described


@pytest.fixture
def layer(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Halves: exact in every type.
    return rng.integers(-8, 8, (24, 6)) / 2.0, rng.integers(-6, 6, (24, 4)) / 2.0


LAYOUTS: dict[str, Any] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "big endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "lists": lambda x: x.tolist(),
    "jax": jnp.asarray,
    "more dimensions": lambda x: x.reshape(4, 6, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_does_not_change_a_bit(layer: tuple[np.ndarray, np.ndarray], layout: str) -> None:
    features, logits = layer
    expected = kappa.hessian(features, logits).eigenvalues
    change = LAYOUTS[layout]
    assert np.array_equal(kappa.hessian(change(features), change(logits)).eigenvalues, expected)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "bfloat16"])
def test_numbers_of_every_kind_are_read(layer: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    features, logits = layer
    expected = kappa.hessian(features, logits).eigenvalues
    found = kappa.hessian(jnp.asarray(features).astype(kind), jnp.asarray(logits).astype(kind)).eigenvalues
    # The softmax of what is single precision is computed in f64: the numbers are the same.
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint64"])
def test_labels_of_every_integer_are_read(layer: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    labels = np.arange(24).astype(kind) % 4
    directions = kappa.hessian(*layer, labels=labels).directions
    assert directions is not None and directions.accuracy is not None


def test_what_lies_in_order_is_read_where_it_lies(rng: np.random.Generator, tmp_path: Path) -> None:
    array = rng.normal(size=(10, 3))
    for found in (array, np.asfortranarray(array), array.astype(np.float16), array[:7]):
        owner, address, length, *_ = described(found, "features")
        assert np.shares_memory(owner, found) and length == found.nbytes
        assert address == found.__array_interface__["data"][0]
    np.save(tmp_path / "x.npy", array)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(described(mapped, "features")[0], mapped)


def test_read_only_and_mapped_arrays_work_and_none_is_written_to(
    layer: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    features, logits = layer
    expected = kappa.hessian(features, logits).eigenvalues
    before = features.copy(), logits.copy()
    kappa.top(features, logits, 2)
    assert np.array_equal(features, before[0]) and np.array_equal(logits, before[1])
    for array in layer:
        array.flags.writeable = False
    np.save(tmp_path / "g.npy", features)
    mapped = np.load(tmp_path / "g.npy", mmap_mode="r")
    assert np.array_equal(kappa.hessian(mapped, logits).eigenvalues, expected)


def test_what_is_given_back_is_not_to_be_written_to(layer: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        kappa.hessian(*layer).eigenvalues[0] = 1.0


PEAK = """
import resource, sys
import numpy as np
import kappa
N, m, K = 400_000, 64, 4
features = np.zeros((N, m), np.float64)
features[:] = np.linspace(-1, 1, m)
logits = np.zeros((N, K)); logits[:] = [0.1, 0.2, 0.3, 1.4]
kappa.hessian(features[:1000], logits[:1000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kappa.hessian(features, logits)
print(features.nbytes // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_array_is_not_copied() -> None:
    """As the memory of a process has it at its peak; what numpy alone takes is not all."""
    ran = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    array, more = map(int, ran.stdout.split())
    assert more < array // 2, f"{more} KiB more than before, of an array of {array}"


class Capsule:
    """An array that has DLPack and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **more: Any) -> Any:
        return self.array.__dlpack__(**more)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_an_array_that_has_dlpack_alone_is_read_where_it_lies(layer: tuple[np.ndarray, np.ndarray]) -> None:
    features, logits = layer
    found = kappa.hessian(Capsule(features), Capsule(logits)).eigenvalues
    assert np.array_equal(found, kappa.hessian(features, logits).eigenvalues)
    assert np.shares_memory(described(Capsule(features), "features")[0], features)


def test_what_is_no_array_of_numbers_is_told_by_its_name(layer: tuple[np.ndarray, np.ndarray]) -> None:
    features, logits = layer
    for wrong in (None, "text", object(), [[1.0], [1.0, 2.0]], np.array([None, 1])):
        with pytest.raises(kappa.KappaError, match="features"):
            kappa.hessian(wrong, logits)


def test_arrays_in_parts_are_one(layer: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    features, logits = layer
    labels = np.arange(len(features)) % logits.shape[1]
    whole = kappa.hessian(features, logits, labels=labels)
    np.save(tmp_path / "tail.npy", features[7:])
    tail = np.load(tmp_path / "tail.npy", mmap_mode="r")
    parts = kappa.hessian([features[:7], tail], [logits[:20], logits[20:]], labels=[labels[:1], labels[1:]])
    assert np.array_equal(whole.eigenvalues, parts.eigenvalues)
    # A list of rows is an array as it was.
    rows = kappa.hessian(list(features), list(logits), labels=list(labels))
    assert np.array_equal(whole.eigenvalues, rows.eigenvalues)
    with pytest.raises(kappa.KappaError, match="no parts of one array"):
        kappa.hessian([features[:7], features[7:, :1]], logits)
