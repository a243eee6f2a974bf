"""Error bars on what a last layer says, and the training samples that made it."""

from __future__ import annotations

import math
import warnings

from kappa import _kappa
from kappa._arrays import ArrayLike, described, parts_of
from kappa._devices import prepare
from kappa._kappa import KappaError
from kappa._layer import LastLayer, asked
from kappa._posterior_results import Influence, Laplace, NotAtOptimum
from kappa._progress import Progress, watching


def laplace(
    features: ArrayLike | LastLayer,
    logits: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    bias: bool = False,
    delta: float | None = None,
    newton: bool = False,
    draws: int = 1000,
    seed: int = 0,
    top: int | None = None,
    test_features: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    other_features: ArrayLike | None = None,
    limit: int | None = None,
    ignore_index: int = -100,
    logits_are_meant: bool = False,
    precision: str | None = None,
    name: str = "layer",
    backend: str = "auto",
    progress: Progress = None,
) -> Laplace:
    """The posterior of a last layer's weights by Laplace's method with the exact Hessian: error bars on what
    it says of other samples.

    The weights get a Gaussian of precision ``N H + delta I`` about them. It is a posterior at the optimum of
    ``sum_n l_n + delta / 2 |W|**2`` alone: weights that are none are told by :class:`kappa.NotAtOptimum`, a
    warning, and by :attr:`Laplace.passed`.

    Parameters
    ----------
    features, logits
        As of :func:`kappa.hessian`, logits finite ones. Or a :class:`LastLayer`, which has all arrays.
    labels
        The samples' classes: [N], integers.
    weights
        The layer itself: [K, m]. Its bias is what the logits have beside ``W g``.
    bias
        Whether the bias is among the weights, as that of a constant feature, m.
    delta
        The precision of the prior on each weight; that which makes the marginal likelihood largest if not
        given.
    newton
        Whether Newton's method goes to the optimum first.
    draws, seed
        Draws of each sample's logits, and what they are drawn by.
    top
        So many leading eigenpairs and the prior elsewhere, without ever forming H: variances are then too
        large rather than too small, and the marginal likelihood has bounds, the lower of which chooses
        delta.
    test_features, test_labels
        Test samples: [T, m], and their classes [T] if they are known. Those with the label -100 are left out.
    other_features
        Samples of another kind, [T, m], to be told from the test samples.
    limit, ignore_index, logits_are_meant, precision, name, backend, progress
        As of :func:`kappa.hessian`.

    Returns
    -------
    Laplace
        The posterior, its marginal likelihood, and :attr:`Laplace.test` and :attr:`Laplace.other`:
        covariances of logits, probabilities by five methods, scores.

    Raises
    ------
    KappaError
        As :func:`kappa.hessian`; if labels or weights are missing, other samples are of another layer, or no
        delta makes the marginal likelihood largest.
    """
    layer = LastLayer.of(
        features,
        logits,
        weights=weights,
        labels=labels,
        bias=bias,
        ignore_index=ignore_index,
        logits_are_meant=logits_are_meant,
        name=name,
    )
    others = [_others("test", test_features, test_labels), _others("other", other_features)]
    of_layer = asked(bias=layer.bias, limit=limit, precision=precision)
    of_posterior = asked(delta=_positive(delta), newton=newton, draws=draws, seed=seed, top=top)
    sets = [found for found in others if found is not None]
    with watching(progress) as watch:
        answer = _kappa.laplace_layer(layer.given(), sets, of_layer, of_posterior, prepare(backend), watch)
    found = Laplace(answer)
    _warn(found._not_at_optimum())
    return found


def influence(
    features: ArrayLike | LastLayer,
    logits: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    test_features: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    *,
    delta: float = 1.0,
    bias: bool = False,
    newton: bool = False,
    most: int = 10,
    check: int = 10,
    seed: int = 0,
    plant: float = 0.0,
    top: int | None = None,
    table: bool = False,
    limit: int | None = None,
    ignore_index: int = -100,
    logits_are_meant: bool = False,
    precision: str | None = None,
    name: str = "layer",
    backend: str = "auto",
    progress: Progress = None,
) -> Influence:
    """What leaving out each training sample does to the losses of test samples: by one exact Newton step of
    the last layer without it.

    It is so at the optimum of ``sum_n l_n + delta / 2 |W|**2`` alone: weights that are none are told by
    :class:`kappa.NotAtOptimum`, a warning, and by :attr:`Influence.passed`.

    Parameters
    ----------
    features, logits, labels, weights, bias, newton
        As of :func:`kappa.laplace`.
    test_features, test_labels
        Test samples: [T, m], and their classes: [T]. Those with the label -100 are left out.
    delta
        The precision of the prior on each weight: N times the damping of the mean loss's Hessian.
    most
        So many most helpful and most harmful training samples of each test sample.
    check
        So many training samples are left out for real, and prediction and truth held together; none with
        ``top``.
    seed
        What those are chosen by, and the labels that are made wrong.
    plant
        The share of labels that are made wrong first, to be found, up to a half; Newton's method then goes to
        the optimum.
    top
        So many leading eigenpairs to start conjugate gradients from, without ever forming H: to first order,
        and without self-influences.
    table
        Whether all influences are kept, [T, N].
    limit, ignore_index, logits_are_meant, precision, name, backend, progress
        As of :func:`kappa.hessian`.

    Raises
    ------
    KappaError
        As :func:`kappa.laplace`; if there are no test samples, or they have no labels.
    """
    layer = LastLayer.of(
        features,
        logits,
        weights=weights,
        labels=labels,
        bias=bias,
        ignore_index=ignore_index,
        logits_are_meant=logits_are_meant,
        name=name,
    )
    if not 0.0 <= plant <= 0.5:
        raise KappaError(f"plant is {plant}, and a share from 0 to 0.5 of the labels can be made wrong")
    test = _others("test", test_features, test_labels)
    of_layer = asked(bias=layer.bias, limit=limit, precision=precision)
    of_influence = asked(
        delta=_positive(delta),
        newton=newton,
        most=most,
        checked=check,
        seed=seed,
        planted=float(plant),
        top=top,
    )
    with watching(progress) as watch:
        answer = _kappa.influence_layer(
            layer.given(), test, of_layer, of_influence, table, prepare(backend), watch
        )
    found = Influence(answer)
    _warn(found._not_at_optimum())
    return found


def _others(
    name: str, features: ArrayLike | None, labels: ArrayLike | None = None
) -> _kappa._Others | None:
    """Other samples as the engine takes them."""
    if features is None:
        if labels is not None:
            raise KappaError(f"{name}_labels came without {name}_features")
        return None
    given = [described(part, f"{name}_features") for part in parts_of(features, 2)]
    if labels is None:
        return {"name": name, "features": given, "labels": None}
    of_labels = [described(part, f"{name}_labels") for part in parts_of(labels, 1)]
    return {"name": name, "features": given, "labels": of_labels}


def _positive(delta: float | None) -> float | None:
    if delta is None:
        return None
    if not 0.0 < delta < math.inf:
        raise KappaError(f"delta is {delta}, and the precision of a prior is a number above 0")
    return float(delta)


def _warn(wrong: str | None) -> None:
    """At the line that called the function that calls this."""
    if wrong is not None:
        warnings.warn(f"the weights are NOT AT AN OPTIMUM: {wrong}", NotAtOptimum, stacklevel=3)
