"""What follows from the trials of a transfer study: differences paired by seed, and rankings.

Knows which trials are held against which. Does not know how it is told (`transfer_tables`). No
TensorFlow here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfcompress import statistics
from tfcompress.results import Interval
from tfcompress.statistics import SeedDifference, SeedSummary
from tfcompress.transfer import (
    DOWNSTREAM,
    FULL,
    LINEAR_PROBE,
    NONE,
    UPSTREAM,
    TransferStudy,
    Trial,
    TrialResult,
)

ALL = "mean of all"
"""In the place of backbone and target: the mean over all pairs of them, seed by seed."""

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Comparison:
    """Two settings of a study, over the seeds that both have.

    Attributes:
      backbone: of both; `ALL` for the mean over all pairs of backbone and target.
      target: of both; with `ALL` how many pairs there are.
      compression: of the first.
      frozen: fraction of frozen layers of the first.
      accuracy: mean over the seeds, of the first.
      reference: likewise, of the second.
      difference: mean over the seeds of first minus second.
      interval: 95%, by Student's t over the seeds; None where it cannot be had.
      p_value: of the paired t test; None where `interval` is.
      adjusted_p_value: by Holm's procedure over all comparisons of its table.
      differences: of each seed, in their order.
    """

    backbone: str
    target: str
    compression: str
    frozen: float
    accuracy: float
    reference: float
    difference: float
    interval: Interval | None
    p_value: float | None
    adjusted_p_value: float | None
    differences: tuple[float, ...]

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.differences)

    @property
    def verdict(self) -> str:
        """In words, what the seeds show of the first setting beside the second.

        `"better"` and `"worse"` as `statistics.decide` has them, over the seeds.
        """
        if self.seeds == 1:
            return "not known with one seed"
        if self.p_value is None:
            return "the same with every seed"
        found = statistics.decide(self.interval, self.p_value, self.adjusted_p_value).answer
        return f"{found} with {self.seeds} seeds" if found == statistics.NOT_SHOWN else found


def by_setting(study: TransferStudy) -> dict[Trial, dict[int, TrialResult]]:
    """The results of each setting by their seed; a setting is a trial with seed 0."""
    found: dict[Trial, dict[int, TrialResult]] = {}
    for result in study.results:
        setting = dataclasses.replace(result.trial, seed=0)
        found.setdefault(setting, {})[result.trial.seed] = result
    return found


def summary(results: Mapping[int, TrialResult]) -> SeedSummary:
    """Mean and spread of a setting's accuracy over its seeds."""
    return statistics.summarize_seeds([result.accuracy for result in results.values()])


def of_order(study: TransferStudy) -> tuple[Comparison, ...]:
    """Part a: compressing before the transfer against compressing after it, all layers trained."""
    return _compared(
        study,
        lambda trial: trial.order == UPSTREAM and trial.regime == FULL,
        lambda trial: dataclasses.replace(trial, order=DOWNSTREAM, upstream=""),
    )


def of_regime(study: TransferStudy, regime: str) -> tuple[Comparison, ...]:
    """Part b: backbones that were compressed upstream against the whole one, in one regime."""
    return _compared(
        study,
        lambda trial: trial.order == UPSTREAM and trial.regime == regime,
        _uncompressed,
    )


def of_frozen(study: TransferStudy) -> tuple[Comparison, ...]:
    """Part d: so many frozen layers against none, with the same compression."""
    asked = {*study.config["frozen_compressions"]} if "d" in study.config["parts"] else set()
    return _compared(
        study,
        lambda trial: trial.frozen > 0 and trial.compression in asked,
        lambda trial: dataclasses.replace(trial, frozen=0.0),
    )


def _uncompressed(trial: Trial) -> Trial:
    return dataclasses.replace(trial, compression=NONE, order=NONE, upstream="")


def _compared(
    study: TransferStudy, wanted: Callable[[Trial], bool], other: Callable[[Trial], Trial]
) -> tuple[Comparison, ...]:
    """One comparison for each wanted setting that has its counterpart, and the means over pairs."""
    settings = by_setting(study)
    sides = {
        setting: (_accuracies(results), _accuracies(settings.get(other(setting), {})))
        for setting, results in settings.items()
        if wanted(setting)
    }
    found = [
        _comparison(setting.backbone, setting.target, setting, *pair)
        for setting, pair in sides.items()
        if pair[0].keys() & pair[1].keys()
    ]
    found += _over_pairs(sides)
    return _adjusted(found)


def _accuracies(results: Mapping[int, TrialResult]) -> dict[int, float]:
    return {seed: result.accuracy for seed, result in results.items()}


