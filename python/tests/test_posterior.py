"""Posterior and influence against closed forms, numpy's inverse, and a small Newton's method in numpy."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import explicit_sum, program, softmax

import kappa

DELTA = 2.0


@dataclass
class Data:
    """A last layer with its labels, and test samples."""

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    test_features: np.ndarray
    test_labels: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        return self.features @ self.weights.T + self.bias

    def layer(self) -> tuple[np.ndarray, ...]:
        return self.features, self.logits, self.labels, self.weights

    def test(self) -> dict[str, np.ndarray]:
        return {"test_features": self.test_features, "test_labels": self.test_labels}


@pytest.fixture
def data(rng: np.random.Generator) -> Data:
    """Of three classes, at weights that are no optimum."""
    features, test_features = rng.normal(size=(80, 4)), rng.normal(size=(9, 4))
    truth = rng.normal(size=(3, 4))

    def labels(g: np.ndarray) -> np.ndarray:
        return np.argmax(g @ truth.T + rng.gumbel(size=(len(g), 3)), axis=1)

    return Data(
        features=features,
        labels=labels(features),
        weights=rng.normal(size=(3, 4)),
        bias=rng.normal(size=3),
        test_features=test_features,
        test_labels=labels(test_features),
    )


def newton(features: np.ndarray, labels: np.ndarray, offsets: np.ndarray, delta: float) -> np.ndarray:
    """W [K, m] at the optimum of sum_n l_n + delta/2 |W|^2, the offsets of the logits staying as they are."""
    weights = np.zeros((len(offsets), features.shape[1]))
    for _ in range(100):
        slope = gradients(features, labels, weights, offsets).sum(axis=0) + delta * weights.ravel()
        step = np.linalg.solve(precision(features, weights, offsets, delta), slope)
        weights = weights - step.reshape(weights.shape)
        if np.abs(step).max() < 1e-13:
            return weights
    raise AssertionError("Newton's method has not come to an end")


def gradients(g: np.ndarray, labels: np.ndarray, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Of the loss of each sample: [n, K m]."""
    errors = softmax(g @ weights.T + offsets) - np.eye(len(offsets))[labels]
    return (errors[:, :, None] * g[:, None, :]).reshape(len(g), -1)


def precision(features: np.ndarray, weights: np.ndarray, offsets: np.ndarray, delta: float) -> np.ndarray:
    """N H + delta I."""
    hessian = explicit_sum(features, features @ weights.T + offsets)
    return len(features) * hessian + delta * np.eye(weights.size)


