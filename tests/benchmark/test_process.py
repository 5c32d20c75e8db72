import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfcompress.benchmark import MeasurementError, run_in_process

HEAD = "import os, signal, subprocess, sys\nfrom tfcompress.benchmark.process import doing, serve\n"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Answers a request with a function of the given body, in a process of its own."""

    def ask(body, request=None, seconds=60):
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        (tmp_path / "answering_module.py").write_text(
            f"{HEAD}def answer(request):\n{lines}\nserve(answer)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return run_in_process(request or {}, seconds, module="answering_module")

    return ask


def test_a_request_is_answered(asked):
    assert asked("return {'sum': request['a'] + 1}", {"a": 2}) == {"sum": 3}


def test_the_environment_passes_through(asked, monkeypatch):
    monkeypatch.setenv("SOME_SETTING", "kept")
    assert asked("return {'seen': os.environ['SOME_SETTING']}") == {"seen": "kept"}


def test_what_libraries_print_is_no_answer(asked):
    body = """
print('{"value": 1}', end="", flush=True)
os.write(1, b"half a line \\xff {")
subprocess.run(["echo", "from a child"])
import atexit
atexit.register(print, "good-bye")
return {"value": 2}
"""
    assert asked(body) == {"value": 2}


def test_a_large_answer_arrives_whole(asked):
    assert len(asked("return {'samples': list(range(500_000))}")["samples"]) == 500_000


def test_a_process_that_hangs_is_killed_with_its_children(asked, tmp_path):
    body = f"""
doing("loading the model")
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
doing("making the first call")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pause()
"""
    with pytest.raises(
        MeasurementError,
        match=r"did not end within 5 s and was killed while making the first call\.",
    ):
        asked(body, seconds=5)
    child = (tmp_path / "child").read_text()
    # Gone, or dead and not yet buried by whoever inherited it.
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("SIGSEGV", r"SIGSEGV \(segmentation fault\) while measuring"),
        ("SIGKILL", r"SIGKILL \(killed\), as the system may do when memory runs out while meas"),
    ],
)
def test_a_process_that_dies_names_the_signal(asked, number, said):
    with pytest.raises(MeasurementError, match=f"was ended by {said}"):
        asked(f"doing('measuring')\nos.kill(os.getpid(), signal.{number})")


def test_a_fault_of_ours_shows_its_last_lines(asked):
    with pytest.raises(MeasurementError, match=r"ended with 1 while loading:(.|\n)*KeyError"):
        asked("doing('loading')\nraise KeyError('x')")


@pytest.mark.parametrize("error", ["ValueError", "FileNotFoundError", "ImportError"])
def test_what_is_wrong_with_the_request_is_told_without_a_trace(asked, error):
    with pytest.raises(MeasurementError, match=r"^too small$"):
        asked(f"raise {error}('too small')")


def test_too_little_memory_is_told(asked):
    with pytest.raises(MeasurementError, match="not enough memory"):
        asked("raise MemoryError('8 GiB')")


def test_an_end_without_an_answer_is_told(asked):
    with pytest.raises(MeasurementError, match="ended without an answer"):
        asked("sys.stdout.flush()\nos._exit(0)")


def test_an_interruption_ends_the_process(tmp_path, monkeypatch):
    """Ctrl-C reaches only this process, since the other one has a session of its own."""
    started = []
    real = subprocess.Popen

    class Interrupted(real):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

        def communicate(self, *args, **options):
            if args:
                raise KeyboardInterrupt
            return super().communicate(**options)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_process({}, 60, module="tfcompress.benchmark.answering")
    assert started[0].returncode == -9
    assert sys.executable in started[0].args
