"""What the machine was doing while something was measured on it: clocks, load, limits, GPUs.

Knows Linux' files and what NVIDIA's tool prints. Reads only: no setting of the machine is changed.
What cannot be read is None, never a made-up number. Does not know what is measured, nor what
follows for a figure. Neither NumPy nor TensorFlow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SYSTEM = Path("/sys")

# A driver that hangs must not hang the measurement.
_COMMAND_SECONDS = 10
_GPU_FIELDS = (
    "name,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,utilization.gpu,power.draw,pstate"
)


@dataclass(frozen=True)
class GpuState:
    """An NVIDIA GPU at one moment.

    Attributes:
      name: as the driver gives it.
      clock_mhz: of its processors; an idle GPU lowers it.
      most_clock_mhz: the highest that they can take.
      memory_clock_mhz: of its memory.
      temperature: degrees Celsius.
      utilization: fraction of the last second or so in which a kernel ran.
      watts: drawn at the moment.
      performance_state: `"P0"` (fastest) to `"P15"`.
    """

    name: str
    clock_mhz: float | None = None
    most_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature: float | None = None
    utilization: float | None = None
    watts: float | None = None
    performance_state: str | None = None


@dataclass(frozen=True)
class MachineState:
    """The machine at one moment, as far as this process can read it.

    Attributes:
      usable_cores: cores open to this process.
      cpu_limit: cores that its control group may keep busy, such as 1.5; None without a limit.
      governors: how the usable cores choose their clocks, each way once, such as `("powersave",)`.
      boost: whether clocks may rise above the nominal one.
      clock_mhz: lowest and highest current clock of the usable cores.
      load_average: processes that ran or waited to run, over the last minute, on the whole machine.
      busy_seconds: time in which the usable cores worked, for whomever, since the machine started.
      stolen_seconds: time in which they were ready to work and a hypervisor ran something else.
      own_seconds: processor time of this process, its ended children included.
      wall_seconds: since some moment, the same one for every process.
      heat_throttles: how often usable cores were slowed down for heat, since the start.
      limit_throttles: how often the control group reached its `cpu_limit`, since it was made.
      gpus: of NVIDIA; None where they were not asked for or cannot be read.
    """

    usable_cores: int | None = None
    cpu_limit: float | None = None
    governors: tuple[str, ...] | None = None
    boost: bool | None = None
    clock_mhz: tuple[float, float] | None = None
    load_average: float | None = None
    busy_seconds: float | None = None
    stolen_seconds: float | None = None
    own_seconds: float | None = None
    wall_seconds: float | None = None
    heat_throttles: int | None = None
    limit_throttles: int | None = None
    gpus: tuple[GpuState, ...] | None = None


@dataclass(frozen=True)
class Stretch:
    """The machine at the beginning and at the end of a piece of work of one process.

    Attributes:
      begin: before it.
      end: after it.
    """

    begin: MachineState
    end: MachineState

    @property
    def cores_of_others(self) -> float | None:
        """How many of the usable cores other processes kept busy, on average.

        Linux counts in hundredths of a second, so that over a short stretch it is rough.
        """
        parts = (self._gone("busy_seconds"), self._gone("own_seconds"), self._gone("wall_seconds"))
        if None in parts or not parts[2]:
            return None
        busy, own, wall = (part or 0.0 for part in parts)
        return max(0.0, busy - own) / wall

    @property
    def stolen_share(self) -> float | None:
        """Fraction of the usable cores' time that a hypervisor gave to others."""
        stolen, wall = self._gone("stolen_seconds"), self._gone("wall_seconds")
        if stolen is None or not wall or not self.end.usable_cores:
            return None
        return stolen / (wall * self.end.usable_cores)

    @property
    def throttled(self) -> str | None:
        """What slowed the processor down within the stretch; None where nothing is known to."""
        if self._gone("limit_throttles"):
            return "the control group's processor limit"
        return "heat" if self._gone("heat_throttles") else None

    def _gone(self, name: str) -> float | None:
        before, after = getattr(self.begin, name), getattr(self.end, name)
        return None if before is None or after is None else float(after - before)


