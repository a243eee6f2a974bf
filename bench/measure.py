"""One work, measured: all peers in turn, round by round, so that what disturbs one disturbs all."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from checks import Digest, difference
from sides import Side
from works import Request, Work

# A peer slower than this is run less often.
SLOW_S, FEWEST = 5.0, 3


@dataclass
class Row:
    """One peer's part in a work."""

    peer: str
    side: Side
    request: Request
    checked: bool
    repeats: int
    seconds: list[float] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    unavailable: str | None = None
    error: str | None = None

    @property
    def active(self) -> bool:
        return self.unavailable is None and self.error is None


class Measurer:
    """Keeps what one work leaves for the next: references, and how fast each peer was."""

    def __init__(self, kappa: Side, python: Side, repeats: int) -> None:
        self.kappa = kappa
        self.python = python
        self.repeats = repeats
        self.references: dict[str, Digest] = {}
        self.peak_gflops: dict[str, float] = {}
        # Seconds a FLOP when last measured, by peer and type: what a larger size would take.
        self.pace: dict[tuple[str, str], float] = {}

    def measure(self, work: Work) -> dict[str, Any]:
        rows = self.rows(work)
        for row in rows:
            self.warm_up(work, row)
        for _ in range(max(row.repeats for row in rows)):
            for row in rows:
                if row.active and len(row.seconds) < row.repeats:
                    self.ask(work, row)
                    if row.active:
                        row.seconds.append(row.answers[-1]["seconds"])
        for row in rows:
            require_falling_loss(row)
        if work.group == "peak":
            self.note_peak(work, rows)
        return self.result(work, rows)

    def note_peak(self, work: Work, rows: list[Row]) -> None:
        """The machine's best is the fastest peer's usual time."""
        medians = [statistics.median(row.seconds) for row in rows if row.active]
        if medians and work.flop:
            self.peak_gflops[work.precision] = work.flop / min(medians) / 1e9

    def rows(self, work: Work) -> list[Row]:
        """kappa first: its answer is what the others are held against."""
        repeats = min(self.repeats, work.repeats or self.repeats)
        named = [(self.kappa, peer) for peer in self.kappa.peers(work.key)]
        rows = [Row(peer, side, work.request | {"peer": peer}, True, repeats) for side, peer in named]
        rows += [Row(name, self.kappa, request, False, repeats) for name, request in work.beside]
        for peer in self.python.peers(work.key) if work.peers is None else work.peers:
            rows.append(Row(peer, self.python, work.request | {"peer": peer}, True, repeats))
        return rows

    def warm_up(self, work: Work, row: Row) -> None:
        """The first call, which is not counted, but tells how often the others can be made."""
        if work.limit_s and work.flop:
            expected = self.pace.get((row.peer, work.precision), 0.0) * work.flop
            if expected > work.limit_s:
                row.unavailable = f"would take about {expected:.0f} s"
                return
        start = time.perf_counter()
        self.ask(work, row)
        wall = time.perf_counter() - start
        if row.active and work.flop:
            self.pace[row.peer, work.precision] = row.answers[0]["seconds"] / work.flop
        if wall > SLOW_S:
            row.repeats = min(row.repeats, FEWEST)
        if work.limit_s and row.active and wall > work.limit_s:
            row.unavailable = f"takes longer than {work.limit_s:.0f} s"

    def ask(self, work: Work, row: Row) -> None:
        answer = row.side.ask(row.request)
        row.unavailable, row.error = answer.get("unavailable"), answer.get("error")
        if row.active and not isinstance(answer.get("seconds"), (int, float)):
            row.error = "an answer without its seconds"
        if not row.active:
            return
        if row.checked:
            self.check(work, row, answer.get("digest") or {})
        row.answers.append(answer)

    def check(self, work: Work, row: Row, digest: Digest) -> None:
        reference = self.references.get(work.answer) if work.answer else None
        try:
            row.error = difference(digest, reference, work.precision)
        except (KeyError, TypeError):
            row.error = "its digest lacks what the others' have"
        whole = "largest_difference" not in digest
        if row.active and work.answer and reference is None and whole:
            # Of kappa, unless it cannot do this work; in f64, unless nobody can.
            self.references[work.answer] = digest

    def result(self, work: Work, rows: list[Row]) -> dict[str, Any]:
        of_kappa = [row for row in rows if row.side is self.kappa and row.active and row.checked]
        base = statistics.median(of_kappa[0].seconds) if of_kappa else None
        return {
            "group": work.group,
            "title": work.title,
            "request": work.request,
            "flop": work.flop,
            "formula": work.formula,
            "bytes": work.bytes,
            "rows": [self.row(work, row, base) for row in rows],
        }

    def row(self, work: Work, row: Row, base: float | None) -> dict[str, Any]:
        if not row.active:
            reason = {"error": row.error, "unavailable": row.unavailable}
            return {"peer": row.peer} | {key: text for key, text in reason.items() if text is not None}
        median = statistics.median(row.seconds)
        # A work that is done otherwise is not charged with the count of the usual way.
        gflops = work.flop / median / 1e9 if work.flop and row.checked else None
        peak = self.peak_gflops.get(work.precision)
        marks = [answer["peak_bytes"] for answer in row.answers if answer.get("peak_bytes")]
        found = {
            "seconds": row.seconds,
            "median": median,
            "min": min(row.seconds),
            "max": max(row.seconds),
            "runs": len(row.seconds),
            "times_kappa": median / base if base else None,
            "gflops": gflops,
            "share_of_peak": gflops / peak if gflops and peak else None,
            "peak_bytes": max(marks, default=None),
            "scaled_from": row.answers[-1].get("scaled_from"),
            "note": row.answers[-1].get("note"),
        }
        return {"peer": row.peer} | {key: value for key, value in found.items() if value is not None}


def require_falling_loss(row: Row) -> None:
    """A network that does not learn was not trained, however fast."""
    losses = [answer["digest"]["loss"] for answer in row.answers if "loss" in answer.get("digest", {})]
    if row.active and len(losses) > 1 and not losses[-1] < losses[0]:
        row.error = f"the loss does not fall: {losses[0]:.4g} at first, {losses[-1]:.4g} at last"
