"""Dataclasses from the JSON that they were written as, and where two such records differ.

Knows nothing of what the fields mean. No TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcompress import durable


def read(kind: Any, path: Path, *, version: int, of: str) -> Any:
    """Reads the record that a finished piece of work leaves in its folder.

    Args:
      kind: the dataclass that it holds.
      path: of the file.
      version: its `schema_version`.
      of: what left it, for messages: `"run"`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is truncated, of another schema version or lacks a field.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent}. Expected the folder of a finished {of}; "
            "an unfinished one goes on with the command that started it."
        )
    record = durable.read_json(path)
    received = record.get("schema_version") if isinstance(record, dict) else None
    if received != version:
        raise ValueError(
            f"{path} has schema_version {received!r}. This package reads version {version}."
        )
    try:
        return from_record(kind, record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} does not fit schema_version {version}: {error}.") from error


def from_record(kind: Any, value: Any) -> Any:
    """Rebuilds a (nested) dataclass from what `json.load` gives for it.

    Args:
      kind: the dataclass, or a type annotation within one.
      value: JSON value.

    Raises:
      TypeError: a field is missing or unknown.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return None if value is None else from_record(inner, value)
    _require_kind(kind, value)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        if len(kinds) != len(value):
            raise TypeError(f"{len(value)} values where {len(kinds)} are expected")
        return tuple(from_record(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is dict:
        return {name: from_record(arguments[1], item) for name, item in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"unknown field {sorted(unknown)}")
        build: Any = kind
        return build(**{name: from_record(hints[name], item) for name, item in value.items()})
    return value


_KINDS: Mapping[Any, Any] = {
    str: str,
    int: int,
    float: (int, float),
    bool: bool,
    tuple: (list, tuple),
    dict: dict,
    Mapping: dict,
}


def _require_kind(kind: Any, value: Any) -> None:
    name = typing.get_origin(kind) or kind
    expected = _KINDS.get(name, dict if dataclasses.is_dataclass(kind) else None)
    if expected is not None and not isinstance(value, expected):
        raise TypeError(f"{value!r:.60} where {getattr(name, '__name__', name)} is expected")


def differences(old: Any, new: Any, *, path: str = "") -> list[str]:
    """Where two JSON records differ, as `field: old -> new`.

    Example:
      >>> differences({"a": {"b": 1}}, {"a": {"b": 2}})
      ['a.b: 1 -> 2']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted({*old, *new}):
            place = f"{path}.{name}" if path else name
            found += differences(old.get(name), new.get(name), path=place)
        return found
    return [] if old == new else [f"{path}: {old} -> {new}"]
