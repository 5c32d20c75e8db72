"""What a stretch of work takes of the machine: memory at its peak, energy where it is counted.

Knows Linux' peak of a process, the energy counters of processors (RAPL) and of NVIDIA GPUs (NVML).
A counter counts its whole device, whoever uses it. Does not know what is measured. No TensorFlow.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
RAPL = Path("/sys/class/powercap")
PROCESS = Path("/proc/self")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_memory_bytes() -> int:
    """The greatest resident size that this process has had, since `reset_peak_memory` if it worked.

    Linux keeps it for the program (`VmHWM`). There `ru_maxrss` also counts what the parent held
    when it started this process, which in a parent with TensorFlow is far more than the model; it
    serves on other systems.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory() -> bool:
    """Makes the peak start anew from what the process holds now; False where that cannot be done.

    Linux since 4.0 does it for a process that writes 5 to its `clear_refs`.
    """
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def anonymous_bytes(process: Path = PROCESS) -> int:
    """Resident memory of this process that no file stands behind.

    Args:
      process: its folder under `/proc`; for tests.

    Raises:
      OSError: the system does not tell; Linux since 4.5 does.
    """
    found = re.search(r"^RssAnon:\s+(\d+) kB", _read(process / "status"), re.MULTILINE)
    if found is None:
        raise OSError(
            f"{process / 'status'} has no RssAnon. The growth of memory is known on Linux only."
        )
    return int(found[1]) * 1024


def mapped_bytes(path: str | os.PathLike[str], process: Path = PROCESS) -> int:
    """Resident memory of this process that a file stands behind.

    Args:
      path: of the file.
      process: its folder under `/proc`; for tests.
    """
    wanted = os.path.realpath(path)
    total, inside = 0, False
    for line in _read(process / "smaps").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            # Address, rights, offset, device, inode, and the path, which may hold spaces.
            inside = line.split(maxsplit=5)[5:] == [wanted]
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise OSError(
            f"{path} cannot be read ({error}). The growth of memory is known on Linux only."
        ) from error


@dataclass(frozen=True)
class Counter:
    """A counter of energy.

    Attributes:
      name: such as `"package-0"`.
      read: gives joules, rising; any error where it cannot be read any more.
      wraps_at: joules at which it starts from 0 again; None for one that does not.
      gpu: the name of the GPU that it counts, as its driver gives it; None for another device.
    """

    name: str
    read: Callable[[], float]
    wraps_at: float | None = None
    gpu: str | None = None

    def since(self, before: float) -> float:
        """Joules since it stood at `before`, if it has wrapped once at most."""
        now = self.read()
        wrapped = now < before and self.wraps_at is not None
        return now - before + (self.wraps_at or 0.0 if wrapped else 0.0)


def find_counters(rapl: Path = RAPL) -> tuple[Counter, ...]:
    """Every counter that this process may read; empty on most virtual machines and for most users.

    Reads alone, and changes no setting. Linux lets only root read a processor's counters since 5.10
    (the energy betrays what others compute). AMD's processors from Zen on are listed by the same
    driver, under the same `intel-rapl` names. A package of several dies counts each by itself.

    Args:
      rapl: where Linux lists the processor's counters; for tests.
    """
    return (*_processors(rapl), *_gpus())


def without_other_gpus(counters: Sequence[Counter], name: str | None) -> tuple[Counter, ...]:
    """The counters, of GPUs only that of the one in use; none of a GPU where several may be it.

    Args:
      counters: of one machine.
      name: of the GPU in use, as its driver gives it; None where it is not known.
    """
    own = [counter for counter in counters if counter.gpu and name in (counter.gpu, None)]
    return tuple(counter for counter in counters if counter.gpu is None or own == [counter])


def _processors(rapl: Path) -> list[Counter]:
    # The packages, `intel-rapl:0`, hold the domains below them, `intel-rapl:0:0`; a `psys` beside
    # them counts the whole platform, and `intel-rapl-mmio:0` the same package once more.
    found = []
    for folder in sorted(rapl.glob("*-rapl:*")):
        if folder.name.count(":") != 1:
            continue

        def read(path: Path = folder / "energy_uj") -> float:
            return int(path.read_text(encoding="ascii")) / 1e6

        try:
            read()
            name = (folder / "name").read_text(encoding="ascii").strip()
            largest = int((folder / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
        except (OSError, ValueError):
            continue
        if name.startswith("package"):
            found.append(Counter(name, read, largest))
    return found


def _gpus() -> list[Counter]:
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        names = [_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except Exception:
        # No library, no driver, a GPU without a counter: NVML has an error class for each.
        return []

    def reader(handle: object) -> Callable[[], float]:
        return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3

    pairs = enumerate(zip(handles, names, strict=True))
    return [Counter(f"gpu-{index}", reader(handle), gpu=name) for index, (handle, name) in pairs]


def _text(name: str | bytes) -> str:
    # Bytes in nvidia-ml-py before 12.
    return name.decode() if isinstance(name, bytes) else name


class Meter:
    """Measures memory and energy from `start` to `stop`.

    Args:
      counters: of energy; None takes all that can be read.

    Example:
      >>> meter = Meter(counters=())
      >>> meter.start()
      >>> sorted(meter.stop()) in ([], ["peak_memory_bytes"])
      True
    """

    def __init__(self, counters: tuple[Counter, ...] | None = None) -> None:
        self._counters = find_counters() if counters is None else counters
        self._before: list[float] | None = None
        self._memory = False

    def start(self) -> None:
        """Begins a stretch."""
        self._memory = reset_peak_memory()
        self._before = or_none(lambda: [counter.read() for counter in self._counters])

    def stop(self) -> Mapping[str, float]:
        """Ends it.

        Returns:
          `peak_memory_bytes`, the greatest resident size of this process within the stretch, and
          `energy_joules` of all counters together; what cannot be measured here is left out.
        """
        found: dict[str, float] = {}
        if self._memory:
            found["peak_memory_bytes"] = float(peak_memory_bytes())
        joules = or_none(self._joules) if self._counters and self._before is not None else None
        if joules is not None:
            found["energy_joules"] = joules
        return found

    def _joules(self) -> float:
        pairs = zip(self._counters, self._before or (), strict=True)
        return sum(counter.since(before) for counter, before in pairs)


def or_none(read: Callable[[], T]) -> T | None:
    """What a counter says; None where it fails, so that no training ends for lack of a figure."""
    try:
        return read()
    except Exception:  # A file that went away, or one of NVML's own classes.
        return None
