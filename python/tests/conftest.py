"""What several tests share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# torch is large, and CI does without it.
try:
    import torch  # noqa: F401
except ImportError:
    collect_ignore = ["test_torch.py"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def program(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The program as the package installs it."""
    command = [sys.executable, "-m", "kappa._program", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def explicit_sum(features: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """H as its definition has it: 1/N sum_n (diag(p) - p p') (x) g g'."""
    p = softmax(np.float64(logits))
    g = np.float64(features)
    S = np.einsum("na,ab->nab", p, np.eye(p.shape[1])) - np.einsum("na,nb->nab", p, p)
    size = p.shape[1] * g.shape[1]
    return np.einsum("nab,ni,nj->aibj", S, g, g).reshape(size, size) / len(g)
