"""`targets.csv` in a folder of images: the values of a regression, one row an image.

    file,age_years
    faces/001.jpg,31.5

Knows the table. Does not know images.
"""

from __future__ import annotations

import csv
import os
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
    numbered = _lines(path)
    lines = [line for _, line in numbered]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ValueError(
            f"{path} must begin with a row such as file,age_years and have a row for each image. "
            f"Received: {len(lines)} rows, the first one {lines[0] if lines else 'missing'}."
        )
    targets, rows = tuple(lines[0][1:]), {}
    if _numbers(lines[0][1:], count=len(targets)) is not None or not all(targets):
        raise ValueError(
            f"{path} must begin with names, such as file,age_years. Received: {','.join(lines[0])}."
        )
    for number, line in numbered[1:]:
        values, name = _numbers(line[1:], count=len(targets)), os.path.normpath(line[0])
        if values is None or name in rows:
            twice = " which an earlier row names too," if name in rows else ""
            raise ValueError(
                f"{path}, line {number}: expected a file,{twice} and {len(targets)} finite numbers "
                f"with decimal points. Received: {','.join(line):.200}."
            )
        rows[name] = values
    files = sorted(rows)
    return targets, [folder / name for name in files], np.array([rows[n] for n in files], "f4")


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that hold something, with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            return [(reader.line_num, line) for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}. Save it as such.") from error


def _numbers(cells: list[str], *, count: int) -> list[float] | None:
    try:
        values = [float(cell.replace("_", "no digit")) for cell in cells]
    except ValueError:
        return None
    within = np.abs(values) <= np.finfo(np.float32).max
    return values if len(values) == count and within.all() else None
