"""The benchmark: kappa beside what else computes the same, in one process on one machine.

    python3 bench --build target/release

Every answer is compared with kappa's in double precision before its time counts. The results go to
bench/results/MACHINE.json, and their tables into BENCHMARKS.md.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("the benchmark needs Python 3.10 or newer (its environment, 3.11)")
# Before the imports that would leave compiled files in the working tree.
sys.dont_write_bytecode = True

import argparse
import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine
import environment
import machine
import tables
import works
from failure import BenchError
from report import Report, write_tables

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GROUPS = [*works.OF_GROUP, "memory", "paper", "scaling"]


def groups(text: str) -> list[str]:
    chosen = text.split(",")
    for group in chosen:
        if group not in GROUPS:
            raise argparse.ArgumentTypeError(f"{group!r} is none of {', '.join(GROUPS)}")
    return chosen


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "target" / "release", help="where cargo built kappa")
    parser.add_argument("--python", type=Path, help="the Python to measure in; nothing is installed")
    parser.add_argument("--gpu", action="store_true", help="wgpu beside CUDA; nothing is installed")
    parser.add_argument("--backend", help="kappa's backend: flex, or wgpu with --gpu, if not given")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="all cores if not given")
    parser.add_argument("--repeats", type=int, default=7, help="counted runs of each peer")
    parser.add_argument("--only", type=groups, default=GROUPS, metavar="A,B", help=", ".join(GROUPS))
    parser.add_argument("--skip", type=groups, default=[], metavar="A,B")
    parser.add_argument("--machine", help="the results' name, made of the CPU's if not given")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--page", type=Path, default=ROOT / "BENCHMARKS.md", help="where tables go")
    parser.add_argument("--tables", action="store_true", help="only write the tables again")
    given = parser.parse_args()
    if given.threads < 1 or given.repeats < 1:
        parser.error("--threads and --repeats are at least 1")
    given.backend = given.backend or ("wgpu" if given.gpu else "flex")
    return given


class Benchmark:
    """One run: the works in an order in which each finds what it needs."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.program = engine.program(given.build)
        self.chosen = [group for group in GROUPS if group in given.only and group not in given.skip]
        name = given.machine or machine.file_name(machine.cpu_model(), machine.cores())
        name += "-gpu" if given.gpu and not name.endswith("-gpu") else ""
        path = given.results / f"{name}.json"
        self.report = Report(path, given.gpu, given.threads, given.repeats)
        self.report.keep_others(self.chosen)

    def run(self) -> None:
        kappa = engine.load(self.given.build)
        # Before anything computes: what computes first would start a pool of its own choice.
        kappa.Place.set_threads(self.given.threads)
        from measure import Measurer
        from peers import Context

        context = Context(self.given.threads, self.torch_device(), self.given.backend)
        measurer = Measurer(context, self.given.repeats)
        self.introduce(kappa)
        complete = False
        try:
            for group in self.chosen:
                for name, result in self.measured(group, measurer):
                    self.report.content["works"][name] = result
                    say(f"{name}: {'; '.join(map(summary, result['rows']))}")
            complete = True
        finally:
            if self.report.write(complete) and not complete:
                say(f"what was measured so far is in {self.report.path.name}, marked as incomplete")

    def torch_device(self) -> str:
        """With the threads that were asked for; those of BLAS follow the environment."""
        if importlib.util.find_spec("torch"):
            import torch

            torch.set_num_threads(self.given.threads)
        return "cuda" if self.given.gpu else "cpu"

    def introduce(self, kappa: Any) -> None:
        self.report.content["kappa"] = {
            "version": kappa.VERSION,
            # Known to whoever starts this; a build that asked git would be made anew with every commit.
            "commit": os.environ.get("KAPPA_COMMIT") or None,
            "device": kappa.Place(self.given.backend == "wgpu").name,
        }
        self.report.content["peers"] = machine.peers(self.given.gpu)

    def measured(self, group: str, measurer: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if group in ("memory", "paper"):
            from commands import Commands

            with tempfile.TemporaryDirectory(prefix="kappa-bench-") as folder:
                commands = Commands(self.program, ROOT, Path(folder), self.given.backend)
                yield group, commands.memory() if group == "memory" else commands.paper()
            return
        gpu = self.given.gpu
        for work in works.scaling(gpu, self.fastest()) if group == "scaling" else works.OF_GROUP[group](gpu):
            yield work.name, measurer.measure(work)

    def fastest(self) -> works.Peers:
        """The two fastest peers that were written by hand, which a grid of sizes is worth; unless
        they were measured, the two that are listed first."""
        found = self.report.content["works"].get("hessian f32" if self.given.gpu else "hessian f64", {})
        medians = {row["peer"]: row["median"] for row in found.get("rows", []) if "median" in row}
        prefixes = ("torch:",) if self.given.gpu else ("numpy:", "torch:")
        by_hand = [peer for peer in works.HESSIAN if peer.startswith(prefixes)]
        best = sorted(by_hand, key=lambda peer: medians.get(peer, math.inf))[:2]
        return {peer: works.HESSIAN[peer] for peer in best}


def summary(row: dict[str, Any]) -> str:
    if "median" not in row:
        return f"{row['peer']} {'error: ' + row['error'] if 'error' in row else 'not measured'}"
    times = f" (x{row['times_kappa']:.2f})" if "times_kappa" in row else ""
    return f"{row['peer']} {tables.time(row['median'])}{times}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    given = arguments()
    try:
        if not given.tables:
            if not environment.entered():
                own = given.python or (Path(sys.executable) if given.gpu else environment.ensure())
                environment.enter(own, given.threads)
            Benchmark(given).run()
        write_tables(given.results, given.page)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
