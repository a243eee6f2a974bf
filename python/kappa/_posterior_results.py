"""What was found of a last layer's posterior, and of the influence of its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kappa import _kappa
from kappa._kappa import InfluenceAnswer, LaplaceAnswer
from kappa._results import Check, Doubles, Held, _number, _Result

Integers = NDArray[np.int64]

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}


class NotAtOptimum(UserWarning):
    """The weights are no optimum of the loss with the prior: what was computed about them is no posterior,
    and no influence. ``newton=True`` goes to the optimum first."""


class _HeldTensors(Held, Protocol):
    """An answer with tensors."""

    @property
    def is_at_optimum(self) -> bool: ...
    def tensors(self) -> list[str]: ...
    def tensor(self, name: str) -> _kappa._Tensor | None: ...


Kind = TypeVar("Kind", bound=_HeldTensors)


class _Tensors:
    """An answer's arrays, each taken from the engine when it is asked for. Pickled they are all there."""

    def __init__(self, answer: _HeldTensors) -> None:
        self._answer: _HeldTensors | None = answer
        self._names = answer.tensors()
        self._found: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._found:
            tensor = None if self._answer is None else self._answer.tensor(name)
            if tensor is None:
                raise KeyError(name)
            self._found[name] = _array(tensor)
        return self._found[name]

    def get(self, name: str) -> NDArray[Any] | None:
        return self[name] if name in self._names else None

    def __getstate__(self) -> dict[str, Any]:
        found = {name: self[name] for name in self._names}
        return {"_answer": None, "_names": self._names, "_found": found}


class _OfClassifier(_Result[Kind], Generic[Kind]):
    """What is about a last layer with its labels, at some weights."""

    def __init__(self, answer: Kind) -> None:
        super().__init__(answer)
        self._tensors = _Tensors(answer)
        self._is_at_optimum = answer.is_at_optimum

    @property
    def record(self) -> dict[str, Any]:
        """All that was asked and found, as it stands in the file that ``save`` writes: a copy."""
        return self.to_dict()

    @property
    def optimum(self) -> dict[str, Any]:
        """How far the weights are from the optimum of the loss with the prior, in deviations of the
        posterior: ``given`` of those that were given, ``reached`` of those that all of this is about,
        ``bound`` the most by which it is to be trusted, ``passed`` whether it is; ``steps`` of Newton's
        method, ``moved`` how far they led (``|W - W given| / |W given|``); ``short_of`` in nats, ``loss`` and
        ``square`` (``|W|**2``)."""
        return {**self._record["optimum"], "passed": self._is_at_optimum}

    @property
    def checks(self) -> list[Check]:
        """What was checked, of the answer and of what went in."""
        checks = self._record["checks"] + self._record["settings"]["input_checks"]
        return [Check(**check) for check in checks]

    @property
    def passed(self) -> bool:
        """Whether every check passed, that of the optimum among them."""
        return all(check.passed for check in self.checks)

    def _not_at_optimum(self) -> str | None:
        """What has to be said of weights that are no optimum."""
        if self._is_at_optimum:
            return None
        away, bound = _double(self.optimum["reached"]), self.optimum["bound"]
        told = f"{away:.3e} deviations of the posterior away, {bound} at the most: this is about no posterior"
        asked = self._record["asked"]
        # Where labels were made wrong Newton's method has gone there anyway.
        went = asked["newton"] or asked.get("planted", 0.0) > 0.0
        return told if went else f"{told}; newton=True goes to it"

    def _first_rows(self) -> Iterator[tuple[str, str]]:
        wrong = self._not_at_optimum()
        if wrong is not None:
            yield "NOT AT AN OPTIMUM", wrong
        settings, optimum = self._record["settings"], self.optimum
        logits = "1 logit" if settings["classes"] == 1 else f"{settings['classes']} classes"
        yield "layer", f"{logits}, {settings['features']} features, {self.samples} samples"
        if wrong is None:
            steps = f", after {optimum['steps']} Newton steps" if optimum["steps"] else ""
            yield "optimum", f"{optimum['reached']:.1e} deviations away{steps}"

    def _last_row(self) -> tuple[str, str]:
        failed = [check.name for check in self.checks if not check.passed]
        return "evidence", f"FAIL: {', '.join(failed)}" if failed else f"PASS, {len(self.checks)} checks"


