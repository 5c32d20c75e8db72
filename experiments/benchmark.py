"""Times models side by side, each in processes of its own.

python -m experiments.benchmark --artifact=a.tflite,b.tflite --threads=1,2 --batch=1,32
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from absl import app, flags

from experiments import program

if TYPE_CHECKING:
    from tfcompress.benchmark import LatencyConfig, LatencySamples

# A file, the setting and what was measured.
Row: TypeAlias = "tuple[str, LatencyConfig, LatencySamples]"

FILE_NAME = "latency.json"


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_list("artifact", None, "Model files, measured side by side.", required=True)
    flags.DEFINE_list("runtime", ["litert_cpu"], "What executes them: litert_cpu, keras.")
    flags.DEFINE_list("threads", ["1"], "Processor threads; each has a table.")
    flags.DEFINE_list("batch", ["1"], "Images in one call; each has a table.")
    flags.DEFINE_integer("rounds", 5, "Processes for each file and setting.", lower_bound=1)
    flags.DEFINE_integer("min_runs", 50, "Calls in a round, at least.", lower_bound=1)
    flags.DEFINE_float("min_seconds", 0.5, "Measured time in a round, at least.", lower_bound=0)
    flags.DEFINE_string("output_dir", None, f"Where {FILE_NAME}, with every sample, is written.")


@program.entry(words="Separate by commas.")
def main() -> None:
    """Prints latency and memory, and writes every sample where asked."""
    from tfcompress import benchmark

    values = flags.FLAGS
    _require_values(values, ("artifact", "runtime", "threads", "batch"))
    configs = [
        benchmark.LatencyConfig(
            runtime=runtime,
            threads=_count("threads", threads),
            batch=_count("batch", batch),
            rounds=values.rounds,
            min_runs=values.min_runs,
            min_seconds=values.min_seconds,
        )
        for runtime, threads, batch in product(values.runtime, values.threads, values.batch)
    ]
    rows = _measure(values.artifact, configs)
    _print(rows)
    if values.output_dir:
        print(f"Samples: {_write(rows, values.output_dir)}")


def _require_values(values: flags.FlagValues, names: Sequence[str]) -> None:
    for name in names:
        if not values[name].value or not all(values[name].value):
            raise ValueError(f"--{name} lacks a value. Expected one or more, separated by commas.")


def _count(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--{flag} takes whole numbers. Received: {text!r}.") from None


def _measure(files: Sequence[str], configs: Sequence[LatencyConfig]) -> list[Row]:
    """Measures every file on each runtime that takes it; a file that none takes is refused."""
    from rich.console import Console

    from tfcompress import benchmark, runtimes
    from tfcompress.progress import Reporter

    suffixes = {c.runtime: runtimes.choose(c.runtime).suffixes for c in configs}
    known = tuple(suffix for group in suffixes.values() for suffix in group)
    for file in files:
        if not file.endswith(known):
            raise ValueError(
                f"No runtime asked for ({', '.join(suffixes)}) takes {file}. They take files that "
                f"end in {' or '.join(known)}."
            )
    rows: list[Row] = []
    reporter = Reporter(Console())
    for config in configs:
        models = {file: file for file in files if file.endswith(suffixes[config.runtime])}
        with reporter.bar(_title(config)) as step:
            samples = benchmark.measure_latency(models, config, progress=_without_name(step))
        rows += [(file, config, samples[file]) for file in models]
    return rows


def _title(config: LatencyConfig) -> str:
    return f"{config.runtime}, threads {config.threads}, batch {config.batch}"


def _without_name(step: Callable[[int, int], None]) -> Callable[[int, int, str], None]:
    return lambda done, total, _: step(done, total)


def _print(rows: Sequence[Row]) -> None:
    """Prints a table for each setting, so that what stands together was measured together."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tfcompress import benchmark

    names = _short_names({file for file, _, _ in rows})
    for config, group in groupby(rows, key=lambda row: row[1]):
        table = Table(title=_title(config), title_justify="left")
        table.add_column("model", overflow="fold")
        for column in ("p50 ms", "p90 ms", "first call ms", "load ms", "peak MiB"):
            table.add_column(column, justify="right", no_wrap=True)
        for file, _, samples in group:
            latency = benchmark.summarize(samples)
            peak = samples.peak_memory_bytes
            table.add_row(
                Text(names[file]),  # Square brackets in a plain string are markup to rich.
                *(f"{ms:.3f}" for ms in (latency.p50, latency.p90)),
                *(f"{ms or 0:.1f}" for ms in (latency.first_call, latency.load)),
                "-" if peak is None else f"{peak / 2**20:.0f}",
            )
        if config.batch > 1:
            table.caption = "peak memory is measured at batch 1"
        Console().print(table)


def _short_names(files: Iterable[str]) -> dict[str, str]:
    """The end of each path, as many folders of it as tell the files apart."""
    parts = {file: Path(file).parts for file in files}
    for count in range(1, max(map(len, parts.values())) + 1):
        short = {file: str(Path(*own[-count:])) for file, own in parts.items()}
        if len(set(short.values())) == len(short):
            return short
    return {file: file for file in parts}


def _write(rows: Sequence[Row], output_dir: str) -> Path:
    from tfcompress import benchmark, durable, environment

    path = Path(output_dir) / FILE_NAME
    entries = [
        {
            "path": file,
            "sha256": durable.sha256_of_file(file),
            "config": dataclasses.asdict(config),
            "latency_ms": dataclasses.asdict(benchmark.summarize(samples)),
            "samples": samples.to_dict(),
        }
        for file, config, samples in rows
    ]
    durable.write_json(path, {"environment": environment.collect(), "measurements": entries})
    return path


if __name__ == "__main__":
    define_flags()
    app.run(main)
