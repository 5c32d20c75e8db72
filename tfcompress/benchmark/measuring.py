"""Measures models side by side: they take turns, round by round, in fresh processes.

Every raw sample is kept. Does not know how a figure is shown.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tfcompress import runtimes
from tfcompress.benchmark.config import LatencyConfig
from tfcompress.benchmark.process import MeasurementError, Runner, run_in_process
from tfcompress.latency import LatencySamples
from tfcompress.machine_state import Stretch
from tfcompress.records import from_record

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called after each process with the count done, of all, and the model's name."""

_ANSWERING = "tfcompress.benchmark.answering"


@dataclass(frozen=True)
class Case:
    """A model at one setting.

    Attributes:
      path: its file.
      config: how it is measured.
    """

    path: str | os.PathLike[str]
    config: LatencyConfig


@dataclass(frozen=True)
class _Turn:
    name: str
    place: int
    reply: Mapping[str, Any]


def measure_latency(
    models: Mapping[str, str | os.PathLike[str]],
    config: LatencyConfig | None = None,
    *,
    progress: Progress | None = None,
    runner: Runner | None = None,
) -> dict[str, LatencySamples]:
    """Measures several models side by side at one setting; see `measure_cases`.

    Args:
      models: name and file of each.
      config: how to measure; the defaults of `LatencyConfig` where None.
      progress: called after each process.
      runner: runs one request in a process of its own; for tests.

    Returns:
      the samples of each model, in the order given.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: no model, or a file that the runtime does not take.
      MeasurementError: the runtime is not available, or a process failed or took too long.
    """
    if not isinstance(models, Mapping):
        raise ValueError(
            "measure_latency takes a name for each file, such as {'small': 'a.tflite'}. "
            f"Received: {type(models).__name__}."
        )
    config = config or LatencyConfig()
    cases = {name: Case(path, config) for name, path in models.items()}
    return measure_cases(cases, progress=progress, runner=runner)


def measure_cases(
    cases: Mapping[str, Case],
    *,
    progress: Progress | None = None,
    runner: Runner | None = None,
    failures: dict[str, str] | None = None,
) -> dict[str, LatencySamples]:
    """Measures models and settings side by side, so that any two of them can be compared.

    In each round every case has its turn in a new process, so that a change of the machine's speed
    meets all of them alike. The order changes from round to round, see `turn_order`.

    Args:
      cases: by name; all with the same count of rounds.
      progress: called after each process.
      runner: runs one request in a process of its own; for tests.
      failures: receives why a case failed, by its name; such a case has no further turns and the
        others go on. None to end with the first failure.

    Returns:
      the samples of each case that did not fail, in the order given.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: no case, a file that the runtime does not take, or counts of rounds that differ.
      MeasurementError: the runtime is not available, or a process failed or took too long.
    """
    rounds = _check_cases(cases)
    runner = runner or functools.partial(run_in_process, module=_ANSWERING)
    failed: dict[str, MeasurementError] = {}
    turns: list[_Turn] = []
    for done in range(rounds * len(cases)):
        number, place = divmod(done, len(cases))
        name = turn_order(tuple(cases), number)[place]
        if name not in failed:
            with _kept(name, failed):
                turns.append(_Turn(name, place, _asked(name, cases[name], runner)))
        if failed and failures is None:
            raise failed[name]
        if progress is not None:
            progress(done + 1, rounds * len(cases), name)
    found = _all_samples(cases, turns, failed)
    if failed and failures is None:
        raise next(iter(failed.values()))
    if failures is not None:
        failures.update({name: str(error) for name, error in failed.items()})
    return found


@contextmanager
def _kept(name: str, failed: dict[str, MeasurementError]) -> Iterator[None]:
    """Keeps the error of one case, so that it does not end those of the others."""
    try:
        yield
    except MeasurementError as error:
        failed[name] = error


def _all_samples(
    cases: Mapping[str, Case], turns: Sequence[_Turn], failed: dict[str, MeasurementError]
) -> dict[str, LatencySamples]:
    session = uuid.uuid4().hex
    found = {}
    for name, case in cases.items():
        if name not in failed:
            own = [turn for turn in turns if turn.name == name]
            with _kept(name, failed):
                found[name] = _samples(name, case.config, own, session)
    return found


