"""Finds techniques, data sets, backbones, encoders, runtimes: a name is a module of a folder.

A new one is a new file; there is no table to edit and nothing is imported to list the names. Knows
nothing of what the modules hold.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType


class UnknownNameError(ValueError):
    """A name that no module answers to. The message lists the known ones."""


def names(folder: str) -> tuple[str, ...]:
    """Names of the public modules of a package folder, sorted.

    Args:
      folder: a package folder of tfcompress, such as `"techniques"`.

    Example:
      >>> "prune" in names("techniques")
      True
    """
    path = Path(__file__).parent / folder
    return tuple(
        sorted(module.name for module in pkgutil.iter_modules([str(path)]) if module.name[0] != "_")
    )


def load(folder: str, name: str) -> ModuleType:
    """Imports the module that carries `name` in a package folder.

    Raises:
      UnknownNameError: no module has that name.
    """
    require(name, names(folder), what=f"name in tfcompress.{folder}")
    return importlib.import_module(f"tfcompress.{folder}.{name}")


def require(name: str, known: tuple[str, ...], *, what: str) -> str:
    """Returns `name` when it is one of `known`, otherwise says what is known.

    Args:
      name: what was asked for.
      known: the names that exist.
      what: what the name stands for, as it should read in the message: `"backbone"`.

    Raises:
      UnknownNameError: `name` is not among `known`.

    Example:
      >>> require("adam", ("adam", "sgd"), what="optimizer")
      'adam'
    """
    if name not in known:
        raise UnknownNameError(f"Unknown {what}: {name!r}. Known: {', '.join(known)}.")
    return name
