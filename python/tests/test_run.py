"""Networks that kappa has trained, and the program that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, explicit_sum, program

import kappa


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> kappa.Run:
    out = tmp_path_factory.mktemp("runs")
    ran = program("train", ROOT / "configs" / "smoke.toml", "--quiet", "--backend", "flex", "--out", out)
    assert ran.returncode == 0, ran.stderr
    (path,) = [path for path in out.iterdir() if path.is_dir()]
    return kappa.Run(path)


def test_metrics_and_checkpoints_are_arrays(run: kappa.Run) -> None:
    metrics = run.metrics
    assert np.array_equal(metrics["epoch"], run.epochs)
    assert np.isfinite(metrics["train_loss"]).all() and np.isnan(metrics["objective"][0])
    first, last = run.checkpoint(0), run.checkpoint()
    assert first.keys() == last.keys() and "output.weight" in last
    assert last["output.weight"].dtype == np.float32 and last["output.weight"].ndim == 2
    assert not np.array_equal(first["output.weight"], last["output.weight"])
    assert run.config["network"]
    with pytest.raises(kappa.KappaError, match="epoch"):
        run.checkpoint(99)


def test_the_last_layer_and_all_of_it_are_measured(run: kappa.Run) -> None:
    last = run.hessian(limit=300, backend="flex")
    assert isinstance(last, kappa.Spectrum) and last.trusted and last.samples == 300
    block = run.hessian(parameters=["output.weight", "output.bias"], limit=300, backend="flex", precision="f64")
    assert isinstance(block, kappa.Curvature) and block.trusted
    with_bias = run.hessian(limit=300, bias=True, backend="flex")
    assert isinstance(with_bias, kappa.Spectrum)
    # Features in single precision there.
    assert abs(block.largest[0] / with_bias.eigenvalues[0] - 1) < 1e-5
    assert block.tensors == ["output.weight", "output.bias"] and np.allclose(block.shares.sum(axis=1), 1)
    with pytest.raises(kappa.KappaError, match="hidden.wait"):
        run.hessian(parameters="hidden.wait", limit=300, backend="flex")


def test_what_the_program_measured_is_there(run: kappa.Run) -> None:
    assert run.spectra == []
    ran = program("hessian", run.path, "--limit", "200", "--quiet", "--backend", "flex")
    assert ran.returncode == 0, ran.stderr
    (found,) = run.spectra
    assert isinstance(found, kappa.Spectrum)
    measured = run.hessian(limit=200, backend="flex")
    assert isinstance(measured, kappa.Spectrum)
    assert np.array_equal(found.eigenvalues, measured.eigenvalues)


def test_an_altered_checkpoint_is_refused(run: kappa.Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    path = sorted((copy / "checkpoints").glob("epoch-????.safetensors"))[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(kappa.KappaError, match="checksum|altered"):
        kappa.Run(copy).checkpoint()


def test_the_program_is_the_same() -> None:
    assert kappa.__version__ in program("--version").stdout
    wrong = program("hessain")
    assert wrong.returncode == 2 and "hessian" in wrong.stderr
    assert {device.backend for device in kappa.devices()} >= {"flex"}


def test_the_reference_of_these_tests_has_the_zeros_of_a_shift() -> None:
    rng = np.random.default_rng(0)
    H = explicit_sum(rng.normal(size=(9, 3)), rng.normal(size=(9, 4)))
    assert np.abs(H @ np.tile([1.0, 2.0, 3.0], 4)).max() < 1e-15