def read(*, gpus: bool = False, proc: Path = PROC, system: Path = SYSTEM) -> MachineState:
    """Reads the machine's state; takes a few milliseconds, with GPUs up to a second.

    Args:
      gpus: whether to ask NVIDIA's tool.
      proc: where Linux shows processes and counters; for tests.
      system: where it shows devices and control groups; for tests.
    """
    cores = _usable_cores()
    folders = [system / "devices/system/cpu" / f"cpu{core}" for core in cores]
    busy, stolen = _core_seconds(proc / "stat", cores)
    groups = _groups(proc, system)
    times = os.times()
    return MachineState(
        usable_cores=len(cores) or None,
        cpu_limit=min(filter(None, map(_limit, groups)), default=None),
        governors=_distinct(_text(folder / "cpufreq/scaling_governor") for folder in folders),
        boost=_boost(system / "devices/system/cpu"),
        clock_mhz=_clocks(folders, proc / "cpuinfo", cores),
        load_average=_load_average(proc / "loadavg"),
        busy_seconds=busy,
        stolen_seconds=stolen,
        own_seconds=times.user + times.system + times.children_user + times.children_system,
        wall_seconds=times.elapsed,
        heat_throttles=_sum(
            _number(folder / "thermal_throttle/core_throttle_count") for folder in folders
        ),
        limit_throttles=_sum(_counter(group / "cpu.stat", "nr_throttled") for group in groups),
        gpus=read_gpus() if gpus else None,
    )


def _usable_cores() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 0))


def _core_seconds(path: Path, cores: Sequence[int]) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of some cores, from the lines `cpu0 user nice system idle ...`."""
    ticks = os.sysconf("SC_CLK_TCK")
    names = {f"cpu{core}" for core in cores}
    busy = stolen = 0
    found = False
    for line in (_text(path) or "").splitlines():
        name, *fields = line.split()
        if name not in names or not all(field.isdigit() for field in fields) or len(fields) < 8:
            continue
        user, nice, kernel, _idle, _waiting, interrupt, soft_interrupt, steal = map(int, fields[:8])
        busy += user + nice + kernel + interrupt + soft_interrupt
        stolen += steal
        found = True
    return (busy / ticks, stolen / ticks) if found else (None, None)


def _groups(proc: Path, system: Path) -> list[Path]:
    """The folders of the control groups that hold this process, and of those above them."""
    root = system / "fs/cgroup"
    found = []
    for line in (_text(proc / "self/cgroup") or "").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree and an empty list of controllers; version 1 a tree for each.
        top = root / "cpu" if controllers else root
        inner = top / name.strip("/")
        chain = [inner, *inner.parents]
        found += chain[: chain.index(top) + 1]
    return [folder for folder in found if folder.is_dir()]


def _limit(group: Path) -> float | None:
    quota, _, period = (_text(group / "cpu.max") or "").partition(" ")
    if not quota:
        quota = _text(group / "cpu.cfs_quota_us") or ""
        period = _text(group / "cpu.cfs_period_us") or ""
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # `max`, or no such file.
    return cores if cores > 0 else None


def _clocks(
    folders: Sequence[Path], cpuinfo: Path, cores: Sequence[int]
) -> tuple[float, float] | None:
    kilohertz = [_number(folder / "cpufreq/scaling_cur_freq") for folder in folders]
    clocks = [each / 1000 for each in kilohertz if each is not None]
    if not clocks:
        lines = (line.partition(":") for line in (_text(cpuinfo) or "").splitlines())
        every = [_as_float(value) for name, _, value in lines if name.strip() == "cpu MHz"]
        clocks = [
            clock for core in cores if core < len(every) and (clock := every[core]) is not None
        ]
    return (min(clocks), max(clocks)) if clocks else None


def _boost(folder: Path) -> bool | None:
    off, on = _number(folder / "intel_pstate/no_turbo"), _number(folder / "cpufreq/boost")
    if off is not None:
        return off == 0
    return None if on is None else on == 1


def _load_average(path: Path) -> float | None:
    fields = (_text(path) or "").split()
    return _as_float(fields[0]) if fields else None


def read_gpus() -> tuple[GpuState, ...] | None:
    """Every NVIDIA GPU by the driver's own tool; None where that is missing or fails."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_gpus(done.stdout)


def parse_gpus(text: str) -> tuple[GpuState, ...]:
    """Reads what NVIDIA's tool prints as CSV; what it cannot tell (`[N/A]`) is None.

    Args:
      text: one line a GPU, in the order of the fields of `GpuState`.

    Example:
      >>> parse_gpus("Some GPU, 1980, 1980, 2619, 41, 37, [N/A], P0")[0].utilization
      0.37
    """
    found = []
    for line in text.splitlines():
        name, *fields = (part.strip() for part in line.split(","))
        if len(fields) != _GPU_FIELDS.count(","):
            continue
        clock, most, memory, temperature, percent, watts = map(_as_float, fields[:6])
        share = None if percent is None else percent / 100
        state = fields[6] if fields[6].startswith("P") else None
        found.append(GpuState(name, clock, most, memory, temperature, share, watts, state))
    return tuple(found)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path) or ""
    return int(text) if text.isdigit() else None


def _counter(path: Path, name: str) -> int | None:
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _distinct(values: Iterable[str | None]) -> tuple[str, ...] | None:
    return tuple(sorted({value for value in values if value})) or None


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
