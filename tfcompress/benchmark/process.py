"""Work in a process of its own: a request goes in as JSON, a reply comes out as JSON.

A process that hangs is ended and reported with what it was doing. Does not know what is asked.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tfcompress import own_process

Runner: TypeAlias = Callable[[Mapping[str, Any], float], Mapping[str, Any]]
"""Runs one request in a process of its own: takes the request and a time limit in seconds."""

# Lines of standard output that are ours begin so; native libraries print others.
_REPLY = "tfcompress-reply "
_DOING = "tfcompress-doing "


class MeasurementError(RuntimeError):
    """A measuring process failed or was killed. The message names the model and the reason."""


def run_in_process(
    request: Mapping[str, Any], timeout_seconds: float, *, module: str
) -> Mapping[str, Any]:
    """Answers a request in a new process, which sees this process's environment.

    It is ended with all processes that it started when the time is over, and when this process
    ends; see `own_process`.

    Args:
      request: JSON-ready.
      timeout_seconds: a process that takes longer is killed.
      module: run as a program; it hands its answering function to `serve`.

    Raises:
      MeasurementError: it failed, was ended by a signal, answered nothing, or took longer than the
        limit and was killed.
    """
    try:
        ended = own_process.run_module(
            module, timeout_seconds=timeout_seconds, given=json.dumps(request)
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"its process did not end within {timeout_seconds:g} s and was killed"
            f"{_while(str(error.output))}."
        ) from None
    return _reply(ended.returncode, ended.stdout, ended.stderr)


def doing(what: str) -> None:
    """Says what a measuring process does from here on, for the report should it hang or die.

    Args:
      what: such as `"loading the model"`.
    """
    # A line of its own, whatever a library printed before it.
    print(f"\n{_DOING}{what}", flush=True)


def serve(answering: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answers the request on standard input, as `run_in_process` expects it.

    Args:
      answering: gives the reply to a request, JSON-ready.
    """
    try:
        reply = answering(json.load(sys.stdin))
    except MemoryError as error:
        reply = {"error": f"not enough memory ({error}). Take smaller batches."}
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        # What is wrong with the model or the setting; the caller shows it without a traceback.
        reply = {"error": str(error)}
    print(f"\n{_REPLY}{json.dumps(reply)}", flush=True)


def _reply(status: int, output: str, errors: str) -> Mapping[str, Any]:
    last = "\n  ".join(errors.strip().splitlines()[-5:])
    if status < 0:
        raise MeasurementError(
            f"its process was ended by {_signal(-status)}{_while(output)}"
            + (f":\n  {last}" if last else ".")
        )
    if status != 0:
        raise MeasurementError(f"its process ended with {status}{_while(output)}:\n  {last}")
    answers = _ours(output, _REPLY)
    if not answers:
        raise MeasurementError(f"its process ended without an answer{_while(output)}:\n  {last}")
    reply: dict[str, Any] = json.loads(answers[-1])
    if "error" in reply:
        raise MeasurementError(reply["error"])
    return reply


def _signal(number: int) -> str:
    try:
        name = f"{signal.Signals(number).name} ({(signal.strsignal(number) or '').lower()})"
    except ValueError:
        return f"signal {number}"
    if number == signal.SIGKILL:
        name += ", as the system may do when memory runs out"
    return name


def _while(output: str) -> str:
    said = _ours(output, _DOING)
    return f" while {said[-1]}" if said else ""


def _ours(output: str, mark: str) -> list[str]:
    return [line[len(mark) :] for line in output.splitlines() if line.startswith(mark)]
