"""Work in a process of its own: a request goes in as JSON, a reply comes out as JSON.

A process that hangs is ended and reported. Does not know what is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Runner: TypeAlias = Callable[[Mapping[str, Any], float], Mapping[str, Any]]
"""Runs one request in a process of its own: takes the request and a time limit in seconds."""


class MeasurementError(RuntimeError):
    """A measuring process failed or was killed. The message names the model and the reason."""


def run_in_process(
    request: Mapping[str, Any], timeout_seconds: float, *, module: str
) -> Mapping[str, Any]:
    """Answers a request in a new process, which sees this process's environment.

    Args:
      request: JSON-ready.
      timeout_seconds: a process that takes longer is killed.
      module: run as a program; it reads the request and prints the reply as its last line.

    Raises:
      MeasurementError: it failed, answered nothing, or took longer than the limit and was killed.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        finished = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(
            f"its process did not end within {timeout_seconds:g} s and was killed."
        ) from None
    lines = finished.stdout.splitlines()
    if finished.returncode != 0 or not lines:
        last = "\n  ".join(finished.stderr.strip().splitlines()[-5:])
        raise MeasurementError(f"its process ended with {finished.returncode}:\n  {last}")
    reply: dict[str, Any] = json.loads(lines[-1])
    if "error" in reply:
        raise MeasurementError(reply["error"])
    return reply


def serve(answering: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Answers the request on standard input, as `run_in_process` expects it.

    Args:
      answering: gives the reply to a request, JSON-ready.
    """
    try:
        reply = answering(json.load(sys.stdin))
    except (ValueError, OSError, RuntimeError) as error:
        # What is wrong with the model or the setting; the caller shows it without a traceback.
        reply = {"error": str(error)}
    print(json.dumps(reply))
