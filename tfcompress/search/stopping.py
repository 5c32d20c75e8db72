"""Which trials are ended early, since nothing is to be expected of them.

Knows the rules. Does not know how a trial is carried out.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from tfcompress import budgets, compose
from tfcompress import recipe as recipes
from tfcompress.budgets import Budget, Figures
from tfcompress.planned_stages import apart_from_level
from tfcompress.search_record import FAILED, FINISHED, Candidate, Draft, TrialRecord

FEWEST_PEERS = 4
"""Trials that one is compared with, at least: of fewer, half are soon beaten by chance."""
MARGIN = 0.05
"""By which fraction the real file may be smaller or faster than its draft."""


class TrialStopped(Exception):
    """A trial is not worth going on with. The message says why."""


def beyond_budget(
    draft: Draft, budget: Budget, candidates: Sequence[Candidate], *, strict: bool = False
) -> str:
    """Why a recipe cannot be the answer, whatever its training comes to; empty where it can.

    Its file is over a limit of size or latency, and some file is nearer to the budget in all.

    Args:
      draft: the file of the untrained recipe.
      budget: the limits.
      candidates: every file so far.
      strict: take it that some file will keep the budget, so that none over it is the answer.
    """
    over = overruns(draft, budget, margin=MARGIN)
    if budgets.keeps(over):
        return ""
    nearest = min((budgets.distance(each.overruns) for each in candidates), default=None)
    if not strict and (nearest is None or budgets.distance(over) < nearest):
        return ""
    name = max(over, key=lambda each: over[each])
    limit = getattr(budget, name)
    has = getattr(draft, name.removeprefix("max_"))
    return f"untrained, its file has {_shown(has)} for {name}={_shown(limit)}"


def same_file(draft: Draft, recipe: str, trials: Sequence[TrialRecord]) -> str:
    """Which trial a recipe would repeat; empty where there is none.

    Its file before any training is that trial's, as where channels are rounded to the same count,
    and the recipes differ only in how far their stages go: so the training is the same too.

    Args:
      draft: the file of the untrained recipe.
      recipe: its text.
      trials: all that ended.
    """
    if not draft.sha256:
        return ""
    for trial in trials:
        other = trial.draft
        if other is not None and other.sha256 == draft.sha256 and trial.state != FAILED:
            plans = (compose.plan(recipes.parse(text)) for text in (recipe, trial.recipe))
            own, its = ([apart_from_level(stage) for stage in plan.stages] for plan in plans)
            if own == its:
                return f"untrained, its file is that of {trial.name}"
    return ""


def overruns(draft: Draft, budget: Budget, *, margin: float = 0.0) -> dict[str, float]:
    """By which fraction of each limit of size and latency a draft is over it.

    Args:
      draft: the file of the untrained recipe; a latency that it lacks has no limit.
      budget: the limits.
      margin: by which fraction its figures are taken to be smaller.
    """
    least = 1 - margin
    if draft.latency_ms is None:
        budget = dataclasses.replace(budget, max_latency_ms=None)
    figures = Figures(
        round(draft.size_bytes * least),
        round(draft.gzip_size_bytes * least),
        0.0,
        None if draft.latency_ms is None else draft.latency_ms * least,
    )
    found = budget.overruns(figures, baseline_error=1.0, least_error=1.0)
    # Its error says nothing yet.
    found.pop("max_drop", None)
    return found


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def behind_peers(
    share: float, error: float, draft: Draft, trials: Sequence[TrialRecord], *, size: str
) -> str:
    """Why a trial is poor; empty where it is not, or where that cannot be told yet.

    It is where its error is above the median of those that finished trials had when they had done
    as much, of the trials whose files cost no more.

    Args:
      share: of its epochs that it has done, in [0, 1).
      error: that it has now, on validation.
      draft: its file before any training.
      trials: all that ended.
      size: which bytes count, `"size_bytes"` or `"gzip_size_bytes"`.

    Reference:
      The median rule of Golovin et al.: Google Vizier, KDD 2017, among trials of no higher cost.
    """
    peers = [
        before
        for trial in trials
        if trial.state == FINISHED and trial.candidate and _costs_no_more(trial, draft, size)
        if (before := _error_at(trial, share)) is not None
    ]
    if len(peers) < FEWEST_PEERS:
        return ""
    median = statistics.median(peers)
    if error <= median:
        return ""
    return (
        f"after {share:.0%} of its epochs its error was {error:.4g}; half of {len(peers)} trials "
        f"that cost no more had at most {median:.4g}"
    )


def _costs_no_more(trial: TrialRecord, draft: Draft, size: str) -> bool:
    assert trial.candidate is not None
    if getattr(trial.candidate, size) > getattr(draft, size):
        return False
    theirs = trial.candidate.figures.latency_ms
    return draft.latency_ms is None or theirs is None or theirs <= draft.latency_ms * (1 + MARGIN)


def _error_at(trial: TrialRecord, share: float) -> float | None:
    """The error of a trial when it had done as much; of a draft only beside another draft."""
    done = [
        each for each in trial.progress if each.share <= share and bool(each.share) == bool(share)
    ]
    return max(done, key=lambda each: each.share).error if done else None
