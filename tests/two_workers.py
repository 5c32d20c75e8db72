"""Trains small models in one process and in two, and writes down how far they end apart.

A program of its own, since TensorFlow joins the other process before it computes anything:
`TF_CONFIG=... python tests/two_workers.py RESULTS.json RECIPE...`, once for each worker. Started
and judged by test_multi_worker.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from two_devices import RECIPES, compared, config, trained

from tfcompress import checkpoint, placement

STRATEGY = "multi_worker"


def worked(recipe: str) -> dict[str, Any]:
    """The chief compares; the other process trains with it."""
    if placement.is_chief(STRATEGY):
        return compared(recipe, strategy=STRATEGY)
    model, _, found = trained(recipe, config(STRATEGY))
    return {"sha256": checkpoint.weights_sha256(model), "history": [*map(dict, found.history)]}


def main(path: str, names: list[str]) -> None:
    placement.start(STRATEGY)
    found = {"devices": placement.replicas(STRATEGY)}
    found["compared"] = {name: worked(RECIPES[name]) for name in names}
    Path(path).write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
