"""One work, measured: all peers in turn, round by round, so that what disturbs one disturbs all."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from checks import Digest, difference
from sides import Side
from works import Request, Work, key

# Seconds before each request. OpenBLAS's threads look for more work for some 25 ms before they sleep,
# and whoever is asked next would share its cores with them: 46 ms instead of 15 for a product.
PAUSE = 0.1


@dataclass
class Row:
    """One peer's part in a work."""

    peer: str
    side: Side
    request: Request
    checked: bool = True
    answers: list[dict[str, Any]] = field(default_factory=list)
    # Why there is no time, as "error" or "unavailable".
    reason: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        """Without the first call's, which warms up."""
        return [answer["seconds"] for answer in self.answers[1:]]


class Measurer:
    """Keeps what one work leaves for the next: references, and the machine's peak."""

    def __init__(self, kappa: Side, python: Side, repeats: int, references: dict[str, Digest]) -> None:
        self.kappa = kappa
        self.python = python
        self.repeats = repeats
        self.references = references
        self.peak_gflops: dict[str, float] = {}

    def measure(self, work: Work) -> dict[str, Any]:
        rows = self.rows(work)
        repeats = min(self.repeats, work.repeats or self.repeats)
        for row in rows * (1 + repeats):
            if not row.reason:
                self.ask(work, row)
        for row in rows:
            require_falling_loss(row)
        medians = [statistics.median(row.seconds) for row in rows if not row.reason]
        if work.group == "peak" and medians:
            # The machine's best is the fastest peer's usual time.
            self.peak_gflops[work.precision] = work.flop / min(medians) / 1e9
        of_kappa = [row for row in rows if row.side is self.kappa and row.checked and not row.reason]
        base = statistics.median(of_kappa[0].seconds) if of_kappa else None
        said = ("group", "title", "request", "flop", "formula", "bytes")
        return {name: getattr(work, name) for name in said} | {
            "rows": [self.result(work, row, base) for row in rows]
        }

    def rows(self, work: Work) -> list[Row]:
        """kappa first: its answer is what the others are held against."""
        rows = [Row("kappa", self.kappa, work.request)]
        if work.beside:
            name, request = work.beside
            rows.append(Row(name, self.kappa, request, checked=False))
        peers = self.python.hello["peers"][key(work.request)] if work.peers is None else work.peers
        return rows + [Row(peer, self.python, work.request | {"peer": peer}) for peer in peers]

    def ask(self, work: Work, row: Row) -> None:
        time.sleep(PAUSE)
        answer = row.side.ask(row.request)
        row.answers.append(answer)
        row.reason = {name: answer[name] for name in ("error", "unavailable") if name in answer}
        if row.checked and not row.reason:
            try:
                wrong = difference(
                    answer["digest"], self.references.get(work.answer), work.precision, work.sums
                )
            except (KeyError, TypeError):
                wrong = "its digest lacks what the others' have"
            if wrong:
                row.reason = {"error": wrong}
            elif work.answer and "largest_difference" not in answer["digest"]:
                # Of kappa, unless it cannot do this work; in f64, unless nobody can.
                self.references.setdefault(work.answer, answer["digest"])

    def result(self, work: Work, row: Row, base: float | None) -> dict[str, Any]:
        if row.reason:
            return {"peer": row.peer} | row.reason
        median = statistics.median(row.seconds)
        # A work that is done otherwise is not charged with the count of the usual way.
        gflops = work.flop / median / 1e9 if work.flop and row.checked else None
        peak = self.peak_gflops.get(work.precision)
        found = {
            "peer": row.peer,
            "seconds": row.seconds,
            "median": median,
            "min": min(row.seconds),
            "max": max(row.seconds),
            "runs": len(row.seconds),
            "times_kappa": median / base if base else None,
            "gflops": gflops,
            "share_of_peak": gflops / peak if gflops and peak else None,
            "scaled_from": row.answers[-1].get("scaled_from"),
            "note": row.answers[-1].get("note"),
        }
        return {key: value for key, value in found.items() if value is not None}


def require_falling_loss(row: Row) -> None:
    """A network that does not learn was not trained, however fast."""
    losses = [answer["digest"]["loss"] for answer in row.answers if "loss" in answer.get("digest", {})]
    if not row.reason and len(losses) > 1 and not losses[-1] < losses[0]:
        row.reason = {"error": f"the loss does not fall: {losses[0]:.4g} at first, {losses[-1]:.4g} at last"}
