"""The tables of a benchmark, and its CSV.

Knows which figures stand in which column, and that a figure which says nothing is not shown. Needs
nothing but numpy, as the machines do that are measured. Does not know how anything was measured.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from tfcompress.benchmark_record import Benchmark, FileFacts, Row
from tfcompress.latency import Ratio
from tfcompress.report import text
from tfcompress.report.tables import Cell, Column, Table, without_empty
from tfcompress.results import Latency

NOISY = "too noisy"
REFUSED = "not measured"
# Of the spread of the outputs: beyond what half precision or rounded activations explain.
DIFFERENT = 0.1
_EMPTY = Cell(text.MISSING)
_MEBIBYTE = 2**20


def tables(found: Benchmark) -> list[Table]:
    """All tables of a benchmark: the files, and for each batch the latencies and what they take.

    Columns without any figure are left out.
    """
    shown = [_files(found.files)]
    for batch, rows in groupby(found.rows, key=lambda row: row.batch):
        group = tuple(rows)
        shown += [_latencies(found, group, batch), _beyond(found, group, batch)]
    return [without_empty(table) for table in shown]


def _files(files: Sequence[FileFacts]) -> Table:
    columns = (
        Column("file", numeric=False),
        Column("stored", "KiB"),
        Column("gzipped", "KiB"),
        Column("multiply-accumulates", "millions an image"),
        Column("parameters"),
        Column("activations at once", "KiB"),
        Column("arena", "KiB"),
    )
    rows = tuple(
        (
            Cell(each.name),
            Cell(text.kib(each.size_bytes)),
            Cell(text.kib(each.gzip_size_bytes)),
            Cell(text.MISSING if each.macs is None else f"{each.macs / 1e6:,.2f}"),
            Cell(text.count(each.parameters)),
            Cell(text.kib(each.activation_bytes)),
            Cell(text.kib(each.arena_bytes)),
        )
        for each in files
    )
    return Table("Files", columns, rows, "The first is the baseline of the ratios.")


def _latencies(found: Benchmark, rows: Sequence[Row], batch: int) -> Table:
    baseline, first = found.files[0].name, found.rows[0].runtime
    columns = (
        Column("file", numeric=False),
        Column("runtime", numeric=False),
        Column("threads"),
        Column("p50", "ms"),
        Column("p90", "ms"),
        Column("p99", "ms"),
        Column("rounds differ by", "%"),
        Column("images", "a second"),
        Column(f"times {baseline}"),
        Column(f"times {first}"),
        Column("outputs differ by"),
    )
    notes = Notes()
    cells = tuple(
        (
            *_name(row),
            Cell(str(row.threads)),
            *_percentiles(row, notes),
            _ratio(row.ratio, notes),
            _ratio(row.runtime_ratio, notes),
            _difference(row),
        )
        for row in rows
    )
    title = f"Latency, batch {batch}"
    explained = (
        "All measured in turns, in processes of their own. In brackets the interval over the "
        "rounds; a ratio is the median over the rounds of the time taken, in times of the other's."
    )
    return Table(title, columns, cells, explained, reasons=notes.reasons)


def _beyond(found: Benchmark, rows: Sequence[Row], batch: int) -> Table:
    columns = (
        Column("file", numeric=False),
        Column("runtime", numeric=False),
        Column("threads"),
        Column("import", "ms"),
        Column("load", "ms"),
        Column("first call", "ms"),
        Column("model in memory", "MiB"),
        Column("process at its peak", "MiB"),
        Column("energy a call", "mJ"),
        Column("of the roofline", "%"),
        Column("ran on", numeric=False),
    )
    cells = tuple(
        (
            *_name(row),
            Cell(str(row.threads)),
            *_starts(row.latency),
            _memory(row),
            Cell(text.mib(row.peak_memory_bytes)),
            _energy(row.latency),
            _roofline(row),
            Cell(device(row)),
        )
        for row in rows
        if row.refused is None
    )
    note = (
        "Import and load are those of the first round; the first call comes after them. "
        "A model in memory counts what loading and the first call add, and its mapped file."
    )
    return Table(f"Beyond latency, batch {batch}", columns, cells, note)


class Notes:
    """Reasons under a table, each once and numbered."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def mark(self, reason: str | None) -> str:
        """The number that stands for a reason; nothing where there is none."""
        if not reason:
            return ""
        if reason not in self._reasons:
            self._reasons.append(reason)
        return f"note {self._reasons.index(reason) + 1}"

    @property
    def reasons(self) -> tuple[str, ...]:
        """All of them, in the order of their numbers."""
        return tuple(self._reasons)


