"""Threads, Ctrl-C, progress."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import kappa


def test_threads_get_what_one_gets(rng: np.random.Generator) -> None:
    layers = [(rng.normal(size=(500, 20)), rng.normal(size=(500, 5))) for _ in range(8)]
    expected = [kappa.hessian(*layer).eigenvalues for layer in layers]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda layer: kappa.hessian(*layer).eigenvalues, layers))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected))


def test_other_threads_go_on_meanwhile(rng: np.random.Generator) -> None:
    ticks, over = 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    kappa.density(rng.normal(size=(20000, 100)), rng.normal(size=(20000, 20)), probes=3, steps=20)
    over.set()
    thread.join()
    assert ticks > 10


def test_progress_is_told_and_may_stop(rng: np.random.Generator) -> None:
    layer = rng.normal(size=(20000, 100)), rng.normal(size=(20000, 20))
    told: list[tuple[str, int, int | None]] = []
    kappa.density(*layer, probes=3, steps=40, progress=lambda *now: told.append(now))
    assert told and all(isinstance(stage, str) and done >= 0 for stage, done, _ in told)

    def enough(*_: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        kappa.density(*layer, probes=50, steps=90, progress=enough)
    # And what comes after works.
    assert kappa.top(*layer, 1).trusted


# Of some hours.
LONG = """
import signal
import numpy as np, kappa
# What a shell starts in the background ignores Ctrl-C, and so would this.
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
layer = rng.normal(size=(50000, 200)), rng.normal(size=(50000, 50))
print("begins", flush=True)
try:
    kappa.density(*layer, probes=50000, steps=96)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_stops_what_would_take_hours() -> None:
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopped\n"
        assert process.wait() == 0


FORKED = """
import os
import numpy as np, kappa
kappa.hessian(np.eye(4), 2 * np.eye(4))
child = os.fork()
if child == 0:
    try:
        kappa.hessian(np.eye(4), 2 * np.eye(4))
    except kappa.KappaError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_process_is_told_and_does_not_wait_for_ever() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    assert "spawn" in ran.stdout
