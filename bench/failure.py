"""The one exception that ends the benchmark with a sentence instead of a traceback."""

import re


class BenchError(Exception):
    """What went wrong, and what can be done about it, in words."""


def without_paths(text: str) -> str:
    """The first line of a message, without the folders of this machine, which are nobody's business."""
    first = (text.strip().splitlines() or ["no message"])[0]
    return re.sub(r"(?:/[\w.+~-]+){2,}/?|[A-Za-z]:\\\S+", "(path)", first)[:300]
