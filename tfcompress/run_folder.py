"""The folder of a run: where each thing lies, and who may write there.

Knows names and the rules of resuming. Does not know how anything in it is made. No TensorFlow here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfcompress import durable
from tfcompress.config import differences

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
STAGES = "stages"
_LOCK = ".lock"


class RunFolderError(ValueError):
    """A folder that a run cannot use. The message says why and what to do."""


class RunFolder:
    """Paths of one run.

    Args:
      root: the folder; made by `open_for`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def stage(self, name: str) -> Path:
        """Checkpoints and record of one stage."""
        return self.root / STAGES / name

    def artifact(self, name: str) -> Path:
        """One exported file."""
        return self.root / "artifacts" / f"{name}.tflite"

    def model(self, name: str) -> Path:
        """One trained Keras model."""
        return self.root / "models" / f"{name}.keras"

    def predictions(self, name: str) -> Path:
        """The stored outputs of one file or model on the test split."""
        return self.root / "predictions" / f"{name}.npz"

    def relative(self, path: Path) -> str:
        """A path as it is written in results: relative to the folder."""
        return path.relative_to(self.root).as_posix()

    @contextlib.contextmanager
    def open_for(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Makes the folder that of `config`, or finds that it is, and locks out a second run.

        Raises:
          RunFolderError: it cannot be written, belongs to something else, to a run of another
            config, or to a run at work.
        """
        self._make()
        with (self.root / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunFolderError(
                    f"Another run is at work in {self.root}. Wait for it, or choose another "
                    "--output_dir."
                ) from error
            claimed = self._claim(config)
            try:
                yield
            except BaseException:
                if claimed and not (self.root / STAGES).exists():
                    # Refused before any work: the corrected settings may have the folder.
                    for name in (CONFIG, ENVIRONMENT):
                        (self.root / name).unlink(missing_ok=True)
                raise

    def _make(self) -> None:
        foreign = (
            self.root.is_dir()
            and not (self.root / CONFIG).exists()
            # A kill may have left the lock and an unfinished config.
            and any(not path.name.startswith((_LOCK, ".config-")) for path in self.root.iterdir())
        )
        if foreign:
            raise RunFolderError(
                f"{self.root} holds files but no {CONFIG}: it is not the folder of a run. "
                "Choose an empty or new --output_dir."
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / _LOCK).touch()
        except OSError as error:
            raise RunFolderError(
                f"{self.root} cannot be written ({error.strerror}). Choose another --output_dir."
            ) from error

    def _claim(self, config: Mapping[str, Any]) -> bool:
        """Whether the folder had no config yet; where it has one, it must be the same."""
        path = self.root / CONFIG
        if not path.exists():
            durable.write_json(path, config)
            return True
        changed = differences(durable.read_json(path), config)
        if changed:
            listed = "\n  ".join(changed)
            raise RunFolderError(
                f"{self.root} belongs to a run with other settings:\n  {listed}\n"
                "Give the same settings to go on with it, or choose another --output_dir."
            )
        return False
