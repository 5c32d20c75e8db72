"""`text:FILE`: a table of texts with their classes or values, `.tsv` or `.csv`.

    sentence	label
    a charming journey .	1

The first row names the columns. The text stands in `sentence` or `text`; its class in `label`, or,
for a regression, its value in `label` or in the one other column of numbers, whose name is then the
target's. A `.tsv` file has no quotation marks of its own: those that it holds belong to the texts.
A `.csv` file has them as spreadsheets write them.

    DIR/train.tsv with DIR/test.tsv    published with a test split; `dev.tsv` or `validation.tsv`
                                       beside them is the validation split
    DIR/train.tsv with DIR/dev.tsv     published with one more split, which is the test split; or
                                       with DIR/validation.tsv
    any other file                     a fifth is held out for test, of each class as of all

Where no validation split was published it is carved from train, as of every data set. The held-out
fifth does not depend on any seed of a run.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcompress.data.dataset import DataConfig
from tfcompress.data.texts import PublishedTexts, Texts
from tfcompress.goals import CLASSIFICATION, REGRESSION

SOURCE = "text"
ARGUMENT = "FILE"
TASKS = (CLASSIFICATION, REGRESSION)
IS_TEXT = True
SUFFIXES = (".tsv", ".csv")
TEXT_COLUMNS = ("sentence", "text")
LABEL_COLUMN = "label"
_TRAIN, _TEST, _VALIDATIONS = "train", "test", ("dev", "validation")
# As of npz: of more, ages or counts are as likely.
_MOST_UNNAMED_CLASSES = 100
# In characters; an open quotation mark must not read a whole file as one cell.
_LONGEST_CELL = 2**24


_UNLABELLED = (
    " Where test was published without labels, move it away: what was published for validation is "
    "tested on then."
)


@dataclass(frozen=True)
class _Table:
    """The rows of a file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """With the number of the line that each ends on."""

    def column(self, name: str) -> list[str]:
        place = self.columns.index(name)
        return [row[place] for _, row in self.rows]

    def line(self, index: int) -> int:
        return self.rows[index][0]


def published(config: DataConfig, argument: str) -> PublishedTexts:
    """The texts of the file, and of those for test and validation beside it.

    Raises:
      ValueError: a file of another kind, an empty one, one that is no table of UTF-8 text, a column
        that is missing, a row of another length, without text or label, fewer than two classes, a
        class in test that train lacks, or values that are no finite numbers.
    """
    path = Path(argument)
    train = _read(path)
    tables = [train, *map(_read, _beside(path))]
    target = _target(train, config.task)
    if target is not None:
        parts = [Texts(_texts(table), _values(table, target)) for table in tables]
        return _published(parts, targets=(target,))
    classes = _classes(train)
    parts = [Texts(_texts(table), _labels(table, classes, train=path)) for table in tables]
    return _published(parts, classes=classes)


def _beside(path: Path) -> list[Path]:
    """The files of the test and of the validation split, as far as they were published.

    Raises:
      ValueError: two that could be the validation split, or some of another kind than train's.
    """
    if path.stem != _TRAIN:
        return []
    suffix = SUFFIXES[1 - SUFFIXES.index(path.suffix)]
    strange = [path.with_name(name + suffix) for name in (_TEST, *_VALIDATIONS)]
    found = [each.name for each in strange if each.is_file()]
    if found:
        raise ValueError(
            f"{path.parent} holds {' and '.join(found)} beside {path.name}, which could be its "
            f"other splits. Save all of them as {path.suffix}, or move them away."
        )
    validations = [other for name in _VALIDATIONS if (other := path.with_stem(name)).is_file()]
    if len(validations) > 1:
        raise ValueError(
            f"{path.parent} holds {' and '.join(other.name for other in validations)}, either of "
            "which could be the validation split. Leave one of them there."
        )
    test = path.with_stem(_TEST)
    return [test, *validations] if test.is_file() else validations


def _published(
    parts: Sequence[Texts], *, classes: tuple[str, ...] = (), targets: tuple[str, ...] = ()
) -> PublishedTexts:
    train, test, validation = (*parts, None, None)[:3]
    assert train is not None
    return PublishedTexts(
        source=SOURCE,
        classes=classes,
        train=train,
        test=test,
        targets=targets,
        validation=validation,
    )


def _read(path: Path) -> _Table:
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ValueError(f"{path} is no table of texts. Expected a {' or '.join(SUFFIXES)} file.")
    lines = _lines(path)
    if len(lines) < 2:
        raise ValueError(
            f"{path} holds {'no row' if lines else 'nothing'}. Expected a first row such as "
            "sentence and label, and a row for each text."
        )
    columns = tuple(name.strip() for name in lines[0][1])
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path} has columns that are named alike: {', '.join(map(repr, repeated))}. Give each "
            "a name of its own."
        )
    for number, line in lines[1:]:
        if len(line) != len(columns):
            raise ValueError(
                f"{path}, line {number}: expected {len(columns)} cells, for "
                f"{', '.join(columns)}. Received: {len(line)}, {' | '.join(line):.200}."
            )
    return _Table(path, columns, tuple(lines[1:]))