def _over_pairs(sides: Mapping[Trial, tuple[BySeed, BySeed]]) -> list[Comparison]:
    """The means over all pairs of backbone and target, for the seeds that every one has."""
    groups: dict[tuple[str, float], list[Trial]] = {}
    for setting in sides:
        groups.setdefault((setting.compression, setting.frozen), []).append(setting)
    found = []
    for group in groups.values():
        parts = [sides[setting] for setting in group]
        seeds = set.intersection(*({*one} & {*two} for one, two in parts))
        if len(group) > 1 and seeds:
            means = [
                {seed: _mean(part[side][seed] for part in parts) for seed in sorted(seeds)}
                for side in (0, 1)
            ]
            found.append(_comparison(ALL, f"{len(group)} pairs", group[0], *means))
    return found


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def _comparison(
    backbone: str, target: str, setting: Trial, one: BySeed, other: BySeed
) -> Comparison:
    seeds = sorted(one.keys() & other.keys())
    ours, theirs = [one[seed] for seed in seeds], [other[seed] for seed in seeds]
    found: SeedDifference = statistics.paired_seed_difference(ours, theirs)
    return Comparison(
        backbone=backbone,
        target=target,
        compression=setting.compression,
        frozen=setting.frozen,
        accuracy=_mean(ours),
        reference=_mean(theirs),
        difference=found.mean,
        interval=found.interval,
        p_value=found.p_value,
        adjusted_p_value=None,
        differences=tuple(x - y for x, y in zip(ours, theirs, strict=True)),
    )


def _adjusted(found: Sequence[Comparison]) -> tuple[Comparison, ...]:
    values = statistics.holm([one.p_value for one in found])
    return tuple(
        dataclasses.replace(one, adjusted_p_value=None if math.isnan(value) else float(value))
        for one, value in zip(found, values, strict=True)
    )


@dataclass(frozen=True)
class Flip:
    """Two compressions, one of them better under a linear probe, the other under a full fine-tune.

    Attributes:
      probe: the better one under a linear probe, by the mean over the seeds.
      full: the better one under a full fine-tune.
      in_every_seed: whether both hold with each seed alone; of a single seed that says nothing, and
        it is False.
    """

    probe: str
    full: str
    in_every_seed: bool


@dataclass(frozen=True)
class Ranking:
    """How the compressions of a backbone rank on one target in the two regimes.

    Attributes:
      backbone: which.
      target: which.
      probe: compressions with their mean accuracy under a linear probe, the best first.
      full: likewise, under a full fine-tune.
      flips: the pairs that the regimes order differently.
      pairs: how many pairs there are.
      seeds: that all of them have.
    """

    backbone: str
    target: str
    probe: tuple[tuple[str, float], ...]
    full: tuple[tuple[str, float], ...]
    flips: tuple[Flip, ...]
    pairs: int
    seeds: int


def rankings(study: TransferStudy) -> tuple[Ranking, ...]:
    """Part b: the rankings of what was compressed upstream, the whole backbone among them.

    Over the compressions and seeds that both regimes have; with fewer than two compressions there
    is nothing to rank.
    """
    tables: dict[tuple[str, str], dict[str, dict[str, dict[int, float]]]] = {}
    for setting, results in by_setting(study).items():
        if setting.order != DOWNSTREAM and setting.regime in (FULL, LINEAR_PROBE):
            table = tables.setdefault((setting.backbone, setting.target), {})
            table.setdefault(setting.compression, {})[setting.regime] = _accuracies(results)
    found = [_ranking(*pair, table) for pair, table in tables.items()]
    return tuple(one for one in found if one is not None)


def _ranking(
    backbone: str, target: str, table: Mapping[str, Mapping[str, BySeed]]
) -> Ranking | None:
    both = {name: regimes for name, regimes in table.items() if len(regimes) == 2}
    sets = [{*one} for regimes in both.values() for one in regimes.values()]
    seeds = sorted(set.intersection(*sets)) if sets else []
    if len(both) < 2 or not seeds:
        return None
    values = {
        regime: {name: [both[name][regime][seed] for seed in seeds] for name in both}
        for regime in (LINEAR_PROBE, FULL)
    }
    pairs = list(itertools.combinations(both, 2))
    flips = [_flip(one, other, values) for one, other in pairs]
    return Ranking(
        backbone=backbone,
        target=target,
        probe=_ranked(values[LINEAR_PROBE]),
        full=_ranked(values[FULL]),
        flips=tuple(flip for flip in flips if flip is not None),
        pairs=len(pairs),
        seeds=len(seeds),
    )


def _ranked(values: Mapping[str, Sequence[float]]) -> tuple[tuple[str, float], ...]:
    means = [(name, _mean(one)) for name, one in values.items()]
    return tuple(sorted(means, key=lambda pair: -pair[1]))


def _flip(one: str, other: str, values: Mapping[str, Mapping[str, Sequence[float]]]) -> Flip | None:
    """None where the regimes agree, or where one of them has the two alike."""
    gaps = {
        regime: [x - y for x, y in zip(found[one], found[other], strict=True)]
        for regime, found in values.items()
    }
    probe, full = (_mean(gaps[regime]) for regime in (LINEAR_PROBE, FULL))
    if probe * full >= 0:
        return None
    signs = [gap * probe > 0 for gap in gaps[LINEAR_PROBE]]
    signs += [gap * full > 0 for gap in gaps[FULL]]
    always = len(gaps[FULL]) > 1 and all(signs)
    return Flip(one if probe > 0 else other, one if full > 0 else other, always)
