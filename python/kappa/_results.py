"""What was measured."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kappa._kappa import Answer, KappaError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One check of a result.

    Attributes
    ----------
    name
        What it is called.
    quantity
        What was computed, as a formula.
    value
        What it came out as; ``None`` if it is not a number, or if nothing could be seen.
    bound
        The most that rounding can make of it.
    passed
        Whether it is within the bound.
    """

    name: str
    quantity: str
    value: float | None
    bound: float
    passed: bool

    def __repr__(self) -> str:
        value = "none" if self.value is None else f"{self.value:.1e}"
        return f"<{'PASS' if self.passed else 'FAIL'} {self.name}: {value} of {self.bound:.1e}>"


@dataclass(frozen=True)
class Subset:
    """The spectra of random subsets of one size; the last one is all samples, once.

    Attributes
    ----------
    samples
        Samples in each.
    lambda_1, lambda_10, kappa_prime
        Of each subset.
    """

    samples: int
    lambda_1: list[float]
    lambda_10: list[float]
    kappa_prime: list[float]


@dataclass(frozen=True)
class Directions:
    """What lies in the space of the ten leading eigenvectors. What needs labels or weights is ``None``
    without them.

    Attributes
    ----------
    loss
        The mean cross-entropy in nats.
    accuracy
        The share of samples whose likeliest class is their label.
    most_frequent
        The share of the most frequent label.
    gradient
        The norm of the loss's gradient with respect to the layer's weights.
    gradient_share, update_share, weights_share
        The share in that space of the gradient, of the optimiser's last step, of the weights.
    kronecker_error
        ``|E[S] x E[gg'] - H|_F / |H|_F``.
    kronecker_overlap
        The overlap of its ten leading eigenvectors with H's.
    kronecker_lambda_1
        Its largest eigenvalue over lambda_1.
    """

    loss: float | None
    accuracy: float | None
    most_frequent: float | None
    gradient: float | None
    gradient_share: float | None
    update_share: float | None
    weights_share: float | None
    kronecker_error: float
    kronecker_overlap: float
    kronecker_lambda_1: float


class Held(Protocol):
    """What the engine hands out of every kind of answer."""

    def record(self) -> str: ...
    def save(self, folder: str | PathLike[str]) -> None: ...


Kind = TypeVar("Kind", bound=Held)


