"""One work, measured: all peers in turn, round by round, so that what disturbs one disturbs all."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from checks import Digest, difference
from failure import without_paths
from peers import Context, Task, Unavailable, call
from works import Work

# Seconds before each turn. OpenBLAS's threads look for more work for some 25 ms before they sleep,
# and whoever is next would share its cores with them: 46 ms instead of 15 for a product.
PAUSE = 0.1


@dataclass
class Row:
    """One peer's part in a work."""

    peer: str
    where: str
    checked: bool
    task: Task | None = None
    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    note: str | None = None
    # Why there is no time, as "error" or "unavailable".
    reason: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        """Without the first call's, which warms up."""
        return self.times[1:]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Measurer:
    """Keeps what one work leaves for the next: references, and the machine's peak."""

    def __init__(self, context: Context, repeats: int) -> None:
        self.context = context
        self.repeats = repeats
        self.references: dict[str, Digest] = {}
        self.peak_gflops: dict[str, float] = {}

    def measure(self, work: Work) -> dict[str, Any]:
        if work.reference and work.answer not in self.references:
            self.references[work.answer] = call(work.reference, self.context, work)
        rows = [Row(peer, where, peer not in work.beside) for peer, where in work.peers.items()]
        for row in rows * (1 + min(self.repeats, work.repeats or self.repeats)):
            if not row.reason:
                self.turn(work, row)
        for row in rows:
            require_falling_loss(row)
        medians = [row.median for row in rows if not row.reason]
        if work.group == "peak" and medians:
            # The machine's best is the fastest peer's usual time.
            self.peak_gflops[work.precision] = work.flop / min(medians) / 1e9
        base = rows[0].median if not rows[0].reason else None
        said = ("group", "title", "precision", "flop", "formula", "bytes")
        return {name: getattr(work, name) for name in said} | {
            "rows": [self.result(work, row, base) for row in rows]
        }

    def turn(self, work: Work, row: Row) -> None:
        try:
            # Inputs are in memory before the clock starts, and the answer is complete when it stops.
            row.task = row.task or call(row.where, self.context, work)
            self.context.synchronise()
            time.sleep(PAUSE)
            start = time.perf_counter()
            result = row.task.run()
            self.context.synchronise()
            row.times.append((time.perf_counter() - start) * row.task.scale)
            digest = row.task.digest(result)
        except Unavailable as reason:
            row.reason = {"unavailable": str(reason)}
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # A peer that fails, or panics, is a row and not the end.
            row.reason = {"error": without_paths(f"{type(error).__name__}: {error}")}
        else:
            row.note = digest.pop("note", row.task.note)
            row.losses += [digest["loss"]] if "loss" in digest else []
            if row.checked:
                self.check(work, row, digest)

    def check(self, work: Work, row: Row, digest: Digest) -> None:
        try:
            wrong = difference(digest, self.references.get(work.answer), work.precision, work.sums)
        except (KeyError, TypeError):
            wrong = "its digest lacks what the others' have"
        if wrong:
            row.reason = {"error": wrong}
        elif work.answer and "largest_difference" not in digest:
            # Of kappa, unless it cannot do this work; in f64, unless nobody can.
            self.references.setdefault(work.answer, digest)

    def result(self, work: Work, row: Row, base: float | None) -> dict[str, Any]:
        if row.reason:
            return {"peer": row.peer} | row.reason
        # A work that is done otherwise is not charged with the count of the usual way.
        gflops = work.flop / row.median / 1e9 if work.flop and row.checked else None
        peak = self.peak_gflops.get(work.precision)
        found = {
            "peer": row.peer,
            "seconds": row.seconds,
            "median": row.median,
            "min": min(row.seconds),
            "max": max(row.seconds),
            "runs": len(row.seconds),
            "times_kappa": row.median / base if base else None,
            "gflops": gflops,
            "share_of_peak": gflops / peak if gflops and peak else None,
            "scaled_from": row.task.scaled_from,
            "note": row.note,
        }
        return {key: value for key, value in found.items() if value is not None}


def require_falling_loss(row: Row) -> None:
    """A network that does not learn was not trained, however fast."""
    losses = row.losses
    if not row.reason and len(losses) > 1 and not losses[-1] < losses[0]:
        row.reason = {"error": f"the loss does not fall: {losses[0]:.4g} at first, {losses[-1]:.4g} at last"}
