"""Whether settings are of the types that their config names. No TensorFlow here."""

from __future__ import annotations

import dataclasses
from typing import Any

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
}


def expected(value: Any, annotation: str) -> str:
    """What a value should be, such as "a whole number"; empty where it is.

    Args:
      value: the setting.
      annotation: type of its field: one of int, float, bool and str, with or without `| None`; of
        other types anything is taken.

    Example:
      >>> expected(2.5, "int"), expected(2, "float"), expected(True, "int")
      ('a whole number', '', 'a whole number')
    """
    wanted = annotation.removesuffix(" | None")
    if value is None and wanted != annotation:
        return ""
    kinds = {"int": int, "float": int | float, "bool": bool, "str": str}
    if wanted not in kinds:
        return ""
    fits = isinstance(value, kinds[wanted]) and (wanted == "bool" or not isinstance(value, bool))
    return "" if fits else _EXPECTED[wanted]


def require_types(config: Any) -> None:
    """Refuses a config with a setting of another type than its field's.

    Args:
      config: a dataclass whose annotations are text (`from __future__ import annotations`).

    Raises:
      ValueError: the message names the field.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        wanted = expected(value, str(field.type))
        if wanted:
            raise ValueError(
                f"{type(config).__name__}.{field.name} must be {wanted}. Received: {value!r}."
            )