class Predictions:
    """What a posterior says of a set of samples.

    Attributes
    ----------
    name
        What the set is called: ``"test"`` or ``"other"``.
    samples
        Samples T, without those that are left out.
    mean_variance
        The mean of :attr:`variances`.
    """

    def __init__(self, record: dict[str, Any], tensors: _Tensors) -> None:
        self._record = record
        self._tensors = tensors
        self.name = str(record["set"])
        self.samples = int(record["samples"])
        self.mean_variance = _double(record["mean_variance"])

    @property
    def logits(self) -> Doubles:
        """By the weights: [T, K]."""
        return self._tensors[f"{self.name}.logits"]

    @property
    def variances(self) -> Doubles:
        """Of what probabilities see of the logits: [T], the trace of the covariance but for the shift of all
        logits; of one logit its variance."""
        return self._tensors[f"{self.name}.variances"]

    @property
    def covariances(self) -> Doubles | None:
        """Of the logits: [T, K, K]; ``None`` where they would be more than 256 MiB."""
        return self._tensors.get(f"{self.name}.covariances")

    @property
    def probabilities(self) -> dict[str, Doubles]:
        """By each method, [T, K], of one logit [T, 2]: ``map`` (the softmax of the logits alone),
        ``probit_of_contrasts`` (of logits shrunk by the variances that probabilities see), ``probit`` (by all
        of them, as other tools do it), ``sampling`` (the mean over draws), ``bridge`` (the Laplace
        bridge)."""
        return {method: self._tensors[f"{self.name}.{method}"] for method in self._methods()}

    @property
    def mean_entropies(self) -> dict[str, float | None]:
        """By each method, the mean of ``-sum p ln p`` in nats."""
        return {method: _number(found["mean_entropy"]) for method, found in self._methods().items()}

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """By each method: ``accuracy``, ``log_loss`` (``None`` if it is infinite), ``brier``,
        ``calibration_error`` and its ``bins`` (samples, their mean confidence, the share that is right).
        Empty without labels."""
        methods = self._methods().items()
        return {method: dict(found["scores"]) for method, found in methods if found["scores"] is not None}

    @property
    def labels(self) -> Integers | None:
        """The samples' classes [T], if they were given."""
        return self._tensors.get(f"{self.name}.labels")

    def _methods(self) -> dict[str, dict[str, Any]]:
        return {str(found["method"]): found for found in self._record["methods"]}

    def _told(self) -> str:
        told = f"{self.samples} samples, mean variance {self.mean_variance:.4g}"

        def loss(method: str) -> str:
            value = self.scores[method]["log_loss"]
            return "infinite" if value is None else f"{value:.5f}"

        if self.scores:
            told += f", log loss {loss('map')} by the weights, {loss('probit_of_contrasts')} by the posterior"
        return told

    def __repr__(self) -> str:
        return f"<Predictions {self.name}: {self._told()}>"


class Laplace(_OfClassifier[LaplaceAnswer]):
    """The posterior of a last layer by Laplace's method, and what it says of other samples.

    See :func:`kappa.laplace`. Where :attr:`optimum` has not passed it is about no posterior.
    """

    @property
    def delta(self) -> float:
        """The prior's precision."""
        return _double(self._record["posterior"]["delta"])

    @property
    def best_delta(self) -> float | None:
        """That which makes the marginal likelihood largest at these weights; ``None`` if none does. With
        ``top`` that which makes the lower one of its bounds largest."""
        return _number(self._record["posterior"]["best_delta"])

    @property
    def log_marginal(self) -> float | tuple[float, float]:
        """``ln p(D | delta)``; with ``top`` the least and the most that it can be."""
        return _one_or_both(self._record["posterior"]["log_marginal"])

    @property
    def curve(self) -> Doubles:
        """``ln p(D | delta)`` along delta: [n, 3], delta, the least and the most."""
        return np.array(self._record["posterior"]["curve"], np.float64).reshape(-1, 3)

    @property
    def determined(self) -> float:
        """How many parameters the data determine rather than the prior."""
        return _double(self._record["posterior"]["determined"])

    @property
    def weights(self) -> Doubles:
        """Those that the posterior is about: [K, m], with the bias as feature m where it is among them."""
        return self._tensors["weights"]

    @property
    def offsets(self) -> Doubles:
        """What the logits have beside ``W g``, a bias that is no parameter: [K]."""
        return self._tensors["offsets"]

    @property
    def curvatures(self) -> Doubles:
        """The eigenvalues of ``N H``, the largest first: [K m], or [top]. The posterior's precisions are
        delta more."""
        return self._tensors["curvatures"]

    @property
    def test(self) -> Predictions | None:
        """What it says of the test samples, if there were any."""
        return self._predictions("test")

    @property
    def other(self) -> Predictions | None:
        """What it says of the other samples, if there were any."""
        return self._predictions("other")

    def _predictions(self, name: str) -> Predictions | None:
        found = [record for record in self._record["predictions"] if record["set"] == name]
        return Predictions(found[0], self._tensors) if found else None

    def _rows(self) -> Iterator[tuple[str, str]]:
        posterior, asked = self._record["posterior"], self._record["asked"]
        yield from self._first_rows()
        of_top = "where the marginal likelihood that is certain is largest"
        best = of_top if asked.get("top") else "where the marginal likelihood is largest"
        how = best if asked["delta"] is None else "given"
        yield "prior's delta", f"{self.delta:.6g}, {how}"
        marginal = self.log_marginal
        bounds = marginal if isinstance(marginal, tuple) else (marginal,)
        yield "ln p(D | delta)", " to ".join(f"{bound:.6g}" for bound in bounds)
        yield "determined", f"{self.determined:.1f} of {posterior['size']} parameters by the data"
        for predictions in (self.test, self.other):
            if predictions is not None:
                yield predictions.name, predictions._told()
        yield self._last_row()


