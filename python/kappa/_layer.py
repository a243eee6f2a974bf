"""A last layer: its arrays, and products with its Hessian."""

from __future__ import annotations

import json
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kappa import _kappa
from kappa._arrays import ArrayLike, as_numpy, described, parts_of
from kappa._devices import prepare
from kappa._kappa import KappaError

Doubles = NDArray[np.float64]


class LastLayer:
    """A last layer's arrays, and its Hessian as a linear operator.

    :func:`kappa.hessian` and the others take it in the place of arrays, and solvers take it as it is:
    ``scipy.sparse.linalg.eigsh(layer)``. H is never formed for a product.

    Parameters
    ----------
    features, logits, probabilities, weights, labels, bias, l2, ignore_index, logits_are_meant, name
        As of :func:`kappa.hessian`.
    precision, backend
        Of its products, likewise.

    Attributes
    ----------
    shape
        (K m, K m).
    dtype
        float64, of the vectors that it multiplies.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        features: ArrayLike,
        logits: ArrayLike | None = None,
        *,
        probabilities: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        bias: bool = False,
        l2: float = 0.0,
        ignore_index: int = -100,
        logits_are_meant: bool = False,
        name: str = "layer",
        precision: str | None = None,
        backend: str = "auto",
    ) -> None:
        self.features = features
        self.logits = logits
        self.probabilities = probabilities
        self.weights = weights
        self.labels = labels
        self.bias = bias
        self.l2 = l2
        self.ignore_index = ignore_index
        self.logits_are_meant = logits_are_meant
        self.name = name
        self._precision = precision
        self._backend = backend
        self._operator: _kappa.LayerOperator | None = None

    @classmethod
    def of(cls, features: ArrayLike | LastLayer, logits: ArrayLike | None, **more: Any) -> LastLayer:
        """A layer as it is, or one of arrays."""
        if not isinstance(features, LastLayer):
            return cls(features, logits, **more)
        unsaid = {name: parameter.default for name, parameter in signature(cls).parameters.items()}

        def is_said(name: str, value: Any) -> bool:
            return value is not unsaid.get(name) and not (np.isscalar(value) and value == unsaid.get(name))

        said = [name for name, value in {"logits": logits, **more}.items() if is_said(name, value)]
        if said:
            raise KappaError(f"a LastLayer has its arrays already, and {', '.join(said)} came beside it")
        return features

    def given(self) -> _kappa._Given:
        """The arrays as the engine takes them."""

        features = parts_of(self.features, 2)
        # A list of vectors is one of rows, unless the features are in parts too.
        of_scores = 1 if len(features) > 1 else 2

        def parts(role: str, least: int) -> list[_kappa._Array] | None:
            found = getattr(self, role)
            return None if found is None else [described(part, role) for part in parts_of(found, least)]

        weights = None if self.weights is None else described(self.weights, "weights")
        return {
            "features": [described(part, "features") for part in features],
            "logits": parts("logits", of_scores),
            "probabilities": parts("probabilities", of_scores),
            "weights": weights,
            "labels": parts("labels", 1),
            "logits_are_meant": self.logits_are_meant,
            "ignore_index": self.ignore_index,
            "name": self.name,
            "l2": self.l2,
        }

    @property
    def shape(self) -> tuple[int, int]:
        """(K m, K m)."""
        classes, features = self._engine().sizes
        return classes * features, classes * features

    @property
    def samples(self) -> int:
        """Samples N, without those that are left out."""
        return self._engine().samples

    def matvec(self, vector: ArrayLike) -> Doubles:
        """H v: [K m] -> [K m], or [K m, 1] -> [K m, 1]."""
        found = as_numpy(vector, "vector")
        return self.matmat(found.reshape(-1, 1)).reshape(found.shape)

    def matmat(self, vectors: ArrayLike) -> Doubles:
        """H V: [K m, k] -> [K m, k], float64."""
        found = np.asarray(as_numpy(vectors, "vectors"), np.float64, order="F")
        size = self.shape[0]
        if found.ndim != 2 or found.shape[0] != size:
            raise KappaError(f"vectors have shape {list(found.shape)}, and [{size}, k] is multiplied")
        images = self._engine().product(described(found, "vectors"))
        return np.frombuffer(images, np.float64).reshape(found.shape[1], size).T

    # H is symmetric.
    rmatvec = matvec
    rmatmat = matmat

    def __matmul__(self, vectors: ArrayLike) -> Doubles:
        found = as_numpy(vectors, "vectors")
        return self.matvec(found) if found.ndim == 1 else self.matmat(found)

    def _engine(self) -> _kappa.LayerOperator:
        if self._operator is None:
            request = asked(bias=self.bias, precision=self._precision)
            self._operator = _kappa.LayerOperator(self.given(), request, prepare(self._backend))
        return self._operator

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_operator": None}

    def __repr__(self) -> str:
        arrays = ("features", "logits", "probabilities", "weights", "labels")
        shapes = {role: getattr(self, role) for role in arrays if getattr(self, role) is not None}
        told = ", ".join(f"{role} {list(np.shape(array))}" for role, array in shapes.items())
        return f"<LastLayer {self.name}: {told}>"


def asked(**fields: Any) -> str:
    """Fields of a request, as JSON; what is ``None`` was not said."""
    return json.dumps({name: value for name, value in fields.items() if value is not None})
