"""Results on disk: a JSON file a machine, and their tables in BENCHMARKS.md."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import machine
import tables
from failure import BenchError


class Report:
    """What one run has measured so far."""

    def __init__(self, path: Path, gpu: bool, threads: int, repeats: int) -> None:
        self.path = path
        # Whether what is kept of an earlier run is all that was asked for then.
        self.was_complete = True
        self.content: dict[str, Any] = {
            "complete": False,
            "date": datetime.date.today().isoformat(),
            "gpu": gpu,
            "machine": {
                "cpu": machine.cpu_model(),
                "cores": machine.cores(),
                "memory_bytes": machine.memory_bytes(),
                "system": f"{platform.system()} {platform.machine()}",
            },
            "threads": threads,
            "repeats": repeats,
            "works": {},
        }

    def keep_others(self, groups: list[str]) -> None:
        """Takes over what an earlier run left of other groups, with the day and the version it is of."""
        earlier = json.loads(self.path.read_text()) if self.path.exists() else {"works": {}}
        others = {name: work for name, work in earlier["works"].items() if work["group"] not in groups}
        if not others:
            return
        same = [earlier[name] == self.content[name] for name in ("gpu", "threads")]
        same += [earlier["machine"][name] == self.content["machine"][name] for name in ("cpu", "cores")]
        if not all(same):
            raise BenchError(f"{self.path.name} is of another machine, or of other threads: --machine")
        of = {"date": earlier["date"], "kappa": earlier.get("kappa", {})}
        self.content["works"] = {name: {"of": of} | work for name, work in others.items()}
        self.was_complete = earlier["complete"]

    def write(self, complete: bool) -> bool:
        """At once or not at all; and not over an older file before there is anything to say."""
        if not self.content["works"]:
            return False
        self.content["complete"] = complete and self.was_complete
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(self.content, indent=1) + "\n")
        return True


def write_tables(results: Path, page: Path) -> None:
    """Puts each machine's tables between its marks; what stands outside of them is kept."""
    text = page.read_text() if page.exists() else "# Benchmarks\n"
    for path in sorted(results.glob("*.json")):
        try:
            table = tables.of_machine(path.stem, json.loads(path.read_text()))
        except json.JSONDecodeError as error:
            raise BenchError(f"{path.name} is not JSON: {error}") from error
        start, end = f"<!-- bench:{path.stem} -->", f"<!-- /bench:{path.stem} -->"
        before, found, rest = text.partition(start)
        _, found_end, after = rest.partition(end)
        if found and not found_end:
            raise BenchError(f"{start} has no {end} after it")
        if not found:
            before, after = f"{text.rstrip()}\n\n", "\n"
        text = f"{before}{start}\n{table}\n{end}{after}"
    write_whole(page, text)


def write_whole(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    os.replace(beside, path)
