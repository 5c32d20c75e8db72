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
from tfcompress.roofline import Peaks

NOISY = "too noisy"
REFUSED = "not measured"
_EMPTY = Cell(text.MISSING)
_MEBIBYTE = 2**20
# Of the spread of the outputs, in percent; less is the order in which engines add.
_TELLING = 0.1
# What many rows have alike, though the figures in it differ a little, and how it reads once.
_ALIKE = {
    "other processes kept": (
        "other processes had cores that the threads could have used: measure on an idle machine"
    ),
    " rounds disagree": "the rounds disagree, over the range that stands with it",
}


def tables(found: Benchmark) -> list[Table]:
    """All tables of a benchmark: the files, and for each batch the latencies and what they take.

    Columns without any figure are left out.
    """
    shown = [_files(found.files)]
    for batch, rows in groupby(found.rows, key=lambda row: row.batch):
        group = tuple(rows)
        shown += [_latencies(group, batch), _compared(found, group, batch), _beyond(group, batch)]
    if found.peaks:
        shown.append(_ceilings(found.peaks))
    kept = [without_empty(table) for table in shown]
    return [table for table in kept if any(column.numeric for column in table.columns)]


def _ceilings(peaks: Sequence[Peaks]) -> Table:
    columns = (
        Column("runtime", numeric=False),
        Column("threads"),
        Column("float32", "billion MACs/s"),
        Column("int8", "billion MACs/s"),
        Column("copy in cache", "GB/s"),
        Column("copy in memory", "GB/s"),
    )
    rows = tuple(
        (
            Cell(each.runtime),
            Cell(str(each.threads)),
            *(_billions(each.macs_per_second.get(kind)) for kind in ("float32", "int8")),
            *(_billions(each.bytes_per_second[place][1]) for place in (0, -1)),
        )
        for each in peaks
    )
    return Table("What the device can do", columns, rows, "The ceilings of the roofline.")


def _billions(value: float | None) -> Cell:
    return _EMPTY if value is None else Cell(f"{value / 1e9:.1f}")


def _files(files: Sequence[FileFacts]) -> Table:
    columns = (
        Column("file", numeric=False),
        Column("stored", "KiB"),
        Column("gzipped", "KiB"),
        Column("MACs an example", "millions"),
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


def _latencies(rows: Sequence[Row], batch: int) -> Table:
    columns = (
        Column("file", numeric=False),
        Column("runtime", numeric=False),
        Column("threads"),
        Column("p50", "ms"),
        Column("p90", "ms"),
        Column("p99", "ms"),
        Column("rounds differ by", "%"),
        Column("examples", "a second"),
    )
    notes = Notes()
    cells = tuple(
        (
            *_name(row),
            Cell(str(row.threads)),
            *_percentiles(row, notes),
        )
        for row in rows
    )
    title = f"Latency, batch {batch}"
    explained = (
        "All measured in turns, in processes of their own. With a figure stands its "
        f"{_confidence(rows)} over the rounds, with what is too noisy the range of the rounds."
    )
    return Table(title, columns, cells, explained, reasons=notes.reasons)


def _compared(found: Benchmark, rows: Sequence[Row], batch: int) -> Table:
    first = found.settings["runtimes"][0]
    columns = (
        Column("file", numeric=False),
        Column("runtime", numeric=False),
        Column("threads"),
        Column("times the baseline's"),
        Column(f"times {first}'s"),
        Column(f"outputs differ from {first}'s by"),
    )
    cells = tuple(
        (
            *_name(row),
            Cell(str(row.threads)),
            _ratio(row.ratio, row.ratio_to),
            _ratio(row.runtime_ratio),
            _difference(row),
        )
        for row in rows
        if row.ratio or row.runtime_ratio or row.outputs
    )
    note = (
        f"The time taken, in times of that of {found.files[0].name} and of the same file on "
        f"{first}, with the same threads and batch, round by round; with it, its interval or, of "
        "what is too noisy, the range of the rounds."
    )
    return Table(f"Compared, batch {batch}", columns, cells, note)


def _confidence(rows: Sequence[Row]) -> str:
    known = [row.latency.interval for row in rows if row.latency and row.latency.interval]
    return f"{100 * known[0].confidence:.0f}% interval" if known else "interval"


def _beyond(rows: Sequence[Row], batch: int) -> Table:
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
            *_starts(row),
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
        "Import (without numpy), load and first call are those of the very first process; with "
        "them, what later ones took, with the file in memory and a GPU's shaders in its driver's "
        "cache. A model in memory counts what loading and the first call add, and its mapped file."
    )
    return Table(f"Beyond latency, batch {batch}", columns, cells, note)


