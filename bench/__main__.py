"""The benchmark: kappa beside what else computes the same, on one machine.

    python3 bench --binary target/release/kappa-bench --kappa target/release/kappa

Every answer is compared with kappa's in double precision before its time counts. The results go to
bench/results/MACHINE.json, and their tables into BENCHMARKS.md.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("the benchmark needs Python 3.10 or newer (its environment, 3.11)")
# Before the imports that would leave compiled files in the working tree.
sys.dont_write_bytecode = True

import argparse
import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environment
import machine
import tables
import works
from checks import Digest
from commands import Commands
from failure import BenchError
from measure import Measurer
from report import Report, write_tables
from sides import Side

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GROUPS = ["peak", "hessian", "eigen", "training", "network", "memory", "paper", "scaling"]
# What kappa-bench must have written MNIST's files for.
OF_MNIST = {"hessian", "eigen", "training", "network"}


def groups(text: str) -> list[str]:
    chosen = text.split(",")
    for group in chosen:
        if group not in GROUPS:
            raise argparse.ArgumentTypeError(f"{group!r} is none of {', '.join(GROUPS)}")
    return chosen


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    build = ROOT / "target" / "release"
    parser.add_argument("--binary", type=Path, default=build / "kappa-bench", help="kappa's side")
    parser.add_argument("--kappa", type=Path, default=build / "kappa", help="kappa itself")
    parser.add_argument("--python", type=Path, help="the peers' Python; nothing is installed")
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
    return given


class Benchmark:
    """One run: both sides started once, and the works in an order in which each finds what it needs."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given = given
        self.folder = folder
        self.backend = given.backend or ("wgpu" if given.gpu else "flex")
        self.chosen = [group for group in GROUPS if group in given.only and group not in given.skip]
        name = given.machine or machine.file_name(machine.cpu_model(), machine.cores())
        name += "-gpu" if given.gpu and not name.endswith("-gpu") else ""
        path = given.results / f"{name}.json"
        self.report = Report(path, given.gpu, given.threads, given.repeats)
        self.report.keep_others(self.chosen)

    def run(self) -> None:
        complete = False
        try:
            references = {}
            if OF_MNIST & set(self.chosen):
                say("inputs: from kappa-bench")
                references[works.MNIST] = self.write_inputs()
            with self.kappa_side() as kappa, self.python_side() as python:
                self.report.introduce(kappa, python)
                measurer = Measurer(kappa, python, self.given.repeats, references)
                for group in self.chosen:
                    for name, result in self.measured(group, measurer):
                        self.report.content["works"][name] = result
                        say(f"{name}: {'; '.join(map(summary, result['rows']))}")
            complete = True
        finally:
            if self.report.write(complete) and not complete:
                say(f"what was measured so far is in {self.report.path.name}, marked as incomplete")

    def kappa_side(self) -> Side:
        serve = [self.given.binary, "serve", "--inputs", self.folder, "--backend", self.backend]
        return Side("kappa", serve, self.given.threads)

    def python_side(self) -> Side:
        program = self.given.python or (sys.executable if self.given.gpu else environment.ensure())
        worker = [program, "-W", "ignore", HERE / "worker.py", "--inputs", self.folder]
        worker += ["--device", "cuda" if self.given.gpu else "cpu"]
        return Side("the peers", worker, self.given.threads)

    def measured(self, group: str, measurer: Measurer) -> Iterator[tuple[str, dict[str, Any]]]:
        gpu = self.given.gpu
        if group in ("memory", "paper"):
            out = self.folder / "commands"
            commands = Commands(self.given.kappa, ROOT, out, self.given.threads, self.backend)
            yield group, commands.memory() if group == "memory" else commands.paper()
        elif group == "scaling":
            for work in works.scaling(gpu, self.fastest(measurer.python)):
                # Written before a work and removed after it: together they are gigabytes.
                sizes = work.request["inputs"].split("-")
                measurer.references[work.answer] = self.write_inputs("--random", *sizes)
                yield work.name, measurer.measure(work)
                for array in "GP":
                    (self.folder / f"{array}-{work.request['inputs']}.npy").unlink()
        else:
            if group == "network":
                self.write_inputs("--networks", "--layer", *map(str, works.LAYER))
            for work in works.of_group(group, gpu):
                yield work.name, measurer.measure(work)

    def fastest(self, python: Side) -> list[str]:
        """The two fastest peers that were written by hand, which a grid of sizes is worth; unless
        they were measured, the two that are listed first."""
        found = self.report.content["works"].get("hessian f32" if self.given.gpu else "hessian f64", {})
        medians = {row["peer"]: row["median"] for row in found.get("rows", []) if "median" in row}
        prefixes = ("torch:",) if self.given.gpu else ("numpy:", "torch:")
        by_hand = [peer for peer in python.hello["peers"]["hessian"] if peer.startswith(prefixes)]
        return sorted(by_hand, key=lambda peer: medians.get(peer, math.inf))[:2]

    def write_inputs(self, *sizes: str) -> Digest:
        """The digest of their H in f64."""
        command = [self.given.binary, "inputs", "--out", self.folder, *sizes]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise BenchError(f"kappa-bench could not write its inputs (status {done.returncode})")
        return json.loads(done.stdout)


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
            for program in (given.binary, given.kappa):
                if not program.exists():
                    raise BenchError(f"{program} is missing: cargo build --release --workspace makes it")
            with tempfile.TemporaryDirectory(prefix="kappa-bench-") as folder:
                Benchmark(given, Path(folder)).run()
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
