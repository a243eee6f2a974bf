"""What is said of the machine: enough to judge a time by, and nothing that tells whose it is."""

import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "torch", "curvlinops-for-pytorch", "laplace-torch", "hessian-eigenthings")


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    about = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", about.read_text(), re.M) if about.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def file_name(model: str, count: int) -> str:
    """The machine as a file's name, e.g. amd-epyc-2-cores."""
    words = re.sub(r"\((R|TM)\)|@.*|\b(CPU|Processor|\d+-Core)\b", " ", model, flags=re.IGNORECASE)
    words = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f"{words}-{count}-{'core' if count == 1 else 'cores'}"


def peers(gpu: bool) -> dict[str, Any]:
    """What the peers are made of: versions, the BLAS behind numpy and scipy, torch's device."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "blas": blas(), "device": cuda_device() if gpu else None}


def cuda_device() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def blas() -> list[str]:
    if importlib.util.find_spec("threadpoolctl") is None:
        return []
    import numpy  # noqa: F401 - so that its BLAS is loaded when it is looked for.
    from threadpoolctl import threadpool_info

    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')})" for pool in found]
