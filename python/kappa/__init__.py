"""The exact, proven Hessian of a network's last layer, and of all of it.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> features, logits = rng.normal(size=(500, 20)), rng.normal(size=(500, 4))
>>> spectrum = hessian(features, logits)
>>> spectrum.trusted
True
>>> len(spectrum.eigenvalues), int((spectrum.eigenvalues == 0).sum())
(80, 20)

``hessian``, ``top``, ``density``, ``directions``, ``subsets`` take a last layer's arrays, or a
:class:`LastLayer`, which :func:`last_layer` makes of a torch model. :class:`Run` is a network that kappa has
trained. :func:`laplace` puts error bars on what a last layer says of other samples, and :func:`influence`
says which training samples made that. Every function that computes lets go of the GIL, and stops at Ctrl-C.
"""

from kappa._arrays import ArrayLike
from kappa._devices import devices
from kappa._kappa import VERSION as __version__
from kappa._kappa import KappaError
from kappa._layer import LastLayer
from kappa._measure import density, directions, hessian, load, subsets, top
from kappa._posterior import influence, laplace
from kappa._posterior_results import Influence, Laplace, NotAtOptimum, Predictions
from kappa._results import Check, Curvature, Density, Directions, Leading, Spectrum, Subset
from kappa._run import Run
from kappa._torch import last_layer

__all__ = [
    "ArrayLike",
    "Check",
    "Curvature",
    "Density",
    "Directions",
    "Influence",
    "KappaError",
    "Laplace",
    "LastLayer",
    "Leading",
    "NotAtOptimum",
    "Predictions",
    "Run",
    "Spectrum",
    "Subset",
    "__version__",
    "density",
    "devices",
    "directions",
    "hessian",
    "influence",
    "laplace",
    "last_layer",
    "load",
    "subsets",
    "top",
]
