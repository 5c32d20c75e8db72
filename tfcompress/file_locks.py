"""Locks that the kernel takes back from a process that ends, however it ends.

A lock is an empty file that a living process holds (`flock`). That it lies there says nothing: only
who cannot take it knows that another process is alive. On file systems of several machines the
locks must be theirs in common, as they are on NFS 4. No TensorFlow here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


class FileLock:
    """A lock that this process holds until it gives it back, or ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Gives the lock back; once more does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(
    path: str | os.PathLike[str], *, wait: bool = False, shared: bool = False
) -> FileLock | None:
    """Takes the lock of a file, which is made where it is missing.

    Args:
      path: the file; its folder exists.
      wait: until whoever holds it gives it back, or ends.
      shared: with all who take it so, but with none who does not.

    Returns:
      None where another holds it, and `wait` is false. Within one process, too, a lock that is not
      shared is held by one taker at a time.

    Raises:
      OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return FileLock(descriptor)


@contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of a file during the block; waits for it first."""
    lock = take(path, wait=True)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()