def _lines(path: Path) -> list[tuple[int, tuple[str, ...]]]:
    tabs = path.suffix == ".tsv"
    usual = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = (
                csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                if tabs
                else csv.reader(stream, strict=True)
            )
            found = [(reader.line_num, tuple(line)) for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} is no {path.suffix[1:].upper()} in UTF-8: {error}. Save it as such."
        ) from error
    finally:
        csv.field_size_limit(usual)
    damaged = next((line for line, cells in found if any("\0" in cell for cell in cells)), None)
    if damaged is not None:
        raise ValueError(
            f"{path}, line {damaged}: there is a NUL byte, which no text has. It may be another "
            "kind of file, or in UTF-16: save it in UTF-8."
        )
    return found


def _texts(table: _Table) -> tuple[str, ...]:
    name = next((name for name in TEXT_COLUMNS if name in table.columns), None)
    if name is None:
        raise ValueError(
            f"{table.path} has no column {' or '.join(TEXT_COLUMNS)}. "
            f"Received: {', '.join(table.columns)}. Name the column of the texts so."
        )
    texts = table.column(name)
    empty = next((index for index, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise ValueError(f"{table.path}, line {table.line(empty)}: there is no text. Leave it out.")
    return tuple(texts)


def _target(table: _Table, task: str) -> str | None:
    """The column of values, where the table is a regression."""
    others = [name for name in table.columns if name not in TEXT_COLUMNS]
    if LABEL_COLUMN not in others:
        numbers = [name for name in others if _numbers(table, name) is not None]
        if task == CLASSIFICATION or len(numbers) != 1:
            raise ValueError(
                f"{table.path} has no column {LABEL_COLUMN}. Received: "
                f"{', '.join(table.columns)}. Name the column of the classes or values so."
            )
        return numbers[0]
    if task in (CLASSIFICATION, REGRESSION):
        return LABEL_COLUMN if task == REGRESSION else None
    values = _numbers(table, LABEL_COLUMN)
    if values is None:
        _require_classes(table)
        return None
    if np.mod(values, 1).any():
        return LABEL_COLUMN
    distinct = len(np.unique(values))
    if distinct > _MOST_UNNAMED_CLASSES:
        raise ValueError(
            f"{table.path}: {LABEL_COLUMN} could be classes or values. Received: {distinct} "
            "distinct whole numbers. Say which with --task=classification or --task=regression "
            "(DataConfig.task)."
        )
    return None


def _require_classes(table: _Table) -> None:
    """Refuses labels that are values but for some, or hardly two of which are alike."""
    cells = [cell.strip() for cell in table.column(LABEL_COLUMN)]
    values = [_fraction(cell) for cell in cells]
    if sum(value is not None for value in values) > len(cells) / 2:
        index = next(index for index, value in enumerate(values) if value is None)
        raise ValueError(
            f"{table.path}, line {table.line(index)}: most labels are values, and {cells[index]!r} "
            "is no finite number with a decimal point. Mend it, or say --task=classification."
        )
    distinct = len(set(cells))
    if distinct > max(_MOST_UNNAMED_CLASSES, len(cells) / 2):
        raise ValueError(
            f"{table.path}: {distinct} labels of {len(cells)} texts are different. Say "
            "--task=classification if each is a class (DataConfig.task)."
        )


def _fraction(cell: str) -> float | None:
    """A finite number that is written with a decimal point."""
    try:
        value = float(cell.replace("_", "no digit"))
    except ValueError:
        return None
    return value if "." in cell and abs(value) <= np.finfo(np.float32).max else None


def _numbers(table: _Table, name: str) -> np.ndarray | None:
    """A column's finite numbers; None where one is none."""
    try:
        values = np.array([float(cell.replace("_", "no digit")) for cell in table.column(name)])
    except ValueError:
        return None
    return values if (np.abs(values) <= np.finfo(np.float32).max).all() else None


def _values(table: _Table, name: str) -> np.ndarray:
    values = _numbers(table, name) if name in table.columns else None
    if values is None:
        raise ValueError(
            f"{table.path} must have a column {name} of finite numbers with decimal points. "
            f"Received: columns {', '.join(table.columns)}, or a cell that is no such number."
        )
    return values.astype(np.float32)[:, None]


def _classes(table: _Table) -> tuple[str, ...]:
    """The classes of a table, in the order of their numbers or letters."""
    labels = {cell.strip() for cell in _label_cells(table)}
    if len(labels) < 2:
        raise ValueError(
            f"{table.path} has one class: {', '.join(labels)}. A classifier needs two or more."
        )
    numbers = all(label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=(lambda label: (int(label), label)) if numbers else None))


def _labels(table: _Table, classes: Sequence[str], *, train: Path) -> np.ndarray:
    places = {name: place for place, name in enumerate(classes)}
    found = []
    for index, cell in enumerate(_label_cells(table)):
        if cell.strip() not in places:
            raise ValueError(
                f"{table.path}, line {table.line(index)}: the label {cell!r} is no class of "
                f"{train}, which has {', '.join(classes[:12])}."
            )
        found.append(places[cell.strip()])
    return np.asarray(found, np.int64)


def _label_cells(table: _Table) -> list[str]:
    if LABEL_COLUMN not in table.columns:
        raise ValueError(
            f"{table.path} has no column {LABEL_COLUMN}. Received: {', '.join(table.columns)}."
            + (_UNLABELLED if table.path.stem == _TEST else "")
        )
    cells = table.column(LABEL_COLUMN)
    empty = next((index for index, cell in enumerate(cells) if not cell.strip()), None)
    if empty is not None:
        raise ValueError(f"{table.path}, line {table.line(empty)}: there is no label.")
    return cells
