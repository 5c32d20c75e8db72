"""The folder of a run that several processes train: the chief reads and writes it for all.

Knows how what the chief finds in its folder, or makes, comes to the others. Does not know what it
is.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from tfcompress import placement, records
from tfcompress.run_folder import RunFolder, T
from tfcompress.techniques import NothingToGain, OutOfReach
from tfcompress.workers import ClusterError

# What a stage may be refused with and its run goes on.
_REFUSALS = {kind.__name__: kind for kind in (NothingToGain, OutOfReach)}


class SharedFolder(RunFolder):
    """A run folder as the processes of a strategy see it.

    In a process other than the chief its root is a folder for what every process makes for itself.
    All processes call the same methods in the same order.

    Args:
      root: of the chief, the run folder; of another process, a folder of its own.
      strategy: one of `placement.STRATEGIES`.
    """

    def __init__(self, root: str | os.PathLike[str], *, strategy: str) -> None:
        super().__init__(root)
        self._strategy = strategy
        self.is_chief = placement.is_chief(strategy)
        self._making = False

    def from_chief(self, make: Callable[[], bytes]) -> bytes:
        """What a function makes in the chief, for every process."""
        return placement.from_chief(self._strategy, make)

    def read(self, path: Path) -> bytes:
        """The chief's file, for every process; empty where there is none."""
        return self.from_chief(lambda: path.read_bytes() if path.is_file() else b"")

    def kept(self, path: Path, key: str, kind: Any, make: Callable[[], T]) -> T:
        """See `RunFolder.kept`: the chief's value, for every process.

        Raises:
          NothingToGain, OutOfReach: the chief's, in every process.
        """
        # What is made may keep something itself: the chief alone is at work then.
        if not self._shares or self._making:
            return super().kept(path, key, kind, make)
        keep = super().kept

        def told() -> bytes:
            self._making = True
            try:
                value = keep(path, key, kind, make)
            except tuple(_REFUSALS.values()) as error:
                return json.dumps({"refused": type(error).__name__, "said": str(error)}).encode()
            finally:
                self._making = False
            return json.dumps({"value": dataclasses.asdict(cast(Any, value))}).encode()

        record = json.loads(self.from_chief(told))
        if "refused" in record:
            raise _REFUSALS[record["refused"]](record["said"])
        found: T = records.from_record(kind, record["value"])
        return found

    def require_alike(self, record: Mapping[str, Any], *, what: str) -> None:
        """Refuses processes that do not have the chief's record.

        Args:
          record: JSON-ready; of every process its own.
          what: the record is, as it should read in the message: `"settings"`.

        Raises:
          ClusterError: in every process, where one differs.
        """
        if not self._shares:
            return
        ours = json.loads(json.dumps(record))
        chief = json.loads(self.from_chief(lambda: json.dumps(ours).encode()))
        changed = records.differences(chief, ours)
        if placement.total(self._strategy, len(changed)):
            listed = "\n  ".join(changed)
            own = f" This one, beside the chief:\n  {listed}" if changed else ""
            raise ClusterError(
                f"The processes that train together were not all given the same {what}.{own}\n"
                "Give every worker the same command, package and data; only TF_CONFIG differs."
            )

    @property
    def _shares(self) -> bool:
        return self._strategy == "multi_worker"