def _name(row: Row) -> tuple[Cell, Cell]:
    return Cell(row.file), Cell(row.runtime)


def _percentiles(row: Row, notes: Notes) -> tuple[Cell, ...]:
    latency = row.latency
    if latency is None:
        return (Cell(REFUSED, notes.mark(row.refused)), *[_EMPTY] * 4)
    if latency.steady is False:
        spread = Cell(text.percent(latency.spread, 1))
        return (Cell(NOISY, notes.mark(latency.reason)), _EMPTY, _EMPTY, spread, _EMPTY)
    interval = latency.interval
    ends = "" if interval is None else f"{number(interval.low)} to {number(interval.high)}"
    return (
        Cell(number(latency.p50), ends or notes.mark(latency.reason)),
        Cell(number(latency.p90)),
        Cell(number(latency.p99)),
        Cell(text.percent(latency.spread, 1) if len(latency.round_p50) > 1 else text.MISSING),
        Cell(f"{latency.images_per_second:,.0f}"),
    )


def _ratio(ratio: Ratio | None, notes: Notes) -> Cell:
    if ratio is None:
        return _EMPTY
    if ratio.steady is False:
        # What else is wrong stands at the latencies of the two.
        own = (part for part in (ratio.reason or "").split("; ") if part.startswith("the ratios"))
        return Cell(NOISY, notes.mark(next(own, None)))
    interval = ratio.interval
    ends = "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
    return Cell(f"{ratio.value:.3f}", ends)


def _difference(row: Row) -> Cell:
    outputs = row.outputs
    if outputs is None:
        return _EMPTY
    shown = (
        f"{outputs.greatest:.2g}"
        if outputs.steps is None
        else text.plural(round(outputs.steps), "step")
    )
    far = outputs.fraction > DIFFERENT
    return Cell(shown, f"{text.percent(outputs.fraction, 0)}% of their spread" if far else "")


def _starts(latency: Latency | None) -> tuple[Cell, ...]:
    if latency is None:
        return (_EMPTY,) * 3
    return tuple(
        Cell(text.milliseconds(value))
        for value in (latency.prepare, latency.load, latency.first_call)
    )


def _memory(row: Row) -> Cell:
    if row.memory is None:
        return _EMPTY
    return Cell(f"{(row.memory.anonymous + row.memory.mapped) / _MEBIBYTE:,.2f}")


def _energy(latency: Latency | None) -> Cell:
    if latency is None or latency.joules is None or latency.steady is False:
        return _EMPTY
    return Cell(f"{1000 * latency.joules:.3g}")


def _roofline(row: Row) -> Cell:
    if row.roofline is None or row.latency is None or row.latency.steady is False:
        return _EMPTY
    return Cell(text.percent(row.roofline.share, 0), f"by {row.roofline.bound}")


def device(row: Row) -> str:
    """Where a row ran, in words; a software rasterizer and operators left over are named."""
    placement = row.placement or {}
    said = str(placement.get("device_name") or placement.get("device") or text.MISSING)
    if placement.get("software"):
        said = f"software, no GPU: {said}"
    left_over = placement.get("left_over") or ()
    if left_over:
        names = ", ".join(sorted(set(left_over)))
        said += f"; {text.plural(len(left_over), 'operator')} on the processor: {names}"
    return said


def number(milliseconds: float | None) -> str:
    """Milliseconds with four digits that count, as medians of rounds differ in the third.

    Example:
      >>> number(0.012345), number(0.12345), number(12.345), number(None)
      ('0.01235', '0.1235', '12.35', '–')
    """
    if milliseconds is None:
        return text.MISSING
    digits = 5 if milliseconds < 0.1 else 4 if milliseconds < 1 else 3 if milliseconds < 10 else 2
    return f"{milliseconds:.{digits}f}"


def csv_text(found: Benchmark) -> str:
    """All rows as CSV: nothing rounded, absent is empty, `latency.steady` says what is noise."""
    facts = {each.name: each for each in found.files}
    lines = [_flat(row, facts[row.file]) for row in found.rows]
    heads = list(dict.fromkeys(head for line in lines for head in line))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _flat(row: Row, facts: FileFacts) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    whole = {"file": row.file, **_only(facts, skip=("name",))} | _only(row, skip=("file",))
    for name, value in _leaves(whole):
        flat[name] = value
    return flat


def _only(record: Any, *, skip: Sequence[str]) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in skip}


def _leaves(record: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", " ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "" if value is None else value
