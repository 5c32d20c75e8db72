"""The measuring process of a profile: which operator takes how much of a call, on the processor.

    profile = profile_in_process("a.tflite", ProfileConfig(threads=1))
    python -m tfcompress.benchmark.profiling < request.json

Recorded calls and plain ones take turns, so that the sum of the operators can be held against the
whole call; the machine's state is kept with them. Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import file_graph, flatbuffer, machine_state, operator_profile, registry
from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.process import MeasurementError, run_in_process, serve
from tfcompress.benchmark.timing import warm_up
from tfcompress.litert import check_counts
from tfcompress.litert_profiling import (
    DELEGATE_OPERATOR,
    DELEGATE_PROFILED_OPERATOR,
    KERNELS,
    OPERATOR,
    Event,
    ProfiledModel,
    unavailable,
)
from tfcompress.machine_state import Stretch
from tfcompress.operator_profile import OperatorProfile, OperatorTime

_MODULE = "tfcompress.benchmark.profiling"
_CALL = "Invoke"  # How LiteRT calls its own event around the operators.


@dataclass(frozen=True)
class ProfileConfig:
    """How to profile a file.

    Attributes:
      kernels: `"xnnpack"`, LiteRT's default, whose rows are XNNPACK's own operators, or
        `"builtin"`, whose rows are the file's operators.
      threads: processor threads, 1 to 256.
      batch: images in one call, 1 to 65,536.
      warmup_runs: calls before the measured ones, besides the cold first call; at least 1. More
        follow until their times settle, within the bounds of a `LatencyConfig`.
      runs: recorded calls, and as many plain ones.
      timeout_seconds: a process that takes longer is killed.

    Raises:
      ValueError: an unknown kind of kernels, or a number out of range.
    """

    kernels: str = "xnnpack"
    threads: int = 1
    batch: int = 1
    warmup_runs: int = 10
    runs: int = 50
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        registry.require(self.kernels, KERNELS, what="kind of kernels with a profile")
        check_counts(
            threads=self.threads, batch=self.batch, warmup_runs=self.warmup_runs, runs=self.runs
        )
        if self.timeout_seconds <= 0:
            raise ValueError(
                "ProfileConfig.timeout_seconds must be greater than 0. "
                f"Received: {self.timeout_seconds}."
            )


def profile_in_process(
    path: str | os.PathLike[str], config: ProfileConfig | None = None
) -> OperatorProfile:
    """Profiles a file in a process of its own.

    Args:
      path: of a TFLite file.
      config: how; the defaults of `ProfileConfig` where None.

    Raises:
      FileNotFoundError: there is no such file.
      MeasurementError: there is no profile on this machine, LiteRT refuses the file, or the
        process failed or took too long.
    """
    config = config or ProfileConfig()
    if not os.path.isfile(path):
        raise FileNotFoundError(f"No TFLite file at {os.fspath(path)}.")
    reason = unavailable()
    if reason is not None:
        raise MeasurementError(reason)
    request = dataclasses.asdict(config) | {"path": os.fspath(path)}
    reply = run_in_process(request, config.timeout_seconds, module=_MODULE)
    return operator_profile.from_dict(reply)


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Profiles a file in this process.

    Args:
      request: the fields of `ProfileConfig` and `path`.

    Returns:
      the record of an `OperatorProfile`.
    """
    recorded, plain = [], []
    with ProfiledModel(
        request["path"],
        threads=request["threads"],
        batch=request["batch"],
        kernels=request["kernels"],
    ) as model:
        bounds = LatencyConfig()
        # Before the warm-up: over a shorter stretch it is rough what others took.
        begin = machine_state.read()
        warmed = warm_up(
            model.call,
            min_runs=request["warmup_runs"],
            max_runs=max(request["warmup_runs"], bounds.max_warmup_runs),
            max_seconds=bounds.max_warmup_seconds,
        )
        for _ in range(request["runs"]):
            before = time.perf_counter_ns()
            model.call()
            plain.append((time.perf_counter_ns() - before) / 1000)
            recorded.append(model.record())
        stretch = Stretch(begin, machine_state.read())
    operators = operator_times(recorded, file_outputs(request["path"]), kernels=request["kernels"])
    return OperatorProfile(
        kernels=request["kernels"],
        threads=request["threads"],
        batch=request["batch"],
        operators=operators,
        recorded_us=tuple(float(_whole(call)) for call in recorded),
        plain_us=tuple(plain),
        machine=stretch,
        stable=warmed.stable,
    ).to_dict()


def file_outputs(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Name and first output of each operator of a file's main graph.

    Raises:
      ValueError: no TFLite file or a damaged one, or signatures that run several graphs.
    """
    model = flatbuffer.parse(Path(path).read_bytes(), source=os.fspath(path))
    graph = file_graph.main_graph(model, source=os.fspath(path))
    found = []
    for name, operator in flatbuffer.named_operators(model, graph):
        made = [int(index) for index in operator.outputs if index >= 0]
        output = flatbuffer.text(graph.tensors[made[0]].name) if made else ""
        found.append((name, output or f"#{made[0] if made else -1}"))
    return found


def operator_times(
    calls: Sequence[Sequence[Event]], outputs: Sequence[tuple[str, str]], *, kernels: str
) -> tuple[OperatorTime, ...]:
    """Brings the events of several calls together, operator by operator.

    Args:
      calls: the events of each.
      outputs: name and output of each operator of the file.
      kernels: of the calls.

    Raises:
      RuntimeError: calls that ran other operators than the first, or none.
    """
    kinds = (OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED_OPERATOR)
    picked = [[event for event in call if event.type in kinds] for call in calls]
    plans = {tuple((event.tag, event.type, event.index) for event in call) for call in picked}
    if len(plans) != 1 or not picked[0]:
        raise RuntimeError(
            f"LiteRT's profiler recorded {len(plans)} different orders of operators in "
            f"{len(calls)} calls, of {min(map(len, picked))} to {max(map(len, picked))} operators. "
            "Expected the same operators in each call."
        )
    return tuple(
        OperatorTime(
            name=events[0].tag,
            index=index,
            output=_output(events[0], outputs),
            engine=_engine(events[0], kernels),
            samples_us=tuple(event.elapsed_us for event in events),
        )
        for index, events in enumerate(zip(*picked, strict=True))
    )


def _output(event: Event, outputs: Sequence[tuple[str, str]]) -> str | None:
    if event.type != OPERATOR or event.index >= len(outputs):
        return None
    name, output = outputs[event.index]
    return output if name == event.tag else None


def _engine(event: Event, kernels: str) -> str:
    if event.type == OPERATOR and event.tag != "DELEGATE":
        return "builtin"
    return "xnnpack" if kernels == "xnnpack" else "delegate"


def _whole(call: Sequence[Event]) -> int:
    whole = [event.elapsed_us for event in call if event.tag == _CALL and event.type == 1]
    if len(whole) != 1:
        raise RuntimeError(
            f"LiteRT's profiler recorded {len(whole)} events of a whole call. Expected one: the "
            "file may call other graphs, which is not known here."
        )
    return whole[0]


if __name__ == "__main__":
    serve(answer)
