"""Opens the storage of a search's trials: a journal file in its folder, or a database.

Knows Optuna's storages and what goes wrong with them. Does not know trials.
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress import file_locks

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
# As SQLAlchemy reads a URL: what stands between the first colon behind the user and the next "@".
_PASSWORD = re.compile(r"(?<=://)([^:/]*):[^@]*@|(password=)[^&\s]+")


# Importances of few trials; a constraint that a worker set before it was killed, to the same value.
_EXPECTED = (
    ".*quantiles select the same set",
    "The number of trials is too small",
    "The constraint value is ignored",
)


class StorageError(ValueError):
    """A storage that cannot be used. The message says why and what to do."""


def require_optuna() -> None:
    """Says what to install where Optuna is missing.

    Raises:
      ValueError: it is.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ValueError(
            "A search needs the package optuna, which is not installed. "
            "Run: pip install 'tfcompress[search]', or pip install 'optuna>=5,<6'."
        )


def shown(url: str) -> str:
    """A URL as it may be written down: without its password.

    Example:
      >>> shown("postgresql+psycopg2://me:secret@host/searches"), shown("")
      ('postgresql+psycopg2://me:***@host/searches', '')
    """
    return _PASSWORD.sub(
        lambda found: f"{found[1]}:***@" if found[2] is None else f"{found[2]}***", url
    )


@contextmanager
def told(where: str) -> Iterator[None]:
    """Says in a sentence that a storage which was opened answers no longer.

    Args:
      where: its URL without a password, or its file.

    Raises:
      StorageError: it cannot be read or written.
    """
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        reason = shown(str(getattr(error.__cause__, "orig", None) or error)).strip()
        raise StorageError(
            f"The storage {where} answers no longer: {reason}. Nothing is lost: bring it back and "
            "give the same command again."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back Optuna's log, and those of its warnings that nobody has to act on."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for message in _EXPECTED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def opened(name: str, *, url: str, folder: Path, objectives: int) -> optuna.Study:
    """A study in its storage, made where it is missing.

    Args:
      name: of the study.
      url: of a database, as SQLAlchemy reads it; empty for a journal file in `folder`.
      folder: exists.
      objectives: how many values a trial has, less of each being better.

    Raises:
      StorageError: it cannot be reached, or is damaged.
    """
    import optuna
    from optuna.exceptions import StorageInternalError

    unusable = (OSError, ValueError, KeyError, TypeError, AssertionError, StorageInternalError)
    where = place(url, folder)
    # One worker at a time makes the tables of a new database.
    with file_locks.held(folder / ".storage.lock"), quiet():
        try:
            storage = _database(url) if url else _journal(folder / JOURNAL)
            return optuna.create_study(
                study_name=name,
                storage=storage,
                directions=["minimize"] * objectives,
                load_if_exists=True,
            )
        except ImportError as error:
            raise StorageError(
                f"--storage={shown(url)} needs a package that is not installed: {error}. Install "
                "the driver of that database, such as psycopg2-binary for PostgreSQL."
            ) from error
        except StorageError:
            raise
        except unusable as error:
            reason = shown(str(getattr(error.__cause__, "orig", None) or error)).strip()
            raise StorageError(
                f"The storage {where} cannot be used: {reason}. It may be damaged, write-protected "
                "or no storage of Optuna's."
            ) from error


def place(url: str, folder: Path) -> str:
    """Where trials are kept, in words: a URL without its password, or the journal's path.

    Args:
      url: of a database; empty for a journal.
      folder: of the journal.
    """
    return shown(url) or str(folder / JOURNAL)


class _KernelLock:
    """A journal's lock. Unlike Optuna's own, which are files, it ends with a worker's process."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = journal.with_name(f".{journal.name}.lock")
        self._held: file_locks.FileLock | None = None

    def acquire(self) -> bool:
        self._held = file_locks.take(self._lock, wait=True)
        try:
            # Nobody else is writing now.
            _cut_back(self._journal)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        assert self._held is not None
        self._held.release()


def _cut_back(journal: Path) -> None:
    """Takes off what a worker had not finished writing when it was killed or the disk was full.

    Whatever is appended would become part of that line, which nobody could read then.
    """
    try:
        with journal.open("rb+") as stream:
            written = stream.seek(0, os.SEEK_END)
            stream.seek(max(written - 1, 0))
            if stream.read(1) in (b"", b"\n"):
                return
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        pass


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # Any object with these two methods serves; the base class is not public in Optuna 5.
    lock: Any = _KernelLock(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _database(url: str) -> Any:
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    if "://" not in url:
        raise StorageError(
            f"--storage takes the URL of a database. Received: {url!r}. Expected such as "
            "postgresql+psycopg2://user:password@host/database; without the flag, a file in the "
            "search's folder is used."
        )
    if re.match(r"sqlite[^:]*://(/?$|/(file:)?:memory:|.*mode=memory)", url):
        raise StorageError(
            f"--storage={url} is a database in the memory of one process, which ends with it. Give "
            "a file, such as sqlite:////path/to/trials.db, or leave the flag out."
        )
    try:
        # A server may have closed a connection while a trial was trained.
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        if isinstance(error, sqlalchemy.exc.NoSuchModuleError):
            raise StorageError(
                f"--storage={shown(url)}: SQLAlchemy knows no such database ({error}). Expected "
                "such as postgresql+psycopg2://user:password@host/database."
            ) from error
        reason = shown(str(getattr(error, "orig", None) or error)).strip()
        raise StorageError(
            f"The storage {shown(url)} cannot be reached: {reason}. Start the database, or "
            "correct --storage."
        ) from error