class Notes:
    """Reasons under a table, each once and numbered; the same one of many rows with its range."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def mark(self, *reasons: str | None) -> str:
        """The numbers that stand for reasons; nothing for none."""
        numbers = sorted({self._number(one) for one in reasons if one})
        return f"note {' '.join(map(str, numbers))}" if numbers else ""

    def _number(self, reason: str) -> int:
        said = next((said for part, said in _ALIKE.items() if part in reason), reason)
        if said not in self._reasons:
            self._reasons.append(said)
        return self._reasons.index(said) + 1

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
        rounds = f"{number(min(latency.round_p50))} to {number(max(latency.round_p50))}"
        spread = Cell(text.percent(latency.spread, 1))
        # `latency.summarize` joins them so.
        marks = notes.mark(*(latency.reason or "").split("; "))
        noisy = Cell(NOISY, ", ".join(filter(None, (rounds, marks))))
        return (noisy, _EMPTY, _EMPTY, spread, _EMPTY)
    interval = latency.interval
    ends = "" if interval is None else f"{number(interval.low)} to {number(interval.high)}"
    return (
        Cell(number(latency.p50), ends or notes.mark(latency.reason)),
        Cell(number(latency.p90)),
        Cell(number(latency.p99)),
        Cell(text.percent(latency.spread, 1) if len(latency.round_p50) > 1 else text.MISSING),
        Cell(f"{latency.images_per_second:,.0f}"),
    )


def _ratio(ratio: Ratio | None, to: str = "") -> Cell:
    if ratio is None:
        return _EMPTY
    # What is wrong stands at the latencies of the two.
    ends = (min(ratio.rounds), max(ratio.rounds)) if ratio.steady is False else None
    if ratio.interval is not None and ends is None:
        ends = (ratio.interval.low, ratio.interval.high)
    shown = "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
    value = NOISY if ratio.steady is False else f"{ratio.value:.3f}"
    return Cell(value, ", ".join(filter(None, (shown, to and f"of {to}"))))


def _difference(row: Row) -> Cell:
    outputs = row.outputs
    if outputs is None:
        return _EMPTY
    if outputs.greatest is None or outputs.fraction is None:
        return Cell("NaN or infinity")
    shown = f"{outputs.greatest:.2g}"
    if outputs.steps is not None:
        shown = text.plural(round(outputs.steps), "step")
    fraction = 100 * outputs.fraction
    return Cell(shown, f"{fraction:.2g}% of spread" if fraction >= _TELLING else "")


def _starts(row: Row) -> tuple[Cell, ...]:
    cold, warm = row.cold, row.latency
    if cold is None or warm is None:
        return (_EMPTY,) * 3
    pairs = ((cold.load, warm.load), (cold.first_call, warm.first_call))
    return (
        Cell(text.milliseconds(cold.prepare)),
        *(
            Cell(text.milliseconds(first), "" if later is None else text.milliseconds(later))
            for first, later in pairs
        ),
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
    """All rows as CSV: nothing rounded, absent is empty, `latency.steady` says what is noise.

    A column with no figure at all is left out.
    """
    facts = {each.name: each for each in found.files}
    lines = [_flat(row, facts[row.file]) for row in found.rows]
    # A group that is absent in one row and there in another has columns for its fields alone.
    heads = list(dict.fromkeys(head for line in lines for head in line if line[head] != ""))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, heads, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _flat(row: Row, facts: FileFacts) -> dict[str, Any]:
    whole = {"file": row.file, **_only(facts, skip=("name",))} | _only(row, skip=("file",))
    return dict(_leaves(whole))


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
