"""The Hessian against others that share no code with it: jax's, and numpy's explicit sum."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import explicit_sum
from hypothesis import given, settings
from hypothesis import strategies as st

import kappa

jax.config.update("jax_enable_x64", True)


def by_jax(features: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    def loss(flat: jax.Array) -> jax.Array:
        logits = features @ flat.reshape(weights.shape).T
        return -jax.nn.log_softmax(logits)[np.arange(len(labels)), labels].mean()

    return np.asarray(jax.hessian(loss)(jax.numpy.asarray(weights).ravel()))


@pytest.mark.parametrize(("N", "m", "K"), [(1, 1, 2), (7, 5, 3), (60, 13, 4), (33, 2, 11)])
def test_it_is_what_jax_differentiates(rng: np.random.Generator, N: int, m: int, K: int) -> None:
    features, weights = rng.normal(size=(N, m)), rng.normal(size=(K, m))
    labels = rng.integers(0, K, N)
    spectrum = kappa.hessian(features, features @ weights.T, weights=weights, labels=labels)
    expected = by_jax(features, weights, labels)
    scale = np.abs(expected).max()
    # Sums of N products of four numbers, in whatever order.
    assert np.abs(spectrum.matrix() - expected).max() <= 4 * (N + 4) * np.finfo(float).eps * scale * K
    assert spectrum.trusted
    # A decomposition of n rows errs by some n roundings of the largest; 1e-13 are 450 of them.
    values = np.linalg.eigvalsh(expected)[::-1]
    assert np.abs(spectrum.eigenvalues - values).max() <= 1e-13 * max(1, K * m) * values[0]
    vectors = spectrum.vectors(min(3, K * m))
    residuals = expected @ vectors - vectors * spectrum.eigenvalues[: vectors.shape[1]]
    assert np.abs(residuals).max() <= 1e-13 * max(1, K * m) * values[0]


@settings(max_examples=40, deadline=None)
@given(
    N=st.integers(1, 30),
    m=st.integers(1, 8),
    K=st.integers(2, 6),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    dead=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_it_is_the_explicit_sum_on_any_shape(
    N: int, m: int, K: int, scale: float, dead: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features, logits = rng.normal(size=(N, m)), scale * rng.normal(size=(N, K))
    if dead:
        features[:, 0] = 0.0
    spectrum = kappa.hessian(features, logits)
    expected = explicit_sum(features, logits)
    # The sum's own rounding: p_a (1 - p_a) is a difference of numbers of size 1.
    bound = 4 * (N + K + 4) * np.finfo(float).eps * max(1.0, np.abs(features).max() ** 2)
    assert np.abs(spectrum.matrix() - expected).max() <= bound
    assert spectrum.trusted, spectrum.evidence
    assert spectrum.rank <= (K - 1) * m
    assert (spectrum.eigenvalues == 0).sum() >= m
    assert np.all(np.diff(spectrum.eigenvalues) <= 0)


def test_a_sigmoid_is_a_softmax_of_two(rng: np.random.Generator) -> None:
    features, logit = rng.normal(size=(40, 3)), rng.normal(size=40)
    one = kappa.hessian(features, logit)
    p = 1 / (1 + np.exp(-logit))
    expected = np.einsum("n,ni,nj->ij", p * (1 - p), features, features) / 40
    # Means of 40 products below 2: 40 roundings of half a unit.
    assert np.abs(one.matrix() - expected).max() < 1e-14
    assert one.classes == 1


def test_a_bias_is_the_weight_of_a_constant_feature(rng: np.random.Generator) -> None:
    features, logits = rng.normal(size=(20, 3)), rng.normal(size=(20, 4))
    with_one = np.column_stack([features, np.ones(20)])
    found = kappa.hessian(features, logits, bias=True)
    assert np.array_equal(found.matrix(), kappa.hessian(with_one, logits).matrix())


def test_largest_density_directions_and_subsets_agree_with_the_whole(rng: np.random.Generator) -> None:
    features, weights = rng.normal(size=(300, 30)), rng.normal(size=(5, 30)) / 5
    labels = rng.integers(0, 5, 300)
    logits = features @ weights.T
    whole = kappa.hessian(features, logits, weights=weights, labels=labels)
    # To the residual that the search stops at, with its leeway.
    top = kappa.top(features, logits, 4)
    assert top.trusted and np.abs(top.eigenvalues - whole.eigenvalues[:4]).max() < 1e-6 * top.eigenvalues[0]
    density = kappa.density(features, logits, probes=20, steps=30)
    assert density.trace_error is not None
    # Four standard errors.
    assert abs(density.trace - whole.trace) <= 4 * density.trace_error + 1e-12
    # Of 20 random vectors of 150 numbers sqrt(2 / 3000) is 3 %, more where few eigenvalues make the mean.
    assert abs(density.mean_of(np.square) - np.mean(whole.eigenvalues**2)) < 0.2 * np.mean(whole.eigenvalues**2)
    found = kappa.directions(features, logits, weights=weights, labels=labels)
    flat, leading = weights.ravel(), whole.vectors(10)
    # Rounding turns the space by some n units of lambda_1 over the gap to the eleventh (Davis and Kahan).
    gap = whole.eigenvalues[9] - whole.eigenvalues[10]
    turned = 4 * len(flat) * np.finfo(float).eps * whole.eigenvalues[0] / gap
    share = np.sum((leading.T @ flat) ** 2) / np.sum(flat**2)
    assert found.weights_share is not None and abs(found.weights_share - share) < turned
    assert whole.directions == found
    subsets = kappa.subsets(features, logits, 2)
    # The same sums, in another order.
    assert subsets[-1].samples == 300
    assert abs(subsets[-1].lambda_1[0] - whole.eigenvalues[0]) < 1e-12


def test_labels_that_are_ignored_leave_their_samples_out(rng: np.random.Generator) -> None:
    features, logits = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    labels = rng.integers(0, 3, 30)
    kept = rng.random(30) < 0.6
    found = kappa.hessian(features, logits, labels=np.where(kept, labels, -100))
    assert found.samples == kept.sum()
    assert np.array_equal(found.matrix(), kappa.hessian(features[kept], logits[kept]).matrix())
