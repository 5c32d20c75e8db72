"""A process of its own that is ended with those that it started, and with the one that asked.

Knows how a process is started, waited for and ended. Does not know what it does. No TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Linux kills what runs after `exec` once the one that asked has died, however that ended: SIGKILL
# is 9, PR_SET_PDEATHSIG 1. A program of its own, since Python advises against work between fork
# and exec in a process with threads. If the other died before the request, its number is not the
# parent's any more.
_TIED = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit('the process that asked has died')\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
# After it was killed, for what it had printed; a process that left its group may hold the pipe.
_LAST_WORDS_SECONDS = 5


def run(
    command: Sequence[str],
    *,
    timeout_seconds: float,
    given: str = "",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end.

    It has a session of its own, so that it can be ended with all processes that it started: when
    the time is over, and when this process is interrupted. On Linux it is also ended, though not
    those that it started otherwise than by this function, when this process ends by a signal that
    nothing here can answer.

    Args:
      command: the path of a program, and its arguments.
      timeout_seconds: it is killed after so long.
      given: on its standard input.
      environment: this process's where None.

    Raises:
      subprocess.TimeoutExpired: it took longer. The error's `output` is what it had printed.
    """
    tied: list[str] = []
    if sys.platform == "linux":
        tied = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid())]
    process = subprocess.Popen(
        [*tied, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    with process:
        try:
            output, errors = process.communicate(given, timeout_seconds)
        except subprocess.TimeoutExpired as error:
            said = _killed(process)
            raise subprocess.TimeoutExpired(command, timeout_seconds, output=said) from error
        except BaseException:
            _killed(process)
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, output, errors)


def run_module(
    module: str, *arguments: str, timeout_seconds: float, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a module as a program in this process's environment, this package within its reach.

    Args:
      module: its full name.
      *arguments: of the program.
      timeout_seconds: see `run`.
      given: see `run`.

    Raises:
      subprocess.TimeoutExpired: see `run`.
    """
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return run(
        [sys.executable, "-m", module, *arguments],
        timeout_seconds=timeout_seconds,
        given=given,
        environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def _killed(process: subprocess.Popen[str]) -> str:
    """Ends a process and its children, and gives what it had printed."""
    # Not waited for yet, so that its number, which is its group's, belongs to no other.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    try:
        return process.communicate(timeout=_LAST_WORDS_SECONDS)[0] or ""
    except subprocess.TimeoutExpired as error:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
        said = error.output or b""
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
