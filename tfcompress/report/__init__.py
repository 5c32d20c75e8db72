"""Renders a run folder as Markdown and as one self-contained HTML page, with figures.

Reads `results.json` and the stored predictions, nothing else: a report can be made again on a
machine with no TensorFlow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies.

    Attributes:
      markdown: `report.md`, which shows the figure files.
      html: `report.html`, which needs no other file.
      figures: the SVG files, in reading order.
    """

    markdown: Path
    html: Path
    figures: tuple[Path, ...]


def render(run_dir: str | os.PathLike[str]) -> ReportPaths:
    """Writes the report of a finished run into its folder; one that stands there is replaced.

    Args:
      run_dir: a run folder with `results.json` and the predictions that it names.

    Raises:
      RunFolderError: the folder is missing, unfinished, foreign, or its files do not fit together.
      OSError: the folder cannot be written.
    """
    # Imported here, so that a program answers `--help`, and a folder that is no run, without
    # matplotlib.
    from tfcompress import durable
    from tfcompress.report import run as run_module

    run = run_module.load(run_dir)
    from tfcompress.report import contents, drawing, figures, html, markdown

    drawn = figures.draw_all(run)
    folder = Path(run_dir)
    paths = ReportPaths(
        markdown=folder / "report.md",
        html=folder / "report.html",
        figures=tuple(folder / "figures" / f"{each.name}.svg" for each in drawn),
    )
    for path, each in zip(paths.figures, drawn, strict=True):
        durable.write_text(path, drawing.for_file(each.wide))
    parts = contents.contents(run)
    durable.write_text(paths.markdown, markdown.render(parts, drawn))
    durable.write_text(paths.html, html.render(parts, drawn))
    return paths
