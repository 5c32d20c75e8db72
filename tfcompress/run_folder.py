"""The folder of a run: where each thing lies, and who may write there.

Knows names and the rules of resuming. Does not know how anything in it is made. No TensorFlow here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from tfcompress import durable, file_locks
from tfcompress.records import differences, from_record

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
DATA = "data.json"
STAGES = "stages"
ENCODED = "encoded"
CANDIDATES = "candidates"
_LOCK = ".lock"

T = TypeVar("T")


class RunFolderError(ValueError):
    """A folder that a run cannot use. The message says why and what to do."""


@dataclass(frozen=True)
class _KeptFile:
    """What is remembered of a file that was made once."""

    sha256: str


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

    def predictions(self, name: str, condition: str = "test") -> Path:
        """The stored outputs of one file or model on the test split, or on other images."""
        folder = self.root / "predictions"
        return (folder if condition == "test" else folder / condition) / f"{name}.npz"

    @property
    def pictures(self) -> Path:
        """Small pictures of the test images that models answer differently."""
        return self.root / "predictions" / "pictures.npz"

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
        lock = file_locks.take(self.root / _LOCK)
        if lock is None:
            raise RunFolderError(
                f"Another run is at work in {self.root}. Wait for it, or choose another "
                "--output_dir."
            )
        try:
            claimed = self._claim(config)
            try:
                yield
            except (ValueError, FloatingPointError):
                if claimed and not any((self.root / STAGES).rglob("*.npz")):
                    self._release()
                raise
        finally:
            lock.release()

    def join(self, config: Mapping[str, Any]) -> bool:
        """Makes the folder that of `config`, or finds that it is, as one of several workers.

        Returns:
          Whether it had no config yet.

        Raises:
          RunFolderError: it cannot be written, belongs to something else or to another config.
        """
        self._make()
        with file_locks.held(self.root / _LOCK):
            return self._claim(config)

    def take_over(self, other: RunFolder, patterns: Sequence[str]) -> None:
        """Makes files of another run those of this one, too, where this one has none.

        They share their bytes on the disk where the file system can do that: files of a run are
        replaced, never changed.

        Args:
          other: a run of the same data and network.
          patterns: which files, as `Path.glob` takes them.
        """
        for pattern in patterns:
            for source in sorted(other.root.glob(pattern)):
                target = self.root / source.relative_to(other.root)
                if source.is_file() and not source.name.startswith(".") and not target.exists():
                    durable.share_file(source, target)

    def kept(self, path: Path, key: str, kind: Any, make: Callable[[], T]) -> T:
        """A dataclass from its file, where that was made for `key`, else made and written.

        A file that was made for something else, or is damaged, is made again: it can be.

        Args:
          path: the JSON file.
          key: tells what the value depends on, such as a checksum.
          kind: the dataclass.
          make: makes the value.
        """
        found: T | None = self.found(path, key, kind)
        if found is not None:
            return found
        value = make()
        durable.write_json(path, {"key": key, "value": dataclasses.asdict(cast(Any, value))})
        return value

    def found(self, path: Path, key: str, kind: Any) -> Any:
        """What `kept` wrote for `key`; None where there is none, or a damaged one.

        Args:
          path: the JSON file.
          key: what it was made for.
          kind: the dataclass.
        """
        try:
            record = durable.read_json(path)
            return from_record(kind, record["value"]) if record["key"] == key else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def keep_file(self, path: Path, key: str, make: Callable[[Path], None]) -> None:
        """Makes a file, unless it lies there unchanged and was made for the same key.

        Args:
          path: of the file; beside it `<name>.json` says what it was made for.
          key: tells what the file depends on, such as a checksum.
          make: writes the file.
        """

        def made() -> _KeptFile:
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            return _KeptFile(durable.sha256_of_file(path))

        record = path.with_name(f"{path.name}.json")
        found = self.kept(record, key, _KeptFile, made)
        if not path.exists() or durable.sha256_of_file(path) != found.sha256:
            record.unlink()
            self.kept(record, key, _KeptFile, made)

    def require_same_data(self, checksums: Mapping[str, str]) -> None:
        """Remembers the data of the run, and refuses others in a later session.

        Args:
          checksums: for each split, of its images and labels.

        Raises:
          RunFolderError: a split has changed since the run began.
        """
        path = self.root / DATA
        if not path.exists():
            durable.write_json(path, dict(checksums))
            return
        before = durable.read_json(path)
        changed = [name for name in checksums if before.get(name) != checksums[name]]
        if changed:
            raise RunFolderError(
                f"The data set has changed since the run in {self.root} began: "
                f"{', '.join(changed)} differ. Figures of old and new data would be mixed. "
                "Bring the old data back, or choose another --output_dir."
            )

    def _release(self) -> None:
        """Refused before any work was kept: the corrected settings may have the folder."""
        own = (CONFIG, ENVIRONMENT, DATA, STAGES, CANDIDATES, ENCODED, _LOCK)
        if any(path.name not in own for path in self.root.iterdir()):
            return
        for name in (STAGES, CANDIDATES):
            shutil.rmtree(self.root / name, ignore_errors=True)
        # The config last: without it what is left of a release that was killed belongs to nobody.
        for name in (ENVIRONMENT, DATA, CONFIG):
            (self.root / name).unlink(missing_ok=True)

    def _make(self) -> None:
        foreign = (
            self.root.is_dir()
            and not (self.root / CONFIG).exists()
            # A kill may have left the lock and an unfinished config, a refusal the encoded images.
            and any(
                not path.name.startswith((_LOCK, ".config-", ENCODED))
                for path in self.root.iterdir()
            )
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
        self.require_settings(config)
        return False

    def require_settings(self, config: Mapping[str, Any]) -> None:
        """Refuses a folder that is not of `config`; one that a run is at work in is taken, too.

        Raises:
          RunFolderError: it is of no run, or of one with another config.
        """
        path = self.root / CONFIG
        if not path.exists():
            raise RunFolderError(f"{self.root} is not the folder of a run: it has no {CONFIG}.")
        changed = differences(durable.read_json(path), config)
        if changed:
            listed = "\n  ".join(changed)
            raise RunFolderError(
                f"{self.root} belongs to a run with other settings:\n  {listed}\n"
                "Give the same settings to go on with it, or choose another --output_dir."
            )
