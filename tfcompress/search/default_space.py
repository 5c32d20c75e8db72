"""The space of recipes for a user who names none: what suits the model, the data and the budget.

Asks the techniques, which alone know what they can do. Knows which of them make a file smaller in
which way. Trains nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from tfcompress import compose, data, planned_stages
from tfcompress import recipe as recipes
from tfcompress.config import RunConfig
from tfcompress.search import space as spaces
from tfcompress.search.config import GZIP_SIZE, SearchConfig
from tfcompress.search.space import SpaceError

LEARNING = "distill(temperature={1..8 log}, alpha={0.3..0.9})"
VOCABULARY = "trim_vocabulary(least_count={1..4})"
"""Of texts: fewer rows of the table of tokens, which is most of a small encoder."""
NARROWING = ("prune_channels({0.1..0.8})", "factorize(target={0.1..0.6})")
"""Take multiply-accumulates from the model: fewer bytes in every format, and less time."""
ZEROS = "prune({0.3..0.95}, allocation={uniform|sensitivity})"
"""Fewer bytes where the file is gzipped or its zeros are stored sparse; no less time."""
SHARED = "cluster({8..64 log})"
"""Fewer bytes where the file is gzipped."""
INTEGERS = ("qat", "ptq(rounding=nearest)")


# Combinations whose stages are gathered; every stage of a larger space stands in many.
_MOST_CHECKED = 2000


def default_space(
    config: SearchConfig,
    model: Any,
    supplied: Mapping[str, Any],
    *,
    leave: Callable[[str, str], None],
) -> str:
    """The recipes to choose from.

    Left out is what the model or the task does not allow, and what could not make a file smaller by
    the bytes that count: weights of few values or with zeros take as many bytes as others until
    they are gzipped.

    Args:
      config: of the search.
      model: the untrained classifier.
      supplied: what a run gives to techniques.
      leave: told what is left out, and why.

    Returns:
      A text that `space.parse` takes.
    """

    def allowed(text: str) -> bool:
        reason = refusal(text, config.run, model, supplied)
        if reason:
            leave(text, reason)
        return not reason

    gzipped, export = config.size_objective == GZIP_SIZE, config.run.export
    texts = data.is_text(config.run.data)
    zeros = gzipped or (export.minimal and export.sparse)
    stages = [
        _either(*filter(allowed, places))
        for places in ((LEARNING,), (VOCABULARY,) * texts, NARROWING, (ZEROS,) * zeros)
    ]
    if not zeros:
        leave(
            "prune",
            "its zeros take as many stored bytes as other weights do; pass "
            "--max_gzip_size_bytes, or --minimal --sparse",
        )
    if not gzipped:
        leave(
            "cluster",
            "its equal weights take as many stored bytes as others do; pass --max_gzip_size_bytes",
        )
    formats = list(dict.fromkeys((*export.formats, "int8")))
    integers = list(filter(allowed, INTEGERS))
    ends = [*integers, *formats]
    if gzipped and allowed(SHARED):
        # The rounding of ptq would undo the shared values.
        of_clusters = [end for end in ends if not end.startswith("ptq")]
        ends = [
            f"{{{SHARED}|none}}+{{{'|'.join(of_clusters)}}}",
            *(e for e in ends if e not in of_clusters),
        ]
    end = ends[0] if len(ends) == 1 else f"{{{'|'.join(ends)}}}"
    return "+".join([*filter(None, stages), end])


def _either(*options: str) -> str:
    """An open place for one of some stages or none; empty where there are none."""
    return f"{{{'|'.join([*options, spaces.NONE])}}}" if options else ""


def refusal(text: str, run: RunConfig, model: Any, supplied: Mapping[str, Any]) -> str:
    """Why a model, a task or a run does not allow some stages; empty where they do.

    Args:
      text: a space of single stages.
      run: with the data and the network.
      model: the untrained classifier.
      supplied: what a run gives to techniques.
    """
    for _, recipe in spaces.parse([text]).points(2):
        try:
            plan = dataclasses.replace(run, recipes=(recipe,)).plans[0]
            first = plan.stages[0]
            if first.technique != "distill" or not first.config.student:
                compose.require_treatable(plan.stages, model, supplied=supplied)
        except ValueError as error:
            return str(error)
    return ""


def require_treatable(
    space: spaces.Space, run: RunConfig, model: Any, supplied: Mapping[str, Any]
) -> None:
    """Refuses a space with a stage that can do nothing to the model, before any training.

    Each stage is asked about the model as it is; what follows a student is asked in its trial.

    Args:
      space: the recipes.
      run: with the data and the network.
      model: the untrained classifier.
      supplied: what a run gives to techniques.

    Raises:
      SpaceError: the message names the stage and the reason.
    """
    stages: dict[str, None] = {}
    for _, text in itertools.islice(space.points(1), _MOST_CHECKED):
        recipe = recipes.parse(text)
        plan = compose.plan(recipe)
        first = plan.stages[0] if plan.stages else None
        if first is None or first.technique != "distill" or not first.config.student:
            named = [term for term in recipe.stages if planned_stages.setting_names(term.technique)]
            stages |= dict.fromkeys(map(str, named))
    for stage in stages:
        reason = refusal(stage, run, model, supplied)
        if reason:
            raise SpaceError(f"The space {', '.join(space.texts)} holds {stage}: {reason}")
