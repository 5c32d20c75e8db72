"""Shows a benchmark in a terminal and writes its files: record, samples, CSV, Markdown, figure.

Knows which files there are. Does not know which figures they hold. Where matplotlib is not
installed the figure is left out, and said to be.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from tfcompress import benchmark_record, durable
from tfcompress.benchmark_record import Benchmark
from tfcompress.latency import LatencySamples
from tfcompress.report import benchmark_tables, profile_tables, table_text
from tfcompress.report.tables import Table

SAMPLES = "samples.json"
CSV = "benchmark.csv"
MARKDOWN = "benchmark.md"
FIGURE = "latency.svg"

Print: TypeAlias = Callable[[str], None]


def show(found: Benchmark, print_line: Print) -> None:
    """Prints all tables as plain text."""
    width = shutil.get_terminal_size((100, 24)).columns
    print_line(machine(found))
    for table in _tables(found, slowest=0):
        print_line("")
        for line in table_text.plain_lines(table, width=width):
            print_line(line)
    for line in _notes(found):
        print_line(line)


def require_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the folder and tries it, so that nothing is measured that cannot be kept.

    Raises:
      ValueError: it cannot be made or written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"Nothing can be written into {os.fspath(folder)} ({error}). Pass another folder."
        ) from error


def write(
    found: Benchmark,
    samples: Sequence[LatencySamples],
    folder: str | os.PathLike[str],
    print_line: Print,
) -> None:
    """Writes everything into a folder, and says where it lies.

    Args:
      found: the benchmark.
      samples: of each of its rows that was measured.
      folder: made where it is missing.
      print_line: takes what there is to say.
    """
    path = benchmark_record.write(found, folder)
    measured = [row for row in found.rows if row.latency is not None]
    entries = [
        {"file": row.file, **each.to_dict()} for row, each in zip(measured, samples, strict=True)
    ]
    durable.write_json(Path(folder) / SAMPLES, entries)
    _write_shown(found, Path(folder), print_line)
    print_line(f"Record: {path}")


def render(found: Benchmark, folder: str | os.PathLike[str], print_line: Print) -> None:
    """Shows a record and writes its tables and its figure anew."""
    show(found, print_line)
    _write_shown(found, Path(folder), print_line)


def _write_shown(found: Benchmark, folder: Path, print_line: Print) -> None:
    durable.write_text(folder / CSV, benchmark_tables.csv_text(found))
    drawn = importlib.util.find_spec("matplotlib") is not None
    if drawn:
        from tfcompress.report import drawing, latency_chart

        durable.write_text(folder / FIGURE, drawing.for_file(latency_chart.svg(found)))
    else:
        print_line(f"No figure: matplotlib is not installed. --render={folder} draws it elsewhere.")
    durable.write_text(folder / MARKDOWN, "\n".join(_markdown(found, drawn=drawn)) + "\n")
    print_line(f"\nTables: {folder / MARKDOWN}")


def _markdown(found: Benchmark, *, drawn: bool) -> Iterator[str]:
    yield from ("# Benchmark", "", table_text.escape(machine(found)), "")
    if drawn:
        yield from (f"![Latency of each file and setting]({FIGURE})", "")
    for table in _tables(found, slowest=10):
        yield from (f"## {table.title}", "", *table_text.markdown_lines(table), "")
        yield from table_text.note_lines(table)
    yield from _notes(found)


def machine(found: Benchmark) -> str:
    """What it was measured on, in a sentence."""
    environment = found.environment
    processor = environment.get("processor") or {}
    packages = environment.get("packages") or {}
    named = [gpu["name"] for gpu in environment.get("gpus") or () if gpu.get("name")]
    described = [f"{processor.get('usable_cores') or '?'} cores"]
    described += processor.get("instructions") or []
    parts = [
        f"{processor.get('name') or 'unknown processor'} ({', '.join(described)})",
        *named,
        f"ai-edge-litert {packages.get('ai-edge-litert') or 'not installed'}",
        str(environment.get("platform") or ""),
    ]
    return ", ".join(part for part in parts if part) + "."


def _tables(found: Benchmark, *, slowest: int) -> Iterator[Table]:
    yield from benchmark_tables.tables(found)
    for each in found.profiles:
        yield from profile_tables.tables(each, slowest=slowest)


def _notes(found: Benchmark) -> Iterator[str]:
    yield from (f"\n{note}" for note in found.notes)
