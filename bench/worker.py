"""The peers' process: answers one request a line until its input ends, as `kappa-bench serve` does.

    python worker.py --inputs DIR --threads T [--device cpu|cuda]

Seconds are of the work alone: inputs are in memory before the clock starts, and the answer is
complete when it stops.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from peers import PEERS, prepare
from peers.task import Context, Request, Task, Unavailable

LIBRARIES = ("numpy", "scipy", "torch", "curvlinops-for-pytorch", "laplace-torch", "hessian-eigenthings")


class Worker:
    """Keeps what was prepared for a work until another work is asked for."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.work: Request | None = None
        self.tasks: dict[str, Task] = {}

    def answer(self, request: Request) -> dict[str, Any]:
        try:
            return self.measure(request)
        except Unavailable as reason:
            return {"unavailable": str(reason)}
        except Exception as error:  # A peer that fails is a row of the table, not the end of it.
            text = str(error).strip() or "no message"
            return {"error": f"{type(error).__name__}: {text.splitlines()[0]}"}

    def measure(self, request: Request) -> dict[str, Any]:
        work, peer = request | {"peer": None}, request["peer"]
        if work != self.work:
            self.work = work
            self.tasks.clear()
        if peer not in self.tasks:
            self.tasks[peer] = prepare(self.context, request)
        task = self.tasks[peer]
        self.context.synchronise()
        start = time.perf_counter()
        result = task.run()
        self.context.synchronise()
        seconds = time.perf_counter() - start
        digest = task.digest(result)
        answer = {"seconds": seconds * task.scale, "digest": digest}
        answer |= {"note": digest.pop("note")} if "note" in digest else {}
        return answer | ({"scaled_from": task.scaled_from} if task.scaled_from else {})


def hello() -> dict[str, Any]:
    """Who answers: versions, the BLAS behind numpy and scipy, and the peers by their work."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "blas": blas(),
        "peers": {work: list(peers) for work, peers in PEERS.items()},
    }


def blas() -> list[str]:
    if any(importlib.util.find_spec(name) is None for name in ("threadpoolctl", "numpy")):
        return []
    import numpy  # noqa: F401 - so that its BLAS is loaded when it is looked for.
    from threadpoolctl import threadpool_info

    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')})" for pool in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    context = Context(**vars(parser.parse_args()))
    # Answers go where standard output went; what libraries print goes to standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # torch's threads; those of BLAS follow the environment that this process was started with.
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    if torch:
        torch.set_num_threads(context.threads)
    has_gpu = torch and context.device != "cpu" and torch.cuda.is_available()
    device = torch.cuda.get_device_name() if has_gpu else None
    print(json.dumps(hello() | {"device": device}), file=answers)
    worker = Worker(context)
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
