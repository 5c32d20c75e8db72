"""The first process of each case: opens the model, calls it once, keeps what it gives and takes.

    found = try_in_process("a.tflite", runtime="litert_cpu", threads=1, batch=1)

Says before any measurement whether a file runs on a runtime as asked, what that takes of the
memory, what a cold start takes, and what the outputs are, so that times of other outputs can be
told.

Linux keeps the resident memory of a process by kind. *Anonymous* memory is the process's own:
activations, packed copies of the weights, the engine's records. *Mapped* memory is that of the
model file, of which LiteRT reads the weights in place; the system shares it between processes and
drops it when memory is short. Both are taken before the model is loaded, after, and after the
first call, in a fresh process that has imported the engine: Python and the engine's library are
not counted. Freed memory that the process keeps and uses again makes the growth a little too
small; memory that a call takes and gives back before it ends is not seen (the peak is, see
`resource_use`), nor what a driver holds on a GPU.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import litert, resource_use, runtimes
from tfcompress.benchmark.opening import open_and_call
from tfcompress.benchmark.process import run_in_process, serve
from tfcompress.benchmark_record import ColdStart, ModelMemory
from tfcompress.litert import TensorDetails
from tfcompress.runtimes import Placement

_MILLISECOND = 1_000_000
_MODULE = "tfcompress.benchmark.trial"


@dataclass(frozen=True)
class Trial:
    """What one call showed.

    Attributes:
      placement: where the operators run.
      outputs: as the engine gave them.
      details: shape, dtype, scale and zero point of each.
      memory: what the model and the call took; None where the system does not tell.
      cold: what they took of the time.
      input_shapes: of what it was called with.
    """

    placement: Placement
    outputs: tuple[np.ndarray, ...]
    details: tuple[TensorDetails, ...]
    memory: ModelMemory | None
    cold: ColdStart
    input_shapes: tuple[tuple[int, ...], ...] = ()


def try_in_process(
    path: str | os.PathLike[str],
    *,
    runtime: str = "litert_cpu",
    threads: int = 1,
    batch: int = 1,
    inputs: str | None = None,
    timeout_seconds: float = 300.0,
) -> Trial:
    """Opens a model and calls it once, in a process of its own.

    Args:
      path: of a file that the runtime takes.
      runtime: its name, with its options if any.
      threads: processor threads, 1 to 256.
      batch: images in one call, 1 to 65,536.
      inputs: a `.npy` file of images; None for random numbers.
      timeout_seconds: a process that takes longer is killed.

    Raises:
      MeasurementError: the runtime is not available, the model does not run so, or the process
        took too long.
    """
    asked = {"path": os.fspath(path), "runtime": runtime, "threads": threads, "batch": batch}
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs.npz"
        request = asked | {"inputs": inputs, "outputs": os.fspath(outputs)}
        reply = run_in_process(request, timeout_seconds, module=_MODULE)
        with np.load(outputs) as found:
            arrays = tuple(found[f"arr_{number}"] for number in range(len(found.files)))
    pairs = zip(arrays, reply["scales"], strict=True)
    return Trial(
        placement=Placement(**reply["placement"]),
        outputs=arrays,
        details=tuple(TensorDetails(array.shape, array.dtype, *scale) for array, scale in pairs),
        memory=None if reply["memory"] is None else ModelMemory(**reply["memory"]),
        cold=ColdStart(**reply["cold"]),
        input_shapes=tuple(map(tuple, reply["input_shapes"])),
    )


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Tries a model in this process, which has loaded none before.

    Args:
      request: what `try_in_process` was given, and `outputs`, the file to write these to.

    Returns:
      the `placement`, `scales` (scale and zero point of each output), `memory`, `cold` and
      `input_shapes` of a `Trial`.
    """
    reason = runtimes.choose(request["runtime"]).unavailable()
    if reason is not None:
        raise ValueError(f"The runtime {request['runtime']} is not available. {reason}")
    grown: dict[str, int | None] = {}

    def weigh(moment: str) -> None:
        grown[moment] = resource_use.or_none(resource_use.anonymous_bytes)

    opened = open_and_call(request, at=weigh)
    memory = _memory(request["path"], grown)
    np.savez(request["outputs"], *opened.outputs)
    times = (opened.prepare_ns, opened.load_ns, opened.first_call_ns)
    return {
        "placement": dataclasses.asdict(opened.session.placement),
        "scales": _scales(request, opened.outputs),
        "memory": None if memory is None else dataclasses.asdict(memory),
        "cold": dataclasses.asdict(ColdStart(*(each / _MILLISECOND for each in times))),
        "input_shapes": [each.shape for each in opened.inputs],
    }


def _memory(path: str, grown: Mapping[str, int | None]) -> ModelMemory | None:
    known = {moment: size for moment, size in grown.items() if size is not None}
    if len(known) < len(grown):
        return None
    return ModelMemory(
        load=known["loaded"] - known["prepared"],
        first_call=known["called"] - known["ready"],
        mapped=resource_use.mapped_bytes(path),
    )


def _scales(
    request: Mapping[str, Any], outputs: Sequence[np.ndarray]
) -> list[tuple[float | None, int]]:
    """What the file says of its outputs, whichever engine gave them."""
    path, batch = request["path"], request["batch"]
    if not path.endswith(".tflite"):
        return [(None, 0) for _ in outputs]
    length = getattr(runtimes.choose(request["runtime"]).options, "length", 0) or None
    session = litert.GraphSession(path, batch=batch, length=length, kernels="builtin")
    return [(details.scale, details.zero_point) for details in session.outputs]


if __name__ == "__main__":
    serve(answer)
