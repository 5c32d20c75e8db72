"""Times models side by side, each in processes of its own, and says what the times are worth.

    python -m experiments.benchmark --artifact=a.tflite,b.tflite --threads=1,2 --batch=1,32
    python -m experiments.benchmark --artifact=a.tflite --runtime="litert_cpu,litert_gpu"
    python -m experiments.benchmark --render=FOLDER

The first takes turns over all files and settings, prints tables and, with `--output_dir`, writes
`benchmark.json`, `samples.json` with every raw sample, `benchmark.csv`, `benchmark.md` and a
figure. `litert_cpu` and `litert_gpu` need numpy, ai-edge-litert and this package's files alone;
where matplotlib is not installed there is no figure, and `--render` draws it elsewhere.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import flag_table
from experiments.flag_table import Flag

_LOG_SECONDS = 60.0
FLAGS = (
    Flag("artifact", "list", None, "Model files; the first is the baseline of the ratios."),
    Flag(
        "runtime",
        "list",
        "litert_cpu",
        "What executes them: litert_cpu, litert_gpu, keras, onnx, each with its options if any, "
        "such as litert_cpu(kernels=builtin).",
    ),
    Flag("threads", "list", "1", "Processor threads."),
    Flag("batch", "list", "1", "Images in one call; each has tables."),
    Flag("rounds", "count", 6, "Processes for each file and setting.", lowest=1),
    Flag("min_runs", "count", 50, "Calls in a round, at least.", lowest=1),
    Flag("min_seconds", "number", 0.5, "Measured time in a round, at least.", lowest=0),
    Flag("timeout_seconds", "number", 300.0, "A process that takes longer is killed.", lowest=1),
    Flag("inputs", "text", None, "A .npy file with the images of a call; random numbers without."),
    Flag("roofline", "switch", False, "Measure what the device can do, and each share of it."),
    Flag("profile", "switch", False, "Measure where the time goes, operator by operator."),
    Flag("output_dir", "text", None, "Where the record, tables, samples and figure go."),
    Flag("render", "text", None, "A folder of an earlier benchmark, to be shown and drawn again."),
)


def main(values: Mapping[str, Any]) -> None:
    """Measures, or shows what was measured."""
    from tfcompress import benchmark_record
    from tfcompress.report import benchmark_files

    if values["render"]:
        benchmark_files.render(benchmark_record.load(values["render"]), values["render"], print)
        return
    if values["output_dir"]:
        benchmark_files.require_folder(values["output_dir"])
    found = measure(values)
    benchmark_files.show(found.benchmark, print)
    if values["output_dir"]:
        benchmark_files.write(found.benchmark, found.samples, values["output_dir"], print)


def measure(values: Mapping[str, Any]) -> Any:
    """Runs the benchmark that the flags ask for."""
    from tfcompress.benchmark import comparing

    config = comparing.BenchmarkConfig(
        artifacts=_words("artifact", values),
        runtimes=_words("runtime", values),
        threads=_counts("threads", values),
        batches=_counts("batch", values),
        **{name: values[name] for name in ("rounds", "min_runs", "min_seconds", "inputs")},
        **{name: values[name] for name in ("timeout_seconds", "roofline", "profile")},
    )
    progress = _Progress()
    try:
        return comparing.run(config, say=progress)
    finally:
        progress.clear()


def _words(flag: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    found: Sequence[str] = values[flag] or ()
    if not found or not all(found):
        raise ValueError(f"--{flag} lacks a value. Expected one or more, separated by commas.")
    return tuple(found)


def _counts(flag: str, values: Mapping[str, Any]) -> tuple[int, ...]:
    found = []
    for word in _words(flag, values):
        try:
            found.append(int(word))
        except ValueError:
            raise ValueError(f"--{flag} takes whole numbers. Received: {word!r}.") from None
    return tuple(found)


class _Progress:
    """One line that changes, in a terminal; in a log file one a minute, with the time left."""

    def __init__(self) -> None:
        self._shown = self._started = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done <= 1:
            self._started = now
        left = (now - self._started) / max(done - 1, 1) * (total - done)
        said = f"{done}/{total}  {what}" + (f"  {left:.0f} s left" if 1 < done < total else "")
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[2K{said[:width]}", end="", file=sys.stderr, flush=True)
        elif now - self._shown >= _LOG_SECONDS:
            self._shown = now
            print(said, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Ends the line that changes."""
        if sys.stderr.isatty():
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    flag_table.start(FLAGS, main, words="Separate by commas.", summary="Times models side by side.")
