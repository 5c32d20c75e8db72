"""Renders a run folder as Markdown and as one self-contained HTML page, with figures.

Reads `results.json` and the stored predictions, nothing else: a report can be made again on a
machine with no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfcompress.report.contents import Contents
    from tfcompress.report.figures import Drawn
    from tfcompress.report.tables import Table


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies.

    Attributes:
      markdown: `report.md`, which shows the figure files.
      html: `report.html`, which needs no other file.
      figures: the SVG files, in reading order.
      tables: CSV files with the figures behind the report, unrounded.
    """

    markdown: Path
    html: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...] = ()


def render(run_dir: str | os.PathLike[str]) -> ReportPaths:
    """Writes the report of a finished run into its folder; one that stands there is replaced.

    Args:
      run_dir: a run folder with `results.json` and the predictions that it names, or the folder of
        a search with `search.json`.

    Raises:
      RunFolderError: the folder is missing, unfinished, foreign, or its files do not fit together.
      OSError: the folder cannot be written.
    """
    # Imported here, so that a program answers `--help`, and a folder that is no run, without
    # matplotlib.
    from tfcompress import search_record

    if search_record.is_in(run_dir):
        return _render_search(run_dir)
    from tfcompress.report import run as run_module

    run = run_module.load(run_dir)
    from tfcompress.report import contents, csv_files, figures

    parts, drawn = contents.contents(run), figures.draw_all(run)
    return _write(Path(run_dir), parts, drawn, csv=csv_files.tables(run))


def _render_search(folder: str | os.PathLike[str]) -> ReportPaths:
    from tfcompress.report import search, search_figures

    record = search.load(folder)
    parts, drawn = search.contents(record), search_figures.draw_all(record)
    return _write(Path(folder), parts, drawn, csv={})


def compare(
    run_dirs: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]
) -> ReportPaths:
    """Writes one report on several finished runs of the same test split.

    Runs that differ in their seed alone are averaged and paired by seed. Others stand side by side,
    every file against the first run's baseline.

    Args:
      run_dirs: at least two run folders.
      output_dir: where the report goes; one that stands there is replaced.

    Raises:
      RunFolderError: a folder that no report can be made of, or other test examples.
      ValueError: fewer than two runs, a seed twice, or files of other names.
    """
    from tfcompress.report import run as run_module

    if len(run_dirs) < 2:
        raise ValueError(f"A comparison needs at least two runs. Received: {len(run_dirs)}.")
    _require_own_folder(output_dir)
    runs = [run_module.load(run_dir, judge=False) for run_dir in run_dirs]
    run_module.require_same_test(runs)
    from tfcompress.report import figures, repetitions, seeds, side_by_side

    if seeds.only_seeds_differ([run.results for run in runs]):
        parts, drawn = repetitions.contents(runs), figures.draw_repetitions(runs)
    else:
        parts, drawn = side_by_side.contents(runs), figures.draw_comparison(runs)
    return _write(Path(output_dir), parts, drawn, csv={})


def compared(run_dirs: Sequence[str | os.PathLike[str]]) -> Table:
    """The main table of `compare`, with nothing written.

    Repetitions need no more of a run folder than its `results.json`.

    Raises:
      RunFolderError, ValueError: as `compare`.
    """
    from tfcompress.report import run as run_module
    from tfcompress.report import seeds, side_by_side

    bare = [run_module.bare(run_dir) for run_dir in run_dirs]
    run_module.require_same_test(bare)
    found = [run.results for run in bare]
    if len(found) < 2 or seeds.only_seeds_differ(found):
        return seeds.across_seeds(found)
    runs = [run_module.load(run_dir, judge=False) for run_dir in run_dirs]
    return side_by_side.contents(runs).files


def _require_own_folder(output_dir: str | os.PathLike[str]) -> None:
    """Refuses a place that holds anything but an earlier comparison."""
    folder = Path(output_dir)
    if not str(output_dir) or folder.is_file():
        raise ValueError(f"The report needs a folder of its own. Received: {str(output_dir)!r}.")
    if any((folder / name).exists() for name in ("results.json", "config.json")):
        raise ValueError(
            f"{output_dir} is a run folder, whose own report would be lost. Name another folder "
            "for the comparison."
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "report.html").is_file():
        raise ValueError(
            f"{output_dir} holds other files, and no earlier comparison. Name a new folder."
        )


def _write(
    folder: Path, parts: Contents, drawn: Sequence[Drawn], *, csv: Mapping[str, str]
) -> ReportPaths:
    from tfcompress import durable
    from tfcompress.report import drawing, figures, html, markdown, search_figures

    paths = ReportPaths(
        markdown=folder / "report.md",
        html=folder / "report.html",
        figures=tuple(folder / "figures" / f"{each.name}.svg" for each in drawn),
        tables=tuple(folder / "tables" / f"{name}.csv" for name in csv),
    )
    # What an earlier report had and this one has not.
    for name in (*figures.NAMES, *search_figures.NAMES):
        if (path := folder / "figures" / f"{name}.svg") not in paths.figures:
            path.unlink(missing_ok=True)
    for path, each in zip(paths.figures, drawn, strict=True):
        durable.write_text(path, drawing.for_file(each.wide))
    for path, text in zip(paths.tables, csv.values(), strict=True):
        durable.write_text(path, text)
    durable.write_text(paths.markdown, markdown.render(parts, drawn))
    durable.write_text(paths.html, html.render(parts, drawn))
    return paths
