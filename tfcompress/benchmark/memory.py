"""The measuring process of memory: what loading a model and calling it once adds to a process.

    grown = memory_in_process("a.tflite", runtime="litert_cpu", threads=1, batch=1)
    python -m tfcompress.benchmark.memory < request.json

Linux keeps the resident memory of a process by kind. *Anonymous* memory is the process's own:
activations, packed copies of the weights, the engine's records. *Mapped* memory is that of the
model file, of which LiteRT reads the weights in place; the system shares it between processes and
drops it when memory is short. Both are taken before the model is loaded, after, and after the
first call, in a fresh process that has imported the engine: Python and the engine's library are
not counted. Freed memory that the process keeps and uses again makes the growth a little too
small; memory that a call takes and gives back before it ends is not seen (the peak is, see
`resource_use`), nor what a driver holds on a GPU. Imports no TensorFlow unless the runtime needs
it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import runtimes
from tfcompress.benchmark.process import run_in_process, serve
from tfcompress.litert import check_counts
from tfcompress.random_inputs import random_values

_MODULE = "tfcompress.benchmark.memory"
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class MemoryGrowth:
    """What a model adds to a process; the module's docstring says what is counted.

    Attributes:
      runtime: what executed the model.
      threads: processor threads.
      batch: images in one call.
      load_bytes: growth of anonymous memory by loading.
      first_call_bytes: its growth by the first call, the call's inputs excluded.
      mapped_bytes: resident memory of the model file after the first call; 0 for a runtime that
        reads the file into memory of its own.
    """

    runtime: str
    threads: int
    batch: int
    load_bytes: int
    first_call_bytes: int
    mapped_bytes: int

    @property
    def anonymous_bytes(self) -> int:
        """Growth of anonymous memory in all."""
        return self.load_bytes + self.first_call_bytes

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return dataclasses.asdict(self) | {"anonymous_bytes": self.anonymous_bytes}


def memory_in_process(
    path: str | os.PathLike[str],
    *,
    runtime: str = "litert_cpu",
    threads: int = 1,
    batch: int = 1,
    timeout_seconds: float = 300.0,
) -> MemoryGrowth:
    """Measures what a model adds to a process, in a process of its own.

    Args:
      path: of a file that the runtime takes.
      runtime: its name, with its options if any.
      threads: processor threads, 1 to 256.
      batch: images in one call, 1 to 65,536.
      timeout_seconds: a process that takes longer is killed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown runtime, or a count out of range.
      MeasurementError: the process failed, took too long, or the system does not tell.
    """
    runtimes.choose(runtime)
    check_counts(threads=threads, batch=batch)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"No model file at {os.fspath(path)}.")
    asked = {"runtime": runtime, "threads": threads, "batch": batch}
    reply = run_in_process(asked | {"path": os.fspath(path)}, timeout_seconds, module=_MODULE)
    fields = {field.name for field in dataclasses.fields(MemoryGrowth)}
    return MemoryGrowth(**{name: value for name, value in reply.items() if name in fields})


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measures a model in this process, which has loaded none before.

    Args:
      request: `path`, `runtime`, `threads` and `batch`.

    Returns:
      the record of a `MemoryGrowth`.
    """
    engine = runtimes.choose(request["runtime"])
    engine.prepare(request["path"])
    before = anonymous_bytes()
    session = engine.open(request["path"], threads=request["threads"], batch=request["batch"])
    loaded = anonymous_bytes()
    inputs = [random_values(details.dtype, details.shape) for details in session.inputs]
    ready = anonymous_bytes()
    outputs = session.run(inputs)
    called = anonymous_bytes()
    del outputs
    return MemoryGrowth(
        runtime=request["runtime"],
        threads=request["threads"],
        batch=request["batch"],
        load_bytes=loaded - before,
        first_call_bytes=called - ready,
        mapped_bytes=mapped_bytes(request["path"]),
    ).to_dict()


def anonymous_bytes(process: Path = _PROCESS) -> int:
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


def mapped_bytes(path: str | os.PathLike[str], process: Path = _PROCESS) -> int:
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


if __name__ == "__main__":
    serve(answer)
