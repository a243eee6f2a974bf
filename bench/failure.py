"""The one exception that ends the benchmark with a sentence instead of a traceback."""


class BenchError(Exception):
    """What went wrong, and what can be done about it, in words."""
