"""Figures on matplotlib's axes, in the look of a report's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kappa._kappa import KappaError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kappa._results import Spectrum

# Those of the report: colours that are told apart by everybody (Okabe and Ito 2008).
BLUE, VERMILION, TEXT, GRID = "#0072b2", "#d55e00", "#282828", "#e1e1e1"


def spectrum(found: Spectrum, axes: Axes | None) -> Axes:
    """All eigenvalues in the order of their size, those that are zero left out, and the rank tolerance."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise KappaError("plots need matplotlib: pip install matplotlib") from error
    if axes is None:
        axes = pyplot.subplots(figsize=(7.6, 4.6), layout="constrained")[1]
    sizes = np.sort(np.abs(found.eigenvalues))[::-1]
    sizes = sizes[sizes > 0]
    summary = found.to_dict()["spectrum"]
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.plot(np.arange(1, len(sizes) + 1), sizes, color=BLUE, linewidth=2, label="zeros left out")
    tolerance = summary["rank_tolerance"]
    if tolerance > 0:
        axes.axhline(tolerance, color=VERMILION, linestyle=":", linewidth=1.5, label="rank tolerance")
    axes.set_yscale("log")
    axes.set_xlabel("rank", color=TEXT)
    axes.set_ylabel("size of the eigenvalue", color=TEXT)
    null, name = summary["null_space"], found.to_dict()["settings"]["network"]
    axes.set_title(
        f"{name}: {null['explained']} of {summary['size']} eigenvalues are zero by structure, "
        f"{null['numerical']} more below the rank tolerance",
        color=TEXT,
        fontsize=10,
    )
    axes.legend(frameon=False)
    return axes
