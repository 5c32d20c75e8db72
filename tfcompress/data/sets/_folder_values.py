"""`targets.csv` in a folder of images: the values of a regression, one row an image.

    file,age_years
    faces/001.jpg,31.5

Knows the table. Does not know images.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

NAME = "targets.csv"


def read(folder: Path) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """The table of a folder.

    Args:
      folder: that holds `targets.csv`; its first row names the columns, the first column holds the
        files' paths within the folder.

    Returns:
      the names of the targets; the files, in order of their paths; float32 [files, targets].

    Raises:
      ValueError: no target, no row, a row of another length, a file that is named twice, or what is
        no finite number; the message names the line.
    """
    path = folder / NAME
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = [line for line in csv.reader(stream) if line]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ValueError(
            f"{path} must begin with a row such as file,age_years and have a row for each image. "
            f"Received: {len(lines)} rows, the first one {lines[0] if lines else 'missing'}."
        )
    targets, rows = tuple(lines[0][1:]), {}
    for number, line in enumerate(lines[1:], start=2):
        values = _numbers(line[1:], count=len(targets))
        if values is None or line[0] in rows:
            twice = " which an earlier row names too," if line[0] in rows else ""
            raise ValueError(
                f"{path}, row {number}: expected a file,{twice} and {len(targets)} finite numbers. "
                f"Received: {','.join(line)}."
            )
        rows[line[0]] = values
    files = sorted(rows)
    return targets, [folder / name for name in files], np.array([rows[n] for n in files], "f4")


def _numbers(cells: list[str], *, count: int) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None