def turn_order(names: Sequence[str], number: int) -> tuple[str, ...]:
    """Who measures when in a round: each pair of rounds starts with the next name.

    The second of a pair goes backwards. Over twice as many rounds as names, each name stands
    equally often at each place, and as often before any other as after it; no model always meets
    the machine fresh, or warm from the same neighbour.

    Args:
      names: of the cases.
      number: of the round, from 0.

    Example:
      >>> [" ".join(turn_order("abc", number)) for number in range(4)]
      ['a b c', 'c b a', 'b c a', 'a c b']
    """
    start = number // 2 % len(names)
    turned = (*names[start:], *names[:start])
    return turned[::-1] if number % 2 else turned


def _asked(name: str, case: Case, runner: Runner) -> Mapping[str, Any]:
    config = case.config
    request = dataclasses.asdict(config) | {"path": os.fspath(case.path)}
    try:
        return runner(request, config.timeout_seconds)
    except MeasurementError as error:
        raise MeasurementError(
            f"Measuring {name!r} ({case.path}) on {config.runtime} with {config.threads} "
            f"threads and batch {config.batch} failed: {error}"
        ) from error


def _check_cases(cases: Mapping[str, Case]) -> int:
    """The count of rounds, once every case can be measured."""
    if not cases:
        raise ValueError("There is no model to measure. Expected at least one name with its file.")
    rounds = {case.config.rounds for case in cases.values()}
    if len(rounds) > 1:
        raise ValueError(
            "Cases that take turns have the same count of rounds. "
            f"Received: {', '.join(map(str, sorted(rounds)))}."
        )
    engines = {case.config.runtime: runtimes.choose(case.config.runtime) for case in cases.values()}
    for runtime, engine in engines.items():
        reason = engine.unavailable()
        if reason is not None:
            raise MeasurementError(f"The runtime {runtime} is not available. {reason}")
    for case in cases.values():
        path, suffixes = Path(case.path), engines[case.config.runtime].suffixes
        if not path.is_file():
            raise FileNotFoundError(f"No model file at {path}.")
        if path.suffix not in suffixes:
            raise ValueError(
                f"The runtime {case.config.runtime} takes files that end in "
                f"{' or '.join(suffixes)}. Received: {path}."
            )
    return rounds.pop()


def _samples(
    name: str, config: LatencyConfig, turns: Sequence[_Turn], session: str
) -> LatencySamples:
    replies = [turn.reply for turn in turns]
    peak = max(reply["peak_memory_bytes"] for reply in replies)
    return LatencySamples(
        runtime=config.runtime,
        threads=config.threads,
        batch=config.batch,
        rounds_ns=tuple(tuple(reply["samples_ns"]) for reply in replies),
        first_call_ns=tuple(reply["first_call_ns"] for reply in replies),
        load_ns=tuple(reply["load_ns"] for reply in replies),
        peak_memory_bytes=peak if config.batch == 1 else None,
        prepare_ns=tuple(reply["prepare_ns"] for reply in replies),
        warmup_runs=tuple(reply["warmup_runs"] for reply in replies),
        stable=tuple(reply["stable"] for reply in replies),
        joules_per_call=tuple(reply["joules_per_call"] for reply in replies),
        placement=_same_placement(name, [reply["placement"] for reply in replies]),
        machine=tuple(from_record(Stretch, reply["machine"]) for reply in replies),
        finite_outputs=all(reply["finite_outputs"] for reply in replies),
        places=tuple(turn.place for turn in turns),
        session=session,
    )


def _same_placement(name: str, placements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = placements[0]
    for number, other in enumerate(placements[1:], start=2):
        parts = [
            part
            for part in ("device", "device_name", "software", "left_over")
            if first.get(part) != other.get(part)
        ]
        if parts:
            raise MeasurementError(
                f"{name!r} did not run at the same place in all rounds: {parts[0]} was "
                f"{first[parts[0]]!r} in round 1 and {other[parts[0]]!r} in round {number}. "
                "Samples of two devices are not one latency."
            )
    return first
