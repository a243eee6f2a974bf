"""kappa, as cargo built it: what is timed (`kappa_bench`), the package `kappa`, and the program."""

import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

from failure import BenchError

PACKAGE = Path(__file__).resolve().parent.parent / "python"
LIBRARY = {"win32": "{}.dll", "darwin": "lib{}.dylib"}.get(sys.platform, "lib{}.so")


def program(build: Path) -> Path:
    return existing(build / ("kappa.exe" if sys.platform == "win32" else "kappa"))


def load(build: Path) -> ModuleType:
    """Makes both modules known to `import`, from the folder that cargo built them in."""
    module = extension("kappa_bench", build / LIBRARY.format("kappa_bench"))
    extension("kappa._kappa", build / LIBRARY.format("_kappa"))
    # First: another version may be installed in the environment.
    sys.path.insert(0, str(PACKAGE))
    return module


def extension(name: str, path: Path) -> ModuleType:
    loader = ExtensionFileLoader(name, str(existing(path)))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[name] = module
    return module


def existing(path: Path) -> Path:
    if not path.exists():
        raise BenchError(f"{path} is missing: cargo build --release --workspace makes it")
    return path
