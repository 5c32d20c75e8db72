"""How a report on texts speaks of them where one on images says image.

Knows the words of headings, sentences and columns. Cells are data, such as names of classes, and
stay as they are.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, TypeVar

from tfcompress.report.tables import Table
from tfcompress.results import Results

_Part = TypeVar("_Part")
_WORDS = {"image": "text", "images": "texts", "Image": "Text", "Images": "Texts"}
_WORD = re.compile(r"\b[Ii]mages?\b")


def is_of_texts(results: Results) -> bool:
    """Whether a run's models read texts."""
    return any(
        "tokenizer_sha256" in (stage.config.get("preprocessing") or {}) for stage in results.stages
    )


def of_texts(part: _Part) -> _Part:
    """A part of a report that speaks of texts.

    Args:
      part: a string, a table, or a frozen dataclass or tuple of such.

    Example:
      >>> of_texts(("Images that changed", 3))
      ('Texts that changed', 3)
    """
    changed: Any = part
    if isinstance(part, str):
        changed = _WORD.sub(lambda found: _WORDS[found[0]], part)
    elif isinstance(part, tuple):
        changed = tuple(map(of_texts, part))
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        kept = ("rows",) if isinstance(part, Table) else ()
        fields = (field.name for field in dataclasses.fields(part) if field.name not in kept)
        changed = dataclasses.replace(
            part, **{name: of_texts(getattr(part, name)) for name in fields}
        )
    found: _Part = changed
    return found
