"""Opens the storage of a search's trials: a journal file in its folder, or a database.

Knows Optuna's storages and what goes wrong with them. Does not know trials.
"""

from __future__ import annotations

import importlib.util
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
_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)|(?<=password=)[^&\s]+")


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
    return _PASSWORD.sub("***", url)


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

    with quiet():
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
        except (OSError, ValueError, KeyError) as error:
            where = shown(url) or str(folder / JOURNAL)
            raise StorageError(
                f"The storage {where} cannot be used: {error}. It may be damaged, or no storage of "
                "Optuna's."
            ) from error


class _KernelLock:
    """A journal's lock. Unlike Optuna's own, which are files, it ends with a worker's process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: file_locks.FileLock | None = None

    def acquire(self) -> bool:
        self._held = file_locks.take(self._path, wait=True)
        return True

    def release(self) -> None:
        assert self._held is not None
        self._held.release()


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    # Any object with these two methods serves; the base class is not public in Optuna 5.
    lock: Any = _KernelLock(path.with_name(f".{path.name}.lock"))
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
    try:
        return RDBStorage(url)
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