class _Result(Generic[Kind]):
    """An answer of the engine, by its record."""

    def __init__(self, answer: Kind) -> None:
        self._answer: Kind | None = answer
        self._record: dict[str, Any] = json.loads(answer.record())

    def to_dict(self) -> dict[str, Any]:
        """All that was asked and measured, as it stands in the file that :meth:`save` writes."""
        copy: dict[str, Any] = json.loads(json.dumps(self._record))
        return copy

    def save(self, folder: str | PathLike[str]) -> None:
        """Writes the files that the program writes, with their checksums, into ``folder``, which is made.

        Raises
        ------
        KappaError
            If it cannot be written, or holds the answer to another question.
        """
        self._engine().save(folder)

    def _engine(self) -> Kind:
        if self._answer is None:
            raise KappaError("it was pickled, which keeps the numbers alone: measure it again")
        return self._answer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_answer": None}

    @property
    def samples(self) -> int:
        """Samples N."""
        return int(self._record["settings"]["samples"])

    @property
    def seconds(self) -> float:
        """Seconds that it took."""
        timings = self._record.get("timings")
        return float(timings["total"] if timings else self._record["seconds"])

    def _rows(self) -> Iterator[tuple[str, str]]:
        """What is told in short: a name, and a number."""
        raise NotImplementedError

    def __repr__(self) -> str:
        rows = list(self._rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<table>{cells}</table>"


class Spectrum(_Result[Answer]):
    """The whole spectrum of a last layer's Hessian, and what proves it.

    Parameters H is taken with respect to are the weights W [K, m], row by row: element (k, i) is number
    ``k * m + i``. See :func:`kappa.hessian`.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self._eigenvalues = _doubles(answer.eigenvalues())

    @property
    def eigenvalues(self) -> Doubles:
        """All of them, the largest first: [K m], float64, read-only. Those that structure makes zero are
        exactly zero."""
        return self._eigenvalues

    def vectors(self, count: int = 10) -> Doubles:
        """The eigenvectors of the ``count`` largest eigenvalues, a column each: [K m, count], float64.

        Raises
        ------
        KappaError
            If the spectrum was loaded or pickled: eigenvectors are not saved.
        """
        return _matrix(self._engine().vectors(count), len(self._eigenvalues))

    def matrix(self) -> Doubles:
        """H: [K m, K m], float64.

        Raises
        ------
        KappaError
            As :meth:`vectors`.
        """
        return _matrix(self._engine().matrix(), len(self._eigenvalues))

    @property
    def classes(self) -> int:
        """Classes K; 1 of a sigmoid."""
        return int(self._record["settings"]["classes"])

    @property
    def features(self) -> int:
        """Features m, with the constant one of a bias."""
        return int(self._record["settings"]["features"])

    @property
    def kappa_prime(self) -> float | None:
        """lambda_1 / lambda_10; ``None`` below ten eigenvalues, and if lambda_10 is zero."""
        return _number(self._record["spectrum"]["kappa_prime"])

    @property
    def condition_numbers(self) -> dict[str, float | None]:
        """Every one that there is: ``kappa_prime`` (lambda_1 / lambda_10), ``kappa`` (lambda_1 over the
        smallest that a plain decomposition gives: rounding noise, as H is singular), ``kappa_of_rank``
        (over the smallest that is not zero), ``outlier_ratio`` (lambda_1 / lambda_(K-1)),
        ``outlier_gap`` (lambda_(K-1) / lambda_K), and with 2 l2 added ``kappa_with_l2`` and
        ``kappa_prime_with_l2``."""
        names = ["kappa_prime", "kappa", "kappa_of_rank", "outlier_ratio", "outlier_gap"]
        names += ["kappa_with_l2", "kappa_prime_with_l2"]
        return {name: _number(self._record["spectrum"][name]) for name in names}

    @property
    def rank(self) -> int:
        """Eigenvalues that are above the rounding of the sums."""
        return int(self._record["spectrum"]["rank"])

    @property
    def trace(self) -> float:
        """tr H."""
        return float(self._record["spectrum"]["trace"])

    @property
    def null_space(self) -> dict[str, int]:
        """Zeros by their reason: ``shift`` (m: softmax ignores a shift of all logits),
        ``absent_classes``, ``silent_features``, ``dependent_features`` (numbers of these, of which each is
        several zeros), ``explained`` (all those zeros), ``numerical`` (what no structure explains)."""
        null = self._record["spectrum"]["null_space"]
        return {name: int(value) for name, value in null.items() if name != "against_whole_matrix"}

    @property
    def evidence(self) -> list[Check]:
        """What was checked, of the spectrum and of what went in; empty if that was skipped."""
        evidence = self._record["evidence"]
        checks = (evidence["checks"] if evidence else []) + self._record["settings"]["input_checks"]
        return [Check(**check) for check in checks]

    @property
    def trusted(self) -> bool:
        """Whether it was checked, and every check passed."""
        return self._record["evidence"] is not None and all(check.passed for check in self.evidence)

    @property
    def known_digits(self) -> dict[str, int | None]:
        """Decimal digits that are known of ``lambda_1``, ``lambda_10`` and ``kappa_prime``."""
        evidence = self._record["evidence"] or {}
        names = ("lambda_1", "lambda_10", "kappa_prime")
        return {name: evidence.get(f"known_digits_of_{name}") for name in names}

    @property
    def directions(self) -> Directions | None:
        """What lies in the leading space, if it was asked for."""
        found = self._record["directions"]
        return None if found is None else _directions(found)

    @property
    def subsets(self) -> list[Subset]:
        """The spectra of growing subsets, if they were asked for."""
        return [Subset(**subset) for subset in self._record["subsets"]]

    def plot(self, axes: Axes | None = None) -> Axes:
        """All eigenvalues by rank, as the figures of a report show them (with matplotlib).

        Parameters
        ----------
        axes
            Where to; new ones if not given.
        """
        from kappa._plot import spectrum

        return spectrum(self, axes)

    def _rows(self) -> Iterator[tuple[str, str]]:
        size, values = len(self._eigenvalues), self._eigenvalues
        yield "Hessian", f"{size} x {size}: {self.classes} classes, {self.features} features"
        yield "samples", f"{self.samples}"
        yield "lambda_1", f"{values[0]:.6g}"
        if size >= 10:
            yield "lambda_10", f"{values[9]:.6g}"
        if self.kappa_prime is not None:
            yield "kappa'", f"{self.kappa_prime:.6g}"
        yield "zeros", f"{size - self.rank}, {self.null_space['explained']} of them explained"
        yield "evidence", self._told()

    def _told(self) -> str:
        checks = self.evidence
        if self._record["evidence"] is None:
            return "not checked"
        failed = [check.name for check in checks if not check.passed]
        return f"FAIL: {', '.join(failed)}" if failed else f"PASS, {len(checks)} checks"


class Leading(_Result[Answer]):
    """The largest eigenvalues, found by products with H. See :func:`kappa.top`."""

    @property
    def eigenvalues(self) -> Doubles:
        """The largest first: [count], float64."""
        return np.array(self._record["top"]["eigenvalues"])

    @property
    def residuals(self) -> Doubles:
        """``|H v - lambda v| / lambda_1`` of each: so near there is an eigenvalue."""
        return np.array(self._record["top"]["residuals"])

    @property
    def products(self) -> int:
        """Products with H that it took."""
        return int(self._record["top"]["products"])

    @property
    def trusted(self) -> bool:
        """Whether every residual was compared with its bound, and is within it."""
        return self._record["top"]["passed"] is True

    @property
    def seconds(self) -> float:
        """Seconds that it took."""
        return float(self._record["top"]["seconds"])

    def _rows(self) -> Iterator[tuple[str, str]]:
        values = self.eigenvalues
        yield "samples", f"{self.samples}"
        yield "largest", ", ".join(f"{value:.6g}" for value in values[:10])
        yield "residual", f"{self.residuals.max(initial=0.0):.1e}, {self.products} products"
        yield "evidence", "PASS" if self.trusted else "FAIL" if self._bounded() else "not checked"

    def _bounded(self) -> bool:
        return self._record["top"]["passed"] is not None


class Density(_Result[Answer]):
    """The density of all eigenvalues, by random vectors. See :func:`kappa.density`."""

    @property
    def nodes(self) -> list[Doubles]:
        """For each random vector its nodes: [steps, 2], an eigenvalue and a share of all of them."""
        return [np.array(probe).reshape(-1, 2) for probe in self._record["density"]["probes"]]

    @property
    def zeros(self) -> float:
        """The share of eigenvalues that are zero as softmax ignores a shift."""
        return float(self._record["density"]["shift"])

    @property
    def trace(self) -> float:
        """tr H, estimated."""
        return float(self._record["density"]["trace"])

    @property
    def trace_error(self) -> float | None:
        """Its standard error; ``None`` of one random vector."""
        return _number(self._record["density"]["trace_error"])

    @property
    def seconds(self) -> float:
        """Seconds that it took."""
        return float(self._record["density"]["seconds"])

    def mean_of(self, function: Callable[[Doubles], Doubles]) -> float:
        """The mean of a function over all eigenvalues, ``tr f(H) / n``."""
        means = [float(nodes[:, 1] @ function(nodes[:, 0])) for nodes in self.nodes]
        return float(np.mean(means)) + self.zeros * float(function(np.zeros(1))[0])

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "samples", f"{self.samples}"
        yield "probes", f"{len(self.nodes)} of {max(map(len, self.nodes), default=0)} steps"
        error = "" if self.trace_error is None else f" +- {self.trace_error:.2g}"
        yield "trace", f"{self.trace:.6g}{error}"


class Curvature(_Result[Answer]):
    """Both ends of the spectrum of a network's Hessian, and what is read off them.

    See :meth:`kappa.Run.hessian`; everything else that was measured is in :meth:`to_dict`.
    """

    @property
    def largest(self) -> Doubles:
        """The largest eigenvalues, the largest first."""
        return np.array(self._record["curvature"]["largest"]["eigenvalues"])

    @property
    def lambda_min(self) -> float | None:
        """The smallest eigenvalue; ``None`` where H is known to have no negative one."""
        smallest = self._record["curvature"]["smallest"]
        return None if smallest is None else float(smallest["eigenvalues"][0])

    @property
    def negative(self) -> int:
        """So many eigenvalues at the least are negative."""
        return int(self._record["curvature"]["negative"])

    @property
    def kappa_prime(self) -> float | None:
        """lambda_1 / lambda_10."""
        return _number(self._record["curvature"]["kappa_prime"])

    @property
    def tensors(self) -> list[str]:
        """The parameters, in their order."""
        return [str(tensor["name"]) for tensor in self._record["curvature"]["tensors"]]

    @property
    def shares(self) -> Doubles:
        """Of each of the largest eigenvectors its share in each tensor: [k, tensors]."""
        return np.array(self._record["curvature"]["shares"])

    @property
    def evidence(self) -> list[Check]:
        """What was checked; empty if that was skipped."""
        evidence = self._record["evidence"]
        return [Check(**check) for check in evidence["checks"]] if evidence else []

    @property
    def trusted(self) -> bool:
        """Whether it was checked, and every check passed."""
        return self._record["evidence"] is not None and all(check.passed for check in self.evidence)

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "Hessian of", ", ".join(self.tensors)
        yield "samples", f"{self.samples}"
        yield "lambda_1", f"{self.largest[0]:.6g}"
        if self.kappa_prime is not None:
            yield "kappa'", f"{self.kappa_prime:.6g}"
        if self.lambda_min is not None:
            yield "lambda_min", f"{self.lambda_min:.6g}, {self.negative} negative at the least"
        shares = zip(self.tensors, self.shares[0])
        yield "shares of v_1", ", ".join(f"{name} {share:.2f}" for name, share in shares)
        yield "evidence", "PASS" if self.trusted else "FAIL" if self.evidence else "not checked"


def result(answer: Answer) -> Spectrum | Leading | Density | Curvature:
    """The result that an answer of the engine is."""
    if answer.kind == "spectrum":
        return Spectrum(answer)
    if answer.kind == "curvature":
        return Curvature(answer)
    return Density(answer) if json.loads(answer.record())["top"] is None else Leading(answer)


def _directions(found: dict[str, Any]) -> Directions:
    return Directions(**{name: found[name] for name in Directions.__dataclass_fields__})


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _doubles(numbers: bytes) -> Doubles:
    return np.frombuffer(numbers, np.float64)


def _matrix(numbers: bytes, rows: int) -> Doubles:
    """Of a matrix that lies column after column."""
    return _doubles(numbers).reshape(-1, rows).T