class Influence(_OfClassifier[InfluenceAnswer]):
    """What leaving out each training sample does to the losses of test samples, in nats.

    See :func:`kappa.influence`. A training sample is helpful where leaving it out adds to a loss (above 0),
    and harmful where it takes from it. Where :attr:`optimum` has not passed the numbers are no influences.
    """

    def __init__(self, answer: InfluenceAnswer) -> None:
        super().__init__(answer)
        self._table: NDArray[np.float32] | None = None

    @property
    def helpful(self) -> tuple[Integers, Doubles]:
        """Of each test sample the most helpful training samples, the first one most: their numbers, and what
        leaving each out adds to the test sample's loss. [T, most] both."""
        return self._tensors["helpful.samples"], self._tensors["helpful.influences"]

    @property
    def harmful(self) -> tuple[Integers, Doubles]:
        """Likewise the most harmful ones."""
        return self._tensors["harmful.samples"], self._tensors["harmful.influences"]

    @property
    def self_influences(self) -> Doubles | None:
        """What leaving each training sample out adds to its own loss: [N]; ``None`` with ``top``."""
        return self._tensors.get("self_influences")

    @property
    def leverages(self) -> Doubles | None:
        """The part of the precision that each training sample has, along its steepest direction, at the most
        (by less than a factor of ``K ** (1 / 32)``): [N]; ``None`` with ``top``."""
        return self._tensors.get("leverages")

    @property
    def losses(self) -> Doubles:
        """The loss of each training sample: [N]."""
        return self._tensors["losses"]

    @property
    def gradient_norms(self) -> Doubles:
        """The norm of its gradient: [N]."""
        return self._tensors["gradient_norms"]

    @property
    def on_mean_test_loss(self) -> Doubles:
        """What leaving each training sample out adds to the mean test loss: [N]."""
        return self._tensors["on_mean_test_loss"]

    @property
    def table(self) -> NDArray[np.float32] | None:
        """All influences, [T, N], if they were asked for."""
        if self._table is None and self._answer is not None:
            table = self._answer.table()
            self._table = None if table is None else _array(table)
        return self._table

    @property
    def suspects(self) -> list[dict[str, Any]]:
        """The training samples that are hardest to explain without them, the first one most: ``sample``,
        ``label``, ``likeliest`` (class), ``loss``, ``self_influence``. With ``top`` they are those of the
        largest losses, and ``self_influence`` is 0."""
        return list(self.record["suspects"])

    @property
    def left_out(self) -> dict[str, Any] | None:
        """Predictions against the truth, of the samples that were left out for real: ``samples``, ``pairs``,
        ``correlation``, ``largest_error``, ``largest_effect`` and more; ``None`` if none was."""
        found: dict[str, Any] | None = self.record["left_out"]
        return found

    @property
    def planted(self) -> dict[str, Any] | None:
        """Of labels that were made wrong: ``count``, ``rankings`` (of each the share of the first k that are
        of them), ``samples`` (their numbers, int64); ``None`` if none was."""
        found = self.record["planted"]
        return None if found is None else {**found, "samples": self._tensors["planted"]}

    def _rows(self) -> Iterator[tuple[str, str]]:
        asked = self._record["asked"]
        yield from self._first_rows()
        yield "prior's delta", f"{asked['delta']:.6g}"
        yield "test", f"{self._record['test_samples']} samples"
        first = self.suspects[:4]
        seen = [f"{found['sample']} ({found['label']}, seems {found['likeliest']})" for found in first]
        yield "suspects", ", ".join(seen)
        for ranking in self.planted["rankings"] if self.planted is not None else []:
            count, share = ranking["precision"][-1] if ranking["precision"] else (0, 0.0)
            yield "made wrong", f"{100 * share:.1f} % of the first {count} by {ranking['by']}"
        if self.left_out is not None:
            error, effect = (_double(self.left_out[f"largest_{what}"]) for what in ("error", "effect"))
            told = f"error {error:.1e} of effects up to {effect:.1e} nats"
            yield "left out", f"{len(self.left_out['samples'])} samples: {told}"
        yield self._last_row()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_table": self.table}


def _one_or_both(bounds: list[Any]) -> float | tuple[float, float]:
    low, high = map(_double, bounds)
    return low if low == high else (low, high)


def _double(value: Any) -> float:
    """JSON has no number for what is none."""
    return math.nan if value is None else float(value)


def _array(tensor: _kappa._Tensor) -> NDArray[Any]:
    elements, shape, kind = tensor
    return np.frombuffer(elements, TYPES[kind]).reshape(shape)
