"""What will not do is told in the program's words, as an exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import program

import kappa


@pytest.fixture
def layer(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"features": rng.normal(size=(8, 3)), "logits": rng.normal(size=(8, 4))}


def test_the_message_is_the_programs(layer: dict[str, np.ndarray], tmp_path: Path) -> None:
    layer["features"][5, 1] = np.nan
    for name, array in layer.items():
        np.save(tmp_path / f"{name}.npy", array)
    told = program("hessian", "--features", "features.npy", "--logits", "logits.npy", cwd=tmp_path)
    assert told.returncode == 1
    with pytest.raises(kappa.KappaError) as caught:
        kappa.hessian(**layer)
    message = str(caught.value)
    assert message.replace("features in memory", "features in features.npy") in told.stderr


def test_bad_input_is_a_value_error(layer: dict[str, np.ndarray]) -> None:
    features, logits = layer["features"], layer["logits"]
    wrong: list[tuple[str, dict[str, object]]] = [
        ("no logits or probabilities", {"logits": None}),
        ("both logits and probabilities", {"probabilities": logits}),
        ("samples", {"logits": logits[:7]}),
        ("integers", {"labels": np.zeros(8)}),
        ("hold 4 for sample 0", {"labels": np.full(8, 4)}),
        ("weights", {"weights": np.zeros((3, 4))}),
        ("no backend `cuda`", {"backend": "cuda"}),
        ("cannot be asked", {"precision": "f16"}),
        ("cannot be asked", {"limit": 0}),
        ("empty", {"features": features[:0], "logits": logits[:0]}),
        ("distribution|probabilities", {"logits": np.full((8, 4), 0.25)}),
    ]
    for said, change in wrong:
        with pytest.raises(ValueError, match=said) as caught:
            kappa.hessian(**{**layer, **change})  # type: ignore[arg-type]
        assert isinstance(caught.value, kappa.KappaError), said


def test_a_layer_with_arrays_takes_no_others(layer: dict[str, np.ndarray]) -> None:
    last = kappa.LastLayer(**layer)
    with pytest.raises(kappa.KappaError, match="labels"):
        kappa.hessian(last, labels=np.zeros(8, int))


def test_what_does_not_fit_is_refused_before_it_is_taken(rng: np.random.Generator) -> None:
    with pytest.raises(kappa.KappaError, match="memory|GB|GiB"):
        kappa.hessian(rng.normal(size=(4, 3000)), rng.normal(size=(4, 1000)))


def test_a_folder_without_an_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(kappa.KappaError, match="no spectrum"):
        kappa.load(tmp_path)
    with pytest.raises(kappa.KappaError):
        kappa.Run(tmp_path / "nothing")
