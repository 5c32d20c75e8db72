"""Whether the benchmark's medians are those of timers that share nothing with it.

    found = measure({"resnet8": "resnet8-int8.tflite"}, AgreementConfig())
    for line in table_lines(found):
        print(line)

Two others time the same file on the processor, in turn with the benchmark. A plain loop over
LiteRT's interpreter reads the coarse side of a clock: one reading before and one after a block of
calls, of the machine's raw oscillator, divided by their count; none of this package's code runs
between. LiteRT's own benchmark tool, where the wheel has it, goes by another interface of the
engine; it writes medians to 0.01 ms, and its time holds no reading of the outputs. Does not know
other devices than the processor.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress import benchmark, latency, own_process
from tfcompress.benchmark import LatencyConfig, MeasurementError
from tfcompress.litert import check_counts

TOOL = "ai_edge_litert.tools.benchmark_litert_model"

_TIMEOUT_SECONDS = 300.0
_NANOSECONDS = 1_000_000_000
# A block lasts so long, or so many calls: the clock's readings are nothing beside it, and where
# others have the processor now and then, for some 4 ms each time, most blocks are free of it.
_BLOCK_SECONDS = 0.002
_BLOCK_CALLS = 4
_FEWEST_BLOCKS = 5


@dataclass(frozen=True)
class AgreementConfig:
    """What is measured.

    Attributes:
      threads: processor threads, 1 to 256.
      repeats: how often every timer has its turn on every file.
      seconds: of warm calls at each turn, after as many for warming up.

    Raises:
      ValueError: a count out of range, or no time.
    """

    threads: int = 1
    repeats: int = 7
    seconds: float = 1.0

    def __post_init__(self) -> None:
        check_counts(threads=self.threads, repeats=self.repeats)
        if self.seconds <= 0:
            raise ValueError(
                f"AgreementConfig.seconds must be greater than 0. Received: {self.seconds}."
            )


@dataclass(frozen=True)
class Agreement:
    """What the timers say of one file, in milliseconds, one value for each repeat.

    Attributes:
      model: its name.
      ours: the benchmark's medians.
      loop: of the plain loop.
      tool: of LiteRT's own tool; empty where the wheel has none.
    """

    model: str
    ours: tuple[float, ...]
    loop: tuple[float, ...]
    tool: tuple[float, ...] = ()

    def ratio(self, other: str) -> float | None:
        """Median over the repeats of ours by another timer's; None where it has no values.

        Args:
          other: `"loop"` or `"tool"`.
        """
        values: tuple[float, ...] = getattr(self, other)
        if not values:
            return None
        return statistics.median(a / b for a, b in zip(self.ours, values, strict=True))


def measure(
    models: Mapping[str, str | os.PathLike[str]],
    config: AgreementConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Agreement, ...]:
    """Times every file with every timer, in turns, each in a process of its own.

    Args:
      models: name and `.tflite` file of each.
      config: how; the defaults where None.
      progress: told how many turns are done, and of how many.

    Raises:
      FileNotFoundError: a file is not there.
      MeasurementError: a process failed or took too long.
    """
    config = config or AgreementConfig()
    timers = {"ours": _ours, "loop": _loop}
    if importlib.util.find_spec("ai_edge_litert.tools"):
        timers |= {"tool": _tool}
    turns = [
        (model, timer)
        for number in range(config.repeats)
        for model in models
        for timer in benchmark.turn_order(tuple(timers), number)
    ]
    found: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
    for done, (model, timer) in enumerate(turns, start=1):
        found[model, timer].append(timers[timer](os.fspath(models[model]), config))
        if progress is not None:
            progress(done, len(turns))
    return tuple(
        Agreement(model, **{timer: tuple(found[model, timer]) for timer in timers})
        for model in models
    )


def table_lines(found: tuple[Agreement, ...]) -> list[str]:
    """A Markdown table: medians over the repeats, and ours as a multiple of each other timer's."""
    lines = [
        "| model | ours, ms | plain loop, ms | ours / loop | LiteRT's tool, ms | ours / tool |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        cells = [each.model, _shown(each.ours)]
        for other in ("loop", "tool"):
            ratio = each.ratio(other)
            cells += [_shown(getattr(each, other)), "-" if ratio is None else f"{ratio:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _shown(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.3f}" if values else "-"


def _ours(path: str, config: AgreementConfig) -> float:
    settings = LatencyConfig(
        threads=config.threads,
        rounds=1,
        min_seconds=config.seconds,
        max_runs=1_000_000,
        timeout_seconds=_TIMEOUT_SECONDS + config.seconds,
    )
    return latency.summarize(benchmark.measure_latency({"model": path}, settings)["model"]).p50


def _loop(path: str, config: AgreementConfig) -> float:
    request = {"path": path, "threads": config.threads, "seconds": config.seconds}
    limit = _TIMEOUT_SECONDS + 2 * config.seconds
    return float(benchmark.run_in_process(request, limit, module=__name__)["milliseconds"])


def _tool(path: str, config: AgreementConfig) -> float:
    """As many calls as the plain loop would make, by LiteRT's own tool."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        for runs in (20, None):
            # The first time tells how many calls fill the seconds.
            count = runs or _calls(record, config.seconds)
            options = [f"--model={path}", f"--num_threads={config.threads}"]
            options += [f"--num_runs={count}", f"--warmup_runs={count}", f"--result_json={record}"]
            try:
                own_process.run_module(
                    TOOL, *options, timeout_seconds=_TIMEOUT_SECONDS + 4 * config.seconds
                ).check_returncode()
            except subprocess.SubprocessError as error:
                raise MeasurementError(f"LiteRT's tool failed on {path}: {error}") from error
        return _median_ms(record)


def _calls(record: Path, seconds: float) -> int:
    return max(20, round(seconds * 1e3 / max(_median_ms(record), 0.01)))


def _median_ms(record: Path) -> float:
    return float(json.loads(record.read_text(encoding="utf-8"))["latency"]["median_ms"])


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Times a file by a plain loop over blocks of calls, in this process.

    Args:
      request: `path`, `threads` and `seconds`.

    Returns:
      `milliseconds` of a call: the median over the blocks of their means.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=request["path"], num_threads=request["threads"])
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    images = np.random.default_rng(1).integers(0, 100, source["shape"]).astype(source["dtype"])
    place, output = source["index"], target["index"]

    def block(calls: int) -> int:
        start = time.clock_gettime_ns(_CLOCK)
        for _ in range(calls):
            interpreter.set_tensor(place, images)
            interpreter.invoke()
            interpreter.get_tensor(output)
        return time.clock_gettime_ns(_CLOCK) - start

    spent, calls = 0, 0
    while spent < request["seconds"] * _NANOSECONDS:
        spent += block(1)
        calls += 1
    length = max(_BLOCK_CALLS, round(_BLOCK_SECONDS * _NANOSECONDS * calls / spent))
    count = max(_FEWEST_BLOCKS, round(calls / length))
    means = [block(length) / length for _ in range(count)]
    return {"milliseconds": statistics.median(means) / 1e6}


# Linux' raw one is not steered by any time server; perf_counter, which the benchmark reads, is.
_CLOCK = getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)


if __name__ == "__main__":
    benchmark.serve(answer)
