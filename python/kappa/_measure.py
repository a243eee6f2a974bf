"""Questions to the engine about a last layer."""

from __future__ import annotations

from os import PathLike
from typing import Any, TypeVar

from kappa import _kappa
from kappa._arrays import ArrayLike
from kappa._devices import prepare
from kappa._layer import LastLayer, asked
from kappa._posterior_results import Influence, Laplace
from kappa._progress import Progress, watching
from kappa._results import Curvature, Density, Directions, Leading, Spectrum, Subset, result

Kind = TypeVar("Kind")


def hessian(
    features: ArrayLike | LastLayer,
    logits: ArrayLike | None = None,
    *,
    probabilities: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    bias: bool = False,
    limit: int | None = None,
    l2: float = 0.0,
    ignore_index: int = -100,
    logits_are_meant: bool = False,
    precision: str | None = None,
    verify: bool = True,
    directions: bool = False,
    subsets: int | None = None,
    seed: int = 0,
    keep_matrix: bool = False,
    name: str = "layer",
    backend: str = "auto",
    progress: Progress = None,
) -> Spectrum:
    """The exact Hessian of the mean cross-entropy with respect to a last layer's weights, and its spectrum.

    ``H = 1/N sum_n (diag(p_n) - p_n p_n') (x) g_n g_n'``, for features ``g_n`` and probabilities ``p_n``.

    Parameters
    ----------
    features
        What the layer gets: [N, m], or [.., m] with the same dimensions of samples everywhere; float16,
        bfloat16, float32 or float64. Or a list of such arrays, parts of one along the samples; likewise
        logits, probabilities and labels. Or a :class:`LastLayer`, which has all arrays.
    logits
        What it makes of that: [N, K], or [N] of a sigmoid. -inf is a probability of zero.
    probabilities
        Their softmax, in the place of logits: rows that sum to 1 within 1e-3.
    weights
        The layer itself: [K, m]. With them the logits are checked, and :attr:`Spectrum.directions` has
        their share.
    labels
        The samples' classes: [N], integers. Samples with ``ignore_index`` are left out.
    bias
        Whether the bias is among the parameters, as the weight of a constant feature, m.
    limit
        The first so many samples alone.
    l2
        The penalty of the training, ``l2 * sum(W**2)``, which adds 2 l2 to every eigenvalue.
    logits_are_meant
        Whether logits are logits though every row of them is a distribution.
    precision
        ``"f64"`` or ``"f32"``, of the sums over samples: f64 on a CPU if not given, f32 on a GPU.
    verify
        Whether what comes out is checked.
    directions, subsets, seed
        See :func:`directions`, :func:`subsets`.
    keep_matrix
        Whether :meth:`Spectrum.save` writes H and the samples too.
    name
        What the network is called in what is told and saved.
    backend
        ``"auto"``, or one of :func:`devices`.
    progress
        ``True`` for a bar (of tqdm, if it is there), or a callable of stage, what is done, of how much.

    Returns
    -------
    Spectrum
        K m eigenvalues in float64, eigenvectors, condition numbers, zeros by reason, evidence.

    Raises
    ------
    KappaError
        If an array will not do, or the matrix does not fit into memory: the message says what and where.

    Notes
    -----
    Arrays that are contiguous, in C's or Fortran's order, and on the host are read where they lie, as
    memory-mapped and read-only ones are: in parts, and never copied whole beyond 64 MiB; others are
    copied once. None is written to, and none may be written to meanwhile.
    """
    layer = LastLayer.of(
        features,
        logits,
        probabilities=probabilities,
        weights=weights,
        labels=labels,
        bias=bias,
        l2=l2,
        ignore_index=ignore_index,
        logits_are_meant=logits_are_meant,
        name=name,
    )
    request = asked(
        bias=layer.bias,
        limit=limit,
        precision=precision,
        verify=verify,
        directions=directions or layer.labels is not None or layer.weights is not None,
        subsets=subsets,
        seed=seed,
        keep_matrix=keep_matrix,
    )
    return _expect(Spectrum, _measured(layer, request, backend, progress))


def top(
    features: ArrayLike | LastLayer,
    logits: ArrayLike | None = None,
    count: int = 10,
    *,
    limit: int | None = None,
    precision: str | None = None,
    verify: bool = True,
    backend: str = "auto",
    progress: Progress = None,
    **layer: Any,
) -> Leading:
    """The ``count`` largest eigenvalues, without forming H: for layers whose matrix would not fit.

    Parameters are those of :func:`hessian`; ``layer`` are those of :class:`LastLayer`.

    Raises
    ------
    KappaError
        As :func:`hessian`.
    """
    given = LastLayer.of(features, logits, **layer)
    request = asked(bias=given.bias, limit=limit, precision=precision, verify=verify, top=count)
    return _expect(Leading, _measured(given, request, backend, progress))


def density(
    features: ArrayLike | LastLayer,
    logits: ArrayLike | None = None,
    *,
    probes: int = 10,
    steps: int = 96,
    seed: int = 0,
    limit: int | None = None,
    precision: str | None = None,
    backend: str = "auto",
    progress: Progress = None,
    **layer: Any,
) -> Density:
    """The density of all eigenvalues, by stochastic Lanczos quadrature, without forming H.

    Parameters
    ----------
    probes, steps, seed
        Random vectors, Lanczos steps of each, and what they are drawn by.

    Others are those of :func:`hessian`; ``layer`` are those of :class:`LastLayer`.
    """
    given = LastLayer.of(features, logits, **layer)
    quadrature = {"probes": probes, "steps": steps}
    request = asked(bias=given.bias, limit=limit, precision=precision, density=quadrature, seed=seed)
    return _expect(Density, _measured(given, request, backend, progress))


def directions(
    features: ArrayLike | LastLayer, logits: ArrayLike | None = None, **more: Any
) -> Directions:
    """What lies in the space of the ten leading eigenvectors: shares of gradient and weights, and how far H
    is from a Kronecker product. Parameters are those of :func:`hessian`."""
    found = hessian(features, logits, directions=True, **more).directions
    assert found is not None, "it was asked for"
    return found


def subsets(
    features: ArrayLike | LastLayer, logits: ArrayLike | None = None, repeats: int = 5, **more: Any
) -> list[Subset]:
    """The spectra of growing random subsets, ``repeats`` of each size: how many samples it takes.
    Parameters are those of :func:`hessian`."""
    return hessian(features, logits, subsets=repeats, **more).subsets


def load(
    folder: str | PathLike[str],
) -> Spectrum | Leading | Density | Curvature | Laplace | Influence:
    """What the program, or ``save``, wrote into a folder. Of influences without the table of all of them, which
    is ``influences.npy`` there.

    Raises
    ------
    KappaError
        If there is nothing, or a file was altered: its checksum is compared.
    """
    if (posterior := _kappa.load_laplace(folder)) is not None:
        return Laplace(posterior)
    if (influences := _kappa.load_influence(folder)) is not None:
        return Influence(influences)
    return result(_kappa.load(folder))


def _measured(
    layer: LastLayer, request: str, backend: str, progress: Progress
) -> Spectrum | Leading | Density | Curvature:
    with watching(progress) as watch:
        return result(_kappa.measure_layer(layer.given(), request, prepare(backend), watch))


def _expect(kind: type[Kind], found: object) -> Kind:
    assert isinstance(found, kind), "a request is answered in its own way"
    return found

