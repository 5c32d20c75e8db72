"""The first process of each case: opens the model, calls it once, keeps what it gives.

    found = try_in_process("a.tflite", runtime="litert_cpu", threads=1, batch=1)

Says before any measurement whether a file runs on a runtime as asked, what that takes of the
memory, and what the outputs are, so that times of other outputs can be told. Takes no times.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress import runtimes
from tfcompress.benchmark.inputs import make_inputs
from tfcompress.benchmark.memory import MemoryGrowth, growing
from tfcompress.benchmark.process import run_in_process, serve
from tfcompress.litert import TensorDetails

_MODULE = "tfcompress.benchmark.trial"


@dataclass(frozen=True)
class Trial:
    """What one call showed.

    Attributes:
      placement: where the operators run.
      outputs: as the engine gave them.
      details: shape, dtype, scale and zero point of each.
      memory: what the model and the call took; None where the system does not tell.
    """

    placement: runtimes.Placement
    outputs: tuple[np.ndarray, ...]
    details: tuple[TensorDetails, ...]
    memory: MemoryGrowth | None


def try_in_process(
    path: str | os.PathLike[str],
    *,
    runtime: str,
    threads: int,
    batch: int,
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
      MeasurementError: the model does not run so, or the process took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs.npz"
        request = {"path": os.fspath(path), "runtime": runtime, "threads": threads, "batch": batch}
        request |= {"inputs": inputs, "outputs": os.fspath(outputs)}
        reply = run_in_process(request, timeout_seconds, module=_MODULE)
        with np.load(outputs) as found:
            arrays = tuple(found[f"arr_{number}"] for number in range(len(found.files)))
    scales = [
        TensorDetails(a.shape, a.dtype, *q) for a, q in zip(arrays, reply["scales"], strict=True)
    ]
    memory = reply["memory"]
    return Trial(
        placement=runtimes.Placement(**reply["placement"]),
        outputs=arrays,
        details=tuple(scales),
        memory=None if memory is None else MemoryGrowth(**memory),
    )


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Tries a model in this process, which has loaded none before.

    Args:
      request: `path`, `runtime`, `threads`, `batch`, `inputs`, and `outputs`, where to write them.
    """
    engine = runtimes.choose(request["runtime"])
    reason = engine.unavailable()
    if reason is not None:
        raise ValueError(f"The runtime {request['runtime']} is not available. {reason}")
    engine.prepare(request["path"])
    with growing(request["path"]) as growth:
        session = engine.open(request["path"], threads=request["threads"], batch=request["batch"])
        growth.loaded()
        inputs = make_inputs(session.inputs, request["inputs"])
        growth.ready()
        outputs = session.run(inputs)
    np.savez(request["outputs"], *outputs)
    return {
        "placement": dataclasses.asdict(session.placement),
        "scales": [(details.scale, details.zero_point) for details in session.outputs],
        "memory": growth.found,
    }


if __name__ == "__main__":
    serve(answer)
