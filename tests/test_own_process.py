"""That nothing runs on: neither what hangs, nor what it started, nor what nobody waits for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfcompress import own_process

ROOT = Path(__file__).parents[1]
# Writes its number to the last of the files, has the next process do the same, and hangs.
NESTED = """
import os, signal, sys
from pathlib import Path
from tfcompress import own_process
signal.signal(signal.SIGTERM, signal.SIG_IGN)
files = sys.argv[1:]
Path(files[-1]).write_text(str(os.getpid()))
if files[:-1]:
    own_process.run([sys.executable, __file__, *files[:-1]], timeout_seconds=60)
signal.pause()
"""


@pytest.fixture
def nested(tmp_path, monkeypatch):
    """A command whose process starts another one, and the files that get their numbers."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "nested.py").write_text(NESTED)
    files = [tmp_path / "inner", tmp_path / "outer"]
    return [sys.executable, str(tmp_path / "nested.py"), *map(str, files)], files


def runs(number):
    """Whether a process is there and not dead, waiting to be buried by whoever inherited it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def within(seconds, met):
    end = time.monotonic() + seconds
    while not met() and time.monotonic() < end:
        time.sleep(0.02)
    return met()


def number(file):
    return file.read_text() if file.is_file() else ""


def test_a_command_gets_its_input_and_gives_its_output():
    script = "import sys; print(sys.stdin.read() * 2); sys.exit(3)"
    ended = own_process.run([sys.executable, "-c", script], timeout_seconds=60, given="a")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "aa\n", "")


def test_the_environment_is_the_one_given():
    script = "import os; print(os.environ.get('GIVEN'), os.environ.get('HOME'))"
    ended = own_process.run(
        [sys.executable, "-c", script], timeout_seconds=60, environment={"GIVEN": "x"}
    )
    assert ended.stdout == "x None\n"


def test_a_module_finds_this_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "asking.py").write_text("import sys, tfcompress; print(sys.argv[1:])")
    assert own_process.run_module("asking", "a b", timeout_seconds=60).stdout == "['a b']\n"


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems tie no process so")


@linux
def test_a_process_that_hangs_is_ended_with_those_that_it_started(nested):
    command, files = nested
    with pytest.raises(subprocess.TimeoutExpired):
        own_process.run(command, timeout_seconds=3)
    assert all(map(number, files))
    assert within(10, lambda: not any(runs(number(file)) for file in files))


@linux
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_nothing_outlives_a_process_that_is_killed(nested, name):
    command, files = nested
    waiting = (
        "import sys; from tfcompress import own_process\n"
        "own_process.run(sys.argv[1:], timeout_seconds=60)"
    )
    with subprocess.Popen([sys.executable, "-c", waiting, *command]) as parent:
        try:
            assert within(30, lambda: all(map(number, files)))
            assert all(runs(number(file)) for file in files)
        finally:
            parent.send_signal(getattr(signal, name))
    assert within(10, lambda: not any(runs(number(file)) for file in files))


@linux
def test_a_process_whose_parent_died_before_it_began_does_not_run(tmp_path):
    made = tmp_path / "made"
    command = [sys.executable, "-c", f"open({str(made)!r}, 'w')"]
    tied = [sys.executable, "-c", own_process._TIED, str(os.getpid() + 1), *command]
    done = subprocess.run(tied, capture_output=True, text=True, timeout=60)
    assert (done.returncode, made.exists()) == (1, False)
    assert "has died" in done.stderr
