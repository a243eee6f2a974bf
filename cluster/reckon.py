"""What a product with H, and a search for leading eigenvalues, cost beyond what was measured: docs/scale.md.

    python cluster/reckon.py            the tables
    python cluster/reckon.py --check    beside what was measured on the machine whose numbers stand below

A product of one vector with the Hessian of a last layer over N samples of m features and K classes is two products
of matrices, 4 N m K operations, whatever the processes; each process does its share of them, reads what of its share
is not in memory, and takes part in one sum of K m numbers along a binary tree and back. What a search does with its
basis every process does alike.
"""

import math
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """One process's part of a machine."""

    name: str
    #: Operations a second of a product in f32.
    flops: float
    #: Bytes a second of its memory, of its file system, and between two processes.
    memory: float
    disk: float
    network: float
    #: Bytes that it may have.
    room: float


@dataclass(frozen=True)
class Layer:
    """A last layer in f32."""

    name: str
    samples: int
    features: int
    classes: int

    @property
    def size(self) -> int:
        return self.features * self.classes

    @property
    def bytes(self) -> int:
        return 4 * self.samples * (self.features + self.classes)


#: Directions of the basis that a search goes through at each step, on the average.
BASIS = 25
#: Numbers of K m that a product and a step of a search make, read and copy beside, each of 8 bytes.
COPIES = 10
#: Directions that a search for ten eigenvalues has in memory.
DIRECTIONS = 102

# As measured: two cores of an Intel Xeon, one process of two threads; and of one each.
TWO_CORES = Machine("two cores", 171e9, 16e9, 1.5e9, 2e9, 16e9)
IN_PARTS = Machine("two cores, 1.7 GB", 171e9, 16e9, 1.5e9, 2e9, 1.7e9)
ONE_CORE = Machine("one core", 97e9, 16e9, 0.75e9, 2e9, 16e9)
# From data sheets, not measured: a socket of a server with 32 cores; an H100, whose f32 without tensor cores is meant.
SOCKET = Machine("32 cores", 2e12, 150e9, 2e9, 12e9, 128e9)
GPU = Machine("H100", 40e12, 2.5e12, 4e9, 25e9, 70e9)

IMAGENET = Layer("ImageNet, m = 2048", 1_281_167, 2048, 1000)
HEAD = Layer("a language model's head", 1_000_000, 4096, 128_000)


def product(layer: Layer, machine: Machine, processes: int) -> dict[str, float]:
    """Seconds of a product, by what they go to, and bytes read and sent by each process."""
    share = layer.bytes / processes
    kept = max(0.0, machine.room - DIRECTIONS * 8 * layer.size)
    read = max(0.0, share - kept)
    sent = 2 * math.ceil(math.log2(processes)) * 8 * layer.size if processes > 1 else 0
    compute = 4 * layer.samples * layer.size / processes / machine.flops
    basis = (2 * BASIS + COPIES) * 8 * layer.size / machine.memory
    # The next part is read while the last is computed with.
    of_samples = max(compute, read / machine.disk)
    seconds = of_samples + basis + sent / machine.network
    return {"seconds": seconds, "samples": of_samples, "basis": basis, "sums": sent / machine.network,
            "read": read, "sent": sent}


def table(layer: Layer, machine: Machine) -> None:
    directions = DIRECTIONS * 8 * layer.size
    print(f"\n{layer.name}: K m = {layer.size:.3g}, {layer.bytes / 1e9:.3g} GB of samples, "
          f"{4 * layer.samples * layer.size / 1e12:.3g} TFLOP a product; a basis of {directions / 1e9:.3g} GB "
          f"in every process; {machine.name} a process\n")
    print("| processes | s a product | of samples | basis | sums | GB read | GB sent | efficiency |")
    print("|---|---|---|---|---|---|---|---|")
    one = product(layer, machine, 1)["seconds"]
    for processes in (1, 4, 16, 64, 256, 1024):
        found = product(layer, machine, processes)
        efficiency = one / processes / found["seconds"]
        print(f"| {processes} | {found['seconds']:.3g} | {found['samples']:.3g} | {found['basis']:.3g} | "
              f"{found['sums']:.3g} | {found['read'] / 1e9:.3g} | {found['sent'] / 1e9:.3g} | {efficiency:.0%} |")
    if directions > machine.room:
        print(f"\n(The basis alone does not fit into {machine.room / 1e9:.0f} GB: this is out of reach as it is.)")


#: Samples, processes, machine of each, seconds a product: m = 2048, K = 1000, f32.
MEASURED = [
    (8_000, 1, TWO_CORES, 0.444),
    (25_000, 1, TWO_CORES, 1.25),
    (50_000, 1, TWO_CORES, 2.48),
    (50_000, 1, IN_PARTS, 2.64),
    (25_000, 1, ONE_CORE, 2.16),
    (25_000, 2, ONE_CORE, 1.24),
]


def check() -> None:
    print("| samples | processes | each on | measured, s a product | reckoned |  |\n|---|---|---|---|---|---|")
    for samples, processes, machine, seconds in MEASURED:
        found = product(Layer("", samples, 2048, 1000), machine, processes)["seconds"]
        apart = f"{found / seconds - 1:+.0%}"
        print(f"| {samples:,} | {processes} | {machine.name} | {seconds:.3g} | {found:.3g} | {apart} |")


if sys.argv[1:] == ["--check"]:
    check()
else:
    for of in (IMAGENET, HEAD):
        for by in (SOCKET, GPU):
            table(of, by)