def losses(g: np.ndarray, labels: np.ndarray, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return -np.log(softmax(g @ weights.T + offsets)[np.arange(len(g)), labels])


def of_one_logit(p: float) -> tuple[np.ndarray, ...]:
    """Ten samples of one constant feature, seven of class 1, at the weight whose sigmoid is p."""
    w = np.log(p / (1 - p))
    return np.ones((10, 1)), np.full(10, w), np.repeat([1, 0], [7, 3]), np.array([[w]])


def closed_form() -> float:
    """p with 10 p - 7 + delta w = 0, by halving: the left side rises with w."""
    low, high = -10.0, 10.0
    for _ in range(200):
        w = (low + high) / 2
        low, high = (low, w) if 10 / (1 + np.exp(-w)) - 7 + DELTA * w > 0 else (w, high)
    return float(1 / (1 + np.exp(-low)))


@pytest.mark.parametrize("goes", [False, True])
def test_one_logit_has_a_closed_form(goes: bool) -> None:
    p = closed_form()
    # Newton's method comes from elsewhere; without it the weight is the optimum's.
    layer, test_features = of_one_logit(0.5 if goes else p), np.ones((3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kappa.laplace(
            *layer, delta=DELTA, newton=goes, test_features=test_features, test_labels=[1, 1, 0]
        )
    w, curvature = np.log(p / (1 - p)), 10 * p * (1 - p)
    variance = 1 / (curvature + DELTA)
    # Some roundings of numbers of size 1; the optimum itself is known to a squared 1e-8.
    near = {"rel": 1e-12, "abs": 0.0}
    assert found.passed and found.optimum["passed"] and (found.optimum["steps"] > 0) == goes, found
    assert found.weights.shape == (1, 1) and found.weights[0, 0] == pytest.approx(w, **near)
    assert found.curvatures == pytest.approx([curvature], **near)
    assert found.determined == pytest.approx(curvature * variance, **near)
    fit = 7 * np.log(p) + 3 * np.log(1 - p) - DELTA / 2 * w**2
    assert found.log_marginal == pytest.approx(fit - np.log(1 + curvature / DELTA) / 2, **near)
    test = found.test
    assert test is not None and found.other is None and test.covariances is not None
    assert test.logits.shape == (3, 1) and test.logits[:, 0] == pytest.approx([w] * 3, **near)
    assert test.variances == pytest.approx([variance] * 3, **near)
    assert test.covariances.shape == (3, 1, 1) and np.array_equal(test.covariances.ravel(), test.variances)
    assert set(test.probabilities) == {"map", "probit_of_contrasts", "probit", "sampling", "bridge"}
    assert test.probabilities["map"] == pytest.approx(np.array([[1 - p, p]] * 3), **near)
    shrunk = 1 / (1 + np.exp(-w / np.sqrt(1 + np.pi / 8 * variance)))
    assert test.probabilities["probit"][:, 1] == pytest.approx([shrunk] * 3, **near)
    log_loss = -(2 * np.log(p) + np.log(1 - p)) / 3
    assert test.scores["map"]["log_loss"] == pytest.approx(log_loss, **near)
    assert test.labels is not None and test.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("bias", [False, True])
def test_covariances_are_those_of_numpys_inverse(data: Data, bias: bool) -> None:
    other = data.test_features * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kappa.laplace(
            *data.layer(), bias=bias, delta=DELTA, newton=True, other_features=other, **data.test()
        )
    features, tests, offsets = data.features, data.test_features, data.bias
    if bias:
        features, tests = (np.column_stack([g, np.ones(len(g))]) for g in (features, tests))
        offsets = np.zeros(3)
    assert found.passed, found.checks
    # A mean of 80 differences of logits from W g.
    assert np.abs(found.offsets - offsets).max() < 1e-14 * 80
    # The optimum of numpy's own Newton's method; both are known to its last step.
    optimum = newton(features, data.labels, offsets, DELTA)
    assert np.abs(found.weights - optimum).max() < 1e-10
    A = precision(features, found.weights, found.offsets, DELTA)
    inverse = np.linalg.inv(A).reshape(3, tests.shape[1], 3, tests.shape[1])
    expected = np.einsum("ti,aibj,tj->tab", tests, inverse, tests)
    test, far = found.test, found.other
    assert test is not None and far is not None and test.covariances is not None
    # An inverse errs by some n condition numbers of roundings, n = 15; the condition number is below 1e3.
    assert np.abs(test.covariances - expected).max() < 1e-11 * np.abs(expected).max()
    # What all logits share is seen by no probability.
    seen = expected.trace(axis1=1, axis2=2) - expected.sum(axis=(1, 2)) / 3
    assert test.variances == pytest.approx(seen, rel=1e-10)
    eigenvalues = np.linalg.eigvalsh(A)[::-1] - DELTA
    assert np.abs(found.curvatures - eigenvalues).max() < 1e-12 * eigenvalues[0]
    assert far.samples == 9 and far.labels is None and far.scores == {} and len(test.scores) == 5
    # Nine times the variance, but for the constant feature.
    assert far.variances == pytest.approx(9 * test.variances, rel=1e-9) or bias
    for p in test.probabilities.values():
        assert p.shape == (9, 3) and p.sum(axis=1) == pytest.approx(1, rel=1e-12)
    assert not test.variances.flags.writeable and not found.weights.flags.writeable


def test_the_prior_is_the_one_of_the_largest_marginal_likelihood(data: Data) -> None:
    found = kappa.laplace(*data.layer(), newton=True)
    assert found.test is None and found.passed
    # Both settle to 1e-7.
    assert found.best_delta == pytest.approx(found.delta, rel=1e-6)
    assert found.determined == pytest.approx(found.delta * np.sum(found.weights**2), rel=1e-6)
    assert found.curve.shape[1] == 3 and np.array_equal(found.curve[:, 1], found.curve[:, 2])
    assert isinstance(found.log_marginal, float)
    # The curve holds its top to the distance of its points, and no point is above it.
    assert found.curve[:, 1].max() == pytest.approx(found.log_marginal, abs=1e-8)
    assert np.ptp(np.log10(found.curve[:, 0])) == pytest.approx(12.0)


def test_the_leading_eigenpairs_alone_have_bounds(data: Data) -> None:
    whole = kappa.laplace(*data.layer(), delta=DELTA, newton=True, **data.test())
    found = kappa.laplace(*data.layer(), delta=DELTA, newton=True, top=4, **data.test())
    assert isinstance(found.log_marginal, tuple) and isinstance(whole.log_marginal, float)
    low, high = found.log_marginal
    assert low <= whole.log_marginal <= high and found.curvatures.shape == (4,)
    assert found.test is not None and whole.test is not None
    # Too large rather than too small, but for the rounding of the search.
    assert np.all(found.test.variances > whole.test.variances * (1 - 1e-9))
    assert f"{low:.6g} to {high:.6g}" in repr(found) and ", given" in repr(found)
    # What is left out counts as equal eigenvalues of the same sum.
    chosen, best = (kappa.laplace(*data.layer(), newton=True, top=top) for top in (4, None))
    assert best.delta / 3 < chosen.delta < 3 * best.delta
    assert "certain" in repr(chosen)


def test_weights_that_are_no_optimum_are_told_loudly(data: Data) -> None:
    with pytest.warns(kappa.NotAtOptimum, match="NOT AT AN OPTIMUM.*newton=True") as caught:
        found = kappa.laplace(*data.layer(), delta=DELTA, **data.test())
    assert len(caught) == 1 and caught[0].filename == __file__
    assert issubclass(kappa.NotAtOptimum, UserWarning)
    assert not found.passed and not found.optimum["passed"]
    assert found.optimum["reached"] > found.optimum["bound"]
    assert [check.name for check in found.checks if not check.passed] == ["optimum"]
    for text in (repr(found), str(found), found._repr_html_()):
        assert "NOT AT AN OPTIMUM" in text and "FAIL: optimum" in text
    assert repr(found).startswith("NOT AT AN OPTIMUM")
    # sqrt(s' A^-1 s), and the distance that Newton's method then goes.
    g, W, offsets = data.features, data.weights, data.bias
    slope = gradients(g, data.labels, W, offsets).sum(axis=0) + DELTA * W.ravel()
    away = np.sqrt(slope @ np.linalg.solve(precision(g, W, offsets, DELTA), slope))
    assert found.optimum["given"] == found.optimum["reached"] == pytest.approx(away, rel=1e-10)
    with pytest.warns(kappa.NotAtOptimum):
        by_influence = kappa.influence(*data.layer(), *data.test().values())
    assert not by_influence.passed and "NOT AT AN OPTIMUM" in repr(by_influence)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        goes = kappa.laplace(*data.layer(), delta=DELTA, newton=True)
        assert kappa.influence(*data.layer(), *data.test().values(), newton=True).passed
    assert "NOT" not in repr(goes) and "PASS" in repr(goes)
    moved = np.linalg.norm(goes.weights - data.weights) / np.linalg.norm(data.weights)
    assert goes.optimum["moved"] == pytest.approx(moved) and goes.optimum["given"] == found.optimum["given"]


@pytest.fixture
def influences(data: Data) -> kappa.Influence:
    return kappa.influence(
        *data.layer(), *data.test().values(), delta=DELTA, newton=True, most=5, check=4, table=True
    )


def test_influence_is_one_newton_step_without_the_sample(data: Data, influences: kappa.Influence) -> None:
    g, y, offsets, tests = data.features, data.labels, data.bias, data.test_features
    W = newton(g, y, offsets, DELTA)
    A, own = precision(g, W, offsets, DELTA), gradients(g, y, W, offsets)
    of_tests = gradients(tests, data.test_labels, W, offsets)
    expected, alone, leverages = np.empty((9, 80)), np.empty(80), np.empty(80)
    for n in range(80):
        H_n = explicit_sum(g[n : n + 1], g[n : n + 1] @ W.T + offsets)
        step = np.linalg.solve(A - H_n, own[n])
        expected[:, n], alone[n] = of_tests @ step, own[n] @ step
        leverages[n] = np.linalg.eigvals(np.linalg.solve(A, H_n)).real.max()
    table = influences.table
    assert table is not None and table.dtype == np.float32 and table.shape == (9, 80)
    # Half a unit of f32, twice that of the largest.
    assert np.abs(table - expected).max() < 2**-23 * np.abs(expected).max()
    assert influences.self_influences == pytest.approx(alone, rel=1e-9)
    # By the 32nd root of the trace of a 32nd power.
    assert influences.leverages is not None
    over = influences.leverages / leverages
    assert np.all(over > 1 - 1e-9) and np.all(over < 3 ** (1 / 32) * (1 + 1e-9))
    assert influences.on_mean_test_loss == pytest.approx(expected.mean(axis=0), rel=1e-9, abs=1e-12)
    assert influences.losses == pytest.approx(losses(g, y, W, offsets), rel=1e-9)
    assert influences.gradient_norms == pytest.approx(np.linalg.norm(own, axis=1), rel=1e-9)
    for (samples, values), order in ((influences.helpful, -expected), (influences.harmful, expected)):
        assert samples.shape == values.shape == (9, 5)
        assert samples.dtype == np.int64 and values.dtype == np.float64
        assert np.array_equal(samples, np.argsort(order, axis=1)[:, :5])
        assert values == pytest.approx(np.take_along_axis(expected, samples, axis=1), rel=1e-9, abs=1e-12)
    assert influences.suspects[0]["sample"] == np.argmax(alone)
    assert influences.suspects[0]["label"] == y[np.argmax(alone)]


def test_influence_is_what_leaving_a_sample_out_does(data: Data, influences: kappa.Influence) -> None:
    g, y, offsets = data.features, data.labels, data.bias
    test = data.test_features, data.test_labels
    before = losses(*test, newton(g, y, offsets, DELTA), offsets)
    left_out, table = influences.left_out, influences.table
    assert left_out is not None and table is not None
    assert len(left_out["samples"]) == 4 and left_out["pairs"] == 4 * 9
    truth = []
    for n in left_out["samples"]:
        without = newton(np.delete(g, n, axis=0), np.delete(y, n), offsets, DELTA)
        truth.append(losses(*test, without, offsets) - before)
    predicted = table[:, left_out["samples"]].T
    error = np.abs(predicted - np.array(truth)).max()
    # The engine has left the same samples out; the table is of f32.
    assert error == pytest.approx(left_out["largest_error"], rel=1e-3)
    assert np.abs(truth).max() == pytest.approx(left_out["largest_effect"], rel=1e-6)
    correlation = np.corrcoef(predicted.ravel(), np.ravel(truth))[0, 1]
    assert correlation == pytest.approx(left_out["correlation"], abs=1e-6) and correlation > 0.99
    # To second order in a step of one sample of 80.
    assert error < 0.1 * left_out["largest_effect"]
    assert influences.passed and influences.optimum["passed"]


def test_without_the_matrix_influence_is_to_first_order(data: Data) -> None:
    found = kappa.influence(
        *data.layer(), *data.test().values(), delta=DELTA, newton=True, top=5, most=100, table=True
    )
    g, y, offsets = data.features, data.labels, data.bias
    W = newton(g, y, offsets, DELTA)
    A, own = precision(g, W, offsets, DELTA), gradients(g, y, W, offsets)
    expected = gradients(data.test_features, data.test_labels, W, offsets) @ np.linalg.solve(A, own.T)
    # Conjugate gradients stop at 1e-8.
    assert found.table is not None and np.abs(found.table - expected).max() < 1e-6 * np.abs(expected).max()
    assert found.self_influences is None and found.leverages is None and found.left_out is None
    # There are no more than all.
    assert found.helpful[0].shape == (9, 80)


def test_labels_that_are_made_wrong_are_named(data: Data) -> None:
    # Newton's method goes to their optimum: the weights were of others.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kappa.influence(*data.layer(), *data.test().values(), delta=DELTA, plant=0.1, check=0)
    planted = found.planted
    assert planted is not None and planted["count"] == 8 and found.table is None and found.left_out is None
    assert planted["samples"].dtype == np.int64 and len(set(planted["samples"].tolist())) == 8
    assert {ranking["by"] for ranking in planted["rankings"]} == {"self-influence", "loss", "gradient norm"}
    wrong = {found["sample"]: found["label"] for found in found.suspects}
    assert all(wrong[n] != data.labels[n] for n in planted["samples"].tolist() if n in wrong)
    assert "made wrong" in repr(found)


def test_what_is_saved_is_what_was_found(data: Data, influences: kappa.Influence, tmp_path: Path) -> None:
    posterior = kappa.laplace(*data.layer(), delta=DELTA, newton=True, **data.test())
    posterior.save(tmp_path / "laplace")
    influences.save(tmp_path / "influence")
    for name, found in (("laplace", posterior), ("influence", influences)):
        assert isinstance(found, (kappa.Laplace, kappa.Influence))
        saved = json.loads((tmp_path / name / f"{name}.json").read_text())
        assert {key: saved[key] for key in found.record} == found.record
        assert (tmp_path / name / f"{name}.safetensors").exists()
        # The same answer again; below another one, which is not written over it.
        found.save(tmp_path / name)
        loaded = kappa.load(tmp_path / name)
        assert type(loaded) is type(found) and repr(loaded) == repr(found)
    table = np.load(tmp_path / "influence" / "influences.npy")
    assert table.dtype == np.float32 and np.array_equal(table, np.asarray(influences.table))
    alone = np.load(tmp_path / "influence" / "self-influences.npy")
    assert np.array_equal(alone, np.asarray(influences.self_influences))
    rows = (tmp_path / "influence" / "influence.csv").read_text().splitlines()
    assert len(rows) == 1 + 9 * 2 * 5
    with pytest.raises(kappa.KappaError, match="answers another question"):
        kappa.laplace(*data.layer(), delta=2 * DELTA, newton=True).save(tmp_path / "laplace")


def test_the_same_files_give_the_program_the_same_answer(data: Data, tmp_path: Path) -> None:
    arrays = dict(zip(("features", "logits", "labels", "weights"), data.layer())) | data.test()
    for role, array in arrays.items():
        np.save(tmp_path / f"{role}.npy", array)
    options = [word for role in arrays for word in (f"--{role.replace('_', '-')}", f"{role}.npy")]
    options += ["--newton", "--bias", "--backend", "flex", "--quiet", "--out", "there"]
    for ask in (kappa.laplace, kappa.influence):
        ran = program(ask.__name__, *options, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        theirs = json.loads((tmp_path / "there" / f"{ask.__name__}.json").read_text())
        mine = ask(*data.layer(), newton=True, bias=True, backend="flex", **data.test()).record
        for record in (mine, theirs):
            # Where the arrays come from, and the time that it took.
            for part in ("settings", "seconds", "test_files", "sha256"):
                record.pop(part, None)
            for prediction in record.get("predictions", []):
                prediction.pop("files")
        assert mine == theirs


def test_a_layer_has_all_arrays_and_pickling_keeps_them(data: Data, tmp_path: Path) -> None:
    features, logits, labels, weights = data.layer()
    layer = kappa.LastLayer(features, logits, weights=weights, labels=labels, bias=True)
    found = kappa.laplace(layer, newton=True, **data.test())
    direct = kappa.laplace(*data.layer(), bias=True, newton=True, **data.test())
    assert np.array_equal(found.weights, direct.weights) and found.delta == direct.delta
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(found))))
    assert again.test is not None and found.test is not None and repr(again) == repr(found)
    assert np.array_equal(again.test.probabilities["sampling"], found.test.probabilities["sampling"])
    with pytest.raises(kappa.KappaError, match="pickled"):
        again.save(tmp_path / "x")
    of_samples = kappa.influence(layer, newton=True, table=True, **data.test())
    again = pickle.loads(pickle.dumps(of_samples))
    assert np.array_equal(again.table, np.asarray(of_samples.table)) and again.optimum == of_samples.optimum
    assert again.table.shape == (9, 80)
    found.record["posterior"]["delta"] = -1.0
    assert found.delta > 0


def test_parts_ignored_labels_and_other_kinds_of_arrays(data: Data) -> None:
    features, logits, labels, weights = data.layer()
    kept = np.arange(80) % 5 != 0
    masked = np.where(kept, labels, -1)
    found = kappa.laplace(
        [features[:30], features[30:]],
        [logits[:30], logits[30:]],
        [masked[:30], masked[30:]],
        weights,
        delta=DELTA,
        newton=True,
        ignore_index=-1,
        test_features=data.test_features.tolist(),
        test_labels=np.where(np.arange(9) < 3, -1, data.test_labels),
    )
    plain = kappa.laplace(features[kept], logits[kept], labels[kept], weights, delta=DELTA, newton=True)
    assert found.samples == kept.sum() and found.test is not None and found.test.samples == 6
    assert found.curvatures == pytest.approx(plain.curvatures, rel=1e-9, abs=1e-9)
    in_parts = kappa.laplace(
        *data.layer(),
        delta=DELTA,
        newton=True,
        test_features=[data.test_features[:4], data.test_features[4:]],
        test_labels=[data.test_labels[:4], data.test_labels[4:]],
    )
    whole = kappa.laplace(*data.layer(), delta=DELTA, newton=True, **data.test())
    assert in_parts.test is not None and whole.test is not None
    assert np.array_equal(in_parts.test.variances, whole.test.variances)
    assert kappa.laplace(*data.layer(), delta=DELTA, newton=True, limit=50).samples == 50


def test_bad_input_is_told(data: Data) -> None:
    features, logits, labels, weights = data.layer()
    layer: dict[str, Any] = {"features": features, "logits": logits, "labels": labels, "weights": weights}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("no labels are given", {"labels": None}),
        ("no weights are given", {"weights": None}),
        ("no logits or probabilities", {"logits": None}),
        ("weights", {"weights": weights[:2]}),
        ("test samples: .* 3 features a sample, and the layer gets 4", {"test_features": np.ones((5, 3))}),
        ("test samples: labels", {"test_labels": data.test_labels[:4]}),
        ("test samples: labels .* hold 3", {"test_labels": np.full(9, 3)}),
        ("test_labels came without", {"test_features": None}),
        ("above 0", {"delta": 0.0}),
        ("above 0", {"delta": float("nan")}),
        ("above 0", {"delta": float("inf")}),
        ("cannot be asked", {"seed": -1}),
        ("cannot be asked", {"top": 0}),
        ("no backend", {"backend": "cuda"}),
    ]
    of_laplace: list[tuple[str, dict[str, Any]]] = [
        ("other samples: features .* 2 features a sample", {"other_features": np.ones((5, 2))}),
        ("cannot be asked", {"draws": 0}),
        ("rises without end", {"weights": np.zeros((3, 4)), "logits": np.zeros((80, 3))}),
    ]
    of_influence: list[tuple[str, dict[str, Any]]] = [
        ("no features of test samples", {"test_features": None, "test_labels": None}),
        ("no labels of the test samples", {"test_labels": None}),
        ("share from 0 to 0.5", {"plant": 0.6}),
        ("cannot be asked", {"most": 0}),
        ("cannot be asked", {"check": -1}),
    ]
    for ask, cases in ((kappa.laplace, wrong + of_laplace), (kappa.influence, wrong + of_influence)):
        for said, change in cases:
            with pytest.raises(kappa.KappaError, match=said):
                ask(**{**layer, **data.test(), **change})
    last = kappa.LastLayer(features, logits, weights=weights, labels=labels)
    with pytest.raises(kappa.KappaError, match="labels"):
        kappa.laplace(last, labels=labels)
    last = kappa.LastLayer(features, probabilities=softmax(logits), weights=weights, labels=labels)
    with pytest.raises(kappa.KappaError, match="needs logits"):
        kappa.laplace(last)
