"""What is given back: told, saved, pickled, plotted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import program

import kappa

matplotlib.use("Agg")


@pytest.fixture
def layer(rng: np.random.Generator) -> kappa.LastLayer:
    features = np.maximum(rng.normal(size=(200, 12)), 0.0)
    features[:, 3] = 0.0
    weights = rng.normal(size=(4, 12))
    return kappa.LastLayer(features, features @ weights.T, weights=weights, labels=rng.integers(0, 4, 200))


@pytest.fixture
def spectrum(layer: kappa.LastLayer) -> kappa.Spectrum:
    return kappa.hessian(layer)


def test_it_is_told_in_short_and_as_a_table(spectrum: kappa.Spectrum) -> None:
    text = repr(spectrum)
    assert "48 x 48: 4 classes, 12 features" in text and "PASS" in text
    assert spectrum._repr_html_().count("<tr>") == text.count("\n") + 1
    assert spectrum.null_space["silent_features"] == 1
    assert spectrum.null_space["explained"] == 12 + 3
    numbers = spectrum.condition_numbers
    assert numbers["kappa_prime"] == pytest.approx(spectrum.eigenvalues[0] / spectrum.eigenvalues[9])
    assert all(check.passed for check in spectrum.evidence) and "PASS" in repr(spectrum.evidence[0])


def test_what_is_saved_is_what_the_program_writes_and_reads(spectrum: kappa.Spectrum, tmp_path: Path) -> None:
    folder = tmp_path / "spectrum"
    spectrum.save(folder)
    assert {path.name for path in folder.iterdir()} >= {"spectrum.json", "spectrum.safetensors"}
    loaded = kappa.load(folder)
    assert isinstance(loaded, kappa.Spectrum)
    assert np.array_equal(loaded.eigenvalues, spectrum.eigenvalues)
    assert loaded.to_dict() == spectrum.to_dict()
    with pytest.raises(kappa.KappaError, match="measure it again"):
        loaded.vectors()
    path = folder / "spectrum.json"
    path.write_text(path.read_text().replace('"rank"', '"rang"'))
    with pytest.raises(kappa.KappaError, match="spectrum.json"):
        kappa.load(folder)


def test_the_same_files_give_the_program_the_same_bits(layer: kappa.LastLayer, tmp_path: Path) -> None:
    arrays = {role: np.asarray(getattr(layer, role)) for role in ("features", "logits", "weights", "labels")}
    for role, array in arrays.items():
        np.save(tmp_path / f"{role}.npy", array)
    options = [word for role in arrays for word in (f"--{role}", f"{role}.npy")]
    ran = program("hessian", *options, "--backend", "flex", "--quiet", "--out", "there", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    by_program = kappa.load(tmp_path / "there")
    found = kappa.hessian(layer, backend="flex")
    assert isinstance(by_program, kappa.Spectrum)
    assert np.array_equal(by_program.eigenvalues, found.eigenvalues)
    mine, other = found.to_dict(), by_program.to_dict()
    assert mine["spectrum"] == other["spectrum"]
    assert mine["directions"] == other["directions"]


def test_pickling_keeps_the_numbers(spectrum: kappa.Spectrum, layer: kappa.LastLayer, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(spectrum))
    assert np.array_equal(again.eigenvalues, spectrum.eigenvalues) and again.trusted
    with pytest.raises(kappa.KappaError, match="pickled"):
        again.save(tmp_path / "x")
    v = np.ones(48)
    assert np.array_equal(pickle.loads(pickle.dumps(layer)).matvec(v), layer.matvec(v))


def test_a_dictionary_is_a_copy(spectrum: kappa.Spectrum) -> None:
    spectrum.to_dict()["spectrum"]["rank"] = -1
    assert spectrum.rank > 0
    json.dumps(spectrum.to_dict())


def test_it_is_drawn(spectrum: kappa.Spectrum) -> None:
    axes = spectrum.plot()
    assert axes.get_yscale() == "log"
    drawn = axes.get_lines()[0].get_ydata()
    assert len(drawn) == (spectrum.eigenvalues != 0).sum() and drawn[0] == spectrum.eigenvalues[0]


def test_solvers_take_a_layer_as_it_is(layer: kappa.LastLayer, spectrum: kappa.Spectrum) -> None:
    from scipy.sparse.linalg import aslinearoperator, eigsh

    matrix = spectrum.matrix()
    V = np.random.default_rng(1).normal(size=(48, 3))
    # 48 products a row, and sums of 200 samples: some hundred roundings of the largest each.
    bound = 1e-13 * spectrum.eigenvalues[0] * 48
    assert np.abs(layer.matmat(V) - matrix @ V).max() < bound
    assert np.abs(layer @ V[:, 0] - matrix @ V[:, 0]).max() < bound
    assert np.abs(layer.matvec(V[:, :1]) - matrix @ V[:, :1]).max() < bound
    assert aslinearoperator(layer).shape == layer.shape == (48, 48)
    # ARPACK goes down to rounding, and tells how far it is by less.
    values = eigsh(layer, k=3, which="LA", return_eigenvectors=False)[::-1]
    assert np.abs(values - spectrum.eigenvalues[:3]).max() < 1e-10
    with pytest.raises(kappa.KappaError, match=r"\[48, k\]"):
        layer.matmat(np.ones((47, 1)))
